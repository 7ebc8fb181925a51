//! Every shipped rule: what it must find and what it must leave alone.

use crate::world::*;
use replay::rules::{Engine, Priority, RuleMatch, RuleSet, SHIPPED};
use std::collections::HashSet;
use trace_format::{Endpoint, EventData, ExecFlags, PathMarks, SockCall};

/// Judges by the shipped rules; the names of those that match, joined.
#[track_caller]
fn found(world: &mut World, pid: u32, data: EventData) -> String {
    world.shipped(&mut shipped_engine(), pid, data).join(", ")
}

/// A child of a process that runs a program; what the shipped rules say about the exec.
fn runs(world: &mut World, parent: u32, path: &str, args: &[&str]) -> String {
    let uid = world
        .state
        .process(parent)
        .and_then(|process| process.uid)
        .unwrap_or(0);
    let pid = parent * 100 + u32::try_from(world.boot_ns / 1_000_000 % 97).unwrap();
    world.child(parent, pid);
    found(world, pid, exec(path, args, parent, uid))
}

/// A process in the container with this name, below the runtime.
fn named(world: &mut World, pid: u32, comm: &str) -> u32 {
    world.process(pid, 50, comm, &format!("/usr/bin/{comm}"), &[comm], WEB, 0);
    pid
}

fn socket(family: u16) -> EventData {
    let mut data = sock_data("socket", 5, 5, Endpoint::default(), Endpoint::default());
    data.family = family;
    EventData::SockCall(data)
}

fn unix_connect(path: &str) -> EventData {
    let data = sock_data("connect", 0, 5, Endpoint::default(), Endpoint::default());
    EventData::SockCall(SockCall {
        family: 1,
        unix_path: path.into(),
        ..data
    })
}

const WRITE: u32 = O_WRONLY | O_CREAT;

#[test]
fn the_shipped_file_loads_without_a_warning_and_names_techniques() {
    let (rules, warnings) = RuleSet::load(&[SHIPPED]).unwrap();
    let odd: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    assert_eq!(odd, [] as [&str; 0]);
    assert!(rules.rules().len() >= 25);
    let mut names = HashSet::new();
    for rule in rules.rules() {
        assert!(names.insert(rule.name.clone()), "{} twice", rule.name);
        // What is about several findings has the techniques of each.
        assert!(
            rule.techniques().count() > 0 || &*rule.name == "Several alarms in one container",
            "{} has no ATT&CK technique",
            rule.name
        );
        // Whom containers may talk to is somebody else's to say.
        let waits_for_a_list = &*rule.name == "Connection outside the allow list";
        assert!(
            rule.enabled != waits_for_a_list && rule.priority >= Priority::Informational,
            "{}",
            rule.name
        );
        assert!(
            rule.description.ends_with('.') && rule.description.len() > 40,
            "{}",
            rule.name
        );
    }
}

#[test]
fn shell_started_by_a_server() {
    let mut world = World::new();
    assert_eq!(
        runs(&mut world, 60, "/bin/sh", &["sh", "-c", "id"]),
        "Shell started by a server"
    );
    assert_eq!(runs(&mut world, 60, "/usr/sbin/nginx", &["nginx"]), "");
    // The official image's entry script, before the server runs.
    world.process(
        80,
        50,
        "docker-entrypoi",
        "/bin/sh",
        &["/bin/sh", "/docker-entrypoint.sh"],
        WEB,
        0,
    );
    world.process(
        81,
        80,
        "postgres",
        "/usr/bin/postgres",
        &["postgres"],
        WEB,
        0,
    );
    assert_eq!(runs(&mut world, 81, "/bin/sh", &["sh", "-c", "setup"]), "");
}

