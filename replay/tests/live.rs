//! The live stream, over a real socket: the same findings and the same bytes as the file, and what
//! happens when the connection is lost, the stream has holes, or the address is wrong.

#![cfg(feature = "live")]

mod support;

use std::{
    fs,
    path::Path,
    process::{Command, Output},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use support::{Scenario, items, seal};
use tokio::{
    net::{TcpListener, UnixListener},
    runtime::Runtime,
};
use tokio_stream::wrappers::{TcpListenerStream, UnixListenerStream};
use tonic::{
    Request, Response, Status,
    transport::{Certificate, Identity, Server, ServerTlsConfig},
};
use trace_format::{
    SealedChunk,
    live::{
        DescribeRequest, Description, End, MESSAGE_BYTES_MAX, Missed, StatusReply, StatusRequest,
        SubscribeRequest, Update,
        live_server::{Live, LiveServer},
        update,
    },
};

/// A recorder that plays back chunks. `script` decides what the n-th subscriber gets.
struct Playback<F> {
    subscribers: AtomicUsize,
    script: F,
}

type Answer = Result<Update, Status>;

#[tonic::async_trait]
impl<F> Live for Playback<F>
where
    F: Fn(usize, Option<u64>) -> Vec<Answer> + Send + Sync + 'static,
{
    type SubscribeStream = tokio_stream::Iter<std::vec::IntoIter<Answer>>;

    async fn describe(&self, _: Request<DescribeRequest>) -> Result<Response<Description>, Status> {
        Ok(Response::new(Description::default()))
    }

    async fn subscribe(
        &self,
        request: Request<SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let number = self.subscribers.fetch_add(1, Ordering::SeqCst);
        let answers = (self.script)(number, request.into_inner().from_chunk);
        Ok(Response::new(tokio_stream::iter(answers)))
    }

    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusReply>, Status> {
        Ok(Response::new(StatusReply::default()))
    }
}

fn service<F>(script: F) -> LiveServer<Playback<F>>
where
    F: Fn(usize, Option<u64>) -> Vec<Answer> + Send + Sync + 'static,
{
    let playback = Playback {
        subscribers: AtomicUsize::new(0),
        script,
    };
    LiveServer::new(playback).max_encoding_message_size(MESSAGE_BYTES_MAX)
}

/// Serves on a unix socket until the runtime is dropped.
fn serve<F>(socket: &Path, script: F) -> Runtime
where
    F: Fn(usize, Option<u64>) -> Vec<Answer> + Send + Sync + 'static,
{
    let runtime = Runtime::new().unwrap();
    let listener = {
        let _inside = runtime.enter();
        UnixListener::bind(socket).unwrap()
    };
    let incoming = UnixListenerStream::new(listener);
    runtime.spawn(
        Server::builder()
            .add_service(service(script))
            .serve_with_incoming(incoming),
    );
    runtime
}

fn chunk(chunk: &SealedChunk) -> Answer {
    Ok(Update {
        update: Some(update::Update::Chunk(chunk.bytes.to_vec())),
    })
}

fn end() -> Answer {
    Ok(Update {
        update: Some(update::Update::End(End {
            clean: true,
            reason: String::new(),
        })),
    })
}

fn missed(first: u64, last: u64) -> Answer {
    let missed = Missed {
        first,
        last,
        reason: "subscriber too slow".into(),
    };
    Ok(Update {
        update: Some(update::Update::Missed(missed)),
    })
}

fn chunks() -> Arc<Vec<SealedChunk>> {
    Arc::new(seal(&items(Scenario::ATTACKED), |_| 1000))
}

fn replay(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_replay"))
        .args(arguments)
        .output()
        .unwrap()
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

#[test]
fn live_equals_file_and_the_saved_stream_is_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("live.sock");
    let url = format!("unix://{}", socket.display());
    let chunks = chunks();
    let sent = chunks.clone();
    let _server = serve(&socket, move |_, from| {
        assert_eq!(from, Some(0));
        sent.iter().map(chunk).chain([end()]).collect()
    });
    let file = directory.path().join("recorded.zst");
    fs::write(&file, support::file(&chunks)).unwrap();
    let saved = directory.path().join("saved.zst");
    let saved = saved.to_str().unwrap();
    let live = replay(&["live", "--json", "--from-chunk", "0", "--save", saved, &url]);
    assert_eq!(live.status.code(), Some(0), "{}", stderr(&live));
    let offline = replay(&["detect", "--json", file.to_str().unwrap()]);
    assert!(!offline.stdout.is_empty());
    assert_eq!(
        live.stdout, offline.stdout,
        "the same findings, byte for byte"
    );
    assert_eq!(
        fs::read(saved).unwrap(),
        fs::read(&file).unwrap(),
        "the recorder's file, byte for byte"
    );
}

#[test]
fn every_command_takes_a_live_address() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("live.sock");
    let url = format!("unix://{}", socket.display());
    let chunks = chunks();
    let sent = chunks.clone();
    let _server = serve(&socket, move |_, _| {
        sent.iter().map(chunk).chain([end()]).collect()
    });
    let file = directory.path().join("recorded.zst");
    fs::write(&file, support::file(&chunks)).unwrap();
    for command in ["cat", "detect"] {
        let live = replay(&[command, "--json", &url]);
        assert_eq!(live.status.code(), Some(0), "{}", stderr(&live));
        assert_eq!(
            live.stdout,
            replay(&[command, "--json", file.to_str().unwrap()]).stdout,
            "{command}"
        );
    }
}

