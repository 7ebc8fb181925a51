//! Promises of `rec live`: the stream is the file, byte for byte; a late reader gets its context
//! first; a slow one is told what it missed; nobody reads over TCP without a certificate.

mod support;

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, atomic::AtomicU64},
    thread,
    time::Duration,
};

use recorder::{
    capture::Progress,
    live::{
        hub::{End as HubEnd, HELD_BYTES_MAX, Hub},
        server::{About, Address, Security, Service},
    },
};
use replay::{
    live::{End, LiveSource, Options},
    pipeline::{Pipeline, Settings},
    rules::RuleSet,
};
use support::rec;
use trace_format::{
    ChunkBuilder, ChunkSource, Context, ContextRecord, IssueKind, Limits, SealedChunk, TraceWriter,
};

fn chunks(count: u64, checkpoint: u64) -> Vec<SealedChunk> {
    let mut builder = ChunkBuilder::new([7; 16], Limits::default());
    (0..count)
        .map(|number| {
            let mut add = |body| {
                builder
                    .context(ContextRecord {
                        boot_ns: number + 1,
                        body,
                    })
                    .unwrap()
            };
            if number == checkpoint {
                add(Context::CheckpointBegin);
                add(Context::CheckpointEnd);
            }
            add(Context::Tick);
            builder.seal(number + 1)
        })
        .collect()
}

fn about() -> About {
    About {
        trace_uuid: [7; 16],
        hostname: "host".into(),
        profile: "standard".into(),
        progress: Arc::new(Progress {
            events: AtomicU64::new(3),
            ..Progress::default()
        }),
    }
}

fn unix(dir: &Path) -> Address {
    Address::Unix(dir.join("live.sock"))
}

fn read_all(source: &mut LiveSource) -> Vec<SealedChunk> {
    let mut chunks = Vec::new();
    while let Some(chunk) = source.next_chunk().unwrap() {
        chunks.push(chunk);
    }
    chunks
}

fn clean() -> HubEnd {
    HubEnd {
        clean: true,
        reason: String::new(),
    }
}

#[test]
fn a_late_subscriber_gets_the_newest_checkpoint_first_and_a_resuming_one_what_it_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let hub = Hub::new(HELD_BYTES_MAX);
    let all = chunks(8, 5);
    all.iter().cloned().for_each(|chunk| hub.push(chunk));
    let service = Service::start(&unix(dir.path()), None, hub.clone(), about()).unwrap();
    let mut late = LiveSource::connect(&service.url, &Options::default()).unwrap();
    let mut resuming = LiveSource::connect(
        &service.url,
        &Options {
            from_chunk: Some(2),
            ..Options::default()
        },
    )
    .unwrap();
    hub.end(clean());
    let numbers = |chunks: Vec<SealedChunk>| {
        chunks
            .iter()
            .map(|chunk| chunk.header.number)
            .collect::<Vec<_>>()
    };
    assert_eq!(numbers(read_all(&mut late)), [5, 6, 7]);
    let resumed = read_all(&mut resuming);
    assert!(
        resumed
            .iter()
            .zip(&all[2..])
            .all(|(found, sealed)| found.bytes == sealed.bytes)
    );
    assert_eq!(numbers(resumed), [2, 3, 4, 5, 6, 7]);
    assert!(matches!(late.end(), End::Clean), "{:?}", late.end());
}

#[test]
fn a_slow_subscriber_is_told_which_chunks_it_missed() {
    let dir = tempfile::tempdir().unwrap();
    let all = chunks(30, 0);
    // Room for five: whoever starts at 0 has missed the first 25.
    let hub = Hub::new(all[1].bytes.len() * 5 + all[1].bytes.len() / 2);
    all.into_iter().for_each(|chunk| hub.push(chunk));
    hub.end(clean());
    let (oldest, next) = hub.range();
    let service = Service::start(&unix(dir.path()), None, hub, about()).unwrap();
    let mut source = LiveSource::connect(
        &service.url,
        &Options {
            from_chunk: Some(0),
            ..Options::default()
        },
    )
    .unwrap();
    let got = read_all(&mut source);
    assert_eq!(got.len() as u64, next - oldest);
    let missed: Vec<_> = source
        .issues()
        .iter()
        .filter(|issue| matches!(issue.what, IssueKind::NotSent { .. }))
        .collect();
    assert_eq!(missed.len(), 1, "{:?}", source.issues());
    assert_eq!(missed[0].missing, Some(0..=oldest - 1));
}

