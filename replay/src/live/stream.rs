//! What a recorder's live stream says, message by message, whoever sends it: no I/O.
//!
//! Each chunk is checked as a file's would be: its hash, its number, the chain. Chunks come out in the
//! order of their numbers and of one trace only; every number between two of them that did not come is
//! an issue. What is kept of the sender's words is bounded, whatever it sends.

use std::ops::RangeInclusive;

use trace_format::{Issue, IssueKind, SealedChunk, limits::ISSUES_MAX, live::update};

/// Bytes of a sender's reason that are kept: a sentence.
const REASON_BYTES_MAX: usize = 256;
/// Notices between two chunks: what fits a screen. Each is in the issues as well.
const NOTICES_MAX: usize = 32;

/// How far the stream got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Open,
    /// The recorder finished its capture.
    Clean,
    /// A signal ended it here.
    Stopped,
    /// The recorder failed, or the connection was lost for good.
    Broken,
}

/// The stream so far.
pub struct Stream {
    next_number: Option<u64>,
    last_hash: Option<[u8; 32]>,
    trace_uuid: Option<[u8; 16]>,
    issues: Vec<Issue>,
    issues_not_kept: u64,
    offset: u64,
    end: End,
    notices: Vec<String>,
}

impl Stream {
    /// One that begins with this chunk; `None`: with whatever comes first.
    pub fn new(from_chunk: Option<u64>) -> Stream {
        Stream {
            next_number: from_chunk,
            last_hash: None,
            trace_uuid: None,
            issues: Vec::new(),
            issues_not_kept: 0,
            offset: 0,
            end: End::Open,
            notices: Vec::new(),
        }
    }

    /// Takes a message; gives the chunk in it, if there is one and it belongs here.
    pub fn take(&mut self, update: update::Update) -> Option<SealedChunk> {
        if self.end != End::Open {
            return None;
        }
        match update {
            update::Update::Chunk(bytes) => return self.accept(bytes),
            update::Update::Missed(missed) if missed.first > missed.last => {
                let reason = format!(
                    "chunks {} to {} were announced as missing: there are none",
                    missed.first, missed.last
                );
                self.report(IssueKind::Damaged { reason }, None);
            }
            update::Update::Missed(missed) => {
                let reason = kept(&missed.reason);
                self.notice(format!(
                    "chunks {} to {} were not sent: {reason}",
                    missed.first, missed.last
                ));
                // What stands between the last chunk and those announced has to be missed as well.
                self.hole(missed.first);
                self.report(
                    IssueKind::NotSent { reason },
                    Some(missed.first..=missed.last),
                );
                // What is announced as missing is not missing a second time.
                self.next_number = Some(missed.last.saturating_add(1)).max(self.next_number);
                self.last_hash = None;
            }
            update::Update::End(end) if end.clean => self.end = End::Clean,
            update::Update::End(end) => {
                let reason = kept(&end.reason);
                self.notice(format!("the recorder failed: {reason}"));
                self.report(IssueKind::NotSent { reason }, None);
                self.end = End::Broken;
            }
        }
        None
    }

    /// The chunk to ask for after a lost connection.
    pub fn next_number(&self) -> Option<u64> {
        self.next_number
    }

    pub fn end(&self) -> End {
        self.end
    }

    /// Somebody at this end wants no more.
    pub fn stop(&mut self) {
        self.end = End::Stopped;
    }

    /// The connection is gone for good.
    pub fn lost(&mut self, reason: &str) {
        let reason = kept(reason);
        self.report(IssueKind::NotSent { reason }, None);
        self.end = End::Broken;
    }

    pub fn issues(&self) -> &[Issue] {
        &self.issues
    }

    /// Issues beyond those kept.
    pub fn issues_not_kept(&self) -> u64 {
        self.issues_not_kept
    }

    /// Something that a person at the terminal wants to know.
    pub fn notice(&mut self, text: String) {
        if self.notices.len() < NOTICES_MAX {
            self.notices.push(text);
        }
    }

