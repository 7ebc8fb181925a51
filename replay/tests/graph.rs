//! Who talks to whom: both ends of a connection are one edge, within a host and across hosts. And what
//! selects and compares findings: `detect --container`, `diff`.

mod program;
mod support;

use program::replay;
use replay::{
    graph::{
        Collector, Graph, Node, Weight,
        contact::{Contact, Object, With},
    },
    lives::{Connection, Listener, Place, Went},
    resolve::Role,
};
use serde_json::Value;
use std::fs;
use support::{Scenario, items, seal};

type Address<'a> = (&'a str, u16);

fn tcp(comm: &str, role: Role, own: Address<'_>, other: Address<'_>) -> Connection {
    Connection {
        boot_ns: 1,
        wall_ns: None,
        protocol: "tcp".into(),
        role: Some(role),
        pid: 1,
        start_ns: 1,
        comm: comm.into(),
        place: Place {
            cgroup_id: 1,
            container_id: "c".repeat(64),
            container_name: format!("{comm}-1"),
            image: String::new(),
        },
        local_addr: Some(own.0.into()),
        local_port: own.1,
        remote_addr: Some(other.0.into()),
        remote_port: other.1,
        latency_ns: 0,
        established_ns: None,
        end_ns: None,
        went: Went::Closed,
        ret: None,
    }
}

fn edges(graph: &Graph) -> Vec<(String, String, u16, Weight)> {
    let label = |node: usize| graph.nodes[node].label(true);
    graph
        .edges
        .iter()
        .map(|(edge, weight)| (label(edge.from), label(edge.to), edge.port, *weight))
        .collect()
}

#[test]
fn both_ends_are_one_edge_across_hosts_too() {
    let (web, db) = (("10.0.0.1", 40_000), ("10.0.0.2", 5_432));
    let mut collector = Collector::new(false);
    collector.add("b", &tcp("postgres", Role::Server, db, web));
    collector.add("a", &tcp("nginx", Role::Client, web, db));
    // Once more, of which only the client is recorded.
    collector.add("a", &tcp("nginx", Role::Client, ("10.0.0.1", 40_001), db));
    // And one that came from somewhere.
    collector.add("b", &tcp("postgres", Role::Server, db, ("10.9.9.9", 1)));
    let graph = collector.finish();
    let (nginx, postgres) = (
        "a: nginx [nginx-1]".to_owned(),
        "b: postgres [postgres-1]".to_owned(),
    );
    let weight = |joined| Weight {
        connections: 1,
        failed: 0,
        joined,
        across: joined > 0,
    };
    let mut told = edges(&graph);
    told.sort_by(|a, b| (&a.0, &a.1).cmp(&(&b.0, &b.1)));
    assert_eq!(
        told,
        [
            ("10.9.9.9".to_owned(), postgres.clone(), 5_432, weight(0)),
            (nginx.clone(), "10.0.0.2".to_owned(), 5_432, weight(0)),
            (nginx, postgres, 5_432, weight(1)),
        ]
    );
    assert!(graph.several_hosts());
}

#[test]
fn loopback_joins_nothing_across_hosts() {
    let (one, two) = (("127.0.0.1", 40_000), ("127.0.0.1", 80));
    let mut collector = Collector::new(true);
    collector.add("b", &tcp("server", Role::Server, two, one));
    collector.add("a", &tcp("client", Role::Client, one, two));
    let graph = collector.finish();
    assert!(
        edges(&graph)
            .iter()
            .all(|(_, _, _, weight)| weight.joined == 0)
    );
    assert!(
        graph
            .nodes
            .contains(&Node::Address("127.0.0.1 of client-1 on a".into()))
    );
}

/// Containers use the same loopback addresses and ports, each for itself.
#[test]
fn loopback_joins_within_a_container() {
    let (one, two) = (("127.0.0.1", 40_000), ("127.0.0.1", 80));
    let mut collector = Collector::new(true);
    collector.add("a", &tcp("x", Role::Server, two, one));
    collector.add("a", &tcp("y", Role::Server, two, one));
    collector.add("a", &tcp("y", Role::Client, one, two));
    collector.add("a", &tcp("x", Role::Client, one, two));
    let graph = collector.finish();
    let edges = edges(&graph);
    assert_eq!(edges.len(), 2);
    assert!(
        edges
            .iter()
            .all(|(from, to, _, weight)| from == to && weight.joined == 1),
        "{edges:?}"
    );
}

