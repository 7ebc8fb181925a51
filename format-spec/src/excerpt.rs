//! Sealed chunks of a running recording as a trace of their own: what a flight recorder writes down.
//!
//! Bodies are carried over byte for byte and never decoded, so that an excerpt costs a hash of its
//! bytes; UUID, numbers, chain and signatures are its own. Whoever begins at a chunk with a checkpoint
//! gets a trace that replays alone. SPEC.md §Derived traces.

use std::sync::Arc;

use crate::{
    ChunkBuilder, Context, ContextRecord, Discard, Error, Limits, Provenance, SealedChunk,
    SigningKey,
};

/// The chunks of one excerpt, in order.
pub struct Excerpt {
    builder: ChunkBuilder,
    /// Number of the source's chunk that comes next, once there was one.
    next: Option<u64>,
    last_ns: u64,
}

impl Excerpt {
    /// The excerpt and its first chunk, which says where it comes from; `boot_ns` is the oldest time
    /// of the chunks to come.
    pub fn begin(
        provenance: Provenance,
        boot_ns: u64,
        key: Option<Arc<SigningKey>>,
    ) -> Result<(Excerpt, SealedChunk), Error> {
        let mut builder = ChunkBuilder::new(provenance.trace_uuid(), Limits::default());
        if let Some(key) = key {
            builder.sign_with(key);
        }
        let body = Context::Provenance(provenance);
        builder.context(ContextRecord { boot_ns, body })?;
        let first = builder.seal(0);
        let excerpt = Excerpt {
            builder,
            next: None,
            last_ns: 0,
        };
        Ok((excerpt, first))
    }

