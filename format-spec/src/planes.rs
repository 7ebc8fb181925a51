//! Byte planes (SPEC.md §Encodings), block by block: what is transformed, checked and taken apart
//! at once stays in the first-level cache.
//!
//! Planes make the high bytes of small numbers one long run of zeros, which zstd takes for nothing.

use crate::Error;

/// Rows that are worked on at once: their values take 2 KiB, and the events' fields they come from 16.
pub const BLOCK: usize = 256;

/// Bytes that the largest value of a set needs, given all of them or-ed together.
fn planes_of(used: u64) -> usize {
    (u64::BITS - used.leading_zeros()).div_ceil(8) as usize
}

/// Collects a column's planes, as many as its values turn out to need.
#[derive(Default)]
pub struct PlaneWriter {
    planes: [Vec<u8>; 8],
    used: usize,
    rows: usize,
}

impl PlaneWriter {
    pub fn clear(&mut self) {
        self.used = 0;
        self.rows = 0;
    }

    /// Adds the next rows.
    pub fn push(&mut self, values: &[u64]) {
        let needed = planes_of(values.iter().fold(0, |used, value| used | value));
        for plane in self.planes.iter_mut().take(needed).skip(self.used) {
            plane.clear();
            plane.resize(self.rows, 0);
        }
        self.used = self.used.max(needed);
        self.rows += values.len();
        for (at, plane) in self.planes.iter_mut().take(self.used).enumerate() {
            if at < needed {
                plane.extend(values.iter().map(|value| (value >> (8 * at)) as u8));
            } else {
                plane.resize(self.rows, 0);
            }
        }
    }

    /// True when every value so far is 0.
    pub fn is_zero(&self) -> bool {
        self.used == 0
    }

    /// Appends `u8 n`, then n planes of one byte a row, least significant first.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.push(self.used as u8);
        for plane in &self.planes[..self.used] {
            out.extend_from_slice(plane);
        }
    }
}

/// A column's planes as they stand in a body.
pub struct Planes<'a> {
    planes: [&'a [u8]; 8],
    used: usize,
}

impl<'a> Planes<'a> {
    pub fn read(bytes: &'a [u8], rows: usize) -> Result<Self, Error> {
        let Some((&used, bytes)) = bytes.split_first() else {
            return Err(Error::Short {
                what: "planes",
                offset: 0,
                needed: 1,
                available: 0,
            });
        };
        if used > 8 {
            return Err(Error::malformed("planes", 0, "0 to 8 planes", used));
        }
        let used = usize::from(used);
        if bytes.len() != rows * used {
            return Err(Error::malformed(
                "planes",
                1,
                format_args!("{used} planes of {rows} bytes"),
                format_args!("{} bytes", bytes.len()),
            ));
        }
        let mut planes = [&[][..]; 8];
        for (place, plane) in planes.iter_mut().zip(bytes.chunks_exact(rows.max(1))) {
            *place = plane;
        }
        Ok(Planes { planes, used })
    }

    /// The values of the rows from `start` on, at most [`BLOCK`] of them.
    pub fn block(&self, start: usize, values: &mut [u64]) {
        const NONE: [u8; BLOCK] = [0; BLOCK];
        let len = values.len();
        let mut planes = [&NONE[..len]; 8];
        let mut used = 0;
        for (at, plane) in self.planes[..self.used].iter().enumerate() {
            let plane = &plane[start..start + len];
            // High planes are mostly zeros.
            if plane.iter().fold(0, |all, byte| all | byte) != 0 {
                planes[at] = plane;
                used = at + 1;
            }
        }
        let [a, b, c, d, e, f, g, h] = planes;
        match used {
            0 => values.fill(0),
            1 => {
                for (value, a) in values.iter_mut().zip(a) {
                    *value = u64::from(*a);
                }
            }
            2 => {
                for ((value, a), b) in values.iter_mut().zip(a).zip(b) {
                    *value = u64::from(u16::from(*a) | u16::from(*b) << 8);
                }
            }
            3 | 4 => {
                let mut low = [0; BLOCK];
                join(a, b, c, d, &mut low[..len]);
                for (value, low) in values.iter_mut().zip(&low) {
                    *value = u64::from(*low);
                }
            }
            _ => {
                let (mut low, mut high) = ([0; BLOCK], [0; BLOCK]);
                join(a, b, c, d, &mut low[..len]);
                join(e, f, g, h, &mut high[..len]);
                for ((value, low), high) in values.iter_mut().zip(&low).zip(&high) {
                    *value = u64::from(*low) | u64::from(*high) << 32;
                }
            }
        }
    }
}

/// In two steps, each of which is one instruction for many rows.
fn join(a: &[u8], b: &[u8], c: &[u8], d: &[u8], out: &mut [u32]) {
    let (mut low, mut high) = ([0u16; BLOCK], [0u16; BLOCK]);
    for ((low, a), b) in low.iter_mut().zip(a).zip(b) {
        *low = u16::from(*a) | u16::from(*b) << 8;
    }
    for ((high, c), d) in high.iter_mut().zip(c).zip(d) {
        *high = u16::from(*c) | u16::from(*d) << 8;
    }
    for ((out, low), high) in out.iter_mut().zip(&low).zip(&high) {
        *out = u32::from(*low) | u32::from(*high) << 16;
    }
}
