//! Streams that the target of live streams starts from: messages as protobuf writes them, put together
//! by hand because nothing else here needs protobuf.

/// Whole traces as streams; one that a message's length cannot count is left out.
pub fn seeds(traces: &[Vec<Vec<u8>>]) -> Vec<Vec<u8>> {
    let end = field(3, &[&[0x08, 1][..], &field(2, b"")].concat());
    let failed = field(3, &field(2, b"disk full"));
    let missed = field(2, &[&[0x08, 1, 0x10, 2][..], &field(3, b"slow")].concat());
    let mut seeds: Vec<Vec<u8>> = traces
        .iter()
        .filter(|chunks| {
            chunks
                .iter()
                .all(|chunk| chunk.len() < usize::from(u16::MAX) - 8)
        })
        .map(|chunks| {
            let chunks = chunks.iter().map(|chunk| field(1, chunk));
            stream(255, chunks.chain([end.clone()]))
        })
        .collect();
    // Chunks that the target makes: in order, with a hole, twice, of another trace, off the chain.
    let made = |number: u8, choices: u8| [&[1, 2, 0][..], &[number, choices]].concat();
    let chunks = [made(0, 0), made(1, 0), made(3, 0), made(3, 0)].concat();
    let strange = [made(4, 2), made(5, 1)].concat();
    seeds.push([&[0], &chunks[..], &stream(0, [missed, end])[1..], &strange].concat());
    seeds.push([&[3], &chunks[..], &strange, &stream(0, [failed])[1..]].concat());
    seeds
}

/// A field of bytes, as protobuf writes it.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut written = vec![number << 3 | 2];
    let mut length = bytes.len();
    while length >= 0x80 {
        written.push(length as u8 | 0x80);
        length >>= 7;
    }
    written.push(length as u8);
    written.extend(bytes);
    written
}

/// As the target takes it: what, length, message.
fn stream(from: u8, messages: impl IntoIterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut bytes = vec![from];
    for message in messages {
        bytes.push(0);
        bytes.extend((message.len() as u16).to_le_bytes());
        bytes.extend(message);
    }
    bytes
}
