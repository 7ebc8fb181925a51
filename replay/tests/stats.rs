//! `replay stats` counts what the trace has, whatever profile recorded it: sums and single calls, messages,
//! connections, and how long the calls of an imported capture took.

mod captures;
mod program;
mod support;

use program::replay;
use serde_json::{Value, json};
use std::{collections::HashMap, fs};
use support::{Item, SECOND_NS, START_NS, Scenario, WEB, items, seal};
use trace_format::{
    ChunkSource, Context, ContextRecord, Endpoint, Event, EventData, Text, TraceReader,
    context::{DropCount, Drops},
    event::{Dns, Http, Io, IoKind, TcpState, TcpWhat},
};

fn stats(trace: &str) -> Vec<Value> {
    let output = replay(&["stats", "--json", "--top", "1000", trace], b"");
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn event(at_ms: u64, data: EventData) -> Item {
    Item::Event(Event {
        boot_ns: START_NS + 2 * SECOND_NS + at_ms * 1_000_000 + 7,
        cpu: 0,
        probe: 9,
        seq: 0,
        tid: 1_000,
        pid: 1_000,
        cgroup_id: WEB,
        data,
    })
}

fn io(fd: i32, kind: u8, read_bytes: u64, written_bytes: u64) -> EventData {
    EventData::Io(Io {
        fd,
        kind: IoKind(kind),
        reads: u64::from(read_bytes > 0),
        read_bytes,
        writes: 2 * u64::from(written_bytes > 0),
        written_bytes,
        dev: 1,
        ino: 2,
    })
}

fn end(last: u8, port: u16) -> Endpoint {
    Endpoint {
        addr: Text::new(&[10, 0, 0, last]),
        port,
    }
}

#[test]
fn sums_messages_and_connections_are_counted() {
    let mut told = Vec::new();
    // The file that the web server opens each second is descriptor 7.
    told.push(event(900, io(7, IoKind::FILE, 4_096, 0)));
    told.push(event(901, io(7, IoKind::FILE, 0, 100)));
    // The number says a file, the recorder a socket: it is no longer that file.
    told.push(event(902, io(7, IoKind::SOCKET, 0, 5_000)));
    for (ms, sent, flags, latency_ns) in [
        (903, true, 0x100, 0),
        (904, false, 0x8183, 2_000_000),
        (905, true, 0x100, 0),
        (906, false, 0x8180, 1_000_000),
    ] {
        told.push(event(
            ms,
            EventData::Dns(Dns {
                fd: 9,
                sent,
                flags,
                name: "db.example.com".into(),
                latency_ns,
                local: end(2, 40_000),
                remote: end(3, 53),
                ..Dns::default()
            }),
        ));
    }
    for (ms, sent, status) in [
        (910, false, 0),
        (911, true, 200),
        (960, false, 0),
        (961, true, 502),
    ] {
        told.push(event(
            ms,
            EventData::Http(Http {
                fd: 8,
                sent,
                status,
                method: "GET".into(),
                latency_ns: u64::from(status) * 1_000,
                ..Http::default()
            }),
        ));
    }
    for (ms, old, new, latency_ns, duration_ns) in [
        (970, 7, 2, 0, 0),
        (971, 2, 1, 500_000, 0),
        (972, 9, 7, 0, 1_000_000),
    ] {
        told.push(event(
            ms,
            EventData::TcpState(TcpState {
                old,
                new,
                family: 2,
                local: end(2, 40_001),
                remote: end(3, 80),
                sock: 5,
                latency_ns,
                sent_bytes: duration_ns / 10_000,
                duration_ns,
                ..TcpState::default()
            }),
        ));
    }
    told.push(event(
        973,
        EventData::TcpEvent(trace_format::event::TcpEvent {
            what: TcpWhat(TcpWhat::RETRANSMIT),
            ..Default::default()
        }),
    ));
    let mut all = items(Scenario::QUIET);
    for (seq, item) in (0..).zip(&mut told) {
        if let Item::Event(event) = item {
            event.seq = seq;
        }
    }
    all.extend(told);
    // Cumulative, so the second record counts two more.
    for (ms, dropped) in [(974, 40), (975, 42)] {
        let counts = vec![DropCount {
            cgroup_id: WEB,
            dropped,
        }];
        all.push(Item::Context(ContextRecord {
            boot_ns: START_NS + 2 * SECOND_NS + ms * 1_000_000,
            body: Context::Drops(Drops { counts }),
        }));
    }
    all.sort_by_key(Item::boot_ns);
    let place = tempfile::tempdir().unwrap();
    let trace = place.path().join("trace.zst");
    fs::write(&trace, support::file(&seal(&all, |_| 3_000))).unwrap();
    let trace = trace.to_str().unwrap();

    let told = stats(trace);
    let web = told.iter().find(|it| it["container"] == "web").unwrap();
    let moved = |reads: u64, read_bytes: u64, writes: u64, written_bytes: u64| json!({"reads": reads, "read_bytes": read_bytes, "writes": writes, "written_bytes": written_bytes});
    assert_eq!(web["io"]["file"]["written_bytes"], 100);
    assert_eq!(web["io"]["socket"], moved(0, 0, 2, 5_000));
    // The server's single reads are of descriptors that nobody knows, but for number 7.
    let single = web["io"]["unknown"]["read_bytes"].as_u64().unwrap();
    assert!(single > 0);
    let file = &web["files"][0];
    assert_eq!(file["path"], "/var/www/index.html");
    assert_eq!(file["read_bytes"], web["io"]["file"]["read_bytes"]);
    assert_eq!(web["written_bytes"], 5_100);
    assert_eq!(web["dropped"], 42);
    assert!(
        told.iter()
            .all(|it| it["container"] == "web" || it["dropped"] == 0)
    );
    let of = |value: &Value, keys: &[&str]| -> Vec<u64> {
        keys.iter()
            .map(|key| value[key].as_u64().unwrap())
            .collect()
    };
    let dns = &web["dns"]["asked"];
    assert_eq!(of(dns, &["questions", "answers", "failed"]), [2, 2, 1]);
    assert_eq!(dns["rcodes"], json!({"NOERROR": 1, "NXDOMAIN": 1}));
    assert_eq!(of(&dns["latency"], &["count", "max_ns"]), [2, 2_000_000]);
    assert_eq!(web["dns"]["served"]["questions"], 0);
    let http = &web["http"]["served"];
    assert_eq!(of(http, &["requests", "responses", "failed"]), [2, 2, 1]);
    assert_eq!(http["classes"], json!({"2xx": 1, "5xx": 1}));
    assert_eq!(http["latency"]["max_ns"], 502_000);
    assert!(http["per_second"].as_f64().unwrap() > 30.0);
    assert_eq!(of(web, &["connects", "connects_failed"]), [1, 0]);
    assert_eq!(web["connect_latency"]["max_ns"], 500_000);
    assert_eq!(
        of(&web["tcp"], &["closed", "sent_bytes", "retransmits"]),
        [1, 100, 1]
    );

    // Every container has the same keys.
    let keys = |it: &Value| it.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert!(told.iter().all(|it| keys(it) == keys(web)));
    let text = replay(&["stats", "--container", "web", trace], b"").stdout;
    let text = String::from_utf8(text).unwrap();
    for part in [
        "http served 2 requests",
        "1 × NXDOMAIN; p50",
        "/var/www/index.html\n",
        "closed     1, 100 B sent",
        "dropped    42 events were lost",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

/// Enter and exit of each close, paired here by hand: as many, and the longest as long.
#[test]
fn calls_of_an_imported_capture_have_durations() {
    let Some(capture) = captures::captures()
        .into_iter()
        .find(|one| one.name.ends_with("cat_write.scap"))
    else {
        return;
    };
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("c.scap");
    fs::copy(&capture.path, &file).unwrap();
    let trace = place.path().join("c.zst");
    let (from, to) = (file.to_str().unwrap(), trace.to_str().unwrap());
    let output = replay(&["import", from, "-o", to], b"");
    assert!(output.status.success(), "{output:?}");

    let mut entered = HashMap::new();
    let (mut count, mut longest) = (0u64, 0);
    let mut rows = Vec::new();
    let mut reader = TraceReader::open(&trace).unwrap();
    while let Some(chunk) = reader.next_chunk().unwrap() {
        rows.extend(chunk.decode().unwrap().events);
    }
    // By their place in the capture; rows of its lists have none.
    rows.retain(|event| event.probe != 0);
    rows.sort_by_key(|event| event.seq);
    for event in rows {
        let EventData::Declared(data) = &event.data else {
            continue;
        };
        match data.ty().name() {
            "scap.syscall_close_e" => {
                entered.insert(event.tid, event.boot_ns);
            }
            "scap.syscall_close_x" => {
                if let Some(from_ns) = entered.remove(&event.tid) {
                    count += 1;
                    longest = longest.max(event.boot_ns - from_ns);
                }
            }
            _ => {}
        }
    }
    assert!(count > 5, "{count}");
    let told = stats(trace.to_str().unwrap());
    let closes: Vec<&Value> = told
        .iter()
        .flat_map(|it| it["syscalls"].as_array().unwrap())
        .filter(|call| call["name"] == "close")
        .collect();
    let latency = |key: &str| {
        closes
            .iter()
            .filter_map(|call| call["latency"][key].as_u64())
            .collect::<Vec<_>>()
    };
    assert_eq!(latency("count").iter().sum::<u64>(), count);
    assert_eq!(latency("max_ns").into_iter().max(), Some(longest));
    let in_calls: u64 = told
        .iter()
        .flat_map(|it| it["processes"].as_array().unwrap())
        .filter_map(|process| process["calls_ns"].as_u64())
        .sum();
    assert!(in_calls >= longest);
}
