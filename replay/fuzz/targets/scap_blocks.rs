//! Any bytes as a capture: the same blocks and issues whatever pieces they come in, and every block
//! taken apart into what its table says.
//!
//! Input: size of the pieces, the capture.
#![no_main]

use libfuzzer_sys::fuzz_target;
use replay::import::scap::{
    Framer, Issue, Step,
    block::Kind,
    event,
    lists::{Records, Value},
};

fuzz_target!(|bytes: &[u8]| {
    let Some((piece, bytes)) = bytes.split_first() else {
        return;
    };
    let at_once = read(bytes, bytes.len().max(1));
    let in_pieces = read(bytes, usize::from(*piece) + 1);
    assert!(at_once == in_pieces, "{at_once:?} {in_pieces:?}");
    for part in at_once {
        if let Part::Block(_, kind, body) = part {
            take_apart(kind, &body);
        }
    }
});

#[derive(Debug, PartialEq)]
enum Part {
    Block(u64, Kind, Vec<u8>),
    Issue(Issue),
}

/// What the capture consists of.
fn read(bytes: &[u8], piece: usize) -> Vec<Part> {
    let mut framer = Framer::default();
    let mut pieces = bytes.chunks(piece);
    let mut parts = Vec::new();
    let mut offset = 0;
    loop {
        match framer.next() {
            Step::Block(block) => {
                assert!(block.offset >= offset, "out of order");
                offset = block.offset;
                parts.push(Part::Block(offset, block.kind, block.body.to_vec()));
            }
            Step::Issue(issue) => {
                assert!(issue.offset >= offset, "out of order");
                offset = issue.offset;
                parts.push(Part::Issue(issue));
            }
            Step::More => match pieces.next() {
                Some(piece) => framer.feed(piece),
                None => framer.end(),
            },
            Step::End => break,
        }
    }
    assert_eq!(framer.offset(), bytes.len() as u64, "bytes are lost");
    parts
}

fn take_apart(kind: Kind, body: &[u8]) {
    if let Kind::Event(form) = kind {
        let event = event::parse(form, body);
        if let Ok(event) = &event {
            assert_eq!(event.parameters.iter().count(), event.parameters.len());
            let held: usize = event.parameters.iter().map(<[u8]>::len).sum();
            assert!(held <= body.len());
        }
        return;
    }
    let mut held = 0;
    let mut count = 0;
    for record in Records::new(kind, body) {
        count += 1;
        let Ok(record) = record else { continue };
        assert_eq!(record.values.len(), record.list.fields().len());
        let bytes = record.values.iter().map(|value| match value {
            Value::Bytes(bytes) => bytes.len(),
            Value::Number(_) | Value::Absent => 0,
        });
        held += bytes.sum::<usize>();
    }
    assert!(held <= body.len(), "bytes were used twice");
    // A record costs at least the byte that makes the list go on.
    assert!(count <= body.len() + 1);
}