/// A name server is bound to no address of its own, and a client that never connects knows none of its own
/// either: ports tell, as far as the addresses do not differ.
#[test]
fn ends_of_datagrams_are_joined_by_what_each_knows() {
    let udp = |comm: &str, role, own, other| Connection {
        protocol: "udp".into(),
        ..tcp(comm, role, own, other)
    };
    let mut collector = Collector::new(true);
    collector.add(
        "a",
        &udp("named", Role::Server, ("0.0.0.0", 53), ("10.0.0.1", 40_000)),
    );
    collector.add(
        "a",
        &udp("app", Role::Client, ("10.0.0.1", 40_000), ("10.0.0.2", 53)),
    );
    collector.add(
        "a",
        &udp(
            "statsd",
            Role::Server,
            ("10.0.0.3", 8_125),
            ("10.0.0.1", 40_001),
        ),
    );
    collector.add(
        "a",
        &udp(
            "app",
            Role::Client,
            ("0.0.0.0", 40_001),
            ("10.0.0.3", 8_125),
        ),
    );
    // The same ports, another server.
    collector.add(
        "a",
        &udp(
            "app",
            Role::Client,
            ("10.0.0.1", 40_001),
            ("10.0.0.9", 8_125),
        ),
    );
    let told: Vec<(String, String, u64)> = edges(&collector.finish())
        .into_iter()
        .map(|(from, to, _, weight)| (from, to, weight.joined))
        .collect();
    let of = |name: &str| format!("a: {name}-1");
    for edge in [
        (of("app"), of("named"), 1),
        (of("app"), of("statsd"), 1),
        (of("app"), "10.0.0.9".to_owned(), 0),
    ] {
        assert!(told.contains(&edge), "{edge:?}: {told:?}");
    }
    assert_eq!(told.len(), 3);
}

/// A socket belongs to who listens there; the same path in another container is another socket.
#[test]
fn a_unix_socket_leads_to_who_listens() {
    let unix = |comm: &str, pid| Connection {
        protocol: "unix".into(),
        pid,
        local_addr: None,
        remote_addr: Some("/run/db.sock".into()),
        remote_port: 0,
        ..tcp(comm, Role::Client, ("", 0), ("", 0))
    };
    let mut collector = Collector::new(false);
    collector.add("h", &unix("web", 7));
    collector.add("h", &unix("cron", 8));
    // Both the one who connected and the one who accepted say it.
    for _ in 0..2 {
        collector.listens(
            "h",
            &Listener {
                path: "/run/db.sock".into(),
                comm: "postgres".into(),
                place: place("db"),
                client: (7, 1),
            },
        );
    }
    let told: Vec<(String, String, u64, bool)> = edges(&collector.finish())
        .into_iter()
        .map(|(from, to, _, weight)| (from, to, weight.joined, weight.across))
        .collect();
    let (socket, own) = ("h: /run/db.sock [db]", "h: /run/db.sock [cron-1]");
    let mut wanted = [
        ("h: web [web-1]", socket, 1, true),
        (socket, "h: postgres [db]", 1, true),
        ("h: cron [cron-1]", own, 0, false),
    ]
    .map(|(from, to, joined, across)| (from.to_owned(), to.to_owned(), joined, across));
    wanted.sort();
    let mut told = told;
    told.sort();
    assert_eq!(told, wanted);
}

/// What a container did before its name was known is the container's all the same, and no other's.
#[test]
fn a_container_is_one_before_and_after_its_name_is_known() {
    let unnamed = Place {
        container_id: "c".repeat(64),
        ..Place::default()
    };
    let named = Place {
        container_name: "web".into(),
        ..unnamed.clone()
    };
    let with = |place: &Place| With::Process {
        place: place.clone(),
        comm: "worker".into(),
    };
    let contact = |place: &Place, with| Contact {
        place: place.clone(),
        ..contact("", "master", with, "ptrace")
    };
    let mut collector = Collector::new(false);
    collector.touch("h", &contact(&unnamed, with(&unnamed)));
    collector.touch("h", &contact(&named, with(&unnamed)));
    collector.touch("h", &contact(&named, with(&named)));
    collector.add(
        "h",
        &Connection {
            place: unnamed,
            ..tcp("master", Role::Client, ("10.0.0.1", 4), ("10.0.0.2", 5))
        },
    );
    let told = edges(&collector.finish());
    let (master, worker) = ("h: master [web]".to_owned(), "h: worker [web]".to_owned());
    let weight = |connections, joined| Weight {
        connections,
        failed: 0,
        joined,
        across: false,
    };
    assert_eq!(told.len(), 2);
    assert!(
        told.contains(&(master.clone(), worker, 0, weight(9, 9))),
        "{told:?}"
    );
    assert!(told.contains(&(master, "10.0.0.2".into(), 5, weight(1, 0))));
}

fn contact(container: &str, comm: &str, with: With, how: &'static str) -> Contact {
    Contact {
        place: place(container),
        comm: comm.to_owned(),
        with,
        how,
        calls: 3,
        failed: false,
    }
}

fn place(container: &str) -> Place {
    Place {
        container_id: container.to_owned(),
        container_name: container.to_owned(),
        ..Place::default()
    }
}

