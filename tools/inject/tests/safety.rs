//! What must never happen: an act on the host, an unlimited container, something left behind.

mod support;

use std::{
    fs,
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use inject::{
    cgroup::Limits,
    frame::Order,
    runtime::{Heard, Ipc, Runtime, sandbox::Sandbox},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use support::{
    INJECT, WORKLOAD, await_some, cgroups, docker_container, dry_run_names, end, finish,
    first_container, inject, members, no_docker, no_sandbox, skip, unified,
};

#[test]
fn the_workload_needs_no_library() {
    // As `inject` checks it; a host without a static C library builds a dynamic one.
    match inject::payload::find(Some(Path::new(WORKLOAD))) {
        Ok(payload) => assert!(payload.program.len() > 100_000),
        Err(error) => skip(&error.to_string()),
    }
}

#[test]
fn no_part_of_the_workload_runs_on_the_host() {
    if inject::inside::guard::check().is_ok() {
        println!("skipped: the tests themselves run in a container");
        return;
    }
    for part in [
        "appd", "webd", "fetchd", "compactd", "named", "sh", "anything",
    ] {
        let output = Command::new(WORKLOAD)
            .arg0(part)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{part}");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(
            stderr.contains("the host's own") && stderr.contains(part),
            "{stderr}"
        );
    }
}

#[test]
fn usage_and_missing_parts_are_named() {
    let dynamic = finish(&["run", "noop", "--sandbox", "--payload", INJECT]);
    assert_eq!(dynamic.code, Some(1));
    assert!(
        dynamic.stderr.contains("dynamically linked") || dynamic.stderr.contains("is not a"),
        "{}",
        dynamic.stderr
    );
    let unknown = finish(&["run", "noop,cpu-hog", "--sandbox"]);
    assert_eq!(unknown.code, Some(1));
    assert!(
        unknown.stderr.contains("unknown class \"cpu-hog\""),
        "{}",
        unknown.stderr
    );
    assert_eq!(finish(&["run", "noop", "--intensity", "7"]).code, Some(2));
    let elsewhere = end(inject(&["run", "noop", "--docker"])
        .env("DOCKER_HOST", "tcp://10.0.0.1:2375")
        .spawn()
        .unwrap());
    assert_eq!(elsewhere.code, Some(1));
    assert!(
        elsewhere.stderr.contains("only unix://"),
        "{}",
        elsewhere.stderr
    );
    let nobody = end(inject(&["run", "noop", "--docker"])
        .env("DOCKER_HOST", "unix:///nonexistent.sock")
        .spawn()
        .unwrap());
    assert_eq!(nobody.code, Some(1));
    assert!(
        nobody.stderr.contains("/nonexistent.sock"),
        "{}",
        nobody.stderr
    );
}

#[test]
fn a_sandbox_is_apart_from_the_host_and_limited() {
    if let Some(reason) = no_sandbox() {
        return skip(&reason);
    }
    let args = [
        "run",
        "noop",
        "--sandbox",
        "--background",
        "0",
        "--warmup",
        "60s",
        "--memory",
        "64",
        "--pids",
        "32",
    ];
    let child = inject(&args).spawn().unwrap();
    let (pid, cgroup) = await_some("a container", || first_container(child.id()));
    let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap();

    for name in inject::inside::guard::NAMESPACES {
        let link = |process: &str| fs::read_link(format!("/proc/{process}/ns/{name}")).unwrap();
        assert_ne!(link(&pid.to_string()), link("self"), "{name}");
    }
    let status = read("status");
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert!(
            status.contains(&format!("{set}:\t0000000000000000")),
            "{status}"
        );
    }
    assert!(status.contains("NoNewPrivs:\t1"), "{status}");
    assert!(status.contains("Seccomp:\t2"), "a filter: {status}");
    assert!(
        !status.contains("Uid:\t0\t"),
        "root inside is nobody outside: {status}"
    );
    let mounts = read("mountinfo");
    for line in mounts.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let kind = line.split(" - ").nth(1).unwrap().split(' ').next().unwrap();
        assert!(
            ["tmpfs", "proc", "devtmpfs"].contains(&kind),
            "nothing of the host is mounted: {line}"
        );
        // Devices are the host's, one by one; everything else is limited in bytes and files.
        if kind == "tmpfs" && !fields[4].starts_with("/dev/") {
            assert!(
                line.contains("size=") && line.contains("nr_inodes=1024"),
                "{line}"
            );
        }
        if fields[4] == "/" {
            assert!(fields[5].starts_with("ro,"), "{line}");
        }
    }
    let relative = cgroup.strip_prefix(unified().unwrap()).unwrap();
    let setting = |v1: &str, v2: &str| {
        let v1 = Path::new("/sys/fs/cgroup").join(v1.replace("{}", &relative.to_string_lossy()));
        fs::read_to_string(v1)
            .or_else(|_| fs::read_to_string(cgroup.join(v2)))
            .unwrap()
            .trim()
            .to_owned()
    };
    assert_eq!(
        setting("memory/{}/memory.limit_in_bytes", "memory.max"),
        (64 << 20).to_string()
    );
    assert_eq!(setting("pids/{}/pids.max", "pids.max"), "32");
    let cpu = setting("cpu/{}/cpu.cfs_quota_us", "cpu.max");
    assert!(cpu == "50000" || cpu == "50000 100000", "{cpu}");

    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
    let ended = end(child);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(!cgroup.exists() && !Path::new(&format!("/proc/{pid}")).exists());
}