#[test]
fn shell_with_an_unusual_parent_in_a_container() {
    let mut world = World::new();
    let rule = "Shell with an unusual parent in a container";
    let appd = named(&mut world, 80, "appd");
    assert_eq!(runs(&mut world, appd, "/bin/bash", &["bash", "-i"]), rule);
    assert_eq!(
        runs(&mut world, 50, "/bin/sh", &["sh"]),
        "",
        "the image's own start"
    );
    for ordinary in [
        "sh",
        "busybox",
        "timeout",
        "make",
        "tini",
        "crond",
        "runc:[2:INIT]",
        "dpkg",
    ] {
        let parent = named(&mut world, 90, ordinary);
        assert_eq!(
            runs(&mut world, parent, "/bin/sh", &["sh", "-c", "true"]),
            "",
            "{ordinary}"
        );
    }
    world.process(71, 1, "appd", "/usr/bin/appd", &["appd"], HOST, 0);
    assert_eq!(runs(&mut world, 71, "/bin/sh", &["sh"]), "", "on the host");
    assert_eq!(
        runs(&mut world, 4000, "/bin/sh", &["sh"]),
        "",
        "a parent that nobody saw"
    );
}

#[test]
fn programs_from_shared_memory_and_scratch_directories() {
    let mut world = World::new();
    assert_eq!(
        runs(&mut world, 60, "/dev/shm/x", &["x"]),
        "Program run from shared memory"
    );
    assert_eq!(
        runs(&mut world, 70, "/dev/shm/x", &["x"]),
        "Program run from shared memory"
    );
    let rule = "Program run from a scratch directory in a container";
    assert_eq!(runs(&mut world, 60, "/tmp/a/x", &["x"]), rule);
    assert_eq!(runs(&mut world, 60, "/var/tmp/x", &["x"]), rule);
    assert_eq!(
        runs(&mut world, 70, "/tmp/x", &["x"]),
        "",
        "the host builds in /tmp"
    );
    assert_eq!(runs(&mut world, 60, "/usr/bin/id", &["id"]), "");
    assert_eq!(runs(&mut world, 60, "/tmpfs/x", &["x"]), "");
    let dpkg = named(&mut world, 80, "dpkg");
    assert_eq!(runs(&mut world, dpkg, "/tmp/x.config", &["x"]), "");
}

#[test]
fn program_run_from_memory() {
    let mut world = World::new();
    let memfd = |path: &str, ppid: u32| {
        let mut data = exec_data(path, &["x"], ppid, 33);
        data.flags = ExecFlags(ExecFlags::MEMFD);
        EventData::Exec(data)
    };
    world.child(60, 61);
    assert_eq!(
        found(&mut world, 61, memfd("/memfd:kit (deleted)", 60)),
        "Program run from memory"
    );
    assert_eq!(
        found(
            &mut world,
            61,
            memfd("/memfd:runc_cloned:/proc/self/exe (deleted)", 60)
        ),
        ""
    );
    world.process(
        51,
        50,
        "runc",
        "/usr/bin/runc",
        &["runc", "create"],
        HOST,
        0,
    );
    world.child(51, 52);
    assert_eq!(
        found(&mut world, 52, memfd("/memfd:other (deleted)", 51)),
        ""
    );
}

#[test]
fn program_written_and_run_in_a_container() {
    let mut world = World::new();
    let rule = "Program written and run in a container";
    let write = |world: &mut World, pid: u32, path: &str, ino: u64| {
        let mut data = open_data(path, 7, WRITE);
        (data.ino, data.marks) = (ino, PathMarks(PathMarks::CREATED));
        world.happens(pid, EventData::Open(data));
    };
    let run = |world: &mut World, parent: u32, path: &str, ino: u64| {
        let pid = u32::try_from(world.boot_ns / 1_000_000).unwrap();
        world.child(parent, pid);
        let mut data = exec_data(path, &["x"], parent, 33);
        data.ino = ino;
        found(world, pid, EventData::Exec(data))
    };
    write(&mut world, 60, "/opt/app/kit", 900);
    assert_eq!(run(&mut world, 60, "/opt/app/kit", 900), rule);
    // Renamed: the inode is the same.
    world.happens(
        60,
        path_call("rename", 0, "/opt/app/kit", "/opt/app/other", 0),
    );
    assert_eq!(run(&mut world, 60, "/opt/app/other", 900), rule);
    assert_eq!(run(&mut world, 60, "/opt/app/image-program", 901), "");
    // What the host writes is not the container's, and the other way round.
    write(&mut world, 70, "/opt/host", 902);
    assert_eq!(run(&mut world, 70, "/opt/host", 902), "");
    assert_eq!(run(&mut world, 60, "/opt/host", 902), "");
    // Packages and builds.
    for tool in ["dpkg", "pip", "make", "cargo"] {
        let tool = named(&mut world, 80, tool);
        write(&mut world, tool, "/opt/built", 903);
        assert_eq!(run(&mut world, tool, "/opt/built", 903), "");
    }
    // Who builds on the host silences nothing in a container that it started.
    world.process(82, 1, "make", "/usr/bin/make", &["make", "test"], HOST, 0);
    world.process(83, 82, "dpkg", "/usr/bin/dpkg", &["dpkg", "-i"], HOST, 0);
    world.process(84, 83, "app", "/usr/bin/app", &["app"], WEB, 33);
    write(&mut world, 84, "/opt/brought", 905);
    assert_eq!(run(&mut world, 84, "/opt/brought", 905), rule);
    let make = named(&mut world, 85, "make");
    world.process(86, make, "app", "/usr/bin/app", &["app"], WEB, 33);
    assert_eq!(run(&mut world, 86, "/opt/brought", 905), "");
    // Reading does not make a file.
    let mut data = open_data("/opt/read", 7, 0);
    data.ino = 904;
    world.happens(60, EventData::Open(data));
    assert_eq!(run(&mut world, 60, "/opt/read", 904), "");
}

