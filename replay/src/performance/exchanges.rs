//! What goes over the network, counted: TCP connections, and the questions and answers of DNS and HTTP,
//! those that a container asked of others apart from those that it served.

use std::collections::BTreeMap;

use trace_format::event::{Dns, Http, TcpEvent, TcpState, TcpWhat};

use super::histogram::Histogram;

/// Linux `TCP_*`.
const ESTABLISHED: u8 = 1;
const SYN_SENT: u8 = 2;
const CLOSE: u8 = 7;

/// TCP connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TcpUse {
    /// Attempts that ended, failed ones too.
    pub connects: u64,
    pub connects_failed: u64,
    pub connect_latency: Histogram,
    /// By calls: the kernel's own change of state is nobody's.
    pub accepts: u64,
    /// Connections that ended, and from when to when they stood where their beginning was seen.
    pub closed: u64,
    pub duration: Histogram,
    pub sent_bytes: u64,
    pub received_bytes: u64,
    pub retransmits: u64,
    /// Sent and received.
    pub resets: u64,
}

impl TcpUse {
    pub(super) fn state(&mut self, tcp: &TcpState) {
        match (tcp.old, tcp.new) {
            (SYN_SENT, ESTABLISHED) => {
                self.connects += 1;
                self.connect_latency.add(tcp.latency_ns);
            }
            (SYN_SENT, CLOSE) => {
                self.connects += 1;
                self.connects_failed += 1;
            }
            (_, CLOSE) if tcp.duration_ns > 0 || tcp.sent_bytes > 0 || tcp.received_bytes > 0 => {
                self.closed += 1;
                if tcp.duration_ns > 0 {
                    self.duration.add(tcp.duration_ns);
                }
                self.sent_bytes = self.sent_bytes.saturating_add(tcp.sent_bytes);
                self.received_bytes = self.received_bytes.saturating_add(tcp.received_bytes);
            }
            _ => {}
        }
    }

    pub(super) fn event(&mut self, tcp: &TcpEvent) {
        match tcp.what.0 {
            TcpWhat::RETRANSMIT => self.retransmits += 1,
            TcpWhat::RESET_SENT | TcpWhat::RESET_RECEIVED => self.resets += 1,
            _ => {}
        }
    }
}

/// Methods that are told apart; there are nine, and what a hostile client makes up is one more.
const METHODS_MAX: usize = 16;
/// Stands for those beyond.
const OTHER: &str = "other";

/// DNS messages of one side.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DnsUse {
    pub questions: u64,
    pub answers: u64,
    /// By response code, the failures among them: all but 0.
    pub codes: BTreeMap<u8, u64>,
    pub malformed: u64,
    /// Of answers whose question was seen.
    pub latency: Histogram,
}

impl DnsUse {
    fn add(&mut self, dns: &Dns) {
        self.malformed += u64::from(dns.malformed);
        if !dns.is_answer() {
            self.questions += 1;
            return;
        }
        self.answers += 1;
        *self.codes.entry(dns.rcode()).or_default() += 1;
        if dns.latency_ns > 0 {
            self.latency.add(dns.latency_ns);
        }
    }

    pub fn failed(&self) -> u64 {
        let failures = self.codes.iter().filter(|(code, _)| **code != 0);
        failures.map(|(_, count)| count).sum()
    }
}

/// HTTP messages of one side.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpUse {
    pub requests: u64,
    pub responses: u64,
    pub methods: BTreeMap<String, u64>,
    /// By hundreds of the status: the failures are 4 and 5.
    pub classes: BTreeMap<u16, u64>,
    /// Of responses whose request was seen.
    pub latency: Histogram,
    /// Of the first and the last message.
    pub first_ns: u64,
    pub last_ns: u64,
}

impl HttpUse {
    fn add(&mut self, http: &Http, boot_ns: u64) {
        if self.requests + self.responses == 0 {
            self.first_ns = boot_ns;
        }
        self.last_ns = self.last_ns.max(boot_ns);
        if http.status != 0 {
            self.responses += 1;
            *self.classes.entry(http.status / 100).or_default() += 1;
            if http.latency_ns > 0 {
                self.latency.add(http.latency_ns);
            }
            return;
        }
        self.requests += 1;
        let method = http.method.to_string_lossy();
        let known = self.methods.contains_key(&*method) || self.methods.len() < METHODS_MAX;
        let method = if known { &*method } else { OTHER };
        *self.methods.entry(method.to_owned()).or_default() += 1;
    }

