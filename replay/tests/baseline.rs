//! `detect --baseline`: what an image usually does is not told, each new edge once, a new image once.

mod program;
mod support;

use ::replay::edges::{OVER_LIMIT_RULE, TOLD_MAX};
use program::replay;
use serde_json::Value;
use std::fs;
use support::{Item, SECOND_NS, START_NS, file, seal_as};
use trace_format::{
    Clock, Container, Context, ContextRecord, Endpoint, Event, EventData, Host, Process,
    Resolution, TcpState, Text,
};

const SYN_SENT: u8 = 2;
const ESTABLISHED: u8 = 1;
const SYN_RECV: u8 = 3;
const CLOSE: u8 = 7;
const LISTEN: u8 = 10;

type Address = ([u8; 4], u16);

/// A trace of containers, each with one process and an address.
struct Made {
    items: Vec<Item>,
    now_ns: u64,
    seq: u64,
}

impl Made {
    fn new() -> Made {
        let mut made = Made {
            items: Vec::new(),
            now_ns: START_NS,
            seq: 0,
        };
        made.context(Context::Host(Host {
            hostname: "test".into(),
            arch: "x86_64".into(),
            cpus: 1,
            ..Default::default()
        }));
        made.context(Context::Clock(Clock {
            boot_ns: START_NS,
            wall_ns: START_NS + support::WALL_OFFSET_NS,
        }));
        made
    }

    fn context(&mut self, body: Context) {
        let boot_ns = self.now_ns;
        self.items
            .push(Item::Context(ContextRecord { boot_ns, body }));
    }

    fn container(&mut self, cgroup_id: u64, image: &str) {
        let pid = cgroup_id as u32;
        self.context(Context::Container(Container {
            cgroup_id,
            id: format!("{cgroup_id:064x}"),
            name: format!("c{cgroup_id}"),
            image: image.into(),
            runtime: "docker".into(),
            resolution: Resolution::Resolved,
            ..Default::default()
        }));
        self.context(Context::Process(Process {
            pid,
            ppid: 1,
            start_ns: START_NS - SECOND_NS,
            cgroup_id,
            comm: "work".into(),
            exe: b"/bin/work".to_vec(),
            args: "work".into(),
            ..Default::default()
        }));
    }

    fn tcp(&mut self, cgroup_id: u64, states: (u8, u8), local: Address, remote: Address) {
        self.now_ns += 1_000_000;
        let end = |(addr, port): Address| Endpoint {
            addr: Text::new(&addr),
            port,
        };
        self.items.push(Item::Event(Event {
            boot_ns: self.now_ns,
            cpu: 0,
            probe: 4,
            seq: self.seq,
            tid: cgroup_id as u32,
            pid: cgroup_id as u32,
            cgroup_id,
            data: EventData::TcpState(TcpState {
                old: states.0,
                new: states.1,
                family: 2,
                local: end(local),
                remote: end(remote),
                sock: self.seq + 1,
                ..Default::default()
            }),
        }));
        self.seq += 1;
    }

    /// From a client port that no other connection has.
    fn connects(&mut self, cgroup_id: u64, own: [u8; 4], remote: Address) {
        let local = (own, 33_000 + self.seq as u16);
        self.tcp(cgroup_id, (CLOSE, SYN_SENT), local, remote);
    }

    fn accepts(&mut self, cgroup_id: u64, own: Address, from: [u8; 4]) {
        let from = (from, 40_000 + self.seq as u16);
        self.tcp(cgroup_id, (SYN_RECV, ESTABLISHED), own, from);
    }

    fn listens(&mut self, cgroup_id: u64, port: u16) {
        self.tcp(cgroup_id, (CLOSE, LISTEN), ([0; 4], port), ([0; 4], 0));
    }