#[test]
fn credential_files() {
    let mut world = World::new();
    let appd = named(&mut world, 80, "appd");
    for (path, rule) in [
        ("/etc/shadow", "Password or privilege file read"),
        ("/etc/gshadow", "Password or privilege file read"),
        ("/etc/sudoers.d/x", "Password or privilege file read"),
        ("/root/.ssh/id_ed25519", "Private key read"),
        ("/home/a/.ssh/id_rsa", "Private key read"),
        ("/root/.aws/credentials", "Cloud credentials read"),
        ("/root/.docker/config.json", "Cloud credentials read"),
        ("/root/.kube/config", "Cloud credentials read"),
        ("/root/.git-credentials", "Cloud credentials read"),
        (
            "/run/secrets/kubernetes.io/serviceaccount/token",
            "Service account token read",
        ),
        ("/etc/passwd", ""),
        ("/root/.ssh/id_ed25519.pub", ""),
        ("/root/.ssh/known_hosts", ""),
        ("/run/secrets/kubernetes.io/serviceaccount/ca.crt", ""),
    ] {
        assert_eq!(found(&mut world, appd, open(path, 3, 0)), rule, "{path}");
        assert_eq!(
            found(&mut world, appd, open(path, -13, 0)),
            rule,
            "{path}, refused"
        );
        assert_eq!(
            found(&mut world, appd, open(path, -2, 0)),
            "",
            "{path}, not there"
        );
    }
    for (comm, path) in [
        ("sshd", "/etc/shadow"),
        ("passwd", "/etc/shadow"),
        ("ssh", "/root/.ssh/id_ed25519"),
        ("aws", "/root/.aws/credentials"),
        ("kubectl", "/root/.kube/config"),
        ("git", "/root/.git-credentials"),
        ("coredns", "/run/secrets/kubernetes.io/serviceaccount/token"),
        ("apt-get", "/etc/shadow"),
    ] {
        let user = named(&mut world, 81, comm);
        assert_eq!(
            found(&mut world, user, open(path, 3, 0)),
            "",
            "{comm} {path}"
        );
    }
    assert_eq!(
        found(&mut world, 70, open("/etc/shadow", 3, 0)),
        "Password or privilege file read",
        "bash on the host"
    );
}

#[test]
fn connections_to_unusual_ports() {
    let mut world = World::new();
    let rule = "Connection to an unusual port from a container";
    assert_eq!(
        found(&mut world, 60, connect(0, [203, 0, 113, 9], 31337)),
        rule
    );
    assert_eq!(
        found(&mut world, 60, connect(-115, [203, 0, 113, 9], 4444)),
        rule
    );
    assert_eq!(
        found(&mut world, 60, connect(0, [10, 0, 0, 9], 31337)),
        rule
    );
    for (ret, address, port, why) in [
        (0, [203, 0, 113, 9], 443, "usual"),
        (0, [10, 0, 0, 9], 5432, "usual"),
        (0, [127, 0, 0, 1], 31337, "itself"),
        (-111, [203, 0, 113, 9], 31337, "refused"),
    ] {
        assert_eq!(
            found(&mut world, 60, connect(ret, address, port)),
            "",
            "{why}"
        );
    }
    assert_eq!(
        found(&mut world, 70, connect(0, [203, 0, 113, 9], 31337)),
        "",
        "host"
    );
    let mut udp = sock_data(
        "connect",
        0,
        9,
        end([172, 17, 0, 2], 1),
        end([203, 0, 113, 9], 31337),
    );
    udp.sock_type = 2;
    assert_eq!(found(&mut world, 60, EventData::SockCall(udp)), "");
}

