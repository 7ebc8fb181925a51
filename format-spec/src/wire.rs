//! The only place that knows bincode, and the cursor for everything that is not bincode.
//!
//! Configuration (SPEC.md §bincode): little endian, fixed-size integers. bincode's limit counts the
//! bytes a value takes in memory, where short strings weigh up to three times their encoding:
//! 4 × [`RECORD_BYTES_MAX`] (or [`SUMMARY_BYTES_MAX`] in a summary). bincode cannot grow a
//! struct, so every use is length-prefixed outside and bytes after the known fields are ignored.

use bincode::{Decode, Encode, config};

use crate::{
    Error,
    limits::{RECORD_BYTES_MAX, SUMMARY_BYTES_MAX},
};

fn config() -> config::Configuration<
    config::LittleEndian,
    config::Fixint,
    config::Limit<{ 4 * RECORD_BYTES_MAX }>,
> {
    config::standard()
        .with_little_endian()
        .with_fixed_int_encoding()
        .with_limit::<{ 4 * RECORD_BYTES_MAX }>()
}

fn summary_config() -> config::Configuration<
    config::LittleEndian,
    config::Fixint,
    config::Limit<{ SUMMARY_BYTES_MAX as usize }>,
> {
    config::standard()
        .with_little_endian()
        .with_fixed_int_encoding()
        .with_limit::<{ SUMMARY_BYTES_MAX as usize }>()
}

/// Appends `value` to `out`.
///
/// # Panics
/// Never in practice: encoding into a `Vec` has no limit and no I/O.
pub fn put<T: Encode>(value: &T, out: &mut Vec<u8>) {
    let unlimited = config::standard()
        .with_little_endian()
        .with_fixed_int_encoding();
    bincode::encode_into_std_write(value, out, unlimited)
        .expect("encoding into memory cannot fail");
}

/// Decodes the known fields from the front of `bytes`; what follows them is a newer writer's and ignored.
pub fn get<T: Decode<()>>(what: &'static str, bytes: &[u8]) -> Result<T, Error> {
    bincode::decode_from_slice(bytes, config())
        .map(|(value, _)| value)
        .map_err(|error| decode_error(what, error))
}

/// [`get`] of a record that has grown: the fields of its first version, then, where bytes are left,
/// what was appended.
pub fn get_grown<T: Decode<()>, More: Decode<()>>(
    what: &'static str,
    bytes: &[u8],
) -> Result<(T, Option<More>), Error> {
    let (first, used) =
        bincode::decode_from_slice(bytes, config()).map_err(|error| decode_error(what, error))?;
    match bytes.get(used..) {
        Some(rest) if !rest.is_empty() => Ok((first, Some(get(what, rest)?))),
        _ => Ok((first, None)),
    }
}

/// [`get`] with the summary's larger limit.
pub fn get_large<T: Decode<()>>(what: &'static str, bytes: &[u8]) -> Result<T, Error> {
    bincode::decode_from_slice(bytes, summary_config())
        .map(|(value, _)| value)
        .map_err(|error| decode_error(what, error))
}

fn decode_error(what: &'static str, error: bincode::error::DecodeError) -> Error {
    Error::Decode {
        what,
        offset: 0,
        reason: error.to_string(),
    }
}

/// Reads little-endian values from a slice; every step is checked.
pub struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    what: &'static str,
}

impl<'a> Cursor<'a> {
    pub fn new(what: &'static str, bytes: &'a [u8]) -> Self {
        Cursor { bytes, at: 0, what }
    }
    pub fn at(&self) -> usize {
        self.at
    }
    pub fn left(&self) -> usize {
        self.bytes.len() - self.at
    }
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], Error> {
        if len > self.left() {
            return Err(Error::Short {
                what: self.what,
                offset: self.at as u64,
                needed: len as u64,
                available: self.left() as u64,
            });
        }
        let taken = &self.bytes[self.at..self.at + len];
        self.at += len;
        Ok(taken)
    }
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        Ok(self.take(N)?.try_into().expect("take returned N bytes"))
    }
    pub fn u8(&mut self) -> Result<u8, Error> {
        Ok(self.array::<1>()?[0])
    }
    pub fn u16(&mut self) -> Result<u16, Error> {
        self.array().map(u16::from_le_bytes)
    }
    pub fn u32(&mut self) -> Result<u32, Error> {
        self.array().map(u32::from_le_bytes)
    }
    pub fn u64(&mut self) -> Result<u64, Error> {
        self.array().map(u64::from_le_bytes)
    }
}

/// Appends one `{u16 tag, u32 len, payload}` part, the payload written by `fill`.
pub fn put_part(tag: u16, out: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(&tag.to_le_bytes());
    let len_at = out.len();
    out.extend_from_slice(&[0; 4]);
    fill(out);
    let len = u32::try_from(out.len() - len_at - 4).expect("a part is far below 4 GiB");
    out[len_at..len_at + 4].copy_from_slice(&len.to_le_bytes());
}
