//! Cuts bytes into blocks. No I/O: bytes go in with [`Framer::feed`], blocks come out of [`Framer::next`].
//!
//! A block is `u32 kind, u32 total, body, padding, u32 total`; total counts everything and is a
//! multiple of 4. Where the two totals disagree, or one is impossible, the frame is lost: the framer
//! searches byte by byte for the next block of a known kind whose totals agree, and says what it
//! skipped. It holds one block at most, and grows only by what was fed.

use super::{Issue, Reason, block::Kind, bytes::unsigned, limits::BLOCK_BYTES_MAX};

/// Kind and the two totals.
const FRAME_BYTES: u32 = 12;

/// One whole block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block<'a> {
    /// Of its first byte, in the unpacked capture.
    pub offset: u64,
    pub kind: Kind,
    /// With the padding.
    pub body: &'a [u8],
}

/// What [`Framer::next`] has to say.
#[derive(Debug, PartialEq, Eq)]
pub enum Step<'a> {
    Block(Block<'a>),
    Issue(Issue),
    /// Feed it, or tell it that the capture has ended.
    More,
    End,
}

#[derive(Default)]
pub struct Framer {
    buffer: Vec<u8>,
    /// Where the next block starts in the buffer.
    start: usize,
    /// Of the byte at `start`.
    offset: u64,
    /// Bytes of the block handed out last: passed over by the next call.
    handed_out: usize,
    ended: bool,
    /// Searching: where the damage began, and the offset before which no block starts.
    lost: Option<(u64, u64)>,
}

/// What stands at a place of the buffer.
enum At {
    /// A whole block of this many bytes.
    Block(usize),
    /// The start of one of this many bytes.
    Part(u64),
    Nothing,
}

impl Framer {
    pub fn feed(&mut self, bytes: &[u8]) {
        self.pass(0);
        self.buffer.drain(..std::mem::take(&mut self.start));
        self.buffer.extend_from_slice(bytes);
    }

