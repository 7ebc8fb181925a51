//! Everything that can go wrong, with the values that made it so.

use crate::params::ParamsError;

#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Params(#[from] ParamsError),
    #[error("{0}")]
    Linfa(#[from] linfa::Error),
    #[error("an isolation forest needs at least 2 rows to fit on, found {found}")]
    TooFewRows { found: usize },
    #[error("{found} rows are more than a forest can be fitted on (at most {max})")]
    TooManyRows { found: usize, max: usize },
    #[error("{found} columns: a forest takes 1 to {max}")]
    BadColumns { found: usize, max: usize },
    #[error("a row has {found} columns, the forest was fitted on {expected}")]
    WrongColumns { expected: usize, found: usize },
    #[error("not an isolation forest: the bytes start with {found:02x?}, expected {expected:02x?}")]
    Foreign { expected: [u8; 4], found: Vec<u8> },
    #[error("isolation forest of format version {found}; this program reads version {expected}")]
    Version { expected: u16, found: u16 },
    #[error("the isolation forest is damaged or cut short: {what}")]
    Damaged { what: String },
}
