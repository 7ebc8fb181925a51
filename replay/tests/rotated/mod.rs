//! A capture in parts, as a recorder writes that begins a new file at a size.

// Each test binary uses a part of it.
#![allow(dead_code, reason = "each test program uses its own part of this")]

use crate::support::Item;
use trace_format::{
    ChunkBuilder, Context, ContextRecord, Continued, Continues, Limits, Loss, TraceWriter,
};

pub const ROWS: usize = 700;

pub fn uuid(part: usize) -> [u8; 16] {
    [7 + part as u8; 16]
}

/// The items as a capture that goes on in another part after each of `ends` (places among the items).
/// `changed`: a part whose first event is left out, everything else as it would be then.
pub fn capture(items: &[Item], ends: &[usize], changed: Option<usize>) -> Vec<Vec<u8>> {
    // The oldest time from each place on: the watermark of a chunk that ends there.
    let mut oldest = vec![u64::MAX; items.len() + 1];
    for (index, item) in items.iter().enumerate().rev() {
        oldest[index] = oldest[index + 1].min(item.boot_ns());
    }
    oldest[items.len()] = items.iter().map(Item::boot_ns).max().unwrap();
    let mut builder = ChunkBuilder::new(uuid(0), Limits::default());
    let mut writer = TraceWriter::new(Vec::new());
    let mut files = Vec::new();
    let mut loss = Loss::default();
    let mut host = None;
    let mut last_ns = 0;
    let mut leave_out = changed == Some(0);
    for (index, item) in items.iter().enumerate() {
        last_ns = item.boot_ns().max(last_ns);
        match item.clone() {
            Item::Event(_) if leave_out => leave_out = false,
            Item::Event(event) => builder.push(event),
            Item::Context(record) => {
                match &record.body {
                    Context::Loss(counts) => loss = counts.clone(),
                    Context::Host(_) => host = Some(record.body.clone()),
                    _ => {}
                }
                builder.context(record).unwrap();
            }
        }
        let end = index + 1;
        if ends.contains(&end) {
            let part = files.len() + 1;
            let now = |body| ContextRecord {
                boot_ns: oldest[end],
                body,
            };
            let next_uuid = uuid(part);
            let continued = Context::Continued(Continued { next_uuid });
            builder.context(now(continued)).unwrap();
            writer.write(&builder.seal(oldest[end])).unwrap();
            let done = std::mem::replace(&mut writer, TraceWriter::new(Vec::new()));
            files.push(done.finish().unwrap());
            let continues = Continues {
                capture_uuid: uuid(0),
                part: part as u32,
                ..builder.start_part(next_uuid)
            };
            builder.context(now(Context::Continues(continues))).unwrap();
            let held = Context::Loss(loss.clone());
            builder.context(now(held)).unwrap();
            if let Some(host) = &host {
                builder.context(now(host.clone())).unwrap();
            }
            leave_out = changed == Some(part);
        } else if end % ROWS == 0 || end == items.len() {
            writer.write(&builder.seal(oldest[end])).unwrap();
        }
    }
    files.push(writer.finish().unwrap());
    files
}