    /// No more bytes come.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// The next whole block, or what is wrong there.
    #[allow(clippy::should_implement_trait, reason = "a block borrows the framer")]
    pub fn next(&mut self) -> Step<'_> {
        self.pass(0);
        if let Some(lost) = self.lost {
            return self.search(lost);
        }
        let left = self.buffer.len() - self.start;
        match self.at(self.start) {
            At::Block(total) => self.hand_out(total),
            At::Nothing => {
                self.lost = Some((self.offset, self.offset + 1));
                self.search((self.offset, self.offset + 1))
            }
            At::Part(_) if !self.ended => Step::More,
            At::Part(_) if left == 0 => Step::End,
            // Cut short; or a length that damage made larger: then whole blocks follow inside it.
            At::Part(expected) => {
                let next = (1..left).find(|at| self.is_block(self.start + at));
                let issue = Issue {
                    offset: self.offset,
                    reason: match next {
                        Some(at) => Reason::Skipped { bytes: at as u64 },
                        None => Reason::Truncated {
                            expected,
                            found: left as u64,
                        },
                    },
                };
                self.pass(next.unwrap_or(left));
                Step::Issue(issue)
            }
        }
    }

    /// Bytes behind the last whole block.
    pub fn offset(&self) -> u64 {
        self.offset + self.handed_out as u64
    }

    fn pass(&mut self, more: usize) {
        let passed = std::mem::take(&mut self.handed_out) + more;
        self.start += passed;
        self.offset += passed as u64;
    }

    fn hand_out(&mut self, total: usize) -> Step<'_> {
        self.handed_out = total;
        Step::Block(self.last())
    }

    /// The block that [`Framer::next`] handed out last; only right after it.
    pub(super) fn last(&self) -> Block<'_> {
        let bytes = &self.buffer[self.start..self.start + self.handed_out];
        Block {
            offset: self.offset,
            kind: Kind::of(unsigned(&bytes[..4]) as u32),
            body: &bytes[8..bytes.len() - 4],
        }
    }

    fn at(&self, place: usize) -> At {
        let bytes = &self.buffer[place..];
        let Some(head) = bytes.get(..8) else {
            return At::Part(FRAME_BYTES.into());
        };
        let total = unsigned(&head[4..]) as u32;
        if !(FRAME_BYTES..=BLOCK_BYTES_MAX).contains(&total) || !total.is_multiple_of(4) {
            return At::Nothing;
        }
        match bytes.get(total as usize - 4..total as usize) {
            Some(trailer) if unsigned(trailer) as u32 == total => At::Block(total as usize),
            Some(_) => At::Nothing,
            None => At::Part(total.into()),
        }
    }

    /// A whole block of a known kind: good enough to go on with after damage.
    fn is_block(&self, place: usize) -> bool {
        self.known(place) && matches!(self.at(place), At::Block(_))
    }

    fn known(&self, place: usize) -> bool {
        let kind = self.buffer.get(place..place + 4);
        kind.is_some_and(|kind| !matches!(Kind::of(unsigned(kind) as u32), Kind::Unknown(_)))
    }

    /// Looks for the next block, from the second offset on.
    fn search(&mut self, (from, not_before): (u64, u64)) -> Step<'_> {
        let mut place = self.start + (not_before - self.offset) as usize;
        while place + 8 <= self.buffer.len() {
            if self.known(place) {
                match self.at(place) {
                    At::Block(_) => {
                        self.lost = None;
                        self.pass(place - self.start);
                        return Step::Issue(Issue {
                            offset: from,
                            reason: Reason::Skipped {
                                bytes: self.offset - from,
                            },
                        });
                    }
                    At::Part(_) if !self.ended => break,
                    At::Part(_) | At::Nothing => {}
                }
            }
            place += 1;
        }
        let place = place.min(self.buffer.len());
        if self.ended {
            let left = self.buffer.len() - self.start;
            self.lost = None;
            self.pass(left);
            return Step::Issue(Issue {
                offset: from,
                reason: Reason::Skipped {
                    bytes: self.offset - from,
                },
            });
        }
        // What was searched is not needed any more.
        self.pass(place - self.start);
        self.lost = Some((from, self.offset));
        Step::More
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(kind: u32, body: &[u8]) -> Vec<u8> {
        let total = (FRAME_BYTES as usize + body.len().next_multiple_of(4)) as u32;
        let mut bytes = [kind.to_le_bytes(), total.to_le_bytes()].concat();
        bytes.extend_from_slice(body);
        bytes.resize(total as usize - 4, 0);
        bytes.extend_from_slice(&total.to_le_bytes());
        bytes
    }

    /// Offsets of the blocks, and the issues, when the bytes come in pieces of this size.
    fn read(bytes: &[u8], piece: usize) -> (Vec<u64>, Vec<Issue>) {
        let mut framer = Framer::default();
        let mut pieces = bytes.chunks(piece);
        let (mut blocks, mut issues) = (Vec::new(), Vec::new());
        loop {
            match framer.next() {
                Step::Block(block) => blocks.push(block.offset),
                Step::Issue(issue) => issues.push(issue),
                Step::More => match pieces.next() {
                    Some(piece) => framer.feed(piece),
                    None => framer.end(),
                },
                Step::End => return (blocks, issues),
            }
        }
    }

    #[test]
    fn blocks_come_out_whatever_pieces_go_in() {
        let bytes = [
            block(0x201, b"abc"),
            block(0x999, b""),
            block(0x216, &[7; 40]),
        ]
        .concat();
        for piece in [1, 3, 8, 1000] {
            assert_eq!(read(&bytes, piece), (vec![0, 16, 28], vec![]));
        }
    }

    #[test]
    fn a_cut_anywhere_gives_the_whole_blocks_and_says_so() {
        let bytes = [block(0x201, b"abc"), block(0x216, &[7; 40])].concat();
        for cut in 0..bytes.len() {
            let (blocks, issues) = read(&bytes[..cut], 5);
            assert_eq!(blocks.len(), usize::from(cut >= 16), "cut at {cut}");
            assert_eq!(issues.is_empty(), cut == 0 || cut == 16, "cut at {cut}");
        }
    }

    #[test]
    fn a_wrong_length_costs_only_its_block() {
        let whole = [
            block(0x201, b"abc"),
            block(0x216, &[7; 40]),
            block(0x204, &[1; 30]),
        ]
        .concat();
        // The two totals of the middle block: too small, not a multiple, beyond the end, absurd.
        for (place, value) in [
            (20, 8u32),
            (20, 13),
            (20, 60),
            (20, 1 << 20),
            (20, u32::MAX),
            (20 + 44, 12),
        ] {
            let mut bytes = whole.clone();
            bytes[place..place + 4].copy_from_slice(&value.to_le_bytes());
            for piece in [1, 7, 1000] {
                let (blocks, issues) = read(&bytes, piece);
                assert_eq!(blocks, [0, 68], "{place} {value}");
                assert_eq!(
                    issues,
                    [Issue {
                        offset: 16,
                        reason: Reason::Skipped { bytes: 52 }
                    }],
                    "{place} {value}"
                );
            }
        }
    }

    #[test]
    fn the_largest_block_passes_and_a_larger_claim_does_not() {
        let mut framer = Framer::default();
        framer.feed(&[0x16, 2, 0, 0]);
        framer.feed(&BLOCK_BYTES_MAX.to_le_bytes());
        assert_eq!(framer.next(), Step::More);
        assert!(framer.lost.is_none());
        let mut framer = Framer::default();
        framer.feed(&[0x16, 2, 0, 0]);
        framer.feed(&(BLOCK_BYTES_MAX + 4).to_le_bytes());
        assert_eq!(framer.next(), Step::More);
        assert!(framer.lost.is_some());
    }
}
