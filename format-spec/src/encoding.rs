//! How one column of u64 values becomes bytes: a transform, then byte planes (SPEC.md §Encodings).
//!
//! Planes make the high bytes of small numbers one long run of zeros, which zstd takes for nothing.

use crate::Error;

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

/// Encodes `values` (turned into their transform in place) at the end of `out`. `keys` are the
/// values of the key column. Returns false, and writes nothing, when every value is 0: an absent
/// column means that.
pub fn encode(encoding: Encoding, values: &mut [u64], keys: &[u64], out: &mut Vec<u8>) -> bool {
    match encoding {
        Encoding::Plain | Encoding::Sequence => {}
        Encoding::Zigzag => values.iter_mut().for_each(|value| *value = zigzag(*value)),
        Encoding::Delta => {
            let first = values.first().copied().unwrap_or(0);
            let mut before = first;
            for value in values.iter_mut() {
                let delta = value.wrapping_sub(before);
                before = *value;
                *value = zigzag(delta);
            }
            if first == 0 && values.iter().all(|value| *value == 0) {
                return false;
            }
            out.extend_from_slice(&first.to_le_bytes());
            put_planes(values, out);
            return true;
        }
        Encoding::DeltaBy(_) => {
            assert_eq!(values.len(), keys.len(), "a key for every row");
            let mut last = [0u64; KEY_SLOTS];
            for (value, key) in values.iter_mut().zip(keys) {
                let before = &mut last[*key as usize % KEY_SLOTS];
                let delta = value.wrapping_sub(*before);
                *before = *value;
                *value = zigzag(delta);
            }
        }
    }
    if values.iter().all(|value| *value == 0) {
        return false;
    }
    put_planes(values, out);
    true
}

/// The reverse of [`encode`] for a present column of `rows` rows.
pub fn decode(
    encoding: Encoding,
    bytes: &[u8],
    rows: usize,
    keys: &[u64],
) -> Result<Vec<u64>, Error> {
    let (first, planes) = match encoding {
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
    let mut values = get_planes(planes, rows)?;
    match encoding {
        Encoding::Plain | Encoding::Sequence => {}
        Encoding::Zigzag => values
            .iter_mut()
            .for_each(|value| *value = unzigzag(*value)),
        Encoding::Delta => {
            let mut before = first;
            for value in &mut values {
                before = before.wrapping_add(unzigzag(*value));
                *value = before;
            }
        }
        Encoding::DeltaBy(_) => {
            assert_eq!(values.len(), keys.len(), "a key for every row");
            let mut last = [0u64; KEY_SLOTS];
            for (value, key) in values.iter_mut().zip(keys) {
                let before = &mut last[*key as usize % KEY_SLOTS];
                *before = before.wrapping_add(unzigzag(*value));
                *value = *before;
            }
        }
    }
    Ok(values)
}

/// `u8 n`, then n planes of one byte a row, least significant first.
pub fn put_planes(values: &[u64], out: &mut Vec<u8>) {
    let used = values.iter().fold(0, |used, value| used | value);
    let planes = (u64::BITS - used.leading_zeros()).div_ceil(8) as u8;
    out.push(planes);
    let start = out.len();
    out.resize(start + values.len() * usize::from(planes), 0);
    for (plane, bytes) in out[start..]
        .chunks_exact_mut(values.len().max(1))
        .enumerate()
    {
        let shift = 8 * plane as u32;
        for (byte, value) in bytes.iter_mut().zip(values) {
            *byte = (value >> shift) as u8;
        }
    }
}

pub fn get_planes(bytes: &[u8], rows: usize) -> Result<Vec<u64>, Error> {
    let Some((&planes, bytes)) = bytes.split_first() else {
        return Err(Error::Short {
            what: "planes",
            offset: 0,
            needed: 1,
            available: 0,
        });
    };
    if planes > 8 {
        return Err(Error::malformed("planes", 0, "0 to 8 planes", planes));
    }
    if bytes.len() != rows * planes as usize {
        return Err(Error::malformed(
            "planes",
            1,
            format_args!("{planes} planes of {rows} bytes"),
            format_args!("{} bytes", bytes.len()),
        ));
    }
    let mut values = vec![0u64; rows];
    let plane = |at: usize| &bytes[at * rows..(at + 1) * rows];
    // High planes are mostly zeros, and then not worth adding.
    let planes = (0..usize::from(planes)).filter(|at| plane(*at).iter().any(|byte| *byte != 0));
    let planes: Vec<usize> = planes.collect();
    for pair in planes.chunks(2) {
        match *pair {
            [low, high] => {
                for ((value, a), b) in values.iter_mut().zip(plane(low)).zip(plane(high)) {
                    *value |= u64::from(*a) << (8 * low) | u64::from(*b) << (8 * high);
                }
            }
            [one] => {
                for (value, a) in values.iter_mut().zip(plane(one)) {
                    *value |= u64::from(*a) << (8 * one);
                }
            }
            _ => {}
        }
    }
    Ok(values)
}
