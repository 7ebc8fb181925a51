//! The Trailcam trace: a seekable, tamper-evident zstd file of container events.
//!
//! `SPEC.md` is normative; this crate is the reference codec. The flow, writing: [`Event`]s and
//! [`ContextRecord`]s → [`ChunkBuilder`] → [`SealedChunk`] (the same bytes for file, stream and
//! memory) → [`TraceWriter`]. Reading: a [`ChunkSource`] such as [`TraceReader`] → [`SealedChunk`] →
//! [`DecodedChunk`], or [`ColumnChunk`] for a scan that needs no events.
//!
//! Promises: whatever bytes come in, nothing panics and no event is handed out whose chunk fails its
//! hash; every size is checked against [`limits`] before anything is allocated.

pub mod civil;
pub mod columns;
pub mod context;
pub mod doctor;
pub mod event;
pub mod limits;
#[cfg(feature = "messages")]
pub mod live;
pub mod syscalls;

mod body;
mod builder;
mod chunk;
mod column_chunk;
mod compress;
mod declared;
mod decode;
mod describe;
mod details;
mod encoding;
mod error;
mod excerpt;
mod frames;
mod header;
mod input;
mod merge;
mod order;
mod pieces;
mod planes;
mod provenance;
mod reader;
mod record;
mod recover;
mod rewrite;
mod rows;
mod sequence;
mod signature;
mod slice;
mod source;
mod stored;
mod summary;
mod table;
mod text;
mod unpack;
mod verify;
mod weights;
mod wire;
mod world;
mod writer;

pub use builder::ChunkBuilder;
pub use chunk::SealedChunk;
pub use column_chunk::{ColumnChunk, FamilyRows, time_order};
pub use context::*;
pub use declared::{Declared, EventType, Field};
pub use decode::{ChunkEvents, DecodedChunk, EventHead, RowRef};
pub use describe::Value;
pub use details::{Details, Known, Namespaces};
pub use error::{Error, hex};
pub use event::*;
pub use excerpt::Excerpt;
pub use header::{
    ChunkHeader, FRAME_MAGIC, KIND_CHUNK, KIND_SUMMARY, KindCount, LossTotal, MAJOR, MINOR,
    SYNC_MARKER, SequenceRange,
};
pub use limits::Limits;
pub use merge::{MergeInput, Merged, SOURCES_MAX, merge};
pub use provenance::{Discard, Origin, Provenance, ProvenanceSource};
pub use reader::{HeaderAt, TraceInfo, TraceReader, read_info};
pub use recover::{DISPLACED_MAX, RecoverOptions, Recovered, recover};
pub use rows::family_of;
pub use signature::{
    PublicKey, SIGN_INTERVAL_NS, SIGNED_DOMAIN, SIGNED_LEN, Signature, Signed, SigningKey,
};
pub use slice::{SliceOptions, SlicePoint, Sliced, slice};
pub use source::{ChunkSource, Issue, IssueKind, MemorySource};
pub use stored::Stored;
pub use summary::{IndexEntry, KindTotal, SEEK_TABLE_MAGIC, SEEKABLE_MAGIC, Summary};
pub use text::Text;
pub use verify::{Authenticity, Verifier};
pub use weights::{Weighed, Weight};
pub use writer::TraceWriter;
