//! Bounds of what a capture may claim. Each is checked before anything depends on it.

/// One block, its two lengths included: the process list of a host with ten thousand processes has
/// 20 MB. A larger claim is taken for damage.
pub const BLOCK_BYTES_MAX: u32 = 32 << 20;
/// A path, name or working directory of a state list (the writers' own limit).
pub const PATH_BYTES_MAX: usize = 1_024;
/// Arguments, environment or cgroups of a process list (the writers' own limit).
pub const LIST_BYTES_MAX: usize = 4_096;
/// Parameters of one event: the largest table entry has 32; newer writers may append.
pub const PARAMETERS_MAX: u32 = 256;
/// How often larger than the gzip file its content may be, past [`EXPANSION_FREE_BYTES`]. Captures
/// reach 30; gzip itself cannot exceed 1,032.
pub const EXPANSION_MAX: u64 = 200;
/// Content up to this size is read whatever the ratio.
pub const EXPANSION_FREE_BYTES: u64 = 64 << 20;
/// Issues that are kept; further ones are only counted.
pub const ISSUES_MAX: usize = 1_000;
