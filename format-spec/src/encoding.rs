//! How one column of u64 values becomes bytes: a transform, then byte planes (SPEC.md §Encodings).

use crate::{
    Error,
    planes::{BLOCK, PlaneWriter, Planes},
};

/// Slots of the [`Encoding::DeltaBy`] table: more than any system-call number in use, and small
/// enough to stay in the first-level cache.
pub const KEY_SLOTS: usize = 1_024;

/// The transform of a column; its number on disk is [`Encoding::number`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// The value itself.
    Plain,
    /// Zigzag of the value: for small negative numbers.
    Zigzag,
    /// The first value in full, then zigzag of the wrapping difference to the row before.
    Delta,
    /// Zigzag of the wrapping difference to the last row whose value in the named column has the
    /// same remainder modulo [`KEY_SLOTS`] (0 before there is one).
    DeltaBy(u16),
    /// Not a column of its own: stored in the body's sequence section, predicted over all families.
    Sequence,
}

impl Encoding {
    pub fn number(self) -> u8 {
        match self {
            Encoding::Plain => 0,
            Encoding::Zigzag => 1,
            Encoding::Delta => 2,
            Encoding::DeltaBy(_) => 3,
            Encoding::Sequence => 4,
        }
    }

    /// The column that says which row before counts.
    pub fn key(self) -> Option<u16> {
        match self {
            Encoding::DeltaBy(key) => Some(key),
            _ => None,
        }
    }

    /// The encoding of a declared field by its number.
    pub fn of_declared(number: u8) -> Option<Encoding> {
        [Encoding::Plain, Encoding::Zigzag, Encoding::Delta]
            .into_iter()
            .find(|encoding| encoding.number() == number)
    }
}

pub fn zigzag(value: u64) -> u64 {
    (value << 1) ^ ((value as i64) >> 63) as u64
}

pub fn unzigzag(value: u64) -> u64 {
    (value >> 1) ^ (value & 1).wrapping_neg()
}

/// A row's slot in the table of [`Encoding::DeltaBy`].
#[inline]
pub fn slot(key: u64) -> u16 {
    (key % KEY_SLOTS as u64) as u16
}

/// Encodes one column, some rows after the other. Kept from column to column for its buffers.
pub struct Encoder {
    encoding: Encoding,
    planes: PlaneWriter,
    /// The value of row 0, and of the row before the next.
    first: Option<u64>,
    before: u64,
    last: Box<[u64; KEY_SLOTS]>,
}

impl Default for Encoder {
    fn default() -> Self {
        Encoder {
            encoding: Encoding::Plain,
            planes: PlaneWriter::default(),
            first: None,
            before: 0,
            last: Box::new([0; KEY_SLOTS]),
        }
    }
}

impl Encoder {
    /// Begins another column.
    pub fn begin(&mut self, encoding: Encoding) {
        self.encoding = encoding;
        self.planes.clear();
        self.first = None;
        if matches!(encoding, Encoding::DeltaBy(_)) {
            self.last.fill(0);
        }
    }

    /// Adds the next rows, at most [`BLOCK`] for speed, which are turned into their transform in
    /// place. `slots` are those of the key column.
    pub fn push(&mut self, values: &mut [u64], slots: &[u16]) {
        match self.encoding {
            Encoding::Plain | Encoding::Sequence => {}
            Encoding::Zigzag => values.iter_mut().for_each(|value| *value = zigzag(*value)),
            Encoding::Delta => {
                let Some(first) = values.first().copied() else {
                    return;
                };
                let mut before = match self.first {
                    Some(_) => self.before,
                    None => *self.first.insert(first),
                };
                for value in values.iter_mut() {
                    let delta = value.wrapping_sub(before);
                    before = *value;
                    *value = zigzag(delta);
                }
                self.before = before;
            }
            Encoding::DeltaBy(_) => {
                assert_eq!(values.len(), slots.len(), "a key for every row");
                for (value, slot) in values.iter_mut().zip(slots) {
                    let before = &mut self.last[usize::from(*slot) % KEY_SLOTS];
                    let delta = value.wrapping_sub(*before);
                    *before = *value;
                    *value = zigzag(delta);
                }
            }
        }
        self.planes.push(values);
    }

    /// Writes the column at the end of `out`. Returns false, and writes nothing, when every value
    /// is 0: an absent column means that.
    pub fn write(&self, out: &mut Vec<u8>) -> bool {
        if self.first.unwrap_or(0) == 0 && self.planes.is_zero() {
            return false;
        }
        self.write_always(out);
        true
    }

    /// The same, whatever the values are.
    pub fn write_always(&self, out: &mut Vec<u8>) {
        if self.encoding == Encoding::Delta {
            out.extend_from_slice(&self.first.unwrap_or(0).to_le_bytes());
        }
        self.planes.write(out);
    }
}

/// The reverse of [`Encoder`] for a present column of `rows` rows, put into `values`. `fits` sees
/// the values block by block and says whether they are such as the column may have; the whole
/// column's answer is returned.
pub fn decode(
    encoding: Encoding,
    bytes: &[u8],
    rows: usize,
    slots: &[u16],
    values: &mut Vec<u64>,
    fits: impl Fn(&[u64]) -> bool,
) -> Result<bool, Error> {
    let (mut before, planes) = match encoding {
        Encoding::Delta => match bytes.split_first_chunk::<8>() {
            Some((first, planes)) => (u64::from_le_bytes(*first), planes),
            None => {
                return Err(Error::Short {
                    what: "delta column",
                    offset: 0,
                    needed: 9,
                    available: bytes.len() as u64,
                });
            }
        },
        _ => (0, bytes),
    };
    let planes = Planes::read(planes, rows)?;
    let mut last = [0u64; KEY_SLOTS];
    if let Encoding::DeltaBy(_) = encoding {
        assert_eq!(rows, slots.len(), "a key for every row");
    }
    let mut fit = true;
    values.resize(rows, 0);
    for (number, block) in values.chunks_mut(BLOCK).enumerate() {
        let start = number * BLOCK;
        planes.block(start, block);
        if !matches!(encoding, Encoding::Plain | Encoding::Sequence) {
            block.iter_mut().for_each(|value| *value = unzigzag(*value));
        }
        match encoding {
            Encoding::Plain | Encoding::Sequence | Encoding::Zigzag => {}
            Encoding::Delta => {
                for value in block.iter_mut() {
                    before = before.wrapping_add(*value);
                    *value = before;
                }
            }
            Encoding::DeltaBy(_) => {
                for (value, slot) in block.iter_mut().zip(&slots[start..]) {
                    let last = &mut last[usize::from(*slot) % KEY_SLOTS];
                    *last = last.wrapping_add(*value);
                    *value = *last;
                }
            }
        }
        fit &= fits(block);
    }
    Ok(fit)
}
