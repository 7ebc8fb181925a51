//! A rotated capture's parts: which trace continues which (SPEC.md §Parts of a capture).
//!
//! Two uses: [`Follower`] watches chunks go by and says where another part of the same capture begins,
//! so that the fold goes on; [`check`] judges a set of traces in any order.

use trace_format::{
    ChunkHeader, Context, Continued, Continues, DecodedChunk, LossTotal, SealedChunk,
};

use crate::findings::uuid_text;

/// How a chunk stands to the one before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The same trace.
    Same,
    /// The next part of the same capture: the fold goes on.
    Continues,
    /// Another trace: a fold of its own. `missed`: it belongs to the same capture, but what lies
    /// between is missing or not what was continued.
    Other { missed: Option<String> },
}

/// Follows chunks over the files they come from.
#[derive(Default)]
pub struct Follower {
    last: Option<Last>,
    /// What earlier parts had counted when the current trace began.
    before: LossTotal,
}

struct Last {
    capture_uuid: [u8; 16],
    part: u32,
    trace_uuid: [u8; 16],
    head: [u8; 32],
    chunks: u64,
    /// Its other chunks were not looked at.
    left: bool,
}

impl Follower {
    /// The rest of this trace is not wanted: where it ends is not known.
    pub fn leave(&mut self) {
        if let Some(last) = &mut self.last {
            last.left = true;
        }
    }

    /// Looks at the next chunk.
    pub fn step(&mut self, chunk: &SealedChunk) -> Step {
        let header = &chunk.header;
        if let Some(last) = &mut self.last
            && last.trace_uuid == header.trace_uuid
        {
            last.head = header.hash;
            last.chunks = header.number.saturating_add(1);
            return Step::Same;
        }
        let decoded = (header.number == 0).then(|| chunk.decode().ok()).flatten();
        let continues = decoded.as_ref().and_then(continues);
        let step = match (&self.last, &continues) {
            (Some(last), Some(continues)) if last.capture_uuid == continues.capture_uuid => {
                let ends_there = last.head == continues.previous_head
                    && last.chunks == continues.previous_chunks;
                if last.trace_uuid == continues.previous_uuid && (ends_there || last.left) {
                    Step::Continues
                } else if last.trace_uuid == continues.previous_uuid {
                    let missed = format!(
                        "part {} continues part {} with {} chunks, of which this is not the end: it was cut or exchanged",
                        continues.part, last.part, continues.previous_chunks
                    );
                    Step::Other {
                        missed: Some(missed),
                    }
                } else {
                    let missed = format!(
                        "part {} of capture {} does not follow part {}: it continues {}, which was not given here",
                        continues.part,
                        uuid_text(continues.capture_uuid),
                        last.part,
                        uuid_text(continues.previous_uuid),
                    );
                    Step::Other {
                        missed: Some(missed),
                    }
                }
            }
            _ => Step::Other { missed: None },
        };
        self.before = match (&continues, &decoded) {
            (Some(_), Some(decoded)) => counted_before(decoded),
            _ => LossTotal::default(),
        };
        self.last = Some(Last {
            capture_uuid: continues.map_or(header.trace_uuid, |continues| continues.capture_uuid),
            part: continues.map_or(0, |continues| continues.part),
            trace_uuid: header.trace_uuid,
            head: header.hash,
            chunks: header.number.saturating_add(1),
            left: false,
        });
        step
    }

    /// What the current trace counts itself, of its last chunk's counts.
    pub fn own_loss(&self, header: &ChunkHeader) -> LossTotal {
        own_loss(header.loss, self.before)
    }
}

/// Cumulative counts less what earlier parts had counted.
pub fn own_loss(counted: LossTotal, before: LossTotal) -> LossTotal {
    LossTotal {
        seen: counted.seen.saturating_sub(before.seen),
        dropped: counted.dropped.saturating_sub(before.dropped),
    }
}

