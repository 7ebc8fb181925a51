//! Promises of the control socket: a mark stands in the trace at the time that was answered, and only
//! the recorder's user and root get an answer.

mod support;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::{Arc, atomic::Ordering},
};

use recorder::{
    capture::Progress,
    control::{About, Request, Server, ask},
};
use support::{Recording, read, rec};
use trace_format::{Context, Mark};

fn ctl(socket: &Path, args: &[&str]) -> (Option<i32>, String, String) {
    let output = rec()
        .arg("ctl")
        .args(args)
        .arg("--control")
        .arg(socket)
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

#[test]
fn a_mark_stands_in_the_trace_at_the_time_that_was_answered() {
    needs_kernel!();
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("control.sock");
    let option = format!("--control={}", socket.display());
    let recording = Recording::start(&dir.path().join("trace.zst"), &[&option]);
    let path = recording.trace.clone();

    let (code, boot_ns, stderr) = ctl(&socket, &["mark", "version 7", "--label", "deploy"]);
    assert_eq!(code, Some(0), "{stderr}");
    let (code, json, stderr) = ctl(&socket, &["mark", "again", "--json"]);
    assert_eq!(code, Some(0), "{stderr}");
    let again: serde_json::Value = serde_json::from_str(&json).unwrap();
    let (code, _, stderr) = ctl(&socket, &["mark", &"x".repeat(5000)]);
    assert_eq!(code, Some(1));
    assert!(stderr.contains("at most 4096 bytes"), "{stderr}");
    let (code, status, stderr) = ctl(&socket, &["status", "--json"]);
    assert_eq!(code, Some(0), "{stderr}");
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status["recording"], true);
    assert_eq!(status["marks"], 2);
    recording.stop();
    assert!(!socket.exists());
    let (code, _, stderr) = ctl(&socket, &["status"]);
    assert_eq!(code, Some(1));
    assert!(stderr.contains("no capture answers"), "{stderr}");

    let trace = read(&path);
    let marks: Vec<(String, &Mark)> = trace
        .context
        .iter()
        .filter_map(|record| match &record.body {
            Context::Mark(mark) => Some((record.boot_ns.to_string(), mark)),
            _ => None,
        })
        .collect();
    let mark = |label: &str, text: &str| Mark {
        label: label.into(),
        text: text.into(),
    };
    assert_eq!(
        marks,
        [
            (boot_ns, &mark("deploy", "version 7")),
            (again["boot_ns"].to_string(), &mark("note", "again"))
        ]
    );
}

#[test]
fn without_being_asked_there_is_no_socket() {
    needs_kernel!();
    let dir = tempfile::tempdir().unwrap();
    let recording = Recording::start(&dir.path().join("trace.zst"), &[]);
    let sockets = fs::read_to_string("/proc/net/unix").unwrap();
    let fds = fs::read_dir(format!("/proc/{}/fd", recording.pid())).unwrap();
    let listening: Vec<String> = fds
        .filter_map(|fd| fs::read_link(fd.unwrap().path()).ok())
        .filter_map(|link| {
            let inode = link.to_string_lossy().strip_prefix("socket:[")?.to_owned();
            let inode = inode.trim_end_matches(']').to_owned();
            // proc_pid_net(5): "Num RefCount Protocol Flags Type St Inode Path"; flag 0x10000 listens.
            let line = sockets
                .lines()
                .find(|line| line.split_whitespace().nth(6) == Some(&*inode))?;
            (line.split_whitespace().nth(3) == Some("00010000")).then(|| line.to_owned())
        })
        .collect();
    recording.stop();
    assert_eq!(listening, [""; 0]);
}

/// The socket's mode already keeps others out; here it lets them in, and the kernel's word about who
/// connects still does not.
#[test]
fn another_user_is_refused_whatever_the_sockets_mode() {
    if !nix::unistd::geteuid().is_root() {
        return support::skip("needs root, to be another user");
    }
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let socket = dir.path().join("control.sock");
    let progress = Arc::new(Progress::default());
    progress.recording.store(true, Ordering::Release);
    let about = About {
        trace_uuid: [1; 16],
        profile: "standard".into(),
        progress,
        triggers: None,
        switches: crossbeam_channel::bounded(1).0,
    };
    let (asked_for, marks) = recorder::control::marks();
    let _server = Server::start(&socket, about, asked_for).unwrap();
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).unwrap();
    assert!(ask(&socket, &Request::Status).is_ok());
    let asked = std::thread::spawn(move || {
        // SAFETY: the raw call changes this thread alone, which ends after it; nothing is shared by user.
        let changed = unsafe { libc::syscall(libc::SYS_setresuid, -1, 65_534, -1) };
        assert_eq!(changed, 0);
        let mark = Request::Mark {
            label: "note".into(),
            text: "from outside".into(),
        };
        ask(&socket, &mark).unwrap_err().to_string()
    });
    let error = asked.join().unwrap();
    assert!(error.contains("user 65534 is not"), "{error}");
    assert!(marks.try_recv().is_err());
}

