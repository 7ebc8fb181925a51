//! What `replay stats` prints of a container for people: a block of lines, with small histograms.

use std::fmt::Write;

use replay::{
    event_names::{dns_rcode, io_kind},
    findings::one_line,
    performance::{
        Resources,
        exchanges::{DnsUse, HttpUse, TcpUse},
        histogram::Histogram,
        transfers::Moved,
    },
};

use trace_format::event::SampleKnown;

use super::stats::Of;

// Writing into a string cannot fail.

pub fn of(of: &Of<'_>) -> String {
    let used = of.used;
    let mut text = one_line(used.place.label()).to_string();
    if !used.place.image.is_empty() {
        let _ = write!(text, "  {}", one_line(&used.place.image));
    }
    let _ = writeln!(
        text,
        "\n  events     {} ({} execs, {} forks, {} exits)",
        used.events, used.execs, used.forks, used.exits
    );
    if used.dropped > 0 {
        let _ = writeln!(text, "  dropped    {} events were lost", used.dropped);
    }
    resources(of, &mut text);
    transfers(of, &mut text);
    let exchanges = &used.exchanges;
    tcp(&exchanges.tcp, &mut text);
    dns("asked", &exchanges.dns_asked, &mut text);
    dns("served", &exchanges.dns_served, &mut text);
    http("asked", &exchanges.http_asked, &mut text);
    http("served", &exchanges.http_served, &mut text);
    calls(of, &mut text);
    text.push('\n');
    text
}

fn resources(of: &Of<'_>, text: &mut String) {
    let resources = &of.used.resources;
    if resources.samples == 0 {
        return;
    }
    let _ = writeln!(
        text,
        "  cpu        {} cores on average, {:.1} s in all, throttled for {:.1} s",
        of.cores().unwrap_or_default(),
        resources.cpu_ns as f64 / 1e9,
        resources.throttled_ns as f64 / 1e9
    );
    let _ = writeln!(
        text,
        "  memory     {} at most, {} at the end; {} tasks at most",
        bytes(resources.memory_max_bytes),
        bytes(resources.memory_last_bytes),
        resources.pids_max
    );
    memory(resources, text);
    let _ = writeln!(
        text,
        "  block I/O  {} read, {} written",
        bytes(resources.io_read_bytes),
        bytes(resources.io_write_bytes)
    );
    waits(resources, text);
}

/// What not every recorder tells of memory.
fn memory(resources: &Resources, text: &mut String) {
    let mut memory = Vec::new();
    if let Some(peak) = resources.told(SampleKnown::MEMORY_PEAK, resources.memory_peak_bytes) {
        memory.push(format!("peak {}", bytes(peak)));
    }
    if resources.told(SampleKnown::MEMORY_KINDS, ()).is_some() {
        memory.push(format!(
            "at most {} anonymous and {} of files",
            bytes(resources.anon_max_bytes),
            bytes(resources.file_max_bytes)
        ));
    }
    if resources.told(SampleKnown::FAULTS, ()).is_some() {
        memory.push(format!(
            "{} page faults, {} with I/O",
            resources.minor_faults + resources.major_faults,
            resources.major_faults
        ));
    }
    if !memory.is_empty() {
        let _ = writeln!(text, "             {}", memory.join("; "));
    }
}

/// Pressure and network, where they are told.
fn waits(resources: &Resources, text: &mut String) {
    if resources.told(SampleKnown::PRESSURE, ()).is_some() {
        let _ = writeln!(
            text,
            "  pressure   {:.1} s waiting for cpu, {:.1} s for memory, {:.1} s for I/O",
            resources.cpu_stall_ns as f64 / 1e9,
            resources.memory_stall_ns as f64 / 1e9,
            resources.io_stall_ns as f64 / 1e9
        );
    }
    if resources.told(SampleKnown::NETWORK, ()).is_some() {
        let _ = writeln!(
            text,
            "  network    {} received, {} sent",
            bytes(resources.net_received_bytes),
            bytes(resources.net_sent_bytes)
        );
    }
}

fn transfers(of: &Of<'_>, text: &mut String) {
    if of.used.moved.is_nothing() {
        return;
    }
    let _ = writeln!(text, "  I/O        {}", moved(&of.used.moved));
    for (kind, told) in of.used.moved_by_kind.each() {
        if !told.is_nothing() {
            let _ = writeln!(text, "    {:<8} {}", io_kind(kind), moved(told));
        }
    }
    for (path, told) in &of.files {
        let path = path.to_string_lossy();
        let _ = writeln!(text, "      {}  {}", moved(told), one_line(&path));
    }
}

fn tcp(told: &TcpUse, text: &mut String) {
    if told.connects > 0 {
        let _ = write!(
            text,
            "  connects   {}, {} failed",
            told.connects, told.connects_failed
        );
        latency(&told.connect_latency, text);
    }
    if told.accepts > 0 {
        let _ = writeln!(text, "  accepts    {}", told.accepts);
    }
    if told.closed > 0 {
        let _ = write!(
            text,
            "  closed     {}, {} sent, {} received",
            told.closed,
            bytes(told.sent_bytes),
            bytes(told.received_bytes)
        );
        latency(&told.duration, text);
    }
    if told.retransmits + told.resets > 0 {
        let _ = writeln!(
            text,
            "  troubles   {} segments sent again, {} resets",
            told.retransmits, told.resets
        );
    }
}

