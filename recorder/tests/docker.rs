//! Promises about containers, with a real Docker engine: a container is named by runtime, name and
//! image, and `--container` records it alone.

mod support;

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use recorder::observe::cgroups::Cgroups;
use support::{Recording, read};
use trace_format::{Context, EventData, PassedFd, PassedMarks, Resolution};

/// A running container of a tiny image; gone when dropped.
struct Container {
    name: String,
    id: String,
    image: String,
}

/// What `docker` prints; None: it failed.
fn docker(args: &[&str]) -> Option<String> {
    let output = Command::new("docker")
        .args(args)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

impl Container {
    /// None, with the reason, where no engine or no busybox is.
    fn start(name: &str, script: &str) -> Result<Self, &'static str> {
        Self::start_with(name, script, None, &[])
    }

    /// With a program beside busybox, and more options of `docker run`.
    fn start_with(
        name: &str,
        script: &str,
        program: Option<&Path>,
        options: &[&str],
    ) -> Result<Self, &'static str> {
        docker(&["version", "--format", "{{.Server.Version}}"])
            .ok_or("no Docker engine answers")?;
        let image = format!("trailcam-test-{name}:1");
        let dir = tempfile::tempdir().unwrap();
        let busybox = ["/bin/busybox", "/usr/bin/busybox"]
            .into_iter()
            .find(|path| Path::new(path).exists());
        std::fs::create_dir(dir.path().join("bin")).unwrap();
        std::fs::copy(
            busybox.ok_or("no busybox to make an image of")?,
            dir.path().join("bin/busybox"),
        )
        .unwrap();
        for applet in ["sh", "cat", "sleep"] {
            std::os::unix::fs::symlink("busybox", dir.path().join("bin").join(applet)).unwrap();
        }
        if let Some(program) = program {
            let to = dir.path().join("bin").join(program.file_name().unwrap());
            std::fs::copy(program, to).unwrap();
        }
        let tar = dir
            .path()
            .join("../")
            .canonicalize()
            .unwrap()
            .join(format!("{name}.tar"));
        let packed = Command::new("tar")
            .arg("-C")
            .arg(dir.path())
            .arg("-cf")
            .arg(&tar)
            .arg("bin")
            .status()
            .unwrap();
        assert!(packed.success());
        docker(&["import", tar.to_str().unwrap(), &image]).expect("the image is imported");
        std::fs::remove_file(&tar).unwrap();
        let mut args = vec!["run", "-d", "--network", "none", "--name", name];
        args.extend(options);
        args.extend([&image, "/bin/sh", "-c", script]);
        let id = docker(&args).expect("the container starts");
        Ok(Container {
            name: name.to_owned(),
            id,
            image,
        })
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        docker(&["rm", "-f", &self.name]);
        docker(&["rmi", "-f", &self.image]);
    }
}

macro_rules! container {
    ($name:expr, $script:expr) => {
        match Container::start($name, $script) {
            Ok(container) => container,
            Err(reason) => {
                support::skip(reason);
                return;
            }
        }
    };
}

/// Does something four times a second, with a name of its own.
const BUSY: &str = "while true; do cat /bin/no-such-file-here; sleep 0.25; done";

#[test]
fn a_container_is_named_by_runtime_name_and_image_and_sampled() {
    needs_kernel!();
    let dir = tempfile::tempdir().unwrap();
    let name = format!("tc-named-{}", std::process::id());
    let before = container!(&format!("{name}-a"), BUSY);
    let recording = Recording::start(&dir.path().join("trace.zst"), &[]);
    let path = recording.trace.clone();
    let during = container!(&format!("{name}-b"), BUSY);
    thread::sleep(Duration::from_millis(3_500));
    let (status, _) = recording.stop();
    assert!(status.success(), "{status}");
    let trace = read(&path);
    for container in [&before, &during] {
        let known: Vec<_> = trace
            .context
            .iter()
            .filter_map(|record| match &record.body {
                Context::Container(known) if known.id == container.id => Some(known),
                _ => None,
            })
            .collect();
        let last = known
            .last()
            .unwrap_or_else(|| panic!("{} is not in the trace", container.name));
        assert_eq!(last.resolution, Resolution::Resolved);
        assert_eq!(
            (last.runtime.as_str(), &last.name, &last.image),
            ("docker", &container.name, &container.image)
        );
        assert!(!last.privileged);
        let opens = trace.events.iter().filter(|event| {
            event.cgroup_id == last.cgroup_id
                && matches!(&event.data, EventData::Open(open) if &*open.path == b"/bin/no-such-file-here" && open.ret == -2)
        });
        assert!(
            opens.count() >= 8,
            "the container's own paths, as it sees them"
        );
        let samples: Vec<_> = trace
            .events
            .iter()
            .filter_map(|event| match &event.data {
                EventData::Sample(sample) if event.cgroup_id == last.cgroup_id => Some(sample),
                _ => None,
            })
            .collect();
        assert!(
            samples.len() >= 2,
            "{} samples of {}",
            samples.len(),
            container.name
        );
        assert!(
            samples
                .iter()
                .all(|sample| sample.pids >= 1 && sample.memory_bytes > 0),
            "{samples:?}"
        );
        assert!(
            samples
                .windows(2)
                .all(|pair| pair[0].cpu_ns <= pair[1].cpu_ns)
        );
    }
}

