//! Joins DNS answers to questions and HTTP responses to requests: how long it took, and what was asked.
//!
//! Both ends of an exchange go through one descriptor of one process, so that is the key. Answers to DNS
//! questions may come in another order, so their number is in the key too; HTTP/1 answers in order, and
//! of several requests at once (pipelining) the last one counts. What finds no place is an event without
//! these fields, never a wrong one.

use std::collections::VecDeque;

use hashbrown::HashMap;
use trace_format::{Event, EventData, Text};

/// Questions and requests that wait for an answer; the oldest goes. Those that never get one would else
/// stay for ever.
const WAITING_MAX: usize = 8_192;
/// An answer later than this is not the answer: descriptors and numbers come again.
const WAIT_MAX_NS: u64 = 60_000_000_000;

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    pid: u32,
    fd: i32,
    /// The number of a DNS message; none: HTTP.
    id: Option<u16>,
    /// A process may ask itself through one socket: who asked.
    sent: bool,
}

struct Asked {
    boot_ns: u64,
    /// Which of those with this key.
    turn: u64,
    method: Text,
    path: Text,
    host: Text,
}

#[derive(Default)]
pub struct Pairs {
    waiting: HashMap<Key, Asked>,
    /// In the order of asking; those that were answered or replaced are still here.
    order: VecDeque<(Key, u64)>,
    turn: u64,
}

impl Pairs {
    /// Notes a question; completes an answer.
    pub fn see(&mut self, event: &mut Event) {
        let (pid, boot_ns) = (event.pid, event.boot_ns);
        match &mut event.data {
            EventData::Dns(dns) => {
                let key = Key {
                    pid,
                    fd: dns.fd,
                    id: Some(dns.id),
                    sent: dns.sent != dns.is_answer(),
                };
                if !dns.is_answer() {
                    self.ask(
                        key,
                        boot_ns,
                        [Text::default(), dns.name.clone(), Text::default()],
                    );
                } else if let Some(asked) = self.answered(key, boot_ns)
                    && asked.path == dns.name
                {
                    dns.latency_ns = boot_ns.saturating_sub(asked.boot_ns);
                }
            }
            EventData::Http(http) => {
                let key = Key {
                    pid,
                    fd: http.fd,
                    id: None,
                    sent: http.sent != (http.status != 0),
                };
                if http.status == 0 {
                    let texts = [http.method.clone(), http.path.clone(), http.host.clone()];
                    self.ask(key, boot_ns, texts);
                } else if http.status / 100 == 1 {
                    // 100 Continue and its like: the response is still to come.
                } else if let Some(asked) = self.answered(key, boot_ns) {
                    http.latency_ns = boot_ns.saturating_sub(asked.boot_ns);
                    http.method = asked.method;
                    http.path = asked.path;
                    http.host = asked.host;
                }
            }
            _ => {}
        }
    }

    fn ask(&mut self, key: Key, boot_ns: u64, [method, path, host]: [Text; 3]) {
        while self.order.len() >= WAITING_MAX {
            let Some((oldest, turn)) = self.order.pop_front() else {
                break;
            };
            if self
                .waiting
                .get(&oldest)
                .is_some_and(|asked| asked.turn == turn)
            {
                self.waiting.remove(&oldest);
            }
        }
        self.turn += 1;
        self.order.push_back((key, self.turn));
        let asked = Asked {
            boot_ns,
            turn: self.turn,
            method,
            path,
            host,
        };
        self.waiting.insert(key, asked);
    }

    fn answered(&mut self, key: Key, boot_ns: u64) -> Option<Asked> {
        let asked = self.waiting.remove(&key)?;
        (boot_ns.saturating_sub(asked.boot_ns) <= WAIT_MAX_NS).then_some(asked)
    }
}

#[cfg(test)]
mod tests {
    use trace_format::event::{Dns, Http};

    use super::*;

    fn at(boot_ns: u64, data: EventData) -> Event {
        Event {
            boot_ns,
            cpu: 0,
            probe: 1,
            seq: boot_ns,
            tid: 7,
            pid: 7,
            cgroup_id: 1,
            data,
        }
    }

    fn dns(pairs: &mut Pairs, boot_ns: u64, sent: bool, id: u16, flags: u16, name: &str) -> u64 {
        let data = EventData::Dns(Dns {
            fd: 3,
            sent,
            id,
            flags,
            name: name.into(),
            ..Dns::default()
        });
        let mut event = at(boot_ns, data);
        pairs.see(&mut event);
        match event.data {
            EventData::Dns(dns) => dns.latency_ns,
            other => panic!("{other:?}"),
        }
    }

    fn http(pairs: &mut Pairs, boot_ns: u64, sent: bool, status: u16, path: &str) -> Http {
        let data = EventData::Http(Http {
            fd: 3,
            sent,
            status,
            path: path.into(),
            ..Http::default()
        });
        let mut event = at(boot_ns, data);
        pairs.see(&mut event);
        match event.data {
            EventData::Http(http) => http,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn two_questions_at_once_find_their_answers() {
        let mut pairs = Pairs::default();
        assert_eq!(dns(&mut pairs, 10, true, 1, 0x100, "a"), 0);
        assert_eq!(dns(&mut pairs, 11, true, 2, 0x100, "b"), 0);
        assert_eq!(dns(&mut pairs, 30, false, 2, 0x8180, "b"), 19);
        assert_eq!(dns(&mut pairs, 40, false, 1, 0x8180, "a"), 30);
        // Answered once; and an answer to another name is none.
        assert_eq!(dns(&mut pairs, 50, false, 1, 0x8180, "a"), 0);
        dns(&mut pairs, 60, true, 3, 0x100, "a");
        assert_eq!(dns(&mut pairs, 70, false, 3, 0x8180, "c"), 0);
    }

    #[test]
    fn a_server_and_a_client_on_one_descriptor_number_do_not_mix() {
        let mut pairs = Pairs::default();
        http(&mut pairs, 10, false, 0, "/served");
        // It sends a response: to what it received.
        let response = http(&mut pairs, 25, true, 200, "");
        assert_eq!(
            (response.latency_ns, &response.path[..]),
            (15, &b"/served"[..])
        );
        http(&mut pairs, 30, true, 0, "/asked");
        let stray = http(&mut pairs, 31, true, 200, "");
        assert_eq!((stray.latency_ns, stray.path.len()), (0, 0));
        http(&mut pairs, 32, false, 100, "");
        let response = http(&mut pairs, 40, false, 404, "");
        assert_eq!(
            (response.latency_ns, &response.path[..]),
            (10, &b"/asked"[..])
        );
    }

    #[test]
    fn questions_without_answers_take_no_more_than_their_room() {
        let mut pairs = Pairs::default();
        for number in 0..100_000u64 {
            dns(&mut pairs, number, true, number as u16, 0x100, "x");
        }
        assert!(pairs.order.len() <= WAITING_MAX && pairs.waiting.len() <= WAITING_MAX);
        dns(&mut pairs, 100_000, true, 9, 0x100, "late");
        assert_eq!(
            dns(
                &mut pairs,
                100_000 + WAIT_MAX_NS + 1,
                false,
                9,
                0x8180,
                "late"
            ),
            0
        );
    }
}