/// The capture side only appends: with a subscriber that never reads, pushing goes on, and memory
/// stays within the hub's bound.
#[test]
fn a_subscriber_that_never_reads_holds_nothing_up() {
    let dir = tempfile::tempdir().unwrap();
    let all = chunks(20_000, 0);
    let hub = Hub::new(all[1].bytes.len() * 8);
    let service = Service::start(&unix(dir.path()), None, hub.clone(), about()).unwrap();
    let stuck = LiveSource::connect(
        &service.url,
        &Options {
            from_chunk: Some(0),
            ..Options::default()
        },
    )
    .unwrap();
    for chunk in all {
        hub.push(chunk);
    }
    let (oldest, next) = hub.range();
    assert_eq!(next, 20_000);
    assert!(next - oldest <= 8);
    drop(stuck);
}

/// A throw-away authority with a server and a client certificate, and a second authority.
struct Certificates {
    dir: tempfile::TempDir,
}

impl Certificates {
    fn make() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let certificates = Certificates { dir };
        for authority in ["ca", "other-ca"] {
            certificates.openssl(&format!(
                "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN={authority} -keyout {authority}.key -out {authority}.pem"
            ))?;
        }
        for (name, authority) in [("server", "ca"), ("client", "ca"), ("stranger", "other-ca")] {
            certificates.openssl(&format!(
                "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN={name} -keyout {name}.key -out {name}.csr"
            ))?;
            fs::write(
                certificates.path("san"),
                "subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n",
            )
            .unwrap();
            certificates.openssl(&format!(
                "x509 -req -days 2 -in {name}.csr -CA {authority}.pem -CAkey {authority}.key -CAcreateserial -extfile san -out {name}.pem"
            ))?;
        }
        Some(certificates)
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    fn openssl(&self, args: &str) -> Option<()> {
        let output = Command::new("openssl")
            .args(args.split(' '))
            .current_dir(self.dir.path())
            .output()
            .ok()?;
        assert!(
            output.status.success(),
            "openssl {args}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Some(())
    }
}

#[test]
fn tcp_is_read_with_a_certificate_of_the_right_authority_only() {
    let Some(certificates) = Certificates::make() else {
        support::skip("no openssl program to make certificates with");
        return;
    };
    let hub = Hub::new(HELD_BYTES_MAX);
    let all = chunks(2, 0);
    all.iter().cloned().for_each(|chunk| hub.push(chunk));
    hub.end(clean());
    let address = Address::Tcp("127.0.0.1:0".parse().unwrap());
    let security = Security::MutualTls {
        certificate: certificates.read("server.pem"),
        key: certificates.read("server.key"),
        client_ca: certificates.read("ca.pem"),
    };
    let service = Service::start(&address, Some(security), hub.clone(), about()).unwrap();
    assert!(
        service.url.starts_with("https://127.0.0.1:"),
        "{}",
        service.url
    );
    let options = |ca: &str, name: &str| Options {
        ca: Some(certificates.read(&format!("{ca}.pem"))),
        identity: Some((
            certificates.read(&format!("{name}.pem")),
            certificates.read(&format!("{name}.key")),
        )),
        ..Options::default()
    };
    let mut source = LiveSource::connect(&service.url, &options("ca", "client")).unwrap();
    assert_eq!(read_all(&mut source).len(), 2);
    for (ca, name, why) in [
        ("ca", "stranger", "a client of another authority"),
        ("other-ca", "client", "a server of another authority"),
    ] {
        let refused = LiveSource::connect(&service.url, &options(ca, name));
        let error = refused
            .err()
            .unwrap_or_else(|| panic!("{why} was let in"))
            .to_string();
        assert!(error.contains(&service.url), "{why}: {error}");
    }
    let plain = service.url.replace("https", "http");
    assert!(
        LiveSource::connect(
            &plain,
            &Options {
                insecure: true,
                ..Options::default()
            }
        )
        .is_err()
    );

    let error = Service::start(&address, None, hub, about())
        .err()
        .expect("no TCP without TLS")
        .to_string();
    assert!(
        error.contains("--insecure") && error.contains("--tls-cert"),
        "{error}"
    );
}

#[test]
fn a_second_recorder_does_not_take_the_socket_of_a_running_one() {
    let dir = tempfile::tempdir().unwrap();
    let first = Service::start(&unix(dir.path()), None, Hub::new(1), about()).unwrap();
    let error = Service::start(&unix(dir.path()), None, Hub::new(1), about())
        .err()
        .expect("in use")
        .to_string();
    assert!(error.contains("already listens"), "{error}");
    first.stop();
    assert!(
        !dir.path().join("live.sock").exists(),
        "the socket goes with its recorder"
    );
    fs::write(dir.path().join("other"), b"").unwrap();
    // A leftover of a killed recorder is not in the way.
    drop(std::os::unix::net::UnixListener::bind(dir.path().join("live.sock")).unwrap());
    Service::start(&unix(dir.path()), None, Hub::new(1), about()).unwrap();
}

/// `rec live` with detection on, recording into `trace`.
fn start_live(trace: &Path, socket: &Path) -> (Child, thread::JoinHandle<String>) {
    let mut child = rec()
        .args(["live", "--json", "--profile", "full", "--listen"])
        .arg(socket)
        .arg("-o")
        .arg(trace)
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while line.trim() != "recording" {
        line.clear();
        assert!(
            stderr.read_line(&mut line).unwrap() > 0,
            "rec live ended early: {:?}",
            child.wait()
        );
    }
    let mut stdout = child.stdout.take().unwrap();
    let findings = thread::spawn(move || {
        let mut text = String::new();
        stdout.read_to_string(&mut text).unwrap();
        text
    });
    // Shown only when the test fails.
    thread::spawn(move || {
        stderr
            .lines()
            .map_while(Result::ok)
            .for_each(|line| println!("rec live: {line}"))
    });
    (child, findings)
}

fn detect(chunks: &mut dyn ChunkSource) -> (String, Vec<u8>) {
    let mut pipeline = Pipeline::new(Settings {
        rules: Some(RuleSet::shipped()),
        statistics: true,
        ..Settings::default()
    });
    let mut writer = TraceWriter::new(Vec::new());
    let mut text = String::new();
    while let Some(chunk) = chunks.next_chunk().unwrap() {
        pipeline.push(&chunk).unwrap();
        writer.write(&chunk).unwrap();
    }
    pipeline.finish();
    for finding in pipeline.findings() {
        text += finding.to_json().trim_end();
        text.push('\n');
    }
    (text, writer.finish().unwrap())
}

/// Promise: the same findings from the file, from the live stream and in process, and the saved
/// stream is the file. Teeth: an act that a rule sees happens in the middle, so there is a finding.
#[test]
fn live_equals_replay_equals_in_process() {
    needs_kernel!();
    let dir = tempfile::tempdir().unwrap();
    let (trace, socket) = (dir.path().join("trace.zst"), dir.path().join("live.sock"));
    let (mut child, in_process) = start_live(&trace, &socket);
    let url = format!("unix://{}", socket.display());
    let watcher = thread::spawn(move || {
        let mut source = LiveSource::connect(
            &url,
            &Options {
                from_chunk: Some(0),
                ..Options::default()
            },
        )
        .unwrap();
        let result = detect(&mut source);
        assert!(matches!(source.end(), End::Clean), "{:?}", source.end());
        result
    });
    let program = Path::new("/dev/shm").join(format!("trailcam-test-{}", std::process::id()));
    fs::copy("/bin/true", &program).unwrap();
    Command::new(&program).status().unwrap();
    fs::remove_file(&program).unwrap();
    thread::sleep(Duration::from_millis(1_500));
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(child.id() as i32),
        nix::sys::signal::Signal::SIGTERM,
    )
    .unwrap();
    let status = child.wait().unwrap();
    assert!(status.success(), "{status}");
    let (live, saved) = watcher.join().unwrap();
    let file = fs::read(&trace).unwrap();
    assert!(
        saved == file,
        "{} bytes saved, {} bytes in the file",
        saved.len(),
        file.len()
    );
    let (offline, _) = detect(&mut trace_format::TraceReader::open(&trace).unwrap());
    assert!(
        offline.contains("/dev/shm/trailcam-test-"),
        "nothing was found: {offline:?}"
    );
    assert_eq!(live, offline);
    assert_eq!(in_process.join().unwrap(), offline);
}