#[test]
fn a_lost_connection_resumes_at_the_next_chunk() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("live.sock");
    let url = format!("unix://{}", socket.display());
    let chunks = chunks();
    let sent = chunks.clone();
    let _server = serve(&socket, move |subscriber, from| match subscriber {
        0 => sent[..5]
            .iter()
            .map(chunk)
            .chain([Err(Status::unavailable("cable pulled"))])
            .collect(),
        // Only what was not received yet is asked for again.
        _ => {
            assert_eq!(from, Some(5));
            sent[5..].iter().map(chunk).chain([end()]).collect()
        }
    });
    let saved = directory.path().join("saved.zst");
    let live = replay(&["live", "--save", saved.to_str().unwrap(), &url]);
    assert_eq!(live.status.code(), Some(0), "{}", stderr(&live));
    assert!(
        stderr(&live).contains("connection lost (cable pulled)"),
        "{}",
        stderr(&live)
    );
    assert!(
        stderr(&live).contains("connected again"),
        "{}",
        stderr(&live)
    );
    assert_eq!(
        fs::read(&saved).unwrap(),
        support::file(&chunks),
        "nothing is missing or twice"
    );
}

#[test]
fn what_was_not_sent_is_said_and_is_loss() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("live.sock");
    let url = format!("unix://{}", socket.display());
    let sent = chunks();
    let last = sent.len() as u64 - 1;
    let _server = serve(&socket, move |_, _| {
        let before = sent[..4].iter().map(chunk);
        before
            .chain([missed(4, 6)])
            .chain(sent[7..].iter().map(chunk))
            .chain([end()])
            .collect()
    });
    let saved = directory.path().join("saved.zst");
    let live = replay(&["live", "--save", saved.to_str().unwrap(), &url]);
    assert_eq!(live.status.code(), Some(3), "{}", stderr(&live));
    assert!(
        stderr(&live).contains("chunks 4 to 6 were not sent: subscriber too slow"),
        "{}",
        stderr(&live)
    );
    assert!(
        stderr(&live).contains("3 chunks are missing"),
        "{}",
        stderr(&live)
    );
    let verified = replay(&["verify", saved.to_str().unwrap()]);
    assert_eq!(verified.status.code(), Some(3));
    let said = String::from_utf8(verified.stdout).unwrap();
    assert!(said.contains("missing chunks 4..=6") && last > 7, "{said}");
}

#[test]
fn a_changed_chunk_is_not_believed() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("live.sock");
    let url = format!("unix://{}", socket.display());
    let sent = chunks();
    let _server = serve(&socket, move |_, _| {
        let mut bytes = sent[2].bytes.to_vec();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        let changed = Ok(Update {
            update: Some(update::Update::Chunk(bytes)),
        });
        sent[..2]
            .iter()
            .map(chunk)
            .chain([changed])
            .chain(sent[3..].iter().map(chunk))
            .chain([end()])
            .collect()
    });
    let live = replay(&["live", &url]);
    assert_eq!(live.status.code(), Some(3), "{}", stderr(&live));
    assert!(stderr(&live).contains("damaged"), "{}", stderr(&live));
    assert!(
        stderr(&live).contains("missing chunks 2..=2"),
        "{}",
        stderr(&live)
    );
}

