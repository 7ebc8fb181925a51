//! Trains and judges anomaly models on labelled traces.
//!
//! ```text
//! labeled/ ─ labels ─┐
//!          └ traces ─▶ dataset (rows with truth) ─▶ train ─▶ model file (replay::artifact)
//!                                   │                └▶ report
//!                                   └▶ table (CSV, Parquet)
//! ```
//!
//! Features are computed by `replay`, by the same detector that applies a model: a model is never
//! shown anything else than what it learned from. `docs/labeled-data.md` describes the data.

pub mod dataset;
pub mod error;
pub mod evaluate;
pub mod labels;
pub mod table;
pub mod train;

pub use error::Error;
