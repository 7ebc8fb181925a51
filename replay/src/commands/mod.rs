//! One file per command: its arguments, and what it does with them.

mod baseline;
pub mod cat;
pub mod cat_raw;
mod derive;
pub mod detect;
mod detect_fold;
mod detect_report;
pub mod diff;
pub mod doctor;
#[cfg(feature = "export")]
pub mod export;
#[cfg(feature = "export")]
mod export_tables;
mod fold;
#[cfg(feature = "export")]
pub mod graph;
#[cfg(feature = "export")]
mod graph_page;
#[cfg(feature = "import")]
pub mod import;
pub mod info;
mod info_columns;
mod info_marks;
#[cfg(feature = "live")]
pub mod live;
pub mod merge;
pub mod recover;
mod rule_files;
pub mod rules;
mod sinks;
pub mod slice;
pub mod stats;
mod stats_json;
mod stats_text;
pub mod tree;
pub mod verify;
mod visit;