#[test]
fn a_wrong_address_is_one_clear_line() {
    let fails = |arguments: &[&str], code: i32, words: &[&str]| {
        let output = replay(&[&["live"], arguments].concat());
        assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
        assert_eq!(stderr(&output).lines().count(), 1, "{}", stderr(&output));
        for word in words {
            assert!(
                stderr(&output).contains(word),
                "{word}: {}",
                stderr(&output)
            );
        }
    };
    fails(
        &["unix:///nonexistent/live.sock"],
        1,
        &["/nonexistent/live.sock", "No such file", "rec live"],
    );
    fails(&["http://127.0.0.1:9"], 2, &["--insecure"]);
    fails(
        &["--insecure", "http://127.0.0.1:9"],
        1,
        &["127.0.0.1:9", "refused"],
    );
    fails(&["https://127.0.0.1:9"], 2, &["--ca"]);
    fails(&["unix://relative"], 2, &["not a live address"]);
    fails(&["trace.zst"], 2, &["not a live address"]);
}

#[test]
fn a_signal_ends_it_cleanly_with_a_whole_file() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("live.sock");
    let url = format!("unix://{}", socket.display());
    let chunks = chunks();
    let sent = chunks.clone();
    // No end: after these chunks the connection is lost again and again, and comes back.
    let _server = serve(&socket, move |_, from| {
        sent[from.unwrap_or(0).min(5) as usize..5]
            .iter()
            .map(chunk)
            .collect()
    });
    let saved = directory.path().join("saved.zst");
    let child = Command::new(env!("CARGO_BIN_EXE_replay"))
        .args(["live", "--save", saved.to_str().unwrap(), &url])
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let wanted: u64 = chunks[..5]
        .iter()
        .map(|chunk| chunk.bytes.len() as u64)
        .sum();
    while fs::metadata(&saved).map_or(0, |metadata| metadata.len()) < wanted {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let interrupted = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(interrupted.success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(fs::read(&saved).unwrap(), support::file(&chunks[..5]));
}

/// A certificate authority, a server certificate and two client certificates, one of them of another authority.
fn certificates(directory: &Path) -> bool {
    let script = r#"
        set -e
        authority() { openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj "/CN=$1" -keyout $1.key -out $1.pem; }
        signed() {
            openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=$1" -keyout $1.key -out $1.csr
            printf 'subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n' > $1.ext
            openssl x509 -req -days 2 -in $1.csr -CA $2.pem -CAkey $2.key -CAcreateserial -extfile $1.ext -out $1.pem
        }
        authority ca; authority other; signed server ca; signed client ca; signed stranger other
    "#;
    let made = Command::new("sh")
        .args(["-c", script])
        .current_dir(directory)
        .output();
    made.is_ok_and(|output| output.status.success())
}

#[test]
fn tls_needs_a_certificate_of_the_same_authority_at_both_ends() {
    let directory = tempfile::tempdir().unwrap();
    if !certificates(directory.path()) {
        println!(
            "skipped: tls_needs_a_certificate_of_the_same_authority_at_both_ends: no openssl to make certificates with"
        );
        return;
    }
    let read = |name: &str| fs::read(directory.path().join(name)).unwrap();
    let runtime = Runtime::new().unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let tls = ServerTlsConfig::new()
        .identity(Identity::from_pem(read("server.pem"), read("server.key")))
        .client_ca_root(Certificate::from_pem(read("ca.pem")));
    let sent = chunks();
    let script = move |_, _| sent.iter().map(chunk).chain([end()]).collect();
    let server = Server::builder()
        .tls_config(tls)
        .unwrap()
        .add_service(service(script));
    runtime.spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));

    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let live = |ca: &str, who: &str| {
        let (ca, certificate, key) = (
            path(ca),
            path(&format!("{who}.pem")),
            path(&format!("{who}.key")),
        );
        replay(&[
            "live",
            "-q",
            "--json",
            "--ca",
            &ca,
            "--cert",
            &certificate,
            "--key",
            &key,
            &url,
        ])
    };
    let good = live("ca.pem", "client");
    assert_eq!(good.status.code(), Some(0), "{}", stderr(&good));
    assert!(!good.stdout.is_empty());
    for (ca, who) in [("ca.pem", "stranger"), ("other.pem", "client")] {
        let refused = live(ca, who);
        assert_eq!(
            refused.status.code(),
            Some(1),
            "{ca} {who}: {}",
            stderr(&refused)
        );
        assert_eq!(stderr(&refused).lines().count(), 1, "{}", stderr(&refused));
        assert!(refused.stdout.is_empty());
    }
}
