//! Context records inside a body: `{u16 kind, u32 len, u64 boot_ns, payload}`; SPEC.md §Context.
//!
//! `len` counts the payload. A kind this version does not know is kept as [`Context::Unknown`], and
//! bytes after the known fields of a known kind are a newer writer's: ignored.

use std::sync::Arc;

use crate::{
    Context, ContextRecord, Error, EventType, Process,
    limits::RECORD_BYTES_MAX,
    wire::{self, Cursor},
};

const WHAT: &str = "context record";

/// What stands before a payload.
pub const HEAD_LEN: usize = 14;

/// Appends one record. A payload over [`RECORD_BYTES_MAX`] is refused and nothing is written.
pub fn put(record: &ContextRecord, out: &mut Vec<u8>) -> Result<(), Error> {
    let start = out.len();
    out.extend_from_slice(&record.body.kind().to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&record.boot_ns.to_le_bytes());
    let payload = out.len();
    match &record.body {
        Context::Host(body) => wire::put(body, out),
        Context::Clock(body) => wire::put(body, out),
        Context::Process(body) => body.put(out),
        Context::Container(body) => wire::put(body, out),
        Context::Probes(body) => wire::put(body, out),
        Context::Loss(body) => wire::put(body, out),
        Context::Mark(body) => wire::put(body, out),
        Context::User(body) => wire::put(body, out),
        Context::Provenance(body) => wire::put(body, out),
        Context::Discard(body) => wire::put(body, out),
        Context::Continues(body) => wire::put(body, out),
        Context::EventType(body) => body.put(out),
        Context::Origin(body) => wire::put(body, out),
        Context::Continued(body) => wire::put(body, out),
        Context::Drops(body) => wire::put(body, out),
        Context::Tick | Context::CheckpointBegin | Context::CheckpointEnd => {}
        Context::Unknown { payload, .. } => out.extend_from_slice(payload),
    }
    let len = out.len() - payload;
    if let Err(error) = Error::limit(WHAT, len as u64, RECORD_BYTES_MAX as u64) {
        out.truncate(start);
        return Err(error);
    }
    out[start + 2..start + 6].copy_from_slice(&(len as u32).to_le_bytes());
    Ok(())
}

/// Reads `records` records, which fill `bytes` exactly.
pub fn read_all(bytes: &[u8], records: u32) -> Result<Vec<ContextRecord>, Error> {
    Error::limit(
        "context records of a chunk",
        records.into(),
        crate::limits::RECORDS_MAX.into(),
    )?;
    // Each record takes 14 bytes at least: a false count cannot make this allocate more than that.
    let mut all = Vec::with_capacity((records as usize).min(bytes.len() / 14));
    let mut cursor = Cursor::new(WHAT, bytes);
    for _ in 0..records {
        all.push(read(&mut cursor)?);
    }
    if cursor.left() > 0 {
        return Err(Error::malformed(
            WHAT,
            cursor.at(),
            "the end of the section",
            format_args!("{} more bytes", cursor.left()),
        ));
    }
    Ok(all)
}

fn read(cursor: &mut Cursor<'_>) -> Result<ContextRecord, Error> {
    let kind = cursor.u16()?;
    let len = cursor.u32()?;
    Error::limit(WHAT, len.into(), RECORD_BYTES_MAX as u64)?;
    let boot_ns = cursor.u64()?;
    let payload = cursor.take(len as usize)?;
    let unknown = || Context::Unknown {
        kind,
        payload: payload.to_vec(),
    };
    let body = match kind {
        1 => Context::Host(wire::get("host record", payload)?),
        2 => Context::Clock(wire::get("clock record", payload)?),
        3 => Context::Process(Process::get(payload)?),
        4 => Context::Container(wire::get("container record", payload)?),
        5 => Context::Probes(wire::get("probes record", payload)?),
        6 => Context::Loss(wire::get("loss record", payload)?),
        7 => Context::Mark(wire::get("mark record", payload)?),
        8 => Context::Tick,
        9 => Context::CheckpointBegin,
        10 => Context::CheckpointEnd,
        11 => Context::User(wire::get("user record", payload)?),
        12 => Context::Provenance(wire::get("provenance record", payload)?),
        13 => Context::Discard(wire::get("discard record", payload)?),
        14 => Context::Continues(wire::get("continues record", payload)?),
        19 => Context::Origin(wire::get("origin record", payload)?),
        15 => match EventType::get(payload)? {
            Some(ty) => Context::EventType(Arc::new(ty)),
            None => unknown(),
        },
        20 => Context::Continued(wire::get("continued record", payload)?),
        21 => Context::Drops(wire::get("drops record", payload)?),
        _ => unknown(),
    };
    Ok(ContextRecord { boot_ns, body })
}