#[test]
fn a_killed_injector_leaves_no_process_and_the_next_removes_its_cgroups() {
    if let Some(reason) = no_sandbox() {
        return skip(&reason);
    }
    let mut child = inject(&[
        "run",
        "cpu_hog",
        "--sandbox",
        "--background",
        "0",
        "--warmup",
        "0s",
    ])
    .spawn()
    .unwrap();
    let (_, cgroup) = await_some("a container", || first_container(child.id()));
    child.kill().unwrap();
    child.wait().unwrap();
    await_some("the end of the container's processes", || {
        members(&cgroup).is_empty().then_some(())
    });
    // An injector that was killed cannot remove its cgroups: the next one does, whoever starts it.
    // One that is just starting a container holds the reaper off.
    await_some("the removal of the cgroup", || {
        let next = finish(&[
            "run",
            "noop",
            "--sandbox",
            "--background",
            "0",
            "--duration",
            "10ms",
            "--warmup",
            "0s",
            "--cooldown",
            "0s",
        ]);
        assert_eq!(next.code, Some(0), "{}", next.stderr);
        (!cgroup.exists()).then_some(())
    });
    let relative = cgroup.strip_prefix(unified().unwrap()).unwrap();
    for controller in ["cpu", "memory", "pids"] {
        assert!(
            !Path::new("/sys/fs/cgroup")
                .join(controller)
                .join(relative)
                .exists()
        );
    }
}

#[test]
fn a_killed_injector_leaves_no_docker_container() {
    if let Some(reason) = no_docker() {
        return skip(&reason);
    }
    // The name of a container comes from the seed; other tests of this kind may run elsewhere.
    let seed = std::process::id().to_string();
    let args = [
        "run",
        "noop",
        "--docker",
        "--background",
        "0",
        "--warmup",
        "0s",
        "--seed",
        &seed,
    ];
    let mut child = inject(&args).spawn().unwrap();
    let name = dry_run_names(&args).remove(0);
    let cgroup = await_some("a container", || {
        let id = docker_container(&name)?;
        let path = cgroups().remove(&id)?;
        (members(&path).len() >= 3).then_some(path)
    });
    child.kill().unwrap();
    child.wait().unwrap();
    await_some("the end of the container", || {
        (!cgroup.exists()).then_some(())
    });
    await_some("its name to be free", || {
        docker_container(&name).is_none().then_some(())
    });
    let again = finish(&[
        "run",
        "noop",
        "--docker",
        "--background",
        "0",
        "--warmup",
        "0s",
        "--duration",
        "10ms",
        "--seed",
        &seed,
        "--json",
    ]);
    assert_eq!(again.code, Some(0), "{}", again.stderr);
    assert_eq!(again.json()["containers"][0]["name"], name.as_str());
}

#[test]
fn a_container_ends_by_itself_when_its_lifetime_is_over() {
    if let Some(reason) = no_sandbox() {
        return skip(&reason);
    }
    let payload = match inject::payload::find(Some(Path::new(WORKLOAD))) {
        Ok(payload) => payload,
        Err(error) => return skip(&error.to_string()),
    };
    let mut runtime = Sandbox::new(&payload, "appd:test").unwrap();
    let limits = Limits {
        memory_bytes: 64 << 20,
        cpu_milli: 500,
        pids: 32,
    };
    let mut container = runtime.start("app-test", &limits, 1, Ipc::Own).unwrap();
    let order = Order::Begin {
        seed: 1,
        lifetime_ms: 200,
        workload: 1,
        pace_milli: 10_000,
        memory_bytes: limits.memory_bytes,
        network: 0,
        shared: 0,
    };
    inject::runtime::greet(&mut *container, runtime.may_share()).unwrap();
    inject::runtime::begin(&mut *container, &order).unwrap();
    let cgroup = container.identity().cgroup.clone();
    await_some("its end", || {
        matches!(
            container.wire().hear(Duration::from_millis(50)),
            Heard::Closed
        )
        .then_some(())
    });
    await_some("the end of its processes", || {
        members(&cgroup).is_empty().then_some(())
    });
    container.stop().unwrap();
    assert!(!cgroup.exists());
}