#[test]
fn packet_sockets() {
    let mut world = World::new();
    assert_eq!(
        found(&mut world, 60, socket(17)),
        "Packet socket opened in a container"
    );
    assert_eq!(found(&mut world, 60, socket(2)), "");
    assert_eq!(found(&mut world, 60, socket(16)), "", "netlink");
    assert_eq!(found(&mut world, 70, socket(17)), "", "host");
}

#[test]
fn standard_streams_on_a_connection() {
    let mut world = World::new();
    let rule = "Standard stream moved to a network connection in a container";
    world.happens(60, connect(0, [203, 0, 113, 9], 443));
    assert_eq!(
        found(&mut world, 60, call("dup2", 0, [9, 0, 0, 0, 0, 0])),
        rule
    );
    assert_eq!(
        found(&mut world, 60, call("dup3", 2, [9, 2, 0, 0, 0, 0])),
        rule
    );
    assert_eq!(
        found(&mut world, 60, call("dup2", 10, [9, 10, 0, 0, 0, 0])),
        "",
        "not a standard stream"
    );
    world.happens(60, open("/var/log/app.log", 8, WRITE));
    assert_eq!(
        found(&mut world, 60, call("dup2", 1, [8, 1, 0, 0, 0, 0])),
        "",
        "a file"
    );
}

#[test]
fn container_runtime_socket() {
    let mut world = World::new();
    assert_eq!(
        found(&mut world, 60, unix_connect("/var/run/docker.sock")),
        "Container runtime socket used in a container"
    );
    assert_eq!(
        found(&mut world, 60, unix_connect("/run/mysqld/mysqld.sock")),
        ""
    );
    assert_eq!(
        found(&mut world, 70, unix_connect("/var/run/docker.sock")),
        ""
    );
}

#[test]
fn privileged_container() {
    let mut engine = shipped_engine();
    let mut matches: Vec<RuleMatch> = Vec::new();
    let mut world = World::new();
    // `web` is known already; another one comes up, once as pending and once for good.
    let mut record = trace_format::Container {
        cgroup_id: 300,
        id: "e".repeat(64),
        name: "tool".into(),
        image: "tool:1".into(),
        privileged: true,
        ..Default::default()
    };
    assert_eq!(
        world.context(trace_format::Context::Container(record.clone())),
        None,
        "pending"
    );
    record.resolution = trace_format::Resolution::Resolved;
    let news = world
        .context(trace_format::Context::Container(record.clone()))
        .expect("news");
    engine.observe(news, &world.state, &mut matches);
    assert_eq!(matches.len(), 1);
    assert_eq!(&*matches[0].name, "Privileged container");
    assert!(
        matches[0]
            .output
            .contains("container=tool image=tool:1 id=eeeeeeeeeeee"),
        "{}",
        matches[0].output
    );
    assert_eq!(
        world.context(trace_format::Context::Container(record.clone())),
        None,
        "a checkpoint"
    );
    (record.cgroup_id, record.id, record.privileged) = (301, "d".repeat(64), false);
    let news = world
        .context(trace_format::Context::Container(record))
        .expect("news");
    engine.observe(news, &world.state, &mut matches);
    assert_eq!(matches.len(), 1, "an ordinary container");
}

#[test]
fn process_became_root() {
    let mut world = World::new();
    world.child(60, 61);
    assert_eq!(
        found(&mut world, 61, exec("/usr/bin/su-like", &["x"], 60, 0)),
        "Process became root in a container"
    );
    assert_eq!(
        found(&mut world, 61, exec("/usr/bin/id", &["id"], 60, 33)),
        ""
    );
    let root = named(&mut world, 80, "appd");
    assert_eq!(
        runs(&mut world, root, "/usr/bin/id", &["id"]),
        "",
        "root stays root"
    );
}

