//! Names and texts for values in events: addresses, address families, TCP states, marks.

use std::net::{Ipv4Addr, Ipv6Addr};
use trace_format::event::{Endpoint, PathMarks};

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

/// Names of the marks that are set, joined with `|`.
pub fn mark_names(marks: PathMarks) -> String {
    let names = [
        (PathMarks::UNTRUSTED, "untrusted"),
        (PathMarks::CREATED, "created"),
        (PathMarks::CUT, "cut"),
        (PathMarks::RELATIVE, "relative"),
    ];
    let set: Vec<&str> = names
        .into_iter()
        .filter(|(bit, _)| marks.has(*bit))
        .map(|(_, name)| name)
        .collect();
    set.join("|")
}
