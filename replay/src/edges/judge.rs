//! Tells of each edge that the baseline does not have, once for each image and trace.
//!
//! Where the rule [`ALLOW_RULE`] is on, it is asked about each such connection, with the lists and exceptions
//! that somebody gave it: what it lets pass is not told. Of an image that the baseline never saw no edge is
//! told, only the image.

use std::{
    collections::{BTreeSet, HashSet},
    net::IpAddr,
    sync::Arc,
};
use trace_format::{ContextRecord, Endpoint, Event, EventData, PathMarks, SockCall, Text};

use super::{
    Baseline, Edge, Port, Protocol, image_of,
    watch::{SETTLE_NS, Seen, Sight, Watch},
};
use crate::{
    findings::{EngineKind, Finding, Severity, Value},
    order::EventRef,
    pipeline::Detector,
    resolve::{News, State},
    rules::{Engine, RuleSet},
    syscalls::{self, Arch},
};

/// The name of what is found of an edge, and of an image.
pub const EDGE_RULE: &str = "edge_outside_baseline";
pub const IMAGE_RULE: &str = "image_outside_baseline";
/// And of edges that there was no room to tell apart.
pub const OVER_LIMIT_RULE: &str = "edges_over_limit";

/// The shipped rule that keeps the allow list.
const ALLOW_RULE: &str = "Connection outside the allow list";

/// Edges, and images, told of one trace; past it, they are counted. Far more than anybody reads.
pub const TOLD_MAX: usize = 16_384;

/// The detector.
pub struct Judge {
    baseline: Arc<Baseline>,
    watch: Watch,
    allow: Option<Engine>,
    told: HashSet<(String, Edge)>,
    images_told: BTreeSet<String>,
    /// Edges and images past [`TOLD_MAX`], and when the first was.
    over_limit: u64,
    over_limit_ns: u64,
}

impl Judge {
    /// `rules` are those that the pipeline runs with.
    pub fn new(baseline: Arc<Baseline>, rules: &RuleSet) -> Judge {
        let asked = rules
            .rules()
            .any(|rule| rule.enabled && &*rule.name == ALLOW_RULE);
        let allow = asked.then(|| {
            let mut only = rules.clone();
            only.switch_named("*", false);
            only.switch_named(ALLOW_RULE, true);
            Engine::new(only)
        });
        Judge {
            baseline,
            watch: Watch::default(),
            allow,
            told: HashSet::new(),
            images_told: BTreeSet::new(),
            over_limit: 0,
            over_limit_ns: 0,
        }
    }

    fn settle(&mut self, now_ns: u64, state: &State, found: &mut dyn FnMut(Finding)) {
        for seen in self.watch.settled(now_ns) {
            let Some((image, edge, _)) = self.watch.resolve(&seen, state) else {
                continue;
            };
            let usual = self.baseline.of(image).is_some_and(|it| it.has(&edge));
            if !self.judges(image, seen.first_ns, seen.cgroup_id, found)
                || usual
                || self.allows(&seen, state)
                || self.told.contains(&(image.to_owned(), edge.clone()))
            {
                continue;
            }
            if self.told.len() >= TOLD_MAX {
                self.count_over_limit(seen.first_ns);
                continue;
            }
            found(unusual(image, &edge, &seen, state));
            self.told.insert((image.to_owned(), edge));
        }
    }

    /// Whether the edges of the image can be judged; says once if they cannot.
    fn judges(
        &mut self,
        image: &str,
        boot_ns: u64,
        cgroup_id: u64,
        found: &mut dyn FnMut(Finding),
    ) -> bool {
        let reason = match self.baseline.of(image) {
            None => "the baseline has no container of it",
            Some(usual) if usual.too_many => "it has too many edges in the baseline",
            Some(_) => return true,
        };
        if self.images_told.contains(image) {
            return false;
        }
        if self.images_told.len() >= TOLD_MAX {
            self.count_over_limit(boot_ns);
            return false;
        }
        self.images_told.insert(image.to_owned());
        let severity = Severity::Informational;
        let mut finding =
            Finding::new(EngineKind::Statistics, IMAGE_RULE.into(), severity, boot_ns);
        finding.message = format!("edges of image {image} are not judged: {reason}");
        finding.cgroup_id = cgroup_id;
        finding.told_once = true;
        finding.fields = vec![
            ("image".to_owned(), Value::Text(image.to_owned())),
            ("reason".to_owned(), Value::Text(reason.to_owned())),
        ];
        found(finding);
        false
    }

    fn count_over_limit(&mut self, boot_ns: u64) {
        if self.over_limit == 0 {
            self.over_limit_ns = boot_ns;
        }
        self.over_limit += 1;
    }