#[test]
fn calls_that_lead_out_of_a_container() {
    let calls = [
        (
            path_call("mount", 0, "/dev/sda1", "/mnt", 0),
            "Mount in a container",
        ),
        (
            path_call("mount", -1, "/dev/sda1", "/mnt", 0),
            "Mount in a container",
        ),
        (call("fsmount", 3, [0; 6]), "Mount in a container"),
        (
            call("unshare", 0, [0x1000_0000, 0, 0, 0, 0, 0]),
            "New namespaces in a container",
        ),
        (
            call("setns", -1, [3, 0x2_0000, 0, 0, 0, 0]),
            "Namespace entered from a container",
        ),
        (
            call("ptrace", 0, [16, 61, 0, 0, 0, 0]),
            "Process memory or registers taken over in a container",
        ),
        (
            call("ptrace", 0, [5, 61, 0, 0, 0, 0]),
            "Process memory or registers taken over in a container",
        ),
        (
            call("process_vm_writev", 8, [61, 0, 0, 0, 0, 0]),
            "Process memory or registers taken over in a container",
        ),
        (
            open("/proc/61/mem", 4, 2),
            "Process memory or registers taken over in a container",
        ),
        (
            call("init_module", -1, [0; 6]),
            "Kernel module loaded from a container",
        ),
        (
            call("finit_module", 0, [3, 0, 0, 0, 0, 0]),
            "Kernel module loaded from a container",
        ),
        (
            call("bpf", -1, [5, 0, 0, 0, 0, 0]),
            "BPF used in a container",
        ),
        (
            open("/sys/fs/cgroup/rdma/release_agent", 4, WRITE),
            "Way out of the container written",
        ),
        (
            open("/proc/sys/kernel/core_pattern", 4, WRITE),
            "Way out of the container written",
        ),
    ];
    let mut world = World::new();
    let init = {
        world.process(85, 50, "runc:[2:INIT]", "/", &["runc", "init"], WEB, 0);
        85
    };
    for (data, rule) in calls {
        assert_eq!(found(&mut world, 60, data.clone()), rule, "{data:?}");
        assert_eq!(
            found(&mut world, 70, data.clone()),
            "",
            "on the host: {data:?}"
        );
        assert_eq!(
            found(&mut world, init, data.clone()),
            "",
            "the runtime: {data:?}"
        );
    }
    for ordinary in [
        path_call("mount", -2, "/x", "/y", 0),
        call("unshare", 0, [0x400, 0, 0, 0, 0, 0]),
        call("ptrace", 0, [0, 0, 0, 0, 0, 0]),
        call("ptrace", 0, [7, 61, 0, 0, 0, 0]),
        open("/proc/61/mem", 4, 0),
        open("/proc/self/status", 4, 0),
    ] {
        assert_eq!(found(&mut world, 60, ordinary.clone()), "", "{ordinary:?}");
    }
}