/// The first chunk's Continues record.
pub fn continues(first: &DecodedChunk) -> Option<Continues> {
    first.context.iter().find_map(|record| match &record.body {
        Context::Continues(continues) => Some(*continues),
        _ => None,
    })
}

/// What the parts before a continuing one had counted: its first Loss record.
pub fn counted_before(first: &DecodedChunk) -> LossTotal {
    let first = first.context.iter().find_map(|record| match &record.body {
        Context::Loss(loss) => Some(loss),
        _ => None,
    });
    first.map_or(LossTotal::default(), |loss| {
        loss.counts
            .iter()
            .fold(LossTotal::default(), |sum, count| LossTotal {
                seen: sum.seen.saturating_add(count.seen),
                dropped: sum.dropped.saturating_add(count.dropped),
            })
    })
}

/// One trace of a set, as its chunks tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    pub trace_uuid: [u8; 16],
    pub chunks: u64,
    pub head: [u8; 32],
    pub continues: Option<Continues>,
    pub continued: Option<Continued>,
}

impl Part {
    /// Takes the next chunk of the trace.
    pub fn add(&mut self, chunk: &DecodedChunk) {
        self.trace_uuid = chunk.header.trace_uuid;
        self.chunks = chunk.header.number.saturating_add(1);
        self.head = chunk.header.hash;
        if chunk.header.number == 0 {
            self.continues = continues(chunk);
        }
        // Only the last chunk of a trace says what follows.
        self.continued = chunk.context.iter().find_map(|record| match &record.body {
            Context::Continued(continued) => Some(*continued),
            _ => None,
        });
    }

    /// The capture and the number in it, if the trace is one part of several.
    pub fn place(&self) -> Option<([u8; 16], u32)> {
        match (self.continues, self.continued) {
            (Some(continues), _) => Some((continues.capture_uuid, continues.part)),
            (None, Some(_)) => Some((self.trace_uuid, 0)),
            (None, None) => None,
        }
    }
}

/// What is wrong between the parts of a set, for each of them.
pub fn check(parts: &[Part]) -> Vec<Vec<String>> {
    let find = |uuid: [u8; 16]| parts.iter().find(|part| part.trace_uuid == uuid);
    let judge = |(index, part): (usize, &Part)| {
        let mut wrong = Vec::new();
        let first = parts
            .iter()
            .position(|other| other.trace_uuid == part.trace_uuid);
        if first != Some(index) && part.place().is_some() {
            wrong.push("this part was given twice".to_owned());
        }
        if let Some(continues) = part.continues {
            match find(continues.previous_uuid) {
                None => wrong.push(format!(
                    "the part before it is missing: part {}, trace {}",
                    continues.part.saturating_sub(1),
                    uuid_text(continues.previous_uuid)
                )),
                Some(before)
                    if before.head != continues.previous_head
                        || before.chunks != continues.previous_chunks =>
                {
                    wrong.push(format!(
                        "it continues {} chunks of trace {}, but other ones were given: that part was cut or exchanged",
                        continues.previous_chunks,
                        uuid_text(continues.previous_uuid)
                    ));
                }
                Some(before) => {
                    let number = before.place().map_or(0, |(_, number)| number);
                    if number.checked_add(1) != Some(continues.part) {
                        wrong.push(format!(
                            "it says it is part {}, and continues part {number}",
                            continues.part
                        ));
                    }
                    if before.continued.map(|continued| continued.next_uuid)
                        != Some(part.trace_uuid)
                    {
                        wrong.push(format!(
                            "the part before it, trace {}, does not say that it goes on here",
                            uuid_text(continues.previous_uuid)
                        ));
                    }
                }
            }
        }
        if let Some(continued) = part.continued
            && find(continued.next_uuid).is_none()
        {
            wrong.push(format!(
                "the part after it is missing: trace {}",
                uuid_text(continued.next_uuid)
            ));
        }
        wrong
    };
    parts.iter().enumerate().map(judge).collect()
}
