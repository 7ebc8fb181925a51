//! The control socket of a running capture, and its client: notes into the trace, and how it goes.
//!
//! Off unless asked for (`--control`): a recorder that nobody needs to talk to opens no door. A unix
//! socket for its owner (mode 0600); whoever connects must be of the recorder's user or root, which the
//! kernel says. One JSON document a line in each direction:
//!
//! ```text
//! {"mark":{"label":"deploy","text":"version 7"}}   →  {"marked":{"boot_ns":123456789}}
//! {"dump":{"reason":"a customer called"}}          →  {"dumping":{"path":"flight-0000.zst",…}}
//! {"switch":{"profile":"full","on":[],"off":[]}}   →  {"in_force":{"boot_ns":123456789,…}}
//! "status"                                         →  {"status":{"events":4711,…}}
//!                                                  →  {"refused":"why"}
//! ```
//!
//! A mark is written by the capture loop, between two rounds of the rings, and is answered when it is in
//! the open chunk. It is a context record: no rule, no feature and no model looks at it.

use std::{
    fs, io,
    io::{BufRead, BufReader, Read, Write},
    os::unix::{
        fs::PermissionsExt,
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, bail};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use serde::{Deserialize, Serialize};
use trace_format::Mark;

use crate::{
    capture::Progress,
    clock,
    flight::Triggers,
    notice,
    own::Own,
    privileges,
    switch::{self, InForce, Switch},
};

/// Where a capture listens when `--control` names no path, and where `rec ctl` asks unless told otherwise.
pub const DEFAULT_PATH: &str = "/run/trailcam/control.sock";
/// Of a mark: enough for a word and for a few lines.
pub const LABEL_BYTES_MAX: usize = 64;
pub const TEXT_BYTES_MAX: usize = 4096;
/// A request: label and text with every character escaped (six bytes for one).
const LINE_BYTES_MAX: u64 = 6 * (LABEL_BYTES_MAX + TEXT_BYTES_MAX) as u64 + 256;
/// Each connection has a thread.
const CONNECTIONS_MAX: usize = 16;
/// Marks that wait for the capture loop; whoever has more waits for the answer to the first.
const WAITING_MAX: usize = 64;
/// The capture loop looks every 20 ms; a busy host or a disk that holds it up makes it slower.
const ANSWER_MAX: Duration = Duration::from_secs(10);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    Mark {
        label: String,
        text: String,
    },
    /// Change what is recorded: a profile, probes or families.
    Switch {
        profile: Option<String>,
        on: Vec<String>,
        off: Vec<String>,
    },
    /// Of the flight recorder: write down what the ring holds.
    Dump {
        reason: String,
    },
    Status,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// `CLOCK_BOOTTIME` at which the mark stands in the trace.
    Marked {
        boot_ns: u64,
    },
    Dumping(Dumping),
    InForce(InForce),
    Status(Box<Status>),
    Refused(String),
}

/// The fixed shape of `rec dump --json`: the dump that was begun or joined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dumping {
    pub path: PathBuf,
    /// It was open already.
    pub joined: bool,
    pub from_boot_ns: u64,
    /// When it will be complete, if no other trigger makes it longer.
    pub until_boot_ns: u64,
}

/// The fixed shape of `rec ctl status --json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    pub version: String,
    pub trace_uuid: String,
    pub profile: String,
    /// False until the probes are attached.
    pub recording: bool,
    pub started_boot_ns: u64,
    pub now_boot_ns: u64,
    /// In sealed chunks.
    pub events: u64,
    pub chunks: u64,
    pub bytes: u64,
    pub dropped: u64,
    pub marks: u64,
    /// What is recorded since when.
    pub in_force: InForce,
    /// What recording costs and loses.
    pub own: Own,
}

/// A mark on its way into the trace.
#[derive(Debug)]
pub struct Asked {
    pub mark: Mark,
    /// Takes the time at which it was written.
    pub written: Sender<u64>,
}