    /// Requests in a second, between the first and the last message.
    pub fn rate(&self) -> Option<f64> {
        let ns = self.last_ns.saturating_sub(self.first_ns);
        (ns > 0).then(|| (self.requests as f64 / ns as f64 * 1e12).round() / 1e3)
    }

    pub fn failed(&self) -> u64 {
        let failures = self.classes.iter().filter(|(class, _)| **class >= 4);
        failures.map(|(_, count)| count).sum()
    }
}

/// Both sides of both, and what is below.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exchanges {
    pub tcp: TcpUse,
    pub dns_asked: DnsUse,
    pub dns_served: DnsUse,
    pub http_asked: HttpUse,
    pub http_served: HttpUse,
}

impl Exchanges {
    pub(super) fn dns(&mut self, dns: &Dns) {
        let asks = dns.sent != dns.is_answer();
        let side = if asks {
            &mut self.dns_asked
        } else {
            &mut self.dns_served
        };
        side.add(dns);
    }

    pub(super) fn http(&mut self, http: &Http, boot_ns: u64) {
        let asks = http.sent != (http.status != 0);
        let side = if asks {
            &mut self.http_asked
        } else {
            &mut self.http_served
        };
        side.add(http, boot_ns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_side_counts_its_own() {
        let mut exchanges = Exchanges::default();
        for (sent, flags, latency_ns) in
            [(true, 0x100, 0), (false, 0x8183, 500), (false, 0x8180, 0)]
        {
            exchanges.dns(&Dns {
                sent,
                flags,
                latency_ns,
                ..Dns::default()
            });
        }
        let asked = &exchanges.dns_asked;
        assert_eq!((asked.questions, asked.answers, asked.failed()), (1, 2, 1));
        assert_eq!((asked.latency.count, asked.codes[&3]), (1, 1));
        assert_eq!(exchanges.dns_served, DnsUse::default());
        for (at, (sent, status)) in [(false, 0), (true, 200), (false, 0), (true, 503)]
            .into_iter()
            .enumerate()
        {
            let http = Http {
                sent,
                status,
                method: "GET".into(),
                latency_ns: u64::from(status),
                ..Http::default()
            };
            exchanges.http(&http, at as u64 * 1_000_000_000);
        }
        let served = &exchanges.http_served;
        assert_eq!(
            (served.requests, served.responses, served.failed()),
            (2, 2, 1)
        );
        assert_eq!((served.methods["GET"], served.classes[&5]), (2, 1));
        assert_eq!(served.rate(), Some(0.667));
        assert_eq!(exchanges.http_asked, HttpUse::default());
    }

    #[test]
    fn connections_count_once_at_each_end() {
        let mut tcp = TcpUse::default();
        for (old, new, latency_ns, duration_ns) in [
            (7, SYN_SENT, 0, 0),
            (SYN_SENT, ESTABLISHED, 900, 0),
            (SYN_SENT, CLOSE, 5, 0),
            (9, CLOSE, 0, 4_000),
            // A listener ends.
            (10, CLOSE, 0, 0),
        ] {
            tcp.state(&TcpState {
                old,
                new,
                latency_ns,
                duration_ns,
                sent_bytes: duration_ns / 2,
                ..TcpState::default()
            });
        }
        assert_eq!((tcp.connects, tcp.connects_failed), (2, 1));
        assert_eq!((tcp.connect_latency.count, tcp.closed), (1, 1));
        assert_eq!((tcp.duration.max_ns, tcp.sent_bytes), (4_000, 2_000));
    }

    #[test]
    fn made_up_methods_take_one_place() {
        let mut served = HttpUse::default();
        for at in 0..1_000 {
            let http = Http {
                method: format!("M{at}").as_bytes().into(),
                ..Http::default()
            };
            served.add(&http, at);
        }
        assert_eq!(served.methods.len(), METHODS_MAX + 1);
        assert_eq!(served.methods.values().sum::<u64>(), 1_000);
    }
}
