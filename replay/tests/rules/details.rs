//! Process groups, terminals, logins, rights and programs: what an exec says of them, what becomes of
//! it, and what stays missing.

use super::{
    stock,
    world::{WALL_OFFSET_NS, World, call, exec_data, fork},
};
use replay::rules::{Engine, RuleSet};
use trace_format::{
    Context, Details, EventData, Exec, ExecDetails, ExecFlags, Known, Process, SnapshotDetails,
};

const MILLISECOND: u64 = 1_000_000;

/// A shell at a terminal of the container.
fn details() -> Details {
    Details {
        known: Known(63),
        sid: 80,
        pgid: 80,
        ns_sid: 9,
        ns_pgid: 9,
        tty: 0x8800,
        login_uid: 33,
        cap_effective: 1 << 21 | 1,
        cap_permitted: 1,
        cap_inheritable: 0,
        ns_start_ns: 60 * MILLISECOND,
        exe_ctime_ns: WALL_OFFSET_NS + MILLISECOND,
        exe_mtime_ns: WALL_OFFSET_NS,
        ..Details::default()
    }
}

fn shell(flags: u32, process: Details) -> EventData {
    program("/bin/sh", 60, flags, process)
}

fn program(path: &str, ppid: u32, flags: u32, process: Details) -> EventData {
    EventData::Exec(Exec {
        start_ns: 81 * MILLISECOND,
        flags: ExecFlags(flags),
        details: Some(Box::new(ExecDetails {
            cwd: "/tmp".into(),
            ns_pid: 9,
            process,
        })),
        ..exec_data(path, &[path], ppid, 33)
    })
}

fn a_shell(world: &mut World, process: Details) {
    world.happens(60, fork(80, 81 * MILLISECOND));
    world.happens(80, shell(0, process));
}

/// Each condition holds for an event of `pid` that says nothing itself.
fn all_hold(world: &mut World, pid: u32, conditions: &[&str]) {
    for condition in conditions {
        assert!(
            world.holds(condition, pid, call("getpid", 1, [0; 6])),
            "{condition}"
        );
    }
}

#[test]
fn an_exec_tells_all_of_it() {
    let mut world = World::new();
    a_shell(&mut world, details());
    all_hold(
        &mut world,
        80,
        &[
            "proc.cwd=/tmp/",
            "proc.vpid=9",
            "proc.vpgid=9",
            "proc.is_vpgid_leader=true",
            "proc.vpgid.name=sh",
            "proc.sid=80",
            "proc.sname=sh",
            "proc.tty=34816",
            "user.loginuid=33",
            "user.loginname=www-data",
            "thread.cap_effective=\"CAP_CHOWN CAP_SYS_ADMIN\"",
            "thread.cap_permitted=CAP_CHOWN",
            "not thread.cap_inheritable contains CAP",
            "proc.exe_ino.ctime=1700000000001000000",
            "proc.exe_ino.mtime=1700000000000000000",
            "proc.exe_ino.ctime_duration_proc_start=80000000",
            "container.start_ts=1700000000060000000",
            "proc.is_exe_upper_layer=false",
        ],
    );
}

#[test]
fn children_have_it_from_their_parent_until_they_change_it() {
    let mut world = World::new();
    a_shell(&mut world, details());
    world.happens(80, fork(90, world.boot_ns));
    all_hold(
        &mut world,
        90,
        &[
            "proc.tty=34816",
            "proc.sname=sh",
            "user.loginuid=33",
            "proc.cwd=/tmp/",
            "thread.cap_permitted=CAP_CHOWN",
        ],
    );
    world.happens(90, call("setsid", 90, [0; 6]));
    all_hold(
        &mut world,
        90,
        &["proc.tty=0", "proc.sid=90", "user.loginuid=33"],
    );
    all_hold(&mut world, 80, &["proc.tty=34816", "proc.sid=80"]);
    // Sets from memory that nobody read: unknown, not what they were.
    world.happens(90, call("capset", 0, [1, 2, 0, 0, 0, 0]));
    all_hold(&mut world, 90, &["not thread.cap_effective exists"]);
    const CLONE_NEWUSER: u64 = 0x1000_0000;
    world.happens(80, call("unshare", 0, [CLONE_NEWUSER, 0, 0, 0, 0, 0]));
    all_hold(&mut world, 80, &["thread.cap_effective contains CAP_BPF"]);
}