/// Changes of what is recorded that wait for the capture loop.
pub const SWITCHES_MAX: usize = 8;

/// What the socket tells about the capture.
pub struct About {
    pub trace_uuid: [u8; 16],
    pub profile: String,
    pub progress: Arc<Progress>,
    /// Of a flight recorder.
    pub triggers: Option<Triggers>,
    /// Where changes of what is recorded go.
    pub switches: Sender<switch::Asked>,
}

/// Where marks go in to be written, and where the capture takes them out.
pub fn marks() -> (Sender<Asked>, Receiver<Asked>) {
    bounded(WAITING_MAX)
}

/// Binds a socket for its owner only. A socket file that nobody listens on is a leftover and goes.
pub fn bind(path: &Path, option: &str) -> anyhow::Result<UnixListener> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    }
    match UnixStream::connect(path) {
        Ok(_) => bail!(
            "another recorder already listens at {}; give {option} another path",
            path.display()
        ),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path)
                .with_context(|| format!("cannot remove the unused socket {}", path.display()))?;
        }
        Err(_) => {}
    }
    let listener =
        UnixListener::bind(path).with_context(|| format!("cannot listen at {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))
        .with_context(|| format!("cannot make {} its owner's alone", path.display()))?;
    Ok(listener)
}

/// The listening side. It ends, and its socket file goes, when it is dropped.
pub struct Server {
    path: PathBuf,
    ended: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

struct Shared {
    about: About,
    asked: Sender<Asked>,
    started_ns: u64,
    marks: AtomicUsize,
    connections: AtomicUsize,
}

impl Server {
    /// The marks that are asked for go into `asked`.
    pub fn start(path: &Path, about: About, asked: Sender<Asked>) -> anyhow::Result<Server> {
        let listener = bind(path, "--control")?;
        about.progress.own_wanted.store(true, Ordering::Relaxed);
        let shared = Arc::new(Shared {
            about,
            asked,
            started_ns: clock::boot_ns(),
            marks: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
        });
        let ended = Arc::new(AtomicBool::new(false));
        let stop = ended.clone();
        let thread = thread::Builder::new()
            .name("rec-control".into())
            .spawn(move || {
                privileges::none();
                accept(&listener, &shared, &stop)
            })
            .context("cannot start a thread for the control socket")?;
        Ok(Server {
            path: path.to_owned(),
            ended,
            thread: Some(thread),
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Release);
        // Wakes the thread; if that fails, somebody else has, or took the socket away.
        if UnixStream::connect(&self.path).is_ok()
            && let Some(thread) = self.thread.take()
        {
            let _ = thread.join();
        }
        let _ = fs::remove_file(&self.path);
    }
}

fn accept(listener: &UnixListener, shared: &Arc<Shared>, ended: &AtomicBool) {
    for stream in listener.incoming() {
        if ended.load(Ordering::Acquire) {
            return;
        }
        let stream = match stream {
            Ok(stream) => stream,
            Err(error) => {
                notice::say(format_args!("rec: the control socket: {error}"));
                // Out of descriptors, say: trying at once would spin.
                thread::sleep(Duration::from_millis(100));
                continue;
            }
        };
        let seat = Seat::take(shared.clone());
        let spawned = thread::Builder::new()
            .name("rec-control".into())
            .spawn(move || {
                // A client that goes away is its own affair.
                let _ = attend(stream, seat);
            });
        if let Err(error) = spawned {
            notice::say(format_args!("rec: the control socket: {error}"));
        }
    }
}

/// One of the connections, for as long as it lives.
struct Seat {
    shared: Arc<Shared>,
    is_free: bool,
}

impl Seat {
    fn take(shared: Arc<Shared>) -> Seat {
        let before = shared.connections.fetch_add(1, Ordering::AcqRel);
        Seat {
            shared,
            is_free: before < CONNECTIONS_MAX,
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.shared.connections.fetch_sub(1, Ordering::AcqRel);
    }
}

fn attend(mut stream: UnixStream, seat: Seat) -> io::Result<()> {
    if let Some(refusal) = refusal(&stream, &seat) {
        return answer(&mut stream, &Reply::Refused(refusal));
    }
    let mut lines = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    loop {
        line.clear();
        let read = (&mut lines).take(LINE_BYTES_MAX).read_line(&mut line)?;
        if read == 0 {
            return Ok(());
        }
        if !line.ends_with('\n') {
            let reason =
                format!("a request ends with a newline and has at most {LINE_BYTES_MAX} bytes");
            return answer(&mut stream, &Reply::Refused(reason));
        }
        let reply = match serde_json::from_str(&line) {
            Ok(Request::Mark { label, text }) => seat.shared.mark(label, text),
            Ok(Request::Switch { profile, on, off }) => {
                seat.shared.switch(profile.as_deref(), &on, &off)
            }
            Ok(Request::Dump { reason }) => seat.shared.dump(&reason),
            Ok(Request::Status) => Reply::Status(Box::new(seat.shared.status())),
            Err(error) => Reply::Refused(format!("not a request: {error}")),
        };
        answer(&mut stream, &reply)?;
    }
}

fn refusal(stream: &UnixStream, seat: &Seat) -> Option<String> {
    let own = nix::unistd::geteuid().as_raw();
    match getsockopt(stream, PeerCredentials) {
        Ok(peer) if peer.uid() == own || peer.uid() == 0 => {}
        Ok(peer) => {
            return Some(format!(
                "user {} is not the recorder's user {own}",
                peer.uid()
            ));
        }
        Err(error) => return Some(format!("the kernel does not say who connects: {error}")),
    }
    (!seat.is_free).then(|| format!("{CONNECTIONS_MAX} connections are open already"))
}

fn answer(stream: &mut UnixStream, reply: &Reply) -> io::Result<()> {
    let mut line = serde_json::to_vec(reply)?;
    line.push(b'\n');
    stream.write_all(&line)
}

impl Shared {
    fn mark(&self, label: String, text: String) -> Reply {
        for (name, value, most) in [
            ("label", &label, LABEL_BYTES_MAX),
            ("text", &text, TEXT_BYTES_MAX),
        ] {
            if value.len() > most {
                return Reply::Refused(format!(
                    "a mark's {name} has at most {most} bytes, this one {}",
                    value.len()
                ));
            }
        }
        if !self.about.progress.recording.load(Ordering::Acquire) {
            return Reply::Refused("the capture has not begun yet".to_owned());
        }
        let (written, answer) = bounded(1);
        let asked = Asked {
            mark: Mark { label, text },
            written,
        };
        let sent = self.asked.send_timeout(asked, ANSWER_MAX).is_ok();
        match answer.recv_timeout(if sent { ANSWER_MAX } else { Duration::ZERO }) {
            Ok(boot_ns) => {
                self.marks.fetch_add(1, Ordering::Relaxed);
                Reply::Marked { boot_ns }
            }
            Err(RecvTimeoutError::Timeout) => Reply::Refused(format!(
                "the capture did not write the mark within {ANSWER_MAX:?}; it may come later"
            )),
            Err(RecvTimeoutError::Disconnected) => {
                Reply::Refused("the capture has ended".to_owned())
            }
        }
    }

    fn switch(&self, profile: Option<&str>, on: &[String], off: &[String]) -> Reply {
        let switch = match Switch::named(profile, on, off) {
            Ok(switch) => switch,
            Err(reason) => return Reply::Refused(reason),
        };
        let (done, answer) = bounded(1);
        if self
            .about
            .switches
            .try_send(switch::Asked { switch, done })
            .is_err()
        {
            return Reply::Refused(
                "other changes wait already, or the capture has ended".to_owned(),
            );
        }
        match answer.recv_timeout(ANSWER_MAX) {
            Ok(Ok(in_force)) => Reply::InForce(in_force),
            Ok(Err(reason)) => Reply::Refused(reason),
            Err(_) => Reply::Refused(format!("nothing was changed within {ANSWER_MAX:?}")),
        }
    }

    fn dump(&self, reason: &str) -> Reply {
        let Some(triggers) = &self.about.triggers else {
            return Reply::Refused("this capture keeps no ring: `rec flight` does".to_owned());
        };
        if reason.len() > TEXT_BYTES_MAX {
            return Reply::Refused(format!(
                "a reason has at most {TEXT_BYTES_MAX} bytes, this one {}",
                reason.len()
            ));
        }
        mark_dump(&self.asked, reason);
        let answer = triggers
            .pull(reason)
            .map(|answer| answer.recv_timeout(ANSWER_MAX));
        match answer {
            Some(Ok(Ok(begun))) => Reply::Dumping(Dumping {
                path: std::path::absolute(&begun.path).unwrap_or(begun.path),
                joined: begun.joined,
                from_boot_ns: begun.from_ns,
                until_boot_ns: begun.until_ns,
            }),
            Some(Ok(Err(reason))) => Reply::Refused(reason),
            Some(Err(_)) => Reply::Refused(format!(
                "no dump was begun within {ANSWER_MAX:?}; it may come later"
            )),
            None => Reply::Refused("many dumps are asked for already".to_owned()),
        }
    }

    fn status(&self) -> Status {
        let progress = &self.about.progress;
        let in_force = progress
            .in_force
            .lock()
            .map(|told| told.clone())
            .unwrap_or_default();
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            trace_uuid: uuid::Uuid::from_bytes(self.about.trace_uuid).to_string(),
            profile: match in_force.profile.is_empty() {
                true => self.about.profile.clone(),
                false => in_force.profile.clone(),
            },
            recording: progress.recording.load(Ordering::Acquire),
            started_boot_ns: self.started_ns,
            now_boot_ns: clock::boot_ns(),
            events: progress.events.load(Ordering::Relaxed),
            chunks: progress.chunks.load(Ordering::Relaxed),
            bytes: progress.bytes.load(Ordering::Relaxed),
            dropped: progress.dropped.load(Ordering::Relaxed),
            marks: self.marks.load(Ordering::Relaxed) as u64,
            in_force,
            own: progress
                .own
                .lock()
                .map(|told| told.clone())
                .unwrap_or_default(),
        }
    }
}

/// Notes in the trace why a dump was asked for. A dump does not wait for its note.
pub fn mark_dump(asked: &Sender<Asked>, reason: &str) {
    let (written, _) = bounded(1);
    let mark = Mark {
        label: "dump".to_owned(),
        text: reason.to_owned(),
    };
    let _ = asked.try_send(Asked { mark, written });
}

/// Asks the capture at `path`; a refusal is an error.
pub fn ask(path: &Path, request: &Request) -> anyhow::Result<Reply> {
    let mut stream = UnixStream::connect(path).with_context(|| {
        format!(
            "no capture answers at {}: start one with --control, or name its socket with --control PATH",
            path.display()
        )
    })?;
    stream.set_read_timeout(Some(ANSWER_MAX + ANSWER_MAX))?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    // A refused connection may be closed by now; what it was refused for is still there to be read.
    let _ = stream.write_all(&line);
    let mut line = String::new();
    BufReader::new(stream)
        .take(LINE_BYTES_MAX)
        .read_line(&mut line)
        .with_context(|| format!("the capture at {} did not answer", path.display()))?;
    match serde_json::from_str(&line)
        .with_context(|| format!("the capture at {} answered {line:?}", path.display()))?
    {
        Reply::Refused(reason) => bail!("refused: {reason}"),
        reply => Ok(reply),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(directory: &Path, recording: bool) -> (Server, Receiver<Asked>, PathBuf) {
        let path = directory.join("run/control.sock");
        let progress = Arc::new(Progress::default());
        progress.recording.store(recording, Ordering::Release);
        let about = About {
            trace_uuid: [7; 16],
            profile: "standard".into(),
            progress,
            triggers: None,
            switches: bounded(1).0,
        };
        let (asked, marks) = marks();
        let server = Server::start(&path, about, asked).unwrap();
        (server, marks, path)
    }

    fn mark(text: &str) -> Request {
        Request::Mark {
            label: "note".into(),
            text: text.into(),
        }
    }

    #[test]
    fn a_mark_is_answered_when_it_is_written_and_the_socket_is_its_owners_and_goes() {
        let directory = tempfile::tempdir().unwrap();
        let (server, marks, path) = server(directory.path(), true);
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let writer = thread::spawn(move || {
            let asked = marks.recv().unwrap();
            asked.written.send(42).unwrap();
            asked.mark
        });
        let text = "\u{1}".repeat(TEXT_BYTES_MAX);
        assert_eq!(
            ask(&path, &mark(&text)).unwrap(),
            Reply::Marked { boot_ns: 42 }
        );
        assert_eq!(writer.join().unwrap().text, text);
        let Reply::Status(status) = ask(&path, &Request::Status).unwrap() else {
            panic!("a status");
        };
        assert!(status.recording && status.marks == 1);
        let again = Server::start(
            &path,
            About {
                trace_uuid: [0; 16],
                profile: String::new(),
                progress: Arc::default(),
                triggers: None,
                switches: bounded(1).0,
            },
            super::marks().0,
        );
        let error = again.err().unwrap().to_string();
        assert!(error.contains("another recorder"), "{error}");
        drop(server);
        assert!(!path.exists());
    }

    #[test]
    fn what_cannot_be_written_is_refused_with_the_reason() {
        let directory = tempfile::tempdir().unwrap();
        let (_server, marks, path) = server(directory.path(), true);
        let refused = |request: &Request| ask(&path, request).unwrap_err().to_string();
        let long = "x".repeat(TEXT_BYTES_MAX + 1);
        assert!(refused(&mark(&long)).contains("at most 4096 bytes, this one 4097"));
        drop(marks);
        assert!(refused(&mark("late")).contains("has ended"));

        let answered = |line: &[u8]| {
            let mut stream = UnixStream::connect(&path).unwrap();
            stream.write_all(line).unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            text
        };
        assert!(answered(b"{\"mark\":1}\n").contains("not a request"));
        assert!(answered(b"\"status\"").contains("newline"));
        assert_eq!(answered(b""), "");
    }

    #[test]
    fn before_the_first_event_nothing_is_marked() {
        let directory = tempfile::tempdir().unwrap();
        let (_server, _marks, path) = server(directory.path(), false);
        let error = ask(&path, &mark("early")).unwrap_err().to_string();
        assert!(error.contains("not begun"), "{error}");
    }

    #[test]
    fn connections_are_bounded_and_a_seat_is_given_back() {
        let directory = tempfile::tempdir().unwrap();
        let (_server, _marks, path) = server(directory.path(), true);
        let mut held: Vec<UnixStream> = (0..CONNECTIONS_MAX)
            .map(|_| UnixStream::connect(&path).unwrap())
            .collect();
        // Each is attended when it answers.
        for stream in &mut held {
            stream.write_all(b"\"status\"\n").unwrap();
            let mut line = String::new();
            BufReader::new(&mut *stream).read_line(&mut line).unwrap();
            assert!(line.contains("trace_uuid"), "{line}");
        }
        let error = ask(&path, &Request::Status).unwrap_err().to_string();
        assert!(error.contains("connections are open"), "{error}");
        drop(held);
        // The threads see the end of their connections in their own time.
        while ask(&path, &Request::Status).is_err() {
            thread::sleep(Duration::from_millis(10));
        }
    }
}
