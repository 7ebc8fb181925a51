//! The checks: name, severity, and the promise that each is about.

use super::Severity::{self, Error, Note, Warning};

#[derive(Debug, PartialEq, Eq)]
pub struct Check {
    pub name: &'static str,
    pub severity: Severity,
    /// What SPEC.md promises.
    pub promise: &'static str,
}

macro_rules! checks {
    ($($constant:ident $name:literal $severity:ident $promise:literal;)*) => {
        $(pub static $constant: Check = Check { name: $name, severity: $severity, promise: $promise };)*
        /// Every check.
        pub static ALL: &[&Check] = &[$(&$constant),*];
    };
}

checks! {
    DAMAGED "damaged" Error "every byte belongs to a frame whose hash holds";
    TRUNCATED "truncated" Error "the last frame is whole";
    NUMBERS "numbers" Error "chunk numbers have no holes";
    REPEATED "repeated" Error "a chunk number comes once";
    ONE_TRACE "one-trace" Error "all chunks have one trace UUID";
    CHAIN "chain" Error "each chunk holds the hash of the one before";
    DECODES "decodes" Error "a chunk whose hash holds decodes; its counts per family and its time range are those of the body";
    FAMILIES "families" Note "all families, records and fields are of this version";
    CGROUPS "cgroups" Error "the header lists exactly the cgroups of the events";
    PROCESSES "processes" Error "the header lists exactly the processes of the events";
    SEQUENCES "sequences" Error "the header lists exactly the sequence ranges of the events";
    RECORDS "records" Error "the header counts the context records";
    LATE_ROWS "late-rows" Error "the header counts the events that are older than the watermark before";
    CHECKPOINT_FLAG "checkpoint-flag" Error "the header's checkpoint flag says what the records say";
    LOSS_TOTAL "loss-total" Error "the header's loss is the sum of the last Loss record";
    TIME_RANGE "time-range" Warning "first_ns and last_ns are the oldest and newest time in the chunk";
    WATERMARK "watermark" Error "watermarks never go back";
    LATE "late" Note "no event is older than the watermark of a chunk before";
    DICTIONARY_DUPLICATE "dictionary-duplicate" Note "a string is in the dictionary once";
    DICTIONARY_UNUSED "dictionary-unused" Note "every string of the dictionary is used";
    CHECKPOINT "checkpoint" Warning "a checkpoint stands in one chunk and has Host, Clock and Probes";
    CONTEXT_ORDER "context-order" Note "context is not older than the watermark of a chunk before";
    CLOCK "clock" Warning "clock pairs go forward and are read when they say";
    CLOCK_STEP "clock-step" Note "the wall clock was not set during the capture";
    HOST "host" Warning "a Host record stands before the first event, and all name one boot of one host";
    PROBES "probes" Warning "the probes of events and Loss are named by the Probes record";
    CONTAINER "container" Warning "Container records and cgroup events name the same path for a cgroup";
    CGROUP_UNKNOWN "cgroup-unknown" Note "a cgroup with events is described";
    PROVENANCE "provenance" Error "Provenance is the first record, the UUID follows from it, and Discard names one of its sources";
    DISCARD "discard" Warning "nothing was lost when the trace was derived";
    LOSS_BACK "loss-back" Error "loss counters never go back, and no more is dropped than was seen";
    DUPLICATE_EVENT "duplicate-event" Error "a sequence number is given out once";
    LOSS_ACCOUNT "loss-account" Error "seen = events in the trace + dropped, for each CPU and probe; a derived trace holds no more than that";
    SUMMARY "summary" Warning "the trace ends with a summary";
    SUMMARY_CHUNKS "summary-chunks" Error "the summary counts the chunks and names the last one's hash";
    SUMMARY_TOTALS "summary-totals" Error "the summary's totals, families and cgroups are those of the chunks";
    SUMMARY_INDEX "summary-index" Error "the index lists every chunk where it is";
    SEEK_TABLE "seek-table" Warning "the seek table behind the summary lists every frame";
}