/// Profile and probes change while recording, and the trace says when: a reader never takes what was
/// not looked at for what did not happen.
#[test]
fn probes_and_profile_are_switched_and_the_trace_says_so() {
    needs_kernel!();
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("control.sock");
    let option = format!("--control={}", socket.display());
    let args = [option.as_str(), "--probes", "process,syscall,container,ipc"];
    let recording = Recording::start(&dir.path().join("trace.zst"), &args);
    let path = recording.trace.clone();
    let switched = |args: &[&str]| -> serde_json::Value {
        let (code, text, stderr) = ctl(&socket, &[args, &["--json"]].concat());
        assert_eq!(code, Some(0), "{stderr}");
        serde_json::from_str(&text).unwrap()
    };
    let state = |value: &serde_json::Value, name: &str| -> String {
        let probes = value["probes"].as_array().unwrap();
        let probe = probes.iter().find(|probe| probe["name"] == name).unwrap();
        probe["attached"].as_str().unwrap().to_owned()
    };
    let now = switched(&["probes"]);
    assert_eq!(now["profile"], "standard");
    assert_eq!(state(&now, "inet_sock_set_state"), "");
    // Calls that `standard` only counts and signals that it leaves out, before, within and after `full`.
    let own = std::process::id();
    // SAFETY: the one has no effect, the other is ignored by whoever does not handle it.
    let calls = |count: usize| {
        (0..count).for_each(|_| unsafe {
            libc::syscall(libc::SYS_getppid);
            libc::kill(own as i32, libc::SIGURG);
        })
    };
    calls(50);
    let full = switched(&["profile", "full"]);
    assert_eq!(full["profile"], "full");
    calls(50);
    let light = switched(&["profile", "light"]);
    calls(50);
    let on = switched(&["probes", "--on", "network", "--off", "sched_process_exec"]);
    assert!(!state(&on, "inet_sock_set_state").is_empty());
    assert_eq!(state(&on, "sched_process_exec"), "");
    assert!(
        std::process::Command::new("/bin/true")
            .status()
            .unwrap()
            .success()
    );
    let again = switched(&["probes", "--on", "sched_process_exec"]);
    assert!(!state(&again, "sched_process_exec").is_empty());
    assert!(
        std::process::Command::new("/bin/true")
            .status()
            .unwrap()
            .success()
    );
    let (code, _, stderr) = ctl(&socket, &["profile", "most"]);
    assert_eq!(code, Some(1));
    assert!(stderr.contains("light, standard, full"), "{stderr}");
    let (_, text, _) = ctl(&socket, &["status", "--json"]);
    let status: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(status["profile"], "light");
    recording.stop();

    let trace = read(&path);
    let getppid =
        trace_format::syscalls::number(trace_format::syscalls::Arch::native().unwrap(), "getppid");
    let recorded = trace.events.iter().filter(|event| match &event.data {
        trace_format::EventData::Syscall(call) => event.pid == own && Some(call.nr) == getppid,
        _ => false,
    });
    assert_eq!(recorded.count(), 50, "those within full, and no others");
    let urged = trace.events.iter().filter(|event| match &event.data {
        trace_format::EventData::Signal(signal) => {
            event.pid == own && signal.signal as i32 == libc::SIGURG
        }
        _ => false,
    });
    assert_eq!(urged.count(), 50, "signals, too");
    let at = |value: &serde_json::Value| value["boot_ns"].as_u64().unwrap();
    let ran: Vec<u64> = trace
        .events
        .iter()
        .filter(|event| {
            matches!(&event.data, trace_format::EventData::Exec(exec) if exec.args.starts_with(b"/bin/true"))
        })
        .map(|event| event.boot_ns)
        .filter(|ns| *ns > at(&on))
        .collect();
    assert!(
        !ran.is_empty() && ran.iter().all(|ns| *ns > at(&again)),
        "{ran:?}"
    );
    let profiles: Vec<&str> = trace
        .context
        .iter()
        .filter_map(|record| match &record.body {
            Context::Probes(probes) if record.boot_ns >= at(&full) => Some(probes.profile.as_str()),
            _ => None,
        })
        .collect();
    assert!(profiles.contains(&"full") && profiles.contains(&"light"));
    assert!(at(&full) < at(&light) && at(&light) < at(&on));
}
