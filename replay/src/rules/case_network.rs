//! What goes over the network in a test case ([`super::case_events`]): connects, ended connections, DNS.

use trace_format::{Endpoint, EventData, PathMarks, SockCall, TcpState, Text, event::Dns};

use super::{
    LoadError,
    case_events::{Pairs, World, nr},
    item::get,
    yaml::Node,
};
use crate::event_names::{dns_rcode, dns_type};

/// include/net/tcp_states.h
const TCP_CLOSE: u8 = 7;
const TCP_LAST_ACK: u8 = 9;

/// RFC 1035: the message is an answer; recursion is wanted.
const DNS_ANSWER: u16 = 0x8000;
const DNS_RECURSION: u16 = 0x100;

/// Keys of a `dns` item.
pub(super) const DNS_KEYS: &[&str] = &[
    "pid", "name", "type", "server", "from", "answer", "answers", "received",
];

impl World<'_> {
    /// A TCP connection ended.
    pub(super) fn closed(&mut self, item: &Node, of: &Pairs) -> Result<(), LoadError> {
        let pid = self.small(of, "pid", -1)?;
        let (local, local_is_v4) = self.endpoint(of, "from", false)?;
        let (remote, is_v4) = self.endpoint(of, "to", false)?;
        let state = TcpState {
            old: TCP_LAST_ACK,
            new: TCP_CLOSE,
            family: if is_v4 && local_is_v4 { 2 } else { 10 },
            local,
            remote,
            sock: 1,
            latency_ns: 0,
            sent_bytes: self.small(of, "sent", 0)?,
            received_bytes: self.small(of, "received", 0)?,
            duration_ns: 0,
            error: 0,
        };
        self.event(item, pid, EventData::TcpState(state))
    }

    pub(super) fn connect(&mut self, item: &Node, of: &Pairs) -> Result<(), LoadError> {
        let pid = self.small(of, "pid", -1)?;
        let unix = self.text(of, "unix");
        let sock_type = match self.text(of, "type").as_str() {
            "" | "tcp" => 1,
            "udp" => 2,
            _ => return Err(self.file.error(item.at, "`type`", "tcp or udp")),
        };
        let (local, local_is_v4) = self.endpoint(of, "from", !unix.is_empty())?;
        let (remote, is_v4) = self.endpoint(of, "to", !unix.is_empty())?;
        let family = match (unix.is_empty(), is_v4 && local_is_v4) {
            (false, _) => 1,
            (true, true) => 2,
            (true, false) => 10,
        };
        let call = SockCall {
            nr: nr("connect"),
            ret: self.result(of, 0)?,
            fd: self.small(of, "fd", 3)?,
            family,
            sock_type,
            local,
            remote,
            unix_path: Text::new(unix.as_bytes()),
            marks: PathMarks::default(),
            interface: 0,
            duration_ns: 0,
        };
        self.event(item, pid, EventData::SockCall(call))
    }

    fn endpoint(&self, of: &Pairs, key: &str, none: bool) -> Result<(Endpoint, bool), LoadError> {
        let end = |bytes: &[u8], port| Endpoint {
            addr: Text::new(bytes),
            port,
        };
        match get(of, key) {
            None if none => Ok((end(&[], 0), true)),
            None => Ok((end(&[172, 17, 0, 2], 40_000), true)),
            Some(node) => match node.scalar().unwrap_or_default().parse() {
                Ok(std::net::SocketAddr::V4(address)) => {
                    Ok((end(&address.ip().octets(), address.port()), true))
                }
                Ok(std::net::SocketAddr::V6(address)) => {
                    Ok((end(&address.ip().octets(), address.port()), false))
                }
                Err(_) => Err(self.file.error(
                    node.at,
                    node.what(),
                    "an address and port such as 10.0.0.1:80",
                )),
            },
        }
    }

    /// The client's end and the server's.
    fn dns_ends(&self, of: &Pairs) -> Result<(Endpoint, Endpoint, bool), LoadError> {
        let (client, client_is_v4) = self.endpoint(of, "from", false)?;
        let (server, is_v4) = match get(of, "server") {
            Some(_) => self.endpoint(of, "server", false)?,
            None => {
                let addr = Text::new(&[10, 0, 0, 53]);
                (Endpoint { addr, port: 53 }, true)
            }
        };
        Ok((client, server, is_v4 && client_is_v4))
    }

    /// A question to a name server, or with `answer` (a response code) what comes back. `received`: the process
    /// is the server.
    pub(super) fn dns(&mut self, item: &Node, of: &Pairs) -> Result<(), LoadError> {
        let pid = self.small(of, "pid", -1)?;
        let serves = self.flag(of, "received")?;
        let (client, server, is_v4) = self.dns_ends(of)?;
        let mut flags = DNS_RECURSION;
        let answers = get(of, "answer").map(|node| (node, node.scalar().unwrap_or_default()));
        if let Some((node, name)) = answers {
            let code = (0..16u8).find(|code| dns_rcode(*code) == name);
            let Some(code) = code else {
                let expected = "a response code such as NOERROR or NXDOMAIN";
                return Err(self.file.error(node.at, node.what(), expected));
            };
            flags |= DNS_ANSWER | u16::from(code);
        }
        let wanted = match self.text(of, "type") {
            name if name.is_empty() => "A".to_owned(),
            name => name,
        };
        let Some(qtype) = (0..=u16::MAX).find(|qtype| dns_type(*qtype) == wanted) else {
            let found = format!("`type` of {wanted}");
            return Err(self
                .file
                .error(item.at, found, "a type such as A, AAAA or TXT"));
        };
        let (local, remote) = match serves {
            true => (server, client),
            false => (client, server),
        };
        let dns = Dns {
            fd: 3,
            sent: serves == answers.is_some(),
            id: 1,
            flags,
            qtype,
            name: Text::new(self.text(of, "name").as_bytes()),
            answers: self.small(of, "answers", 0)?,
            malformed: false,
            family: if is_v4 { 2 } else { 10 },
            local,
            remote,
            latency_ns: 0,
        };
        self.event(item, pid, EventData::Dns(dns))
    }
}