#[test]
fn files_that_should_not_change() {
    let mut world = World::new();
    for (path, rule) in [
        ("/etc/cron.d/job", "Persistence file written in a container"),
        (
            "/etc/ld.so.preload",
            "Persistence file written in a container",
        ),
        ("/etc/passwd", "Persistence file written in a container"),
        (
            "/root/.ssh/authorized_keys",
            "Persistence file written in a container",
        ),
        ("/etc/app.conf", "File below etc written in a container"),
        ("/usr/bin/ls", "Program directory changed in a container"),
        ("/bin/ls", "Program directory changed in a container"),
        ("/srv/data", ""),
        ("/var/lib/app/db", ""),
        ("/usr/share/x", ""),
        ("/binary", ""),
    ] {
        assert_eq!(found(&mut world, 60, open(path, 5, WRITE)), rule, "{path}");
        assert_eq!(
            found(&mut world, 60, open(path, -13, WRITE)),
            "",
            "{path}, refused"
        );
        assert_eq!(
            found(&mut world, 70, open(path, 5, WRITE)),
            "",
            "{path}, on the host"
        );
        let apt = named(&mut world, 80, "dpkg");
        assert_eq!(
            found(&mut world, apt, open(path, 5, WRITE)),
            "",
            "{path}, by dpkg"
        );
        let init = named(&mut world, 81, "runc:[2:INIT]");
        assert_eq!(
            found(&mut world, init, open(path, 5, WRITE)),
            "",
            "{path}, by the runtime"
        );
    }
    let mut creat = open_data("/usr/bin/new", 5, 0);
    creat.nr = nr("creat");
    assert_eq!(
        found(&mut world, 60, EventData::Open(creat)),
        "Program directory changed in a container"
    );
    let rename = path_call("rename", 0, "/srv/x", "/usr/local/bin/x", 0);
    assert_eq!(
        found(&mut world, 60, rename),
        "Program directory changed in a container"
    );
    assert_eq!(
        found(
            &mut world,
            60,
            path_call("rename", 0, "/srv/x", "/srv/y", 0)
        ),
        ""
    );
    // The official nginx image edits its configuration at the start.
    world.process(
        82,
        50,
        "docker-entrypoi",
        "/bin/sh",
        &["/bin/sh", "/docker-entrypoint.sh"],
        WEB,
        0,
    );
    world.process(83, 82, "sed", "/bin/sed", &["sed", "-i"], WEB, 0);
    assert_eq!(
        found(
            &mut world,
            83,
            open("/etc/nginx/conf.d/default.conf", 5, WRITE)
        ),
        ""
    );
}

#[test]
fn logs_that_are_cleared() {
    let mut world = World::new();
    let rule = "Log file cleared";
    let cut = open("/var/log/app.log", 5, WRITE | O_TRUNC);
    assert_eq!(found(&mut world, 60, cut.clone()), rule);
    assert_eq!(
        found(
            &mut world,
            60,
            path_call("truncate", 0, "/var/log/app.log", "", 0)
        ),
        "Log file cut off by its path"
    );
    assert_eq!(
        found(
            &mut world,
            60,
            path_call("unlink", 0, "/var/log/wtmp", "", 0)
        ),
        "Log file removed"
    );
    world.happens(60, open("/var/log/app.log", 8, WRITE));
    assert_eq!(
        found(&mut world, 60, call("ftruncate", 0, [8, 0, 0, 0, 0, 0])),
        rule
    );
    assert_eq!(
        found(&mut world, 60, open("/var/log/app.log", 5, WRITE)),
        "",
        "appending"
    );
    assert_eq!(
        found(&mut world, 60, open("/srv/app.log", 5, WRITE | O_TRUNC)),
        "",
        "not a log directory"
    );
    let mut first = open_data("/var/log/app.log", 5, WRITE | O_TRUNC);
    first.marks = PathMarks(PathMarks::CREATED);
    assert_eq!(
        found(&mut world, 60, EventData::Open(first)),
        "",
        "a new log"
    );
    assert_eq!(
        found(
            &mut world,
            60,
            path_call("rename", 0, "/var/log/a", "/var/log/a.1", 0)
        ),
        "",
        "rotation"
    );
    let rotate = named(&mut world, 80, "logrotate");
    assert_eq!(found(&mut world, rotate, cut), "");
}

