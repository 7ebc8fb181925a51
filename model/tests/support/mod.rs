//! Labelled runs made by hand: three web servers and a database at work, and acts in one of the servers,
//! each from a process of the server itself.

// Each test binary uses a part of it.
#![allow(dead_code, reason = "each test program uses its own part of this")]

use std::{fs, path::Path};

use fixtures::{Built, ContainerSpec, Load, Reply, START_BOOT_NS, Scenario, Web, linux::*};
use trace_format::Context;

pub const SECOND_NS: u64 = 1_000_000_000;
/// Length of a run.
pub const SECONDS: u64 = 130;

/// The classes in the order in which each run has them.
pub const CLASSES: [&str; 5] = ["noop", "cpu_hog", "port_scan", "cred_read", "drop_exec"];
/// Second in which the first act begins, and from one to the next. Not a multiple of the window.
const FIRST_ACT: u64 = 43;
const ACT_EVERY: u64 = 17;

pub struct Act {
    pub class: &'static str,
    pub cgroup_id: u64,
    pub start_ns: u64,
    pub end_ns: u64,
}

/// A run's trace and its acts. The number makes runs differ: which server is attacked, what is touched.
pub fn run(number: u64) -> (Built, Vec<Act>) {
    let mut scenario = Scenario::new(&format!("labelled run {number}"));
    let webs: Vec<Web> = (0..3).map(|_| Web::add(&mut scenario)).collect();
    let db = scenario.container(ContainerSpec {
        name: "db",
        image: "postgres:17",
        privileged: false,
    });
    let server = scenario.process(db, 901, "/usr/lib/postgresql/17/bin/postgres", "postgres");
    let mut acts = Vec::new();
    let mut pending = None;
    for second in 0..SECONDS {
        for step in 0..4 {
            for web in &webs {
                web.request(&mut scenario);
            }
            if step == 0 && second % 5 == 0 {
                scenario.open(
                    server,
                    &format!("/var/lib/data/base/{}", 16_000 + second),
                    O_WRONLY,
                );
                scenario.count(db, "fsync", 3);
            }
            scenario.advance_to_ms(second * 1000 + 200 * (step + 1));
        }
        let due = second
            .checked_sub(FIRST_ACT)
            .filter(|since| since % ACT_EVERY == 0)
            .map(|since| (since / ACT_EVERY) as usize);
        if let Some(class) = due.and_then(|at| CLASSES.get(at).copied()) {
            let web = webs[(number as usize + acts.len()) % webs.len()];
            let start_ns = scenario.now_ns();
            begin(&mut scenario, class, &web, number);
            acts.push(Act {
                class,
                cgroup_id: web.cgroup_id,
                start_ns,
                end_ns: scenario.now_ns(),
            });
            pending = Some((second + 10, web));
        }
        if let Some((end, web)) = pending
            && second == end
        {
            scenario.load(web.cgroup_id, Load::default());
            if let Some(act) = acts
                .last_mut()
                .filter(|act| act.class == "cpu_hog" || act.class == "noop")
            {
                act.end_ns = scenario.now_ns();
            }
            pending = None;
        }
        scenario.advance_to_ms((second + 1) * 1000);
    }
    (scenario.build(), acts)
}

/// Every act takes the same start path: a worker forks a helper.
fn begin(scenario: &mut Scenario, class: &str, web: &Web, number: u64) {
    let helper = scenario.fork(web.workers[0]);
    match class {
        "noop" => {}
        "cpu_hog" => scenario.load(
            web.cgroup_id,
            Load {
                cpu_permille: 900,
                ..Load::default()
            },
        ),
        "port_scan" => {
            for port in 1..400 {
                scenario.connect(helper, [172, 17, 0, 3], port, Reply::Refused);
            }
        }
        "cred_read" => {
            for path in [
                "/etc/shadow",
                "/root/.ssh/id_ed25519",
                "/root/.aws/credentials",
                "/run/secrets/token",
            ] {
                scenario.open(helper, path, O_RDONLY);
            }
        }
        "drop_exec" => {
            let path = format!("/tmp/.x{number}/updater");
            scenario.create(helper, &path);
            scenario.path_call(helper, "chmod", &path, "", 0o755, 0);
            scenario.exec(helper, &path, "updater");
        }
        other => panic!("no act is named {other}"),
    }
    scenario.exit(helper, 0);
}

/// Writes a run as `inject` lays it out. Labels name the container by id, or by cgroup where `by_cgroup`.
pub fn write_run(directory: &Path, number: u64, by_cgroup: bool) {
    let (built, acts) = run(number);
    fs::create_dir_all(directory).unwrap();
    built.write_file(directory.join("trace.zst")).unwrap();
    let records = built.chunks[0].decode().unwrap().context;
    let id_of = |cgroup_id: u64| {
        records
            .iter()
            .find_map(|record| match &record.body {
                Context::Container(container) if container.cgroup_id == cgroup_id => {
                    Some(container.id.clone())
                }
                _ => None,
            })
            .unwrap()
    };
    let mut labels = String::from(
        "run,container_id,container_name,image,cgroup_id,class,attack_id,attack_version,intensity,start_boot_ns,end_boot_ns,start_wall_ns,end_wall_ns,pids,seed,expected_signals,outcome\n",
    );
    for act in &acts {
        let id = if by_cgroup {
            String::new()
        } else {
            id_of(act.cgroup_id)
        };
        labels.push_str(&format!(
            "run{number},{id},shop-web,nginx:1.26,{},{},T1,16,0.5,{},{},0,0,,{number},,done\n",
            act.cgroup_id, act.class, act.start_ns, act.end_ns
        ));
    }
    fs::write(directory.join("labels.csv"), labels).unwrap();
}

/// `labeled/` with three runs.
pub fn labeled() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for number in 0..3 {
        write_run(
            &directory.path().join(format!("run{number}")),
            number,
            number == 1,
        );
    }
    directory
}

pub fn start_ns() -> u64 {
    START_BOOT_NS
}
