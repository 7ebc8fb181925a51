//! Takes little-endian fields off the front of a byte slice; never past its end.

use super::Reason;

#[derive(Clone, Copy)]
pub(super) struct Bytes<'a>(pub(super) &'a [u8]);

impl<'a> Bytes<'a> {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn take(&mut self, count: usize, what: &'static str) -> Result<&'a [u8], Reason> {
        match self.0.split_at_checked(count) {
            Some((head, rest)) => {
                self.0 = rest;
                Ok(head)
            }
            None => Err(Reason::Short {
                what,
                needed: count as u64,
                left: self.0.len() as u64,
            }),
        }
    }

    /// An unsigned number of `width` bytes, at most 8.
    pub(super) fn number(&mut self, width: usize, what: &'static str) -> Result<u64, Reason> {
        self.take(width, what).map(unsigned)
    }

    /// A string with a 16-bit length before it.
    pub(super) fn string(&mut self, max: usize, what: &'static str) -> Result<&'a [u8], Reason> {
        let len = self.number(2, what)? as usize;
        if len > max {
            return Err(Reason::TooLong {
                what,
                found: len as u64,
                max: max as u64,
            });
        }
        self.take(len, what)
    }
}

/// Little-endian, at most 8 bytes.
pub(super) fn unsigned(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}