/// The C program, linked to nothing that a container would need; None: the compiler cannot.
fn compiled(dir: &Path) -> Option<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/passer.c");
    let program = dir.join("passer");
    let status = Command::new("cc")
        .args(["-static", "-O1", "-o"])
        .args([&program, &source])
        .stderr(Stdio::null())
        .status();
    status
        .is_ok_and(|status| status.success())
        .then_some(program)
}

#[test]
fn a_memfd_that_goes_from_container_to_container_is_seen_on_both_sides() {
    needs_kernel!();
    let dir = tempfile::tempdir().unwrap();
    let Some(program) = compiled(dir.path()) else {
        support::skip("no C compiler that links statically");
        return;
    };
    let name = format!("tc-passing-{}", std::process::id());
    let shared = dir.path().join("shared");
    std::fs::create_dir(&shared).unwrap();
    let volume = format!("{}:/shared", shared.display());
    let start =
        |name: &str, script| Container::start_with(name, script, Some(&program), &["-v", &volume]);
    let recording = Recording::start(&dir.path().join("trace.zst"), &[]);
    let path = recording.trace.clone();
    let give = match start(&format!("{name}-give"), "/bin/passer give /shared/socket") {
        Ok(container) => container,
        Err(reason) => {
            support::skip(reason);
            return;
        }
    };
    let take = start(&format!("{name}-take"), "/bin/passer take /shared/socket").unwrap();
    thread::sleep(Duration::from_millis(2_500));
    recording.stop();
    let trace = read(&path);
    let cgroup = |container: &Container| {
        trace
            .context
            .iter()
            .find_map(|record| match &record.body {
                Context::Container(known) if known.id == container.id => Some(known.cgroup_id),
                _ => None,
            })
            .unwrap_or_else(|| panic!("{} is not in the trace", container.name))
    };
    let (give, take) = (cgroup(&give), cgroup(&take));
    let passed = |sent: bool, cgroup_id: u64| {
        let found: Vec<_> = trace
            .events
            .iter()
            .filter(|event| event.cgroup_id == cgroup_id)
            .filter_map(|event| match &event.data {
                EventData::PassedFd(passed) => Some((event.pid, passed)),
                _ => None,
            })
            .filter(|(_, passed)| &*passed.path == b"memfd:given")
            .collect();
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].1.sent, sent);
        found[0]
    };
    let (giver, sent) = passed(true, give);
    let (taker, received) = passed(false, take);
    let ends = |passed: &PassedFd| (passed.peer_pid, passed.peer_cgroup_id);
    assert_eq!(ends(sent), (taker, take), "who connected");
    assert_eq!(ends(received), (giver, give), "who sent it");
    assert!(received.marks.has(PassedMarks::SENDER_SEEN));
    assert_eq!((sent.ino, sent.dev), (received.ino, received.dev));
}

