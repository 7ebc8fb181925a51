//! A walk leaves out rows that can change nothing that is looked at, and shows some without folding
//! them. The promise: what it shows is, byte for byte, what a walk shows that folds every row.
//!
//! The walk that folds every row is the same one asked for how many events there were before each: the
//! number of an event depends on all rows before it, so none may be left out.

#![cfg(feature = "import")]

mod captures;

use captures::captures;
use fixtures::SITUATIONS;
use replay::{
    event_json::write_json,
    event_text::LineWriter,
    event_view::EventView,
    import::scap::{Capture, import},
    resolve::Depth,
    rules::Filter,
    time::Point,
    walk::{TimeRange, Walk},
};
use trace_format::{ChunkSource, Provenance, SealedChunk, TraceReader};

/// Of actors, of kinds, of both, of descriptors and of what a program's past says.
const CONDITIONS: [&str; 24] = [
    "proc.pname = nobody-has-this-name",
    "proc.name in (sh, cat, httpd, curl, nginx)",
    "not proc.pname exists",
    "proc.aname in (sh, bash, runc, containerd-shim)",
    "proc.cmdline contains '-c' or proc.exe startswith /usr",
    "proc.exepath startswith /usr",
    "not proc.pexepath exists",
    "proc.cwd = /",
    "user.uid != 0 or user.name = root",
    "proc.ppid exists and proc.pid > 1000",
    "container.id = host",
    "proc.started_outside = true or proc.is_exe_from_memfd = true",
    "evt.type = openat",
    "evt.type in (open, close, read) and proc.name != cat",
    "evt.type in (execve, clone, procexit)",
    "not evt.type in (read, write, open, openat, close)",
    "evt.type = setuid or evt.type = chdir or evt.type = dup",
    "fd.name startswith /etc",
    "fd.type = ipv4 and proc.name exists",
    "fd.num = 3 and evt.type = close",
    "evt.failed = true",
    "evt.dir = '>'",
    "proc.vpid = 1",
    "evt.type = pread and proc.name exists",
];

/// What a visitor makes of the events, and how much of the state it needs for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Shown {
    /// Lines of every row, as `replay cat` prints them.
    Lines,
    /// Objects of every row, as `replay cat --json`.
    Objects,
    /// Objects of the folded events, as `replay export`.
    Folded,
}

fn shown(
    chunks: &[SealedChunk],
    shown: Shown,
    range: TimeRange,
    condition: Option<&str>,
    all: bool,
) -> Vec<u8> {
    let mut out = Vec::new();
    let mut lines = LineWriter::default();
    let visit = |view: &EventView<'_>| {
        match shown {
            Shown::Lines => lines.write(view, &mut out),
            Shown::Objects | Shown::Folded => write_json(view, &mut out).unwrap(),
        }
        out.push(b'\n');
        Ok::<(), ()>(())
    };
    let depth = match (all, shown) {
        (true, _) => Depth::Count,
        (false, Shown::Lines) => Depth::Who,
        (false, _) => Depth::All,
    };
    let filter = condition.map(|condition| Filter::compile(condition).unwrap());
    let mut walk = Walk::new(range, visit).looking_at(depth).filtered(filter);
    if shown != Shown::Folded {
        walk = walk.showing_rows();
    }
    for chunk in chunks {
        let events = match all {
            true => chunk.events(),
            false => chunk.events_as_asked(),
        };
        walk.push(events.unwrap()).unwrap();
    }
    walk.finish().unwrap();
    assert_eq!(walk.take_unreadable(), []);
    drop(walk);
    out
}

/// Every trace there is to try: the shared captures, imported, and recordings of known situations.
fn traces() -> Vec<(String, Vec<SealedChunk>)> {
    let mut traces = Vec::new();
    for situation in SITUATIONS {
        let built = (situation.build)().build();
        traces.push((situation.name.to_owned(), chunks(&mut built.source())));
    }
    for capture in captures() {
        let mut file = Capture::open(&capture.path).unwrap();
        let (_, bytes) = import(&mut file, Provenance::default(), 1, Vec::new()).unwrap();
        let mut reader = TraceReader::from_read(std::io::Cursor::new(bytes));
        traces.push((capture.name, chunks(&mut reader)));
    }
    traces
}

fn chunks(source: &mut impl ChunkSource) -> Vec<SealedChunk> {
    let mut chunks = Vec::new();
    while let Some(chunk) = source.next_chunk().unwrap() {
        chunks.push(chunk);
    }
    chunks
}

/// Rows of traces that are shown as objects too.
const OBJECT_ROWS_MAX: u32 = 5_000;

#[test]
fn what_is_left_out_changes_nothing_that_is_shown() {
    let whole = TimeRange::default();
    let mut some = [false; CONDITIONS.len()];
    let mut less = [false; CONDITIONS.len()];
    for (name, chunks) in traces() {
        let rows: u32 = chunks.iter().map(|chunk| chunk.header.rows).sum();
        let first_ns = chunks
            .iter()
            .map(|chunk| chunk.header.first_ns)
            .min()
            .unwrap();
        let last_ns = chunks
            .iter()
            .map(|chunk| chunk.header.last_ns)
            .max()
            .unwrap();
        let at = |part: u64| Point::Boot(first_ns + (last_ns - first_ns) / 10 * part);
        let middle = TimeRange {
            from: Some(at(4)),
            to: Some(at(7)),
        };
        for (turn, kind) in [Shown::Lines, Shown::Objects, Shown::Folded]
            .into_iter()
            .enumerate()
        {
            // Objects take long: the largest captures, and every other condition, are left to lines.
            if turn > 0 && rows > OBJECT_ROWS_MAX {
                continue;
            }
            let everything = shown(&chunks, kind, whole, None, true);
            let found = shown(&chunks, kind, whole, None, false);
            assert!(found == everything, "{name} as {kind:?}");
            let expected = shown(&chunks, kind, middle, None, true);
            let found = shown(&chunks, kind, middle, None, false);
            assert!(found == expected, "{name} as {kind:?} from its middle");
            let taken = |place: usize| turn == 0 || place % 2 == turn - 1;
            for (place, condition) in CONDITIONS.iter().enumerate().filter(|it| taken(it.0)) {
                let expected = shown(&chunks, kind, whole, Some(condition), true);
                let found = shown(&chunks, kind, whole, Some(condition), false);
                assert!(found == expected, "{name} as {kind:?} with {condition}");
                some[place] |= !expected.is_empty();
                less[place] |= expected.len() < everything.len();
            }
        }
    }
    for (place, condition) in CONDITIONS.iter().enumerate().skip(1) {
        assert!(
            some[place] && less[place],
            "{condition} tells nothing apart"
        );
    }
}
