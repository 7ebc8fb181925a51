//! What `replay stats --json` prints of a container: one object, whose keys are always there. docs/traces.md
//! has them.

use replay::{
    event_names::{dns_rcode, io_kind},
    performance::{
        exchanges::{DnsUse, HttpUse, TcpUse},
        histogram::Histogram,
        transfers::Moved,
    },
};
use serde_json::{Map, Value, json};
use trace_format::event::SampleKnown;

use super::stats::Of;

pub fn of(of: &Of<'_>) -> Value {
    let used = of.used;
    let calls: Vec<Value> = of
        .calls
        .iter()
        .map(|(name, calls)| {
            json!({
                "name": name,
                "calls": calls.calls,
                "errors": calls.errors,
                "latency": calls.latency.as_deref().map_or(Value::Null, latency),
            })
        })
        .collect();
    let processes: Vec<Value> = of
        .processes
        .iter()
        .map(|process| {
            json!({
                "pid": process.pid,
                "start_ns": process.start_ns,
                "comm": process.comm,
                "calls": process.calls,
                "errors": process.errors,
                "calls_ns": process.calls_ns,
                "read_bytes": process.moved.read_bytes,
                "written_bytes": process.moved.written_bytes,
                "usage": process.usage.map(|used| json!({
                    "user_ns": used.user_ns,
                    "system_ns": used.system_ns,
                    "max_rss_bytes": used.max_rss_bytes,
                    "minor_faults": used.minor_faults,
                    "major_faults": used.major_faults,
                })),
            })
        })
        .collect();
    let files: Vec<Value> = of
        .files
        .iter()
        .map(|(path, one)| {
            let mut told = moved(one);
            told.insert("path".to_owned(), path.to_string_lossy().into());
            Value::Object(told)
        })
        .collect();
    let io: Map<String, Value> = used
        .moved_by_kind
        .each()
        .map(|(kind, one)| (io_kind(kind).to_owned(), Value::Object(moved(one))))
        .collect();
    let exchanges = &used.exchanges;
    json!({
        "container": used.place.label(),
        "container_id": used.place.container_id,
        "image": used.place.image,
        "events": used.events,
        "execs": used.execs,
        "forks": used.forks,
        "exits": used.exits,
        "dropped": used.dropped,
        "calls": of.all_calls,
        "errors": of.all_errors,
        "read_bytes": used.moved.read_bytes,
        "written_bytes": used.moved.written_bytes,
        "io": io,
        "files": files,
        "connects": exchanges.tcp.connects,
        "connects_failed": exchanges.tcp.connects_failed,
        "connect_latency": latency(&exchanges.tcp.connect_latency),
        "tcp": tcp(&exchanges.tcp),
        "dns": {"asked": dns(&exchanges.dns_asked), "served": dns(&exchanges.dns_served)},
        "http": {"asked": http(&exchanges.http_asked), "served": http(&exchanges.http_served)},
        "resources": used_resources(of),
        "syscalls": calls,
        "processes": processes,
    })
}

/// Null without samples; a figure that the recorder could not read is null.
fn used_resources(of: &Of<'_>) -> Value {
    let used = &of.used.resources;
    if used.samples == 0 {
        return Value::Null;
    }
    let mut told = json!({
        "samples": used.samples,
        "cpu_ns": used.cpu_ns,
        "cpu_cores": of.cores(),
        "throttled_ns": used.throttled_ns,
        "memory_max_bytes": used.memory_max_bytes,
        "memory_last_bytes": used.memory_last_bytes,
        "memory_limit_bytes": (used.memory_limit_bytes > 0).then_some(used.memory_limit_bytes),
        "pids_max": used.pids_max,
        "io_read_bytes": used.io_read_bytes,
        "io_write_bytes": used.io_write_bytes,
    });
    for (name, bit, figure) in [
        (
            "memory_peak_bytes",
            SampleKnown::MEMORY_PEAK,
            used.memory_peak_bytes,
        ),
        (
            "anon_max_bytes",
            SampleKnown::MEMORY_KINDS,
            used.anon_max_bytes,
        ),
        (
            "file_max_bytes",
            SampleKnown::MEMORY_KINDS,
            used.file_max_bytes,
        ),
        ("minor_faults", SampleKnown::FAULTS, used.minor_faults),
        ("major_faults", SampleKnown::FAULTS, used.major_faults),
        ("cpu_stall_ns", SampleKnown::PRESSURE, used.cpu_stall_ns),
        (
            "memory_stall_ns",
            SampleKnown::PRESSURE,
            used.memory_stall_ns,
        ),
        ("io_stall_ns", SampleKnown::PRESSURE, used.io_stall_ns),
        ("io_reads", SampleKnown::IO, used.io_reads),
        ("io_writes", SampleKnown::IO, used.io_writes),
        (
            "net_received_bytes",
            SampleKnown::NETWORK,
            used.net_received_bytes,
        ),
        ("net_sent_bytes", SampleKnown::NETWORK, used.net_sent_bytes),
    ] {
        told[name] = used.told(bit, figure).into();
    }
    told
}

fn moved(told: &Moved) -> Map<String, Value> {
    let numbers = [
        ("reads", told.reads),
        ("read_bytes", told.read_bytes),
        ("writes", told.writes),
        ("written_bytes", told.written_bytes),
    ];
    let numbers = numbers.map(|(name, number)| (name.to_owned(), number.into()));
    numbers.into_iter().collect()
}

fn tcp(told: &TcpUse) -> Value {
    json!({
        "accepts": told.accepts,
        "closed": told.closed,
        "duration": latency(&told.duration),
        "sent_bytes": told.sent_bytes,
        "received_bytes": told.received_bytes,
        "retransmits": told.retransmits,
        "resets": told.resets,
    })
}

fn dns(told: &DnsUse) -> Value {
    let codes: Map<String, Value> = told
        .codes
        .iter()
        .map(|(code, count)| (dns_rcode(*code).to_string(), json!(count)))
        .collect();
    json!({
        "questions": told.questions,
        "answers": told.answers,
        "failed": told.failed(),
        "malformed": told.malformed,
        "rcodes": codes,
        "latency": latency(&told.latency),
    })
}

fn http(told: &HttpUse) -> Value {
    let classes: Map<String, Value> = told
        .classes
        .iter()
        .map(|(class, count)| (format!("{class}xx"), json!(count)))
        .collect();
    json!({
        "requests": told.requests,
        "responses": told.responses,
        "failed": told.failed(),
        "per_second": told.rate(),
        "methods": told.methods,
        "classes": classes,
        "latency": latency(&told.latency),
    })
}

/// Null where nothing was measured.
fn latency(told: &Histogram) -> Value {
    if told.count == 0 {
        return Value::Null;
    }
    let buckets: Vec<Value> = told
        .buckets()
        .map(|(from_ns, count)| json!({"from_ns": from_ns, "count": count}))
        .collect();
    json!({
        "count": told.count,
        "mean_ns": told.sum_ns / told.count,
        "p50_ns": told.percentile_ns(50),
        "p90_ns": told.percentile_ns(90),
        "p99_ns": told.percentile_ns(99),
        "max_ns": told.max_ns,
        "buckets": buckets,
    })
}