    /// Notices since the last call.
    pub fn notices(&mut self) -> std::vec::Drain<'_, String> {
        self.notices.drain(..)
    }

    /// Checks a chunk as a reader of files does. `None`: not part of this stream, left out.
    fn accept(&mut self, bytes: Vec<u8>) -> Option<SealedChunk> {
        let length = bytes.len() as u64;
        let chunk = match SealedChunk::from_bytes(bytes) {
            Ok(chunk) => chunk,
            Err(error) => {
                let reason = error.to_string();
                self.report(IssueKind::Damaged { reason }, None);
                self.offset += length;
                return None;
            }
        };
        let header = &chunk.header;
        let uuid = *self.trace_uuid.get_or_insert(header.trace_uuid);
        if header.trace_uuid != uuid {
            let uuid = header.trace_uuid;
            self.report(IssueKind::OtherTrace { uuid }, None);
            self.notice("the recorder has started another trace".into());
            self.end = End::Broken;
            return None;
        }
        let number = header.number;
        if self.next_number.is_some_and(|expected| number < expected) {
            self.report(IssueKind::Repeated { number }, None);
            return None;
        }
        if self.next_number == Some(number)
            && self.last_hash.is_some_and(|hash| hash != header.prev_hash)
        {
            self.report(IssueKind::ChainBroken { number }, None);
        }
        self.hole(number);
        self.next_number = Some(number.saturating_add(1));
        self.last_hash = Some(header.hash);
        self.offset += length;
        Some(chunk)
    }

    /// Everything expected before this number did not come.
    fn hole(&mut self, number: u64) {
        if let Some(expected) = self.next_number
            && expected < number
        {
            self.report(IssueKind::ChunksMissing, Some(expected..=number - 1));
        }
    }

    fn report(&mut self, what: IssueKind, missing: Option<RangeInclusive<u64>>) {
        if self.issues.len() >= ISSUES_MAX {
            self.issues_not_kept += 1;
            return;
        }
        let mut issue = Issue::new(self.offset, what);
        issue.missing = missing;
        self.issues.push(issue);
    }
}

/// A sender's words: so many, and none that a terminal would obey.
pub(super) fn kept(text: &str) -> String {
    let mut kept = String::new();
    for c in text.chars() {
        if kept.len() + c.len_utf8() > REASON_BYTES_MAX {
            kept.push('…');
            break;
        }
        kept.push(if c.is_control() { '\u{fffd}' } else { c });
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use trace_format::{ChunkBuilder, Limits, live::Missed};

    fn chunks(count: usize) -> Vec<Vec<u8>> {
        let mut builder = ChunkBuilder::new([3; 16], Limits::default());
        (0..count).map(|_| builder.seal(0).bytes.to_vec()).collect()
    }

    fn missing(stream: &Stream) -> Vec<RangeInclusive<u64>> {
        let issues = stream.issues().iter();
        issues.filter_map(|issue| issue.missing.clone()).collect()
    }

    #[test]
    fn every_number_that_did_not_come_is_reported_once() {
        let chunks = chunks(10);
        let mut stream = Stream::new(Some(1));
        let give = |stream: &mut Stream, number: usize| {
            let update = update::Update::Chunk(chunks[number].clone());
            stream.take(update).map(|chunk| chunk.header.number)
        };
        assert_eq!(give(&mut stream, 2), Some(2));
        assert_eq!(give(&mut stream, 2), None, "it came before");
        let missed = Missed {
            first: 4,
            last: 5,
            reason: "slow".into(),
        };
        assert!(stream.take(update::Update::Missed(missed)).is_none());
        assert_eq!(give(&mut stream, 8), Some(8));
        assert_eq!(missing(&stream), [1..=1, 3..=3, 4..=5, 6..=7]);
    }

    #[test]
    fn what_a_sender_says_is_bounded_and_harmless() {
        let mut stream = Stream::new(None);
        let reason = format!("\x1b[2J{}", "é".repeat(1 << 20));
        for first in 0..2 * ISSUES_MAX as u64 {
            let missed = Missed {
                first,
                last: first,
                reason: reason[..600].to_owned(),
            };
            stream.take(update::Update::Missed(missed));
        }
        assert_eq!(stream.issues().len(), ISSUES_MAX);
        assert_eq!(stream.issues_not_kept(), ISSUES_MAX as u64);
        let notices: Vec<String> = stream.notices().collect();
        assert_eq!(notices.len(), NOTICES_MAX);
        for notice in notices {
            assert!(notice.len() < 2 * REASON_BYTES_MAX && !notice.contains('\x1b'));
        }
    }
}