fn dns(side: &str, told: &DnsUse, text: &mut String) {
    if told.questions + told.answers + told.malformed == 0 {
        return;
    }
    let _ = write!(
        text,
        "  dns {side:<6} {} questions, {} answers, {} failed",
        told.questions,
        told.answers,
        told.failed()
    );
    for (code, count) in told.codes.iter().filter(|(code, _)| **code != 0) {
        let _ = write!(text, ", {count} × {}", dns_rcode(*code));
    }
    if told.malformed > 0 {
        let _ = write!(text, ", {} malformed", told.malformed);
    }
    latency(&told.latency, text);
}

fn http(side: &str, told: &HttpUse, text: &mut String) {
    if told.requests + told.responses == 0 {
        return;
    }
    let _ = write!(text, "  http {side:<5} {} requests", told.requests);
    if let Some(rate) = told.rate() {
        let _ = write!(text, " ({rate:.1}/s)");
    }
    let _ = write!(text, ", {} failed", told.failed());
    for (method, count) in &told.methods {
        let _ = write!(text, ", {count} {}", one_line(method));
    }
    for (class, count) in &told.classes {
        let _ = write!(text, ", {count} × {class}xx");
    }
    latency(&told.latency, text);
}

fn calls(of: &Of<'_>, text: &mut String) {
    if of.all_calls > 0 {
        let _ = writeln!(
            text,
            "  syscalls   {}, {} failed",
            of.all_calls, of.all_errors
        );
    }
    for (name, calls) in &of.calls {
        let _ = write!(text, "    {:>12}  {name}", calls.calls);
        if calls.errors > 0 {
            let _ = write!(text, " ({} failed)", calls.errors);
        }
        match &calls.latency {
            Some(told) => latency(told, text),
            None => text.push('\n'),
        }
    }
    for process in &of.processes {
        let _ = write!(
            text,
            "    {:>12}  by {}({}), {} failed, {} read, {} written",
            process.calls,
            one_line(&process.comm),
            process.pid,
            process.errors,
            bytes(process.moved.read_bytes),
            bytes(process.moved.written_bytes)
        );
        match process.calls_ns {
            0 => text.push('\n'),
            ns => {
                let _ = writeln!(text, ", {} in calls", time(ns));
            }
        }
    }
}

/// Ends a line with what was measured, if anything was.
fn latency(told: &Histogram, text: &mut String) {
    if told.count > 0 {
        let _ = write!(
            text,
            "; p50 {} p90 {} p99 {} max {}",
            time(told.percentile_ns(50)),
            time(told.percentile_ns(90)),
            time(told.percentile_ns(99)),
            time(told.max_ns)
        );
    }
    if let Some((from_ns, to_ns, counts)) = told.shape().filter(|shape| shape.2.len() > 1) {
        let _ = write!(
            text,
            "  [{} {} {}]",
            time(from_ns),
            bars(counts),
            time(to_ns.saturating_add(1))
        );
    }
    text.push('\n');
}

/// A bar for each power of two, the largest in full height.
fn bars(counts: &[u64]) -> String {
    const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = counts.iter().copied().max().unwrap_or(1).max(1);
    let bar = |count: u64| match count {
        0 => '·',
        count => {
            let eighths = (u128::from(count) * 8).div_ceil(u128::from(most)) as usize;
            HEIGHTS[eighths.clamp(1, 8) - 1]
        }
    };
    counts.iter().map(|count| bar(*count)).collect()
}

fn moved(told: &Moved) -> String {
    format!(
        "{} in {} reads, {} in {} writes",
        bytes(told.read_bytes),
        told.reads,
        bytes(told.written_bytes),
        told.writes
    )
}

fn bytes(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
        _ => format!("{:.1} GiB", bytes as f64 / 1_073_741_824.0),
    }
}

fn time(ns: u64) -> String {
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => format!("{:.1} µs", ns as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} ms", ns as f64 / 1e6),
        _ => format!("{:.2} s", ns as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_has_a_bar_for_each_power_of_two() {
        assert_eq!(bars(&[1, 0, 1_000, 500]), "▁·█▄");
        assert_eq!(bars(&[u64::MAX]), "█");
        let mut told = Histogram::default();
        for ns in [1_500, 1_600, 9_000] {
            told.add(ns);
        }
        let mut text = String::new();
        latency(&told, &mut text);
        assert_eq!(
            text,
            "; p50 2.0 µs p90 9.0 µs p99 9.0 µs max 9.0 µs  [1.0 µs █··▄ 16.4 µs]\n"
        );
        text.clear();
        latency(&Histogram::default(), &mut text);
        assert_eq!(text, "\n");
    }
}
