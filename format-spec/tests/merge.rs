//! What merging promises: every event of every source, under ids that name one thing each, and a way
//! back to what the source said.

mod support;

use std::{collections::BTreeMap, io::Cursor};

use support::{town::*, *};
use trace_format::{doctor::diagnose, *};

/// `recover` and `slice` need files; merging reads forward only.
fn merged(traces: &[Vec<u8>]) -> Result<(Merged, Vec<u8>), Error> {
    let openers: Vec<Box<dyn Fn() -> Result<TraceReader, Error> + '_>> = traces
        .iter()
        .map(|bytes| Box::new(|| Ok(TraceReader::from_read(Cursor::new(bytes.clone())))) as _)
        .collect();
    let inputs: Vec<MergeInput<'_>> = openers
        .iter()
        .enumerate()
        .map(|(index, open)| MergeInput {
            name: format!("{index}.zst"),
            open,
        })
        .collect();
    merge(&inputs, "test", Vec::new())
}

fn decoded(bytes: &[u8]) -> Vec<DecodedChunk> {
    let (chunks, issues) = read_all(bytes).unwrap();
    assert_eq!(issues, []);
    chunks.iter().map(|chunk| chunk.decode().unwrap()).collect()
}

fn events(bytes: &[u8]) -> Vec<Event> {
    decoded(bytes)
        .into_iter()
        .flat_map(|chunk| chunk.events)
        .collect()
}

fn beta() -> Town {
    Town {
        uuid: [9; 16],
        host: [3; 16],
        boot: [4; 16],
        name: "beta",
        start_ns: 5_000 * SECOND,
        // Half a second later than the other, by the wall.
        wall_ns: WALL + SECOND / 2,
        ..Town::default()
    }
}

/// An event as its source had it.
fn back(event: &Event, origin: &Origin) -> Event {
    let pid = |pid: u32| if pid == 0 { 0 } else { pid - origin.pid_base };
    let start = |ns: u64| ns.wrapping_sub(origin.time_base);
    let data = match event.data.clone() {
        EventData::Fork(fork) => EventData::Fork(Fork {
            child_tid: pid(fork.child_tid),
            child_pid: pid(fork.child_pid),
            child_start_ns: start(fork.child_start_ns),
            child_ns_tid: 0,
        }),
        EventData::Exec(exec) => EventData::Exec(Exec {
            ppid: pid(exec.ppid),
            start_ns: start(exec.start_ns),
            ..exec
        }),
        EventData::Exit(exit) => EventData::Exit(Exit {
            start_ns: start(exit.start_ns),
            ..exit
        }),
        data => data,
    };
    Event {
        boot_ns: start(event.boot_ns),
        cpu: event.cpu - origin.cpu_base,
        tid: pid(event.tid),
        pid: pid(event.pid),
        cgroup_id: event.cgroup_id - origin.cgroup_base,
        data,
        ..event.clone()
    }
}

fn origins(chunks: &[DecodedChunk]) -> BTreeMap<u32, Origin> {
    let mut origins = BTreeMap::new();
    for record in chunks.iter().flat_map(|chunk| &chunk.context) {
        if let Context::Origin(origin) = &record.body {
            origins.insert(origin.source, origin.clone());
        }
    }
    origins
}