    /// The source's next chunk. Where chunks of the source are missing before it, a chunk that says so
    /// comes first.
    pub fn carry(&mut self, source: &SealedChunk) -> Result<Vec<SealedChunk>, Error> {
        let mut chunks = Vec::with_capacity(2);
        let number = source.header.number;
        if let Some(next) = self.next
            && number != next
        {
            let discard = Discard {
                first_number: next,
                chunks: number.saturating_sub(next),
                after_ns: self.last_ns,
                before_ns: source.header.first_ns,
                reason: "chunks of the recording were not kept".to_owned(),
                ..Discard::default()
            };
            self.builder.context(ContextRecord {
                boot_ns: source.header.first_ns,
                body: Context::Discard(discard),
            })?;
            chunks.push(self.builder.seal(0));
        }
        chunks.push(self.builder.carry(source)?);
        self.next = Some(number.saturating_add(1));
        self.last_ns = source.header.last_ns;
        Ok(chunks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ChunkSource, Event, EventData, Syscall, TraceReader, TraceWriter, Verifier,
        context::{Loss, LossCount},
    };

    const PEM: &str = "-----BEGIN PRIVATE KEY-----\n\
        MC4CAQAwBQYDK2VwBCIEIFirFzlBlk8frY2fQXHWVRkUbTJB+CKX4DBAVpTRv4xW\n\
        -----END PRIVATE KEY-----\n";

    fn event(boot_ns: u64, seq: u64) -> Event {
        Event {
            boot_ns,
            cpu: 0,
            probe: 1,
            seq,
            tid: 7,
            pid: 7,
            cgroup_id: 1,
            data: EventData::Syscall(Syscall {
                nr: 0,
                ret: 0,
                args: [0; 6],
                duration_ns: 0,
            }),
        }
    }

    /// Ten chunks of a recording; in every second one an event is older than the watermark before it.
    fn recording() -> Vec<SealedChunk> {
        let mut builder = ChunkBuilder::new([3; 16], Limits::default());
        (0..10)
            .map(|number: u64| {
                let ns = 1_000 + number * 100;
                builder.push(event(ns, number * 2 + 1));
                builder.push(event(ns - 150 * (number % 2), number * 2 + 2));
                let count = LossCount {
                    cpu: 0,
                    probe: 1,
                    seen: number * 2 + 2,
                    ..LossCount::default()
                };
                let body = Context::Loss(Loss {
                    counts: vec![count],
                });
                builder
                    .context(ContextRecord { boot_ns: ns, body })
                    .unwrap();
                builder.seal(ns - 20)
            })
            .collect()
    }

    fn written(chunks: &[&SealedChunk], key: Option<Arc<SigningKey>>) -> Vec<u8> {
        let provenance = Provenance {
            action: "flight".into(),
            ..Provenance::default()
        };
        let (mut excerpt, first) =
            Excerpt::begin(provenance, chunks[0].header.first_ns, key.clone()).unwrap();
        let mut writer = TraceWriter::new(Vec::new());
        if let Some(key) = key {
            writer.sign_with(key);
        }
        writer.write(&first).unwrap();
        for chunk in chunks {
            for carried in excerpt.carry(chunk).unwrap() {
                writer.write(&carried).unwrap();
            }
        }
        writer.finish().unwrap()
    }

    /// The promise that a dump rests on: it reads as any trace does, vouched for from end to end, and
    /// holds the recording's events and nothing else.
    #[test]
    fn an_excerpt_is_a_whole_signed_trace_with_the_bodies_of_the_source() {
        let key = Arc::new(SigningKey::from_pem(PEM).unwrap());
        let recording = recording();
        let kept: Vec<&SealedChunk> = recording[3..].iter().collect();
        let bytes = written(&kept, Some(key.clone()));
        let mut reader = TraceReader::from_read(std::io::Cursor::new(bytes));
        let mut verifier = Verifier::new(Some(key.public_key()));
        let mut read = Vec::new();
        while let Some(chunk) = reader.next_chunk().unwrap() {
            let len = chunk.bytes.len() as u64;
            verifier.chunk(&chunk.header, reader.offset() - len, len);
            read.push(chunk);
        }
        assert_eq!(reader.issues(), []);
        let result = verifier.finish(reader.summary(), true);
        assert!(result.signed_to_end && !result.forged(), "{result:?}");
        assert_eq!(read.len(), 8);
        for (carried, source) in read[1..].iter().zip(&kept) {
            assert_eq!(carried.body_frame().unwrap(), source.body_frame().unwrap());
            assert_eq!(carried.header.loss, source.header.loss);
        }
        // The first chunk was late against one that is not here.
        assert_eq!(kept[0].header.late_rows, 1);
        let late: Vec<u32> = read[1..]
            .iter()
            .map(|chunk| chunk.header.late_rows)
            .collect();
        assert_eq!(late, [0, 0, 1, 0, 1, 0, 1]);
    }

    #[test]
    fn a_hole_in_the_source_is_said_where_it_is() {
        let recording = recording();
        let kept = [&recording[2], &recording[3], &recording[6]];
        let mut reader = TraceReader::from_read(std::io::Cursor::new(written(&kept, None)));
        let mut discards = Vec::new();
        while let Some(chunk) = reader.next_chunk().unwrap() {
            discards.extend(
                chunk
                    .decode()
                    .unwrap()
                    .context
                    .into_iter()
                    .filter_map(|record| match record.body {
                        Context::Discard(discard) => Some(discard),
                        _ => None,
                    }),
            );
        }
        assert_eq!(reader.issues(), []);
        assert_eq!(discards.len(), 1);
        assert_eq!((discards[0].first_number, discards[0].chunks), (4, 2));
    }

    #[test]
    fn a_chunk_that_was_changed_is_not_carried() {
        let mut chunk = recording().swap_remove(0);
        let mut bytes = chunk.bytes.to_vec();
        *bytes.last_mut().unwrap() ^= 1;
        chunk.bytes = bytes.into();
        let (mut excerpt, _) = Excerpt::begin(Provenance::default(), 0, None).unwrap();
        assert!(matches!(excerpt.carry(&chunk), Err(Error::Hash { .. })));
    }
}
