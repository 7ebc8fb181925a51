//! Names and texts for values in events: addresses, address families, TCP states, marks.

use std::net::{Ipv4Addr, Ipv6Addr};
use trace_format::event::{Endpoint, IoKind, IpcKind, PathMarks, TcpWhat};

/// argv for people: the NULs between arguments as blanks, the last one gone.
pub fn arguments(args: &[u8]) -> String {
    let args = args.strip_suffix(&[0]).unwrap_or(args);
    String::from_utf8_lossy(args).replace('\0', " ")
}

/// `10.0.0.1` or `fe80::1`; `None` for no address and for one of a length that no family has.
pub fn address_text(endpoint: &Endpoint) -> Option<String> {
    if let Ok(four) = <[u8; 4]>::try_from(&endpoint.addr[..]) {
        return Some(Ipv4Addr::from(four).to_string());
    }
    let sixteen = <[u8; 16]>::try_from(&endpoint.addr[..]).ok()?;
    Some(Ipv6Addr::from(sixteen).to_string())
}

/// The `AF_*` names that containers use; a number for the rest.
pub fn family_text(family: u16) -> String {
    match family {
        0 => "unspec".into(),
        1 => "unix".into(),
        2 => "inet".into(),
        10 => "inet6".into(),
        16 => "netlink".into(),
        17 => "packet".into(),
        38 => "alg".into(),
        40 => "vsock".into(),
        44 => "xdp".into(),
        other => other.to_string(),
    }
}

/// `TCP_*` of the kernel's `include/net/tcp_states.h`.
pub fn tcp_state(state: u8) -> &'static str {
    const NAMES: [&str; 13] = [
        "none",
        "established",
        "syn_sent",
        "syn_recv",
        "fin_wait1",
        "fin_wait2",
        "time_wait",
        "close",
        "close_wait",
        "last_ack",
        "listen",
        "closing",
        "new_syn_recv",
    ];
    NAMES.get(usize::from(state)).copied().unwrap_or("unknown")
}

/// What is behind a descriptor of an `io` event.
pub fn io_kind(kind: IoKind) -> &'static str {
    match kind.0 {
        IoKind::FILE => "file",
        IoKind::SOCKET => "socket",
        IoKind::PIPE => "pipe",
        IoKind::DEVICE => "device",
        IoKind::OTHER => "other",
        _ => "unknown",
    }
}

/// What an `ipc` event is about.
pub fn ipc_kind(kind: IpcKind) -> &'static str {
    match kind.0 {
        IpcKind::SEMAPHORES => "semaphores",
        IpcKind::MESSAGES => "messages",
        IpcKind::MEMORY => "shared memory",
        IpcKind::QUEUE => "queue",
        _ => "unknown",
    }
}

pub fn tcp_what(what: TcpWhat) -> &'static str {
    match what.0 {
        TcpWhat::RETRANSMIT => "retransmit",
        TcpWhat::RESET_SENT => "reset_sent",
        TcpWhat::RESET_RECEIVED => "reset_received",
        _ => "unknown",
    }
}

/// Names of record types that resolvers ask for (IANA, DNS Parameters); a number for the rest.
pub fn dns_type(qtype: u16) -> String {
    match qtype {
        1 => "A".into(),
        2 => "NS".into(),
        5 => "CNAME".into(),
        6 => "SOA".into(),
        10 => "NULL".into(),
        12 => "PTR".into(),
        15 => "MX".into(),
        16 => "TXT".into(),
        28 => "AAAA".into(),
        33 => "SRV".into(),
        64 => "SVCB".into(),
        65 => "HTTPS".into(),
        255 => "ANY".into(),
        other => other.to_string(),
    }
}

/// Names of response codes (RFC 6895); a number for the rest.
pub fn dns_rcode(rcode: u8) -> String {
    const NAMES: [&str; 6] = [
        "NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED",
    ];
    match NAMES.get(usize::from(rcode)) {
        Some(name) => (*name).into(),
        None => rcode.to_string(),
    }
}

/// `SIGKILL`; the numbers of x86-64 and aarch64. A real-time signal is `SIG` and its number.
pub fn signal_name(signal: u32) -> String {
    const NAMES: [&str; 31] = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
        "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
        "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
    ];
    match NAMES.get((signal as usize).wrapping_sub(1)) {
        Some(name) => format!("SIG{name}"),
        None => format!("SIG{signal}"),
    }
}

/// Names of the marks that are set, joined with `|`.
pub fn mark_names(marks: PathMarks) -> String {
    let names = [
        (PathMarks::UNTRUSTED, "untrusted"),
        (PathMarks::CREATED, "created"),
        (PathMarks::CUT, "cut"),
        (PathMarks::RELATIVE, "relative"),
        (PathMarks::LISTED, "listed"),
    ];
    let set: Vec<&str> = names
        .into_iter()
        .filter(|(bit, _)| marks.has(*bit))
        .map(|(_, name)| name)
        .collect();
    set.join("|")
}