#[test]
fn two_hosts_with_the_same_pids_stay_two_and_lead_back_to_their_sources() {
    let (alpha, beta) = (Town::default(), beta());
    let sources = [alpha.trace(), beta.trace()];
    let (report, out) = merged(&sources).unwrap();
    assert_eq!((report.boots, report.captures), (2, 2));
    assert_eq!(report.discards, []);
    let chunks = decoded(&out);
    let origins = origins(&chunks);
    for (index, source) in sources.iter().enumerate() {
        let origin = &origins[&(index as u32)];
        assert_eq!(origin.host.hostname, ["alpha", "beta"][index]);
        let mine: Vec<Event> = events(&out)
            .iter()
            .filter(|event| event.cgroup_id >> 48 == origin.cgroup_base >> 48)
            .map(|event| back(event, origin))
            .collect();
        assert_eq!(mine, events(source), "source {index}");
        let pids = chunks
            .iter()
            .flat_map(|chunk| &chunk.context)
            .filter(|record| {
                matches!(&record.body, Context::Process(process)
                if process.pid == WEB_PID + origin.pid_base && process.comm == b"nginx"
                && process.ppid == SHIM + origin.pid_base
                && process.cgroup_id == WEB + origin.cgroup_base)
            });
        assert!(
            pids.count() > 0,
            "source {index}: processes are moved with their events"
        );
    }
    // Times are wall times.
    let first = chunks[0].events[0].boot_ns;
    assert_eq!(first, WALL + 1_000);
    let clocks: Vec<Clock> = chunks
        .iter()
        .flat_map(|chunk| &chunk.context)
        .filter_map(|record| match record.body {
            Context::Clock(clock) => Some(clock),
            _ => None,
        })
        .collect();
    assert!(clocks.iter().all(|clock| *clock == Clock::default()));
    // Every source's clock pairs are still there.
    let last = origins[&1].clock;
    assert_eq!(last, beta.clock(59));
}

/// The two halves of "by time": the watermark holds, so a reader that orders by it gets one line of
/// events; and both hosts' seconds alternate.
#[test]
fn hosts_are_merged_by_wall_time_and_the_watermark_holds() {
    let (_, out) = merged(&[Town::default().trace(), beta().trace()]).unwrap();
    let chunks = decoded(&out);
    assert!(chunks.iter().all(|chunk| chunk.header.late_rows == 0));
    let mut last = 0;
    for chunk in &chunks {
        assert!(chunk.header.watermark_ns >= last);
        last = chunk.header.watermark_ns;
    }
    assert!(chunks.iter().any(|chunk| chunk.header.has_checkpoint));
    let hosts: Vec<u64> = chunks
        .iter()
        .filter_map(|chunk| chunk.events.first())
        .map(|event| event.cgroup_id >> 48)
        .collect();
    let turns = hosts.windows(2).filter(|pair| pair[0] != pair[1]).count();
    assert!(turns > 100, "{turns}");
    let diagnosis = diagnose(TraceReader::from_read(Cursor::new(out))).unwrap();
    assert_eq!(diagnosis.worst(), None, "{:#?}", diagnosis.findings);
}

#[test]
fn loss_is_kept_for_every_source() {
    let (_, out) = merged(&[Town::default().trace(), beta().trace()]).unwrap();
    let chunks = decoded(&out);
    let header = &chunks.last().unwrap().header;
    let numbered = events(&out).iter().filter(|event| event.probe != 0).count() as u64;
    assert_eq!(header.loss.dropped, 2);
    assert_eq!(header.loss.seen, numbered + 2);
}

/// A second capture on the same boot: pids and times mean the same, only the counters began again.
#[test]
fn captures_of_one_boot_keep_pids_and_times() {
    let first = Town {
        seconds: 20,
        ..Town::default()
    };
    let second = Town {
        uuid: [8; 16],
        start_ns: first.at(30, 0),
        wall_ns: WALL + 30 * SECOND,
        seconds: 20,
        ..Town::default()
    };
    let sources = [second.trace(), first.trace()];
    let (report, out) = merged(&sources).unwrap();
    assert_eq!((report.boots, report.captures), (1, 2));
    let mut expected = events(&sources[1]);
    expected.extend(events(&sources[0]));
    let origins = origins(&decoded(&out));
    let made: Vec<Event> = events(&out);
    assert_eq!(made.len(), expected.len());
    for (made, source) in made.iter().zip(&expected) {
        assert_eq!(
            (made.boot_ns, made.pid, made.cgroup_id),
            (source.boot_ns, source.pid, source.cgroup_id)
        );
    }
    assert_ne!(origins[&0].cpu_base, origins[&1].cpu_base);
    let diagnosis = diagnose(TraceReader::from_read(Cursor::new(out))).unwrap();
    assert_eq!(diagnosis.worst(), None, "{:#?}", diagnosis.findings);
}

