//! The forest as bytes: `TCIF`, a version, and the shapes of its trees in bincode.
//!
//! Only shapes are stored; the scoring tables are laid out again on reading, by the function that
//! laid them out in fitting. Reading checks everything that scoring relies on.

use crate::{
    Error, IsolationForest, MAX_COLUMNS, MAX_SAMPLES, MAX_TREES,
    params::{MAX_CELLS, height},
    tree::{Node, Tree},
};

const MAGIC: [u8; 4] = *b"TCIF";
/// Raised when the meaning of the bytes changes.
pub const FORMAT_VERSION: u16 = 1;
/// Bytes that decoding may claim: the largest forest (two nodes a cell, eight bytes each), with room.
const DECODE_LIMIT: usize = 1 << 29;

#[derive(bincode::Encode, bincode::Decode)]
struct Stored {
    samples: u32,
    medians: Vec<f32>,
    trees: Vec<Vec<Node>>,
}

fn config() -> impl bincode::config::Config {
    bincode::config::standard().with_limit::<DECODE_LIMIT>()
}

fn damaged(what: impl ToString) -> Error {
    Error::Damaged {
        what: what.to_string(),
    }
}

impl IsolationForest {
    pub fn to_bytes(&self) -> Vec<u8> {
        let stored = Stored {
            samples: self.samples(),
            medians: self.medians().to_vec(),
            trees: self
                .trees()
                .iter()
                .map(|tree| tree.shape().to_vec())
                .collect(),
        };
        let mut bytes = MAGIC.to_vec();
        bytes.extend(FORMAT_VERSION.to_le_bytes());
        bytes.extend(
            bincode::encode_to_vec(stored, config())
                .expect("a forest within its bounds can be encoded"),
        );
        bytes
    }

    /// Reads what [`IsolationForest::to_bytes`] wrote. Never panics, whatever the bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<IsolationForest, Error> {
        let Some(rest) = bytes.strip_prefix(&MAGIC) else {
            return Err(Error::Foreign {
                expected: MAGIC,
                found: bytes[..bytes.len().min(4)].to_vec(),
            });
        };
        let Some((version, body)) = rest.split_first_chunk::<2>() else {
            return Err(damaged("it ends before its version"));
        };
        let version = u16::from_le_bytes(*version);
        if version != FORMAT_VERSION {
            return Err(Error::Version {
                expected: FORMAT_VERSION,
                found: version,
            });
        }
        let (stored, used) =
            bincode::decode_from_slice::<Stored, _>(body, config()).map_err(damaged)?;
        if used != body.len() {
            return Err(damaged(format!(
                "{} bytes follow its end",
                body.len() - used
            )));
        }
        if !(1..=MAX_COLUMNS).contains(&stored.medians.len())
            || !stored.medians.iter().all(|median| median.is_finite())
        {
            return Err(damaged(format!(
                "its {} medians are not all usable",
                stored.medians.len()
            )));
        }
        if !(2..=MAX_SAMPLES).contains(&stored.samples) {
            return Err(damaged(format!("{} samples a tree", stored.samples)));
        }
        let height = height(stored.samples);
        if !(1..=MAX_TREES as usize).contains(&stored.trees.len())
            || ((stored.trees.len() as u64) << height) > MAX_CELLS
        {
            return Err(damaged(format!(
                "{} trees of {} samples",
                stored.trees.len(),
                stored.samples
            )));
        }
        let columns = stored.medians.len();
        let trees = stored
            .trees
            .into_iter()
            .enumerate()
            .map(|(number, shape)| {
                Tree::new(shape, columns, stored.samples, height)
                    .map_err(|what| damaged(format!("tree {number}: {what}")))
            })
            .collect::<Result<_, _>>()?;
        Ok(IsolationForest::from_parts(
            stored.medians,
            stored.samples,
            trees,
        ))
    }
}
