//! Who vouches for a trace: a fold over its chunks' headers and its summary; SPEC.md §Signatures.
//!
//! The reader has already checked every hash and the chain, and says what is missing or out of place.
//! This adds what only keys and counting can say: which chunks a signature vouches for, whether
//! anything was signed by somebody else, and whether the summary says what the chunks say. A signature
//! vouches for a chunk only through an unbroken chain: beyond a hole the next one has to do it.

use crate::{ChunkHeader, PublicKey, Signature, Signed, Summary, limits::ISSUES_MAX};

/// Fed with every chunk in order, then with the summary.
pub struct Verifier {
    key: Option<PublicKey>,
    /// As the chunks are, to be compared with what the file says.
    counted: Option<Summary>,
    /// The chunk before.
    last: Option<(u64, [u8; 32], u64)>,
    /// The first chunk of the unbroken chain up to `last` that nothing vouches for yet.
    open_from: u64,
    result: Authenticity,
}

/// What signatures say about a trace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Authenticity {
    /// The key that the trace names, whoever's it is.
    pub claimed_key: Option<PublicKey>,
    /// Chunks that signatures vouch for: by the given key, or without one, by the key that the trace
    /// names, which proves nothing.
    pub vouched_chunks: u64,
    /// Number of the last of them, and the newest time in it.
    pub vouched_through: Option<(u64, u64)>,
    /// The summary's signature vouches that the trace ends where it ends.
    pub signed_to_end: bool,
    /// What cannot be in a trace that one key signed and nobody changed.
    pub forgeries: Vec<String>,
    pub forgeries_not_kept: u64,
}

impl Verifier {
    /// Without a key it is only checked that the trace's own signatures hold.
    pub fn new(key: Option<PublicKey>) -> Self {
        Verifier {
            key,
            counted: None,
            last: None,
            open_from: 0,
            result: Authenticity::default(),
        }
    }

    /// The next chunk that the reader handed out; `offset` of its first byte in the file, `len` of both frames.
    pub fn chunk(&mut self, header: &ChunkHeader, offset: u64, len: u64) {
        let header_len = len.saturating_sub(header.body_compressed_len.into());
        self.counted
            .get_or_insert_with(|| Summary::new(header.trace_uuid))
            .add(header, offset, header_len as u32);
        let follows = match self.last {
            None => header.number == 0,
            Some((number, hash, _)) => {
                number.checked_add(1) == Some(header.number) && hash == header.prev_hash
            }
        };
        if !follows {
            self.open_from = header.number;
        }
        if let Some(signature) = &header.signature {
            let what = format!("the signature in chunk {}", header.number);
            if self.judge(signature, &header.signed(), &what) && follows {
                self.vouch();
            }
        }
        self.last = Some((header.number, header.hash, header.last_ns));
    }

    /// The trace has ended, with this summary if it has one. `whole`: the reader found nothing wrong,
    /// so the summary must say exactly what the chunks say.
    pub fn finish(mut self, summary: Option<&Summary>, whole: bool) -> Authenticity {
        let Some(summary) = summary else {
            return self.result;
        };
        if whole && let Some(counted) = &self.counted {
            let counted = Summary {
                signature: summary.signature,
                ..counted.clone()
            };
            if counted != *summary {
                self.forged("the summary's totals or index are not those of the chunks".to_owned());
            }
        }
        if let Some(signature) = &summary.signature
            && self.judge(signature, &summary.signed(), "the signature of the summary")
            && let Some((number, hash, _)) = self.last
            && hash == summary.head_hash
            && number.checked_add(1) == Some(summary.chunks)
        {
            self.vouch();
            self.result.signed_to_end = true;
        }
        self.result
    }

    /// The unbroken chain up to the last chunk is vouched for.
    fn vouch(&mut self) {
        if let Some((number, _, last_ns)) = self.last {
            let end = number.saturating_add(1);
            self.result.vouched_chunks += end.saturating_sub(self.open_from);
            self.open_from = end;
            self.result.vouched_through = Some((number, last_ns));
        }
    }

    /// Whether the signature counts.
    fn judge(&mut self, signature: &Signature, signed: &Signed, what: &str) -> bool {
        let named = PublicKey(signature.public_key);
        let first = *self.result.claimed_key.get_or_insert(named);
        if !signature.holds(signed) {
            self.forged(format!(
                "{what} does not hold: chunks before it were changed, or it was taken from elsewhere"
            ));
            return false;
        }
        let wanted = self.key.unwrap_or(first);
        if named != wanted {
            self.forged(format!(
                "{what} is by the key {named}, not by {}{wanted}",
                if self.key.is_some() {
                    "the given key "
                } else {
                    "the first one, "
                }
            ));
            return false;
        }
        true
    }

    fn forged(&mut self, what: String) {
        if self.result.forgeries.len() < ISSUES_MAX {
            self.result.forgeries.push(what);
        } else {
            self.result.forgeries_not_kept += 1;
        }
    }
}

impl Authenticity {
    /// The summary disagrees, a signature does not hold, or somebody else signed.
    pub fn forged(&self) -> bool {
        !self.forgeries.is_empty()
    }
}