#[test]
fn what_the_recorder_could_not_see_is_missing() {
    let mut world = World::new();
    let nothing = Details {
        known: Known(0),
        ..Details::default()
    };
    a_shell(&mut world, nothing);
    all_hold(
        &mut world,
        80,
        &[
            "not proc.tty exists",
            "not proc.sid exists",
            "not proc.vpgid exists",
            "not proc.is_vpgid_leader exists",
            "not user.loginuid exists",
            "not thread.cap_effective exists",
            "not proc.exe_ino.ctime exists",
            "not container.start_ts exists",
        ],
    );
    let no_layers = Details {
        known: Known(63 & !Known::LAYER),
        login_uid: Details::NO_LOGIN,
        ..details()
    };
    world.happens(80, shell(0, no_layers));
    all_hold(
        &mut world,
        80,
        &[
            "not proc.is_exe_upper_layer exists",
            "user.loginuid=-1",
            "user.loginname=<NA>",
        ],
    );
}

#[test]
fn a_snapshot_tells_it_too() {
    let mut world = World::new();
    world.context(Context::Process(Process {
        pid: 60,
        ppid: 50,
        start_ns: 60 * MILLISECOND,
        comm: b"nginx".to_vec(),
        exe: b"/memfd:x".to_vec(),
        cgroup_id: super::world::WEB,
        ns_pid: 1,
        details: Some(Box::new(SnapshotDetails {
            process: details(),
            dev: 1,
            ino: 55,
            flags: ExecFlags(ExecFlags::MEMFD),
        })),
        ..Process::default()
    }));
    all_hold(
        &mut world,
        60,
        &[
            "proc.is_exe_from_memfd=true",
            "proc.exe_ino=55",
            "proc.tty=34816",
            "container.start_ts=1700000000060000000",
        ],
    );
}

/// Rules of the stock file that need these fields: each fires for its act and not without it.
#[test]
fn stock_rules_see_terminals_layers_and_memfds() {
    let Some(text) = stock::text("stock_rules_see_terminals_layers_and_memfds") else {
        return;
    };
    let (rules, _) = RuleSet::load(&[("falco_rules.yaml", &text)]).unwrap();
    // An event is the first rule's that it fulfils: a shell below nginx is another one's.
    let found = |path: &str, flags: u32, tty: u32, parent: u32| -> Vec<String> {
        let mut engine = Engine::new(rules.clone());
        let mut world = World::new();
        world.happens(parent, fork(80, 81 * MILLISECOND));
        let process = Details { tty, ..details() };
        let exec = program(path, parent, flags, process);
        let matches = world.judge_in(super::world::WEB, &mut engine, 80, exec);
        matches.iter().map(|found| found.name.to_string()).collect()
    };
    const UPPER: &str = "Drop and execute new binary in container";
    const MEMFD: &str = "Fileless execution via memfd_create";
    const TERMINAL: &str = "Terminal shell in container";
    let fires = |found: &[String], name: &str| found.iter().any(|found| found == name);

    for quiet in [found("/tmp/x", 0, 0, 60), found("/bin/sh", 0, 0, 50)] {
        assert!(quiet.is_empty(), "{quiet:?}");
    }
    let upper = found("/tmp/x", ExecFlags::UPPER_LAYER, 0, 60);
    assert!(fires(&upper, UPPER), "{upper:?}");
    let memfd = found("/tmp/x", ExecFlags::MEMFD, 0, 60);
    assert!(fires(&memfd, MEMFD), "{memfd:?}");
    let terminal = found("/bin/sh", 0, 0x8800, 50);
    assert!(fires(&terminal, TERMINAL), "{terminal:?}");
}
