//! The Trailcam trace format: SPEC.md in code.

pub mod context;
pub mod event;
pub mod syscalls;
pub mod text;

pub use context::{Context, ContextRecord};
pub use event::{Event, EventData};
pub use text::Text;