#[test]
fn a_container_filter_records_that_container_alone_and_counts_the_rest_as_filtered() {
    needs_kernel!();
    let dir = tempfile::tempdir().unwrap();
    let name = format!("tc-filter-{}", std::process::id());
    let wanted = container!(&format!("{name}-a"), BUSY);
    let _other = container!(&format!("{name}-b"), BUSY);
    for reference in [wanted.name.as_str(), &wanted.id[..12]] {
        let trace = dir.path().join(format!("{reference}.zst"));
        let recording = Recording::start(&trace, &["--profile", "full", "--container", reference]);
        thread::sleep(Duration::from_millis(1_500));
        assert!(recording.stop().0.success());
        let trace = read(&trace);
        let cgroups: std::collections::BTreeSet<u64> = trace
            .events
            .iter()
            .filter(|event| event.probe != 0)
            .map(|event| event.cgroup_id)
            .collect();
        assert_eq!(cgroups.len(), 1, "{reference}: events of {cgroups:?}");
        let filtered: u64 = trace
            .context
            .iter()
            .rev()
            .find_map(|record| match &record.body {
                Context::Loss(loss) => Some(loss.counts.iter().map(|count| count.filtered).sum()),
                _ => None,
            })
            .unwrap();
        assert!(filtered > 0);
        assert!(
            trace.counters().values().all(|(_, dropped)| *dropped == 0),
            "filtered is no drop"
        );
    }
}

/// Promise: a cgroup that a recorded container makes later is recorded from its first process on. Not
/// vacuous: the process that moves in does nothing before it is inside.
#[test]
fn a_container_filter_follows_cgroups_made_inside_the_container() {
    needs_kernel!();
    let dir = tempfile::tempdir().unwrap();
    let wanted = container!(&format!("tc-child-{}", std::process::id()), "sleep 1000");
    let Some(cgroup) = Cgroups::open()
        .walk()
        .into_iter()
        .find_map(|(_, path)| path.ends_with(&wanted.id).then_some(path))
    else {
        support::skip("the container has no cgroup in the v2 hierarchy");
        return;
    };
    let root = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"]
        .into_iter()
        .find(|root| Path::new(root).join("cgroup.procs").exists())
        .expect("a v2 hierarchy");
    let inner = Path::new(root)
        .join(cgroup.trim_start_matches('/'))
        .join("inner");
    let trace = dir.path().join("trace.zst");
    let recording = Recording::start(&trace, &["--container", &wanted.name]);
    std::fs::create_dir(&inner).unwrap();
    let script = format!(
        "echo $$ > {}/cgroup.procs; exec cat /no-such-file-in-the-inner-cgroup",
        inner.display()
    );
    let mut child = Command::new("/bin/sh")
        .args(["-c", &script])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    child.wait().unwrap();
    // The kernel may still hold the last process for a moment.
    while std::fs::remove_dir(&inner).is_err() {
        thread::sleep(Duration::from_millis(10));
    }
    assert!(recording.stop().0.success());
    let trace = read(&trace);
    let opens = trace.events.iter().filter(|event| {
        matches!(&event.data, EventData::Open(open) if &*open.path == b"/no-such-file-in-the-inner-cgroup")
    });
    assert_eq!(opens.count(), 1);
}

/// It failed once: the engine was asked after the container had gone, and knew nothing any more.
#[test]
fn a_hundred_containers_that_live_for_milliseconds_are_all_named() {
    const CONTAINERS: usize = 100;
    const AT_ONCE: usize = 4;
    needs_kernel!();
    let keep = match Container::start("rec-short-lived", "sleep 1000") {
        Ok(container) => container,
        Err(reason) => return support::skip(reason),
    };
    let dir = tempfile::tempdir().unwrap();
    let recording = Recording::start(&dir.path().join("trace.zst"), &[]);
    let path = recording.trace.clone();
    let image = keep.image.clone();
    let runs: Vec<_> = (0..AT_ONCE)
        .map(|runner| {
            let image = image.clone();
            thread::spawn(move || {
                for number in 0..CONTAINERS / AT_ONCE {
                    let name = format!("rec-short-{}-{runner}-{number}", std::process::id());
                    let args = ["run", "--rm", "--network", "none", "--name", &name, &image];
                    docker(&[&args[..], &["/bin/sleep", "0.05"]].concat()).expect("it runs");
                }
            })
        })
        .collect();
    for run in runs {
        run.join().unwrap();
    }
    thread::sleep(Duration::from_secs(1));
    recording.stop();
    let trace = read(&path);
    let prefix = format!("rec-short-{}-", std::process::id());
    let named: std::collections::BTreeSet<&str> = trace
        .context
        .iter()
        .filter_map(|record| match &record.body {
            Context::Container(container)
                if container.resolution == Resolution::Resolved && container.image == image =>
            {
                Some(container.name.as_str())
            }
            _ => None,
        })
        .filter(|name| name.starts_with(&prefix))
        .collect();
    assert_eq!(named.len(), CONTAINERS, "{named:?}");
}