/// Parts of traces hold less than was seen; that is no contradiction.
#[test]
fn parts_of_traces_merge_soundly_too() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("t.zst");
    let part = |town: &Town, from: u64| {
        std::fs::write(&path, town.trace()).unwrap();
        let options = SliceOptions {
            from: Some(SlicePoint::Boot(town.at(from, 0))),
            to: Some(SlicePoint::Boot(town.at(from + 5, 0))),
            ..SliceOptions::default()
        };
        slice(&|| TraceReader::open(&path), &options, Vec::new())
            .unwrap()
            .1
    };
    for second in [part(&Town::default(), 30), part(&beta(), 30)] {
        let (report, out) = merged(&[part(&Town::default(), 20), second]).unwrap();
        assert_eq!(report.discards, []);
        let diagnosis = diagnose(TraceReader::from_read(Cursor::new(out))).unwrap();
        assert_eq!(diagnosis.worst(), None, "{:#?}", diagnosis.findings);
    }
}

#[test]
fn what_a_source_lacks_is_said_in_the_merged_trace() {
    let beta = beta();
    let chunks = beta.chunks();
    let mut bytes = trace_of(&chunks);
    let start: usize = chunks[..7].iter().map(|chunk| chunk.bytes.len()).sum();
    bytes[start..start + 100].fill(0);
    let (report, out) = merged(&[Town::default().trace(), bytes]).unwrap();
    let [discard] = report.discards.as_slice() else {
        panic!("{:?}", report.discards)
    };
    assert_eq!(
        (discard.source, discard.first_number, discard.chunks),
        (1, 7, 1)
    );
    // In the merged trace's time.
    assert_eq!(discard.before_ns, beta.wall_ns + 8 * SECOND);
    assert!(!report.provenance.sources[1].complete);
    let chunks = decoded(&out);
    let all = chunks.iter().flat_map(|chunk| &chunk.context);
    let said: Vec<_> = all
        .filter(|record| record.body == Context::Discard(discard.clone()))
        .collect();
    assert_eq!(said.len(), 1);
    assert_eq!(said[0].boot_ns, beta.wall_ns + 8 * SECOND);
}

#[test]
fn what_cannot_be_one_trace_is_refused_with_the_reason() {
    let town = Town::default();
    let other = Town {
        uuid: [7; 16],
        ..town.clone()
    };
    let arm = Town {
        arch: "aarch64",
        ..beta()
    };
    let no_clock = {
        let mut builder = ChunkBuilder::new([6; 16], Limits::default());
        builder.push(event_at(5, 1, 1, town::read()));
        trace_of(&[builder.seal(6)])
    };
    let crowded = {
        let mut builder = ChunkBuilder::new([6; 16], Limits::default());
        put(
            &mut builder,
            1,
            Context::Host(Host {
                arch: "x86_64".into(),
                ..Host::default()
            }),
        );
        put(&mut builder, 1, Context::Clock(town.clock(0)));
        builder.push(event_at(5, 1 << 22, 1, town::read()));
        trace_of(&[builder.seal(6)])
    };
    for (second, reason) in [
        (town.trace(), "the same trace"),
        (other.trace(), "at the same time"),
        (arm.trace(), "one table"),
        (crowded, "no room"),
    ] {
        let error = merged(&[town.trace(), second]).unwrap_err().to_string();
        assert!(
            error.contains("1.zst cannot be merged") && error.contains(reason),
            "{error}"
        );
    }
    let error = merged(&[no_clock.clone(), no_clock])
        .unwrap_err()
        .to_string();
    assert!(error.contains("the same trace"), "{error}");
    let two = merged(&[town.trace(), beta().trace()]).unwrap().1;
    let third = Town {
        uuid: [5; 16],
        host: [5; 16],
        boot: [5; 16],
        ..town
    };
    let error = merged(&[two, third.trace()]).unwrap_err().to_string();
    assert!(error.contains("merged from several"), "{error}");
}
