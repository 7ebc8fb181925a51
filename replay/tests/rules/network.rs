//! Promise: what goes over the network has event types and fields, and none of them is there where nothing
//! is known.

use trace_format::{
    EventData,
    event::{Dns, Http, Peer},
};

use crate::world::{WEB, World, end};

fn dns(sent: bool, flags: u16, latency_ns: u64) -> EventData {
    EventData::Dns(Dns {
        fd: 5,
        sent,
        id: 7,
        flags,
        qtype: 16,
        name: "a.b.example.org".into(),
        answers: 2,
        family: 2,
        local: end([172, 17, 0, 2], 40_000),
        remote: end([9, 9, 9, 9], 53),
        latency_ns,
        ..Dns::default()
    })
}

fn http(sent: bool, status: u16) -> EventData {
    EventData::Http(Http {
        fd: 6,
        sent,
        status,
        method: "GET".into(),
        path: "/admin?x=1".into(),
        host: "shop".into(),
        family: 2,
        local: end([172, 17, 0, 2], 80),
        remote: end([172, 17, 0, 3], 50_000),
        latency_ns: u64::from(status) * 1_000,
    })
}

fn all(world: &mut World, data: &EventData, cases: &[(&str, bool)]) {
    for (condition, expected) in cases {
        let holds = world.holds(condition, 60, data.clone());
        assert_eq!(holds, *expected, "{condition}");
    }
}

#[test]
fn dns_messages_have_names_codes_and_ends() {
    let mut world = World::new();
    let question = dns(true, 0x0100, 0);
    all(
        &mut world,
        &question,
        &[
            ("evt.type = dns_question and net.sent = true", true),
            (
                "dns.name = a.b.example.org and dns.domain = example.org",
                true,
            ),
            ("dns.type = TXT and dns.name.length = 15", true),
            (
                "fd.sip = 9.9.9.9 and fd.sport = 53 and fd.l4proto = udp",
                true,
            ),
            ("dns.rcode exists", false),
            ("dns.answers exists", false),
            ("dns.latency exists", false),
            ("http.method exists", false),
            ("dns.malformed = false", true),
        ],
    );
    let answer = dns(false, 0x8183, 1_500);
    all(
        &mut world,
        &answer,
        &[
            ("evt.type = dns_answer and dns.rcode = NXDOMAIN", true),
            ("dns.answers = 2 and dns.latency = 1500", true),
            ("fd.cport = 40000 and fd.sport = 53", true),
        ],
    );
}

#[test]
fn http_messages_have_request_and_status() {
    let mut world = World::new();
    let request = http(false, 0);
    all(
        &mut world,
        &request,
        &[
            ("evt.type = http_request and http.method = GET", true),
            ("http.path = /admin and http.uri = '/admin?x=1'", true),
            ("http.host = shop and net.sent = false", true),
            ("fd.sport = 80 and fd.cip = 172.17.0.3", true),
            ("http.status exists", false),
        ],
    );
    let response = http(true, 503);
    all(
        &mut world,
        &response,
        &[
            ("evt.type = http_response and http.status >= 500", true),
            ("http.latency = 503000 and http.path = /admin", true),
            ("fd.sport = 80 and fd.cport = 50000", true),
        ],
    );
}

#[test]
fn peers_of_unix_sockets_are_processes_of_containers() {
    let mut world = World::new();
    let unix = EventData::Peer(Peer {
        fd: 3,
        sent: true,
        family: 1,
        sock_type: 1,
        unix_path: "/run/app.sock".into(),
        peer_pid: 61,
        peer_cgroup_id: WEB,
        ..Peer::default()
    });
    all(
        &mut world,
        &unix,
        &[
            ("evt.type = unix_peer and peer.pid = 61", true),
            ("fd.name = /run/app.sock and fd.type = unix", true),
            ("peer.container.name = web", true),
        ],
    );
    let udp = EventData::Peer(Peer {
        family: 2,
        sock_type: 2,
        remote: end([9, 9, 9, 9], 123),
        ..Peer::default()
    });
    all(
        &mut world,
        &udp,
        &[
            ("evt.type = udp_peer and fd.rport = 123", true),
            ("peer.pid exists", false),
            ("peer.container.name exists", false),
        ],
    );
}
