//! Any fixed fields and parts of a chunk's or summary's header, under a right hash: what the hash
//! keeps away from the other targets.
//!
//! Input: kind, the fixed fields from `rows` on (84 bytes), the parts as they are.
#![no_main]

use libfuzzer_sys::fuzz_target;

const FIELDS: std::ops::Range<usize> = 36..120;

fuzz_target!(|bytes: &[u8]| {
    if bytes.len() < 1 + FIELDS.len() {
        return;
    }
    let mut forge = trace_format_fuzz::template();
    let body = forge.body();
    forge.fixed[20] = bytes[0];
    forge.fixed[FIELDS].copy_from_slice(&bytes[1..1 + FIELDS.len()]);
    let meta = &bytes[1 + FIELDS.len()..];
    let (frame, body_len) = match bytes[0] {
        2 => (Vec::new(), 0),
        _ => (
            zstd::bulk::compress(&body, 1).expect("a small body"),
            body.len() as u32,
        ),
    };
    let closed = forge.close_meta(meta, &frame, body_len);
    trace_format_fuzz::read_all(&closed);
    // Behind a chunk the same frame is judged against it.
    let chunk = trace_format_fuzz::template().close();
    trace_format_fuzz::read_all(&[chunk, closed].concat());
});