/// What runc does in the new container's cgroup before the image's program runs, and what ordinary
/// busybox and nginx containers do after: not one finding.
#[test]
fn an_ordinary_container_start_is_quiet() {
    let mut world = World::new();
    let mut engine = shipped_engine();
    world.process(
        200,
        50,
        "runc",
        "/usr/bin/runc",
        &["runc", "create"],
        HOST,
        0,
    );
    world.process(
        201,
        200,
        "runc:[0:PARENT]",
        "/usr/bin/runc",
        &["runc", "init"],
        WEB,
        0,
    );
    let started = world.boot_ns + 1;
    let steps: Vec<(u32, EventData)> = vec![
        (201, fork(202, started)),
        (202, call("unshare", 0, [0x7c02_0000, 0, 0, 0, 0, 0])),
        (202, call("setns", 0, [9, 0x4000_0000, 0, 0, 0, 0])),
        (202, path_call("mount", 0, "proc", "/proc", 0)),
        (202, path_call("pivot_root", 0, ".", ".", 0)),
        (202, open("/etc/passwd", 3, 0)),
        (202, open("/proc/self/attr/exec", 3, O_WRONLY)),
        (202, call("setuid", 0, [0; 6])),
        (
            202,
            exec(
                "/bin/busybox",
                &["sh", "-c", "while true; do date; sleep 1; done"],
                201,
                0,
            ),
        ),
        (201, exit(201_000_000)),
        (202, fork(203, started + 1)),
        (203, exec("/bin/date", &["date"], 202, 0)),
        (203, open("/etc/localtime", -2, 0)),
        (203, exit(started + 1)),
        (202, open("/dev/null", 4, O_WRONLY)),
        (202, fork(204, started + 2)),
        (204, exec("/bin/sh", &["sh", "-c", "true"], 202, 0)),
        (60, connect(-115, [10, 0, 0, 5], 8080)),
        (60, open("/var/log/nginx/access.log", 9, WRITE | 0o2000)),
        (60, open("/etc/nginx/nginx.conf", 9, 0)),
        (60, open("/var/cache/nginx/tmp", 9, WRITE | O_TRUNC)),
        (60, socket(2)),
        (60, socket(1)),
        (60, call("kill", 0, [60, 1, 0, 0, 0, 0])),
    ];
    for (pid, data) in steps {
        let found = world.judge(&mut engine, pid, data.clone());
        let names: Vec<_> = found.iter().map(|found| &found.output).collect();
        assert!(names.is_empty(), "{data:?}: {names:?}");
    }
}

/// A runtime that nobody knows by name is known by where its program was started.
#[test]
fn a_container_set_up_from_outside_is_quiet_and_what_follows_is_not() {
    // Once moved into the container after its program had started, once before.
    for moved_first in [false, true] {
        set_up_from_outside(moved_first);
    }
}

fn set_up_from_outside(moved_first: bool) {
    let mut world = World::new();
    let mut engine = shipped_engine();
    world.child(70, 300);
    let builder = exec("/opt/builder", &["builder"], 70, 0);
    if moved_first {
        assert!(world.judge_in(WEB, &mut engine, 300, builder).is_empty());
    } else {
        world.happens(300, builder);
    }
    let mut quiet = |world: &mut World, pid, data: EventData| {
        let found = world.judge_in(WEB, &mut engine, pid, data.clone());
        let outputs: Vec<_> = found.iter().map(|found| &found.output).collect();
        assert!(outputs.is_empty(), "{data:?}: {outputs:?}");
    };
    let mut program = open_data("/usr/bin/appd", 5, WRITE);
    (program.ino, program.marks) = (990, PathMarks(PathMarks::CREATED));
    let run = |path: &str, ino: u64, ppid: u32| {
        let mut data = exec_data(path, &["x"], ppid, 0);
        data.ino = ino;
        EventData::Exec(data)
    };
    let started = world.boot_ns;
    quiet(
        &mut world,
        300,
        call("unshare", 0, [0x7c02_0000, 0, 0, 0, 0, 0]),
    );
    quiet(&mut world, 300, path_call("mount", 0, "none", "/", 0));
    quiet(&mut world, 300, EventData::Open(program.clone()));
    quiet(&mut world, 300, open("/etc/passwd", 5, WRITE));
    quiet(&mut world, 300, fork(301, started));
    quiet(&mut world, 300, fork(302, started));
    quiet(&mut world, 301, path_call("pivot_root", 0, ".", ".", 0));
    quiet(&mut world, 301, run("/usr/bin/appd", 990, 300));
    quiet(&mut world, 302, call("setns", 0, [3, 0x2_0000, 0, 0, 0, 0]));
    quiet(&mut world, 302, run("/bin/sh", 5, 300));
    assert!(world.holds(
        "proc.enters_container=true and proc.started_outside=false",
        302,
        open("/x", 3, 0)
    ));
    // From here on it is the container itself that acts.
    assert_eq!(
        found(&mut world, 301, path_call("mount", 0, "none", "/mnt", 0)),
        "Mount in a container"
    );
    world.happens(301, EventData::Open(program));
    assert_eq!(
        found(&mut world, 301, run("/usr/bin/appd", 990, 300)),
        "Program written and run in a container"
    );
}