    /// Ten seconds pass, and the trace is written.
    fn write(mut self, place: &tempfile::TempDir, name: &str) -> String {
        for _ in 0..10 {
            self.now_ns += SECOND_NS;
            self.context(Context::Tick);
        }
        let mut uuid = [0; 16];
        uuid[..name.len()].copy_from_slice(name.as_bytes());
        let path = place.path().join(format!("{name}.zst"));
        fs::write(&path, file(&seal_as(uuid, &self.items, |_| 7))).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

const WEB: u64 = 101;
const DB: u64 = 102;
const WEB_IP: [u8; 4] = [172, 17, 0, 2];
const DB_IP: [u8; 4] = [172, 17, 0, 3];

/// A web server with its database, a private and a public service.
fn usual(tag: &str, db_ip: [u8; 4]) -> Made {
    let mut made = Made::new();
    made.container(WEB, &format!("shop/web:{tag}"));
    made.container(DB, &format!("postgres:{tag}"));
    made.listens(WEB, 80);
    made.listens(DB, 5432);
    made.listens(DB, 41_000 + db_ip[3] as u16);
    for _ in 0..3 {
        made.connects(WEB, WEB_IP, (db_ip, 5432));
        made.accepts(DB, (db_ip, 5432), WEB_IP);
    }
    made.connects(WEB, WEB_IP, ([10, 1, 2, 3], 6379));
    made.connects(WEB, WEB_IP, ([203, 0, 114, 10], 443));
    made.connects(WEB, WEB_IP, ([127, 0, 0, 1], 9000));
    made
}

const ONLY: [&str; 4] = ["detect", "--json", "--no-default-rules", "--no-statistics"];

fn findings(arguments: &[&str]) -> Vec<Value> {
    let output = replay(arguments, b"");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn found(baselines: &[&str], more: &[&str], trace: &str) -> Vec<Value> {
    let baselines = baselines.iter().flat_map(|path| ["--baseline", *path]);
    let baselines: Vec<&str> = baselines.collect();
    findings(&[&ONLY[..], &baselines, more, &[trace]].concat())
}

/// What is told, shortly: rule, severity, container, peer and port.
fn told(findings: &[Value]) -> Vec<String> {
    let findings = findings.iter();
    findings
        .map(|it| {
            let text = |value: &Value| value.to_string().replace('"', "");
            let severity = text(&it["severity"]);
            let container = text(&it["container"]["name"]);
            let rule = text(&it["rule"]);
            let (peer, port) = (text(&it["fields"]["peer"]), text(&it["fields"]["port"]));
            format!("{rule} {severity} {container} {peer} {port}")
        })
        .collect()
}

#[test]
fn usual_edges_are_not_told_whatever_tag_client_port_and_address_of_the_peer() {
    let place = tempfile::tempdir().unwrap();
    let baseline = usual("1", DB_IP).write(&place, "baseline");
    assert_eq!(told(&found(&[&baseline], &[], &baseline)), [""; 0]);
    let later = usual("2", [172, 17, 0, 9]).write(&place, "later");
    assert_eq!(told(&found(&[&baseline], &[], &later)), [""; 0]);
}

#[test]
fn each_new_edge_is_told_once_with_what_it_rests_on() {
    let place = tempfile::tempdir().unwrap();
    let baseline = usual("1", DB_IP).write(&place, "baseline");
    let mut made = usual("2", DB_IP);
    for _ in 0..4 {
        // Another of the same private network, and of the same public one.
        made.connects(WEB, WEB_IP, ([10, 1, 2, 4], 6379));
        made.connects(WEB, WEB_IP, ([203, 0, 114, 11], 443));
    }
    // Long after that it is still no news.
    made.now_ns += 30 * SECOND_NS;
    made.connects(WEB, WEB_IP, ([10, 1, 2, 4], 6379));
    made.connects(WEB, WEB_IP, ([203, 0, 113, 10], 443));
    made.connects(WEB, WEB_IP, ([203, 0, 114, 10], 444));
    made.connects(DB, DB_IP, (WEB_IP, 80));
    made.listens(WEB, 4444);
    let trace = made.write(&place, "trace");
    let all = found(&[&baseline], &[], &trace);
    assert_eq!(
        told(&all),
        [
            "edge_outside_baseline notice c101 10.1.2.4 6379",
            "edge_outside_baseline notice c101 203.0.113.0/24 443",
            "edge_outside_baseline notice c101 203.0.114.0/24 444",
            "edge_outside_baseline notice c102 image shop/web 80",
            "edge_outside_baseline notice c101 null 4444",
        ]
    );
    let first = &all[0];
    assert_eq!(first["engine"], "statistics");
    assert_eq!(first["lineage"][0]["comm"], "work");
    assert_eq!(first["evidence"]["family"], "tcp_state");
    assert_eq!(first["fields"]["connections"], 4);
    assert_eq!(
        first["message"],
        "image shop/web connects to 10.1.2.4, tcp port 6379, which its baseline does not have (4 times in the first 5 s)"
    );
    // The time is that of the first connection: a range that ends before has none.
    let seconds = (first["boot_ns"].as_u64().unwrap() - START_NS) as f64 / 1e9;
    assert!(seconds < 1.0);
    assert_eq!(
        told(&found(&[&baseline], &["--from", "10s"], &trace)).len(),
        4
    );
    assert_eq!(
        told(&found(&[&baseline], &["--to", "10s"], &trace)),
        told(&all[..1])
    );
    let db = found(&[&baseline], &["--container", "c102"], &trace);
    assert_eq!(told(&db), told(&all[3..4]));
    let threads = |number| found(&[&baseline], &["--threads", number], &trace);
    assert_eq!(threads("1"), all);
    assert_eq!(threads("8"), all);
    // What any of several traces has is usual.
    assert_eq!(told(&found(&[&baseline, &trace], &[], &trace)), [""; 0]);
}

#[test]
fn an_image_that_the_baseline_never_saw_is_told_once_and_not_its_edges() {
    let place = tempfile::tempdir().unwrap();
    let baseline = usual("1", DB_IP).write(&place, "baseline");
    let mut made = usual("1", DB_IP);
    for (cgroup_id, last) in [(103, 4), (104, 5)] {
        made.container(cgroup_id, "miner:3");
        made.connects(cgroup_id, [172, 17, 0, last], ([203, 0, 113, 7], 3333));
        made.listens(cgroup_id, 8080);
    }
    let trace = made.write(&place, "trace");
    let all = found(&[&baseline], &[], &trace);
    assert_eq!(
        told(&all),
        ["image_outside_baseline informational c103 null null"]
    );
    assert_eq!(all[0]["fields"]["image"], "miner");
}

/// A scan that runs for an hour must not take all memory, and must not go unsaid.
#[test]
fn edges_over_the_limit_are_counted_and_said() {
    let place = tempfile::tempdir().unwrap();
    let baseline = usual("1", DB_IP).write(&place, "baseline");
    let mut scan = usual("2", DB_IP);
    for number in 0..TOLD_MAX + 5 {
        let [.., high, low] = (number as u32).to_be_bytes();
        scan.connects(WEB, WEB_IP, ([10, 9, high, low], 22));
    }
    let scan = scan.write(&place, "scan");
    let found = found(&[&baseline], &[], &scan);
    let over: Vec<&Value> = found
        .iter()
        .filter(|it| it["rule"] == OVER_LIMIT_RULE)
        .collect();
    assert_eq!(over.len(), 1);
    assert_eq!(over[0]["fields"]["left_out"], 5);
}

#[test]
fn the_allow_list_lets_new_edges_pass() {
    let place = tempfile::tempdir().unwrap();
    let baseline = usual("1", DB_IP).write(&place, "baseline");
    let mut made = usual("1", DB_IP);
    made.connects(WEB, WEB_IP, ([10, 7, 0, 1], 25));
    made.connects(WEB, WEB_IP, ([10, 8, 0, 1], 25));
    made.connects(DB, DB_IP, ([10, 8, 0, 1], 25));
    let trace = made.write(&place, "trace");
    let rules = place.path().join("rules.yaml");
    let text = "- list: allowed_networks\n  items: ['\"10.7.0.0/16\"']\n\
        - rule: Connection outside the allow list\n  override: {enabled: replace, exceptions: append}\n  \
        enabled: true\n  exceptions:\n    - name: edges\n      values: [[shop/web, 10.8.0.0/16, 25]]\n";
    fs::write(&rules, text).unwrap();
    let told = |more: &[&str]| {
        let arguments = [
            &[
                "detect",
                "--json",
                "--no-statistics",
                "--baseline",
                &baseline,
            ],
            more,
            &[&trace],
        ];
        let all = findings(&arguments.concat());
        let edges = all
            .into_iter()
            .filter(|it| it["rule"] == "edge_outside_baseline");
        told(&edges.collect::<Vec<_>>())
    };
    let all = [
        "edge_outside_baseline notice c101 10.7.0.1 25",
        "edge_outside_baseline notice c101 10.8.0.1 25",
        "edge_outside_baseline notice c102 10.8.0.1 25",
    ];
    assert_eq!(told(&[]), all);
    assert_eq!(told(&["--rules", rules.to_str().unwrap()]), all[2..]);
}

#[test]
fn a_baseline_that_cannot_be_learned_is_an_error_that_says_why() {
    let place = tempfile::tempdir().unwrap();
    let trace = usual("1", DB_IP).write(&place, "trace");
    let empty = Made::new().write(&place, "empty");
    let text = place.path().join("text.zst");
    fs::write(&text, "no trace at all").unwrap();
    for (baseline, code, said) in [
        ("/nowhere.zst", 1, "/nowhere.zst"),
        (text.to_str().unwrap(), 1, "text.zst"),
        (&empty, 1, "no container in it connects or listens"),
        ("-", 2, "a baseline is learned from a file or directory"),
    ] {
        let output = replay(&["detect", "--baseline", baseline, &trace], b"");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{baseline}: {error}");
        assert!(error.contains(said) && output.stdout.is_empty(), "{error}");
    }
}