    /// Whether the allow list has the connection.
    fn allows(&mut self, seen: &Seen, state: &State) -> bool {
        let (Some(engine), Sight::Connects(protocol, address, port)) =
            (&mut self.allow, seen.sight)
        else {
            return false;
        };
        let Some(nr) = syscalls::number(state.arch(), "connect") else {
            return false;
        };
        let (family, addr) = match address {
            IpAddr::V4(four) => (2, Text::new(&four.octets())),
            IpAddr::V6(six) => (10, Text::new(&six.octets())),
        };
        let call = SockCall {
            nr,
            ret: 0,
            fd: -1,
            family,
            sock_type: match protocol {
                Protocol::Tcp => 1,
                Protocol::Udp => 2,
                Protocol::Ip => 0,
            },
            local: Endpoint::default(),
            remote: Endpoint { addr, port },
            unix_path: Text::default(),
            marks: PathMarks::default(),
            interface: 0,
            duration_ns: 0,
        };
        let asked = Event {
            boot_ns: seen.first_ns,
            cpu: 0,
            probe: 0,
            seq: 0,
            tid: seen.pid,
            pid: seen.pid,
            cgroup_id: seen.cgroup_id,
            data: EventData::SockCall(call),
        };
        let mut matches = Vec::new();
        engine.evaluate(&asked, state, &mut matches);
        matches.is_empty()
    }
}

fn unusual(image: &str, edge: &Edge, seen: &Seen, state: &State) -> Finding {
    let mut finding = Finding::new(
        EngineKind::Statistics,
        EDGE_RULE.into(),
        Severity::Notice,
        seen.first_ns,
    );
    let port = |port: &Port| match port {
        Port::Fixed(port) => port.to_string(),
        Port::Chosen => "chosen by the kernel".to_owned(),
    };
    let times = match seen.count {
        1 => "once".to_owned(),
        count => format!("{count} times"),
    };
    let within = SETTLE_NS / 1_000_000_000;
    let (does, direction, protocol, peer, port) = match edge {
        Edge::Connects {
            protocol,
            peer,
            port: at,
        } => (
            format!("connects to {peer}, {} port {}", protocol.name(), port(at)),
            "outbound",
            protocol.name(),
            Value::Text(peer.to_string()),
            at,
        ),
        Edge::Listens(at) => (
            format!("listens on tcp port {}", port(at)),
            "listen",
            "tcp",
            Value::Missing,
            at,
        ),
    };
    finding.message = format!(
        "image {image} {does}, which its baseline does not have ({times} in the first {within} s)"
    );
    finding.cgroup_id = seen.cgroup_id;
    // Another process may have the number by now.
    let same = state
        .lineage(seen.pid)
        .next()
        .is_none_or(|now| seen.start_ns == 0 || now.start_ns == seen.start_ns);
    finding.pid = if same { seen.pid } else { 0 };
    finding.evidence = Some(seen.at);
    finding.told_once = true;
    let address = match seen.sight {
        Sight::Connects(_, address, _) => Value::Text(address.to_string()),
        Sight::Listens(_) => Value::Missing,
    };
    finding.fields = vec![
        ("image".to_owned(), Value::Text(image.to_owned())),
        ("direction".to_owned(), Value::Text(direction.to_owned())),
        ("protocol".to_owned(), Value::Text(protocol.to_owned())),
        ("peer".to_owned(), peer),
        ("address".to_owned(), address),
        (
            "port".to_owned(),
            match port {
                Port::Fixed(port) => Value::Unsigned((*port).into()),
                Port::Chosen => Value::Missing,
            },
        ),
        ("connections".to_owned(), Value::Unsigned(seen.count)),
    ];
    finding
}

impl Detector for Judge {
    fn event(&mut self, event: &Event, at: &EventRef, state: &State, _: &mut dyn FnMut(Finding)) {
        self.watch.event(event, *at, state);
    }

    fn context(
        &mut self,
        _: &ContextRecord,
        news: Option<&News>,
        state: &State,
        found: &mut dyn FnMut(Finding),
    ) {
        if let Some(&News::Container { boot_ns, cgroup_id }) = news
            && let Some(container) = state.container(cgroup_id)
        {
            self.judges(image_of(container), boot_ns, cgroup_id, found);
        }
    }

    fn advance(&mut self, boot_ns: u64, state: &State, found: &mut dyn FnMut(Finding)) {
        if boot_ns >= self.watch.due_ns() {
            self.settle(boot_ns, state, found);
        }
    }

    fn due_ns(&self) -> u64 {
        self.watch.due_ns()
    }

    fn wants_call(&self, _: u32, _: Arch) -> bool {
        false
    }

    fn wants_family(&self, _: u16) -> bool {
        false
    }

    fn finish(&mut self, state: &State, found: &mut dyn FnMut(Finding)) {
        self.settle(u64::MAX, state, found);
        if self.over_limit > 0 {
            let mut finding = Finding::new(
                EngineKind::Statistics,
                OVER_LIMIT_RULE.into(),
                Severity::Notice,
                self.over_limit_ns,
            );
            finding.message = format!(
                "{} edges and images outside the baseline are not told, the first of this time: there were more than {TOLD_MAX}",
                self.over_limit
            );
            finding.fields = vec![("left_out".to_owned(), Value::Unsigned(self.over_limit))];
            found(finding);
        }
    }
}