/// When events were lost, the change of root may be among them: then a program is the container's own.
#[test]
fn a_gap_never_turns_a_container_into_its_own_set_up() {
    let mut world = World::new();
    world.child(70, 300);
    world.context(trace_format::Context::Loss(trace_format::Loss {
        counts: vec![trace_format::LossCount {
            cpu: 0,
            probe: 1,
            seen: 9,
            dropped: 3,
            filtered: 0,
        }],
    }));
    let mut engine = shipped_engine();
    world.judge_in(WEB, &mut engine, 300, exec("/bin/app", &["app"], 70, 0));
    let mount = path_call("mount", 0, "none", "/mnt", 0);
    assert_eq!(world.judge_in(WEB, &mut engine, 300, mount).len(), 1);
}

/// busybox starts its applets through /proc/self/exe: their names are in argv[0] only.
#[test]
fn busybox_applets_are_known_by_their_argument() {
    let mut world = World::new();
    world.process(
        80,
        50,
        "exe",
        "/bin/busybox",
        &["timeout", "5", "sh"],
        WEB,
        0,
    );
    assert_eq!(runs(&mut world, 80, "/bin/sh", &["sh", "-c", "true"]), "");
    world.process(81, 50, "exe", "/bin/busybox", &["httpd"], WEB, 0);
    assert_eq!(
        runs(&mut world, 81, "/bin/sh", &["sh"]),
        "Shell with an unusual parent in a container"
    );
    world.process(
        82,
        50,
        "exe",
        "/bin/busybox",
        &["cat", "/etc/shadow"],
        WEB,
        0,
    );
    assert_eq!(
        found(&mut world, 82, open("/etc/shadow", 3, 0)),
        "Password or privilege file read"
    );
    let applet = named(&mut world, 83, "appd");
    world.child(applet, 84);
    let mut shell = exec_data("/bin/busybox", &["sh", "-c", "id"], applet, 0);
    shell.comm = "exe".into();
    assert_eq!(
        found(&mut world, 84, EventData::Exec(shell)),
        "Shell with an unusual parent in a container"
    );
}

#[test]
fn findings_name_who_did_it_where() {
    let mut world = World::new();
    let found = world.judge(&mut shipped_engine(), 60, open("/etc/shadow", 3, 0));
    assert_eq!(
        found[0].output,
        "Password or privilege file read | file=/etc/shadow result=SUCCESS command=nginx -g daemon off; \
         program=/usr/sbin/nginx lineage=containerd-shim systemd user=www-data pid=60 container=web \
         image=registry.example/team/web:1.2"
    );
    assert_eq!(found[0].techniques().collect::<Vec<_>>(), ["T1003.008"]);
    assert_eq!(found[0].priority, Priority::Warning);
}

#[test]
fn connections_outside_the_lists_of_networks_and_of_an_images_edges() {
    let user = "- list: allowed_networks
  items: ['\"127.0.0.0/8\"']
- rule: Connection outside the allow list
  override: {enabled: replace, exceptions: append}
  enabled: true
  exceptions:
    - name: edges
      values: [[registry.example/team/web, 10.1.2.0/24, 5432]]
    - name: ports
      values: [[registry.example/team/web, 443], [registry.example/team/cron, 53]]
";
    let (rules, warnings) = RuleSet::load(&[SHIPPED, ("user.yaml", user)]).unwrap();
    assert_eq!(warnings, []);
    let mut engine = Engine::new(rules);
    let mut world = World::new();
    let mut outside = |pid: u32, address: [u8; 4], port: u16| {
        let matches = world.judge(&mut engine, pid, connect(0, address, port));
        let rule = "Connection outside the allow list";
        matches.iter().any(|found| &*found.name == rule)
    };
    assert!(!outside(60, [127, 0, 0, 1], 9000), "a network for all");
    assert!(!outside(60, [10, 1, 2, 3], 5432), "an edge of the image");
    assert!(outside(60, [10, 1, 2, 3], 5433), "another port");
    assert!(outside(60, [10, 1, 3, 3], 5432), "another network");
    assert!(!outside(60, [203, 0, 113, 9], 443), "a port of the image");
    assert!(outside(60, [203, 0, 113, 9], 53), "another image's port");
    assert!(!outside(70, [203, 0, 113, 9], 53), "the host");
}
