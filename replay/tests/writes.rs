//! What containers write and send is watched in recordings that have each call (`full`) too, and it is the same
//! whether or not anybody else wants those calls.

mod support;

use replay::{
    event_text::LineWriter,
    event_view::EventView,
    findings::Finding,
    order::EventRef,
    pipeline::{Detector, Pipeline, Settings},
    resolve::State,
};
use support::{Item, SECOND_NS, START_NS, Scenario, WEB, items, seal};
use trace_format::{Endpoint, Event, EventData, PathMarks, Payload, SockCall, Syscall, Text};

// x86-64.
const WRITE: u32 = 1;
const SOCKET: u32 = 41;
const SENDTO: u32 = 44;
const MIB: i64 = 1 << 20;

/// Wants every call, as a rule about `write` does.
struct Curious;

impl Detector for Curious {
    fn event(&mut self, _: &Event, _: &EventRef, _: &State, _: &mut dyn FnMut(Finding)) {}
}

/// Bytes in a second: what each of four writes moves.
fn calls(second: u64, nr: u32, fd: u64, each: i64, all: &mut Vec<Item>) {
    for part in 0..4 {
        all.push(Item::Event(Event {
            boot_ns: START_NS + second * SECOND_NS + 100_000_000 * (part + 1) + u64::from(nr),
            cpu: 0,
            probe: 9,
            seq: 0,
            tid: 1_000,
            pid: 1_000,
            cgroup_id: WEB,
            data: EventData::Syscall(Syscall {
                nr,
                ret: each,
                args: [fd, 0x7fff_0000, 1 << 24, 0, 0, 0],
                duration_ns: 0,
            }),
        }));
    }
}

/// A minute of little, then much: to the file that the web server opens each second (7), to a socket (8), and
/// to a descriptor from before the trace (30), which may be anything.
fn trace(each: impl Fn(u64) -> i64) -> Vec<Item> {
    let mut all = Vec::new();
    all.push(Item::Event(Event {
        boot_ns: START_NS + 300_000_000,
        cpu: 0,
        probe: 9,
        seq: 0,
        tid: 1_000,
        pid: 1_000,
        cgroup_id: WEB,
        data: EventData::SockCall(SockCall {
            nr: SOCKET,
            ret: 8,
            fd: 8,
            family: 2,
            sock_type: 1,
            local: Endpoint::default(),
            remote: Endpoint::default(),
            unix_path: Text::default(),
            marks: PathMarks::default(),
            interface: 0,
            duration_ns: 0,
        }),
    }));
    for second in 1..60 {
        calls(second, WRITE, 7, each(second), &mut all);
        calls(second, SENDTO, 8, each(second), &mut all);
        calls(second, WRITE, 30, MIB * second as i64, &mut all);
    }
    // In order of time, as the kernel gives numbers.
    all.sort_by_key(Item::boot_ns);
    for (seq, item) in (0..).zip(&mut all) {
        if let Item::Event(event) = item {
            event.seq = seq;
        }
    }
    all.extend(items(Scenario::QUIET));
    all.sort_by_key(Item::boot_ns);
    all
}

fn found(items: &[Item], curious: bool) -> Vec<String> {
    let mut pipeline = Pipeline::new(Settings {
        statistics: true,
        detectors: if curious {
            vec![Box::new(Curious)]
        } else {
            Vec::new()
        },
        ..Settings::default()
    });
    for chunk in &seal(items, |_| 3_000) {
        pipeline.push(chunk).unwrap();
    }
    pipeline.finish();
    pipeline.findings().map(|it| it.to_text()).collect()
}

#[test]
fn single_writes_are_watched_whoever_else_wants_them() {
    let busy = trace(|second| if second < 40 { 4_000 } else { 2 * MIB });
    let alone = found(&busy, false);
    for metric in ["write_rate", "send_rate"] {
        assert!(
            alone.iter().any(|it| it.contains(metric)),
            "{metric}: {alone:?}"
        );
    }
    assert_eq!(found(&busy, true), alone);
    // What goes to who knows where is no reason.
    let quiet = found(&trace(|_| 4_000), false);
    for metric in ["write_rate", "send_rate"] {
        assert!(
            !quiet.iter().any(|it| it.contains(metric)),
            "{metric}: {quiet:?}"
        );
    }
}

/// Of each call the first bytes, as `rec --payload` has them.
fn with_payloads(mut items: Vec<Item>) -> Vec<Item> {
    for item in &mut items {
        if let Item::Event(event) = item
            && let EventData::Syscall(call) = event.data
        {
            let data = Text::new(b"GET /\x00\xff\n\"");
            event.data = EventData::Payload(Payload { call, data });
        }
    }
    items
}

#[test]
fn a_call_with_its_payload_counts_as_that_call() {
    let busy = trace(|second| if second < 40 { 4_000 } else { 2 * MIB });
    let plain = found(&busy, false);
    // Evidence names the row's family.
    let of_payloads: Vec<String> = found(&with_payloads(busy), false)
        .iter()
        .map(|it| it.replace(" payload row ", " syscall row "))
        .collect();
    assert_eq!(of_payloads, plain);
}

#[test]
fn bytes_of_a_payload_are_escaped_on_their_line() {
    let mut all = Vec::new();
    calls(1, WRITE, 7, 4_096, &mut all);
    let Some(Item::Event(event)) = with_payloads(all).into_iter().next() else {
        panic!("an event");
    };
    let mut out = Vec::new();
    let state = State::new();
    let view = EventView::new(&event, EventRef::default(), &state);
    LineWriter::default().write(&view, &mut out);
    let line = String::from_utf8(out).unwrap();
    assert!(
        line.ends_with(r#"write(7, 0x7fff0000, 0x1000000) = 4096  "GET /\x00\xff\n\"""#),
        "{line}"
    );
}
