//! Fields of what goes over the network: DNS, HTTP/1, who is at the other end.

use std::io::Write;

use trace_format::{
    EventData,
    event::{Dns, Http, Peer},
};

use super::{fields::Id, subject::Subject};
use crate::event_names::{dns_rcode, dns_type};

impl<'a> Subject<'a> {
    fn dns(&self) -> Option<&'a Dns> {
        match &self.event.data {
            EventData::Dns(dns) => Some(dns),
            _ => None,
        }
    }

    fn http(&self) -> Option<&'a Http> {
        match &self.event.data {
            EventData::Http(http) => Some(http),
            _ => None,
        }
    }

    fn peer(&self) -> Option<&'a Peer> {
        match &self.event.data {
            EventData::Peer(peer) => Some(peer),
            _ => None,
        }
    }

    pub(super) fn network_text<'s>(&'s self, id: Id, scratch: &'s mut Vec<u8>) -> Option<&'s [u8]> {
        match id {
            Id::DnsName => Some(&self.dns()?.name),
            Id::DnsDomain => Some(domain(&self.dns()?.name)),
            Id::DnsType => {
                let _ = write!(scratch, "{}", dns_type(self.dns()?.qtype));
                Some(scratch)
            }
            Id::DnsCode => {
                let dns = self.dns().filter(|dns| dns.is_answer())?;
                let _ = write!(scratch, "{}", dns_rcode(dns.rcode()));
                Some(scratch)
            }
            Id::HttpMethod => known(&self.http()?.method),
            Id::HttpUri => known(&self.http()?.path),
            Id::HttpPath => {
                let target = known(&self.http()?.path)?;
                let end = target.iter().position(|&byte| byte == b'?');
                Some(&target[..end.unwrap_or(target.len())])
            }
            Id::HttpHost => known(&self.http()?.host),
            Id::PeerContainer => {
                let peer = self.peer().filter(|peer| peer.peer_cgroup_id != 0)?;
                match self.state.container(peer.peer_cgroup_id) {
                    Some(container) => Some(container.name.as_bytes()),
                    None => self
                        .state
                        .is_host_cgroup(peer.peer_cgroup_id)
                        .then_some(b"host"),
                }
            }
            _ => None,
        }
    }

    pub(super) fn network_number(&self, id: Id) -> Option<i64> {
        let nonzero = |value: u64| i64::try_from(value).ok().filter(|value| *value != 0);
        match id {
            Id::DnsAnswers => {
                let dns = self.dns().filter(|dns| dns.is_answer())?;
                Some(dns.answers.into())
            }
            Id::DnsNameLength => Some(self.dns()?.name.len() as i64),
            Id::DnsLatency => nonzero(self.dns()?.latency_ns),
            Id::HttpStatus => nonzero(self.http()?.status.into()),
            Id::HttpLatency => nonzero(self.http()?.latency_ns),
            Id::PeerPid => nonzero(self.peer()?.peer_pid.into()),
            _ => None,
        }
    }

    pub(super) fn network_flag(&self, id: Id) -> Option<bool> {
        match (id, &self.event.data) {
            (Id::DnsMalformed, EventData::Dns(dns)) => Some(dns.malformed),
            (Id::NetSent, EventData::Dns(dns)) => Some(dns.sent),
            (Id::NetSent, EventData::Http(http)) => Some(http.sent),
            (Id::NetSent, EventData::Peer(peer)) => Some(peer.sent),
            _ => None,
        }
    }
}

fn known(text: &[u8]) -> Option<&[u8]> {
    (!text.is_empty()).then_some(text)
}

/// The last two labels: what is registered under most top-level domains, and a stable key for the rest.
fn domain(name: &[u8]) -> &[u8] {
    let mut dots = name
        .iter()
        .enumerate()
        .rev()
        .filter(|(_, byte)| **byte == b'.');
    match dots.nth(1) {
        Some((at, _)) => &name[at + 1..],
        None => name,
    }
}

#[cfg(test)]
mod tests {
    use super::domain;

    #[test]
    fn a_domain_is_the_last_two_labels() {
        assert_eq!(domain(b"a.b.example.org"), b"example.org");
        assert_eq!(domain(b"example.org"), b"example.org");
        assert_eq!(domain(b"localhost"), b"localhost");
        assert_eq!(domain(b""), b"");
    }
}