/// An object is a node where two use it, and it leads across where the two are of different containers.
#[test]
fn what_two_use_is_a_node_and_what_one_does_to_another_an_edge() {
    let object = |id| With::Object {
        object: Object {
            kind: "shared memory",
            space: 7,
            id,
        },
        name: (id == 1).then(|| "1 with key 0x2a".to_owned()),
    };
    let mut collector = Collector::new(false);
    for (container, comm, id) in [
        ("web", "php", 1),
        ("db", "postgres", 1),
        ("web", "php", 2),
        ("db", "postgres", 3),
        ("db", "vacuum", 3),
    ] {
        let contact = contact(container, comm, object(id), "shared memory");
        collector.touch("a", &contact);
    }
    let process = |container: &str| With::Process {
        place: place(container),
        comm: "nginx".to_owned(),
    };
    collector.touch("a", &contact("db", "gdb", process("web"), "ptrace"));
    collector.touch("a", &contact("web", "gdb", process("web"), "ptrace"));
    let graph = collector.finish();
    let mut told: Vec<_> = graph
        .edges
        .iter()
        .map(|(edge, weight)| {
            let label = |node: usize| graph.nodes[node].label(false);
            assert_eq!(weight.connections, 3);
            (label(edge.from), label(edge.to), weight.across)
        })
        .collect();
    told.sort();
    let edge = |from: &str, to: &str, across| (from.to_owned(), to.to_owned(), across);
    assert_eq!(
        told,
        [
            edge("gdb [db]", "nginx [web]", true),
            edge("gdb [web]", "nginx [web]", false),
            edge("php [web]", "shared memory 1 with key 0x2a", true),
            edge("postgres [db]", "shared memory 1 with key 0x2a", true),
            edge("postgres [db]", "shared memory 3", false),
            edge("vacuum [db]", "shared memory 3", false),
        ]
    );
}

struct Place1(tempfile::TempDir);

impl Place1 {
    fn new() -> Place1 {
        let place = Place1(tempfile::tempdir().unwrap());
        let trace = support::file(&seal(&items(Scenario::ATTACKED), |_| 2000));
        fs::write(place.0.path().join("trace.zst"), trace).unwrap();
        place
    }

    fn text(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    fn lines(&self, arguments: &[&str]) -> Vec<Value> {
        let output = replay(
            &[arguments, &["--json", &self.text("trace.zst")]].concat(),
            b"",
        );
        assert!(matches!(output.status.code(), Some(0 | 3)), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

#[test]
fn a_graph_comes_as_dot_json_and_page() {
    let place = Place1::new();
    let graph = &place.lines(&["graph"])[0];
    let nodes = graph["nodes"].as_array().unwrap().len() as u64;
    for edge in graph["edges"].as_array().unwrap() {
        assert!(edge["from"].as_u64().unwrap() < nodes && edge["to"].as_u64().unwrap() < nodes);
    }
    let trace = place.text("trace.zst");
    let text = |format: &str| {
        let output = replay(&["graph", "--format", format, &trace], b"");
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(text("dot").starts_with("digraph"));
    let page = text("html");
    assert!(page.contains("<svg") && page.ends_with("</html>\n"));
    assert!(
        !page.contains("<script") && !page.contains("src="),
        "it needs nothing else"
    );
    assert_eq!(page, text("html"));
}

#[test]
fn findings_of_a_container_are_those_that_name_it() {
    let place = Place1::new();
    let all = place.lines(&["detect"]);
    let web = place.lines(&["detect", "--container", "web"]);
    let expected: Vec<&Value> = all
        .iter()
        .filter(|it| it["container"]["name"] == "web")
        .collect();
    assert!(!expected.is_empty() && expected.len() < all.len());
    assert_eq!(web.iter().collect::<Vec<_>>(), expected);
    let stories = place.lines(&["detect", "--incidents", "--container", "web"]);
    assert!(!stories.is_empty());
    assert!(
        stories
            .iter()
            .all(|it| it["containers"][0]["name"] == "web"),
        "{stories:?}"
    );
}

#[test]
fn diff_shows_what_changed_and_nothing_else() {
    let place = Place1::new();
    assert_eq!(
        place.lines(&["diff"]),
        [] as [Value; 0],
        "the same rules find the same"
    );
    let rules = place.text("rules.yaml");
    let rule = "- rule: Shadow\n  desc: d\n  condition: evt.type in (open, openat) and fd.name = /etc/shadow\n  output: o\n  priority: ERROR\n";
    fs::write(&rules, rule).unwrap();
    // Rules of its own: among the shipped ones are some about other rules' findings.
    let base = place.text("base.yaml");
    let other = rule
        .replace("Shadow", "Other")
        .replace("/etc/shadow", "/none");
    fs::write(&base, other).unwrap();
    let changes = place.lines(&["diff", "--old", &base, "--new", &base, "--new", &rules]);
    assert!(!changes.is_empty());
    assert!(
        changes
            .iter()
            .all(|it| it["change"] == "new" && it["rule"] == "Shadow"),
        "{changes:?}"
    );
    let back = place.lines(&["diff", "--new", &base, "--old", &base, "--old", &rules]);
    assert_eq!(back.len(), changes.len());
    assert!(back.iter().all(|it| it["change"] == "gone"));
}
