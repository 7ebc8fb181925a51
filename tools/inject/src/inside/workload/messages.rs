//! `brokerd`, `feedd` and `workd`: a message broker on a unix socket, its producer and its worker.

use std::{
    collections::VecDeque,
    fs::{self, OpenOptions},
    io::{self, BufRead, BufReader, Write},
    os::unix::net::{UnixListener, UnixStream},
    thread,
    time::Duration,
};

use rand::Rng;

use crate::{image, inside::pace::Pace};

/// Messages that wait; a producer that is faster is told so.
const WAITING_MAX: usize = 1024;

/// The worker's pause when nothing waits.
const IDLE: Duration = Duration::from_millis(200);

/// Its log is started anew beyond this.
const LOG_BYTES_MAX: u64 = 64 << 10;

const IO_TIMEOUT: Duration = Duration::from_secs(5);

fn socket() -> String {
    format!("{}/broker.sock", image::RUN)
}

/// `brokerd`: one request a connection, `put MESSAGE` or `take`.
pub fn broker() -> i32 {
    // Left by one that died.
    let _ = fs::remove_file(socket());
    let listener = match UnixListener::bind(socket()) {
        Ok(listener) => listener,
        Err(error) => {
            eprintln!("error: brokerd: cannot listen at {}: {error}", socket());
            return 1;
        }
    };
    let mut waiting = VecDeque::new();
    for stream in listener.incoming() {
        // A client that goes away is its own affair.
        let _ = stream.and_then(|stream| answer(stream, &mut waiting));
    }
    0
}

fn answer(mut stream: UnixStream, waiting: &mut VecDeque<String>) -> io::Result<()> {
    stream.set_read_timeout(Some(IO_TIMEOUT))?;
    let mut line = String::new();
    BufReader::new(io::Read::take(&stream, 1024)).read_line(&mut line)?;
    let reply = match line.trim_end().split_once(' ') {
        Some(("put", message)) if waiting.len() < WAITING_MAX => {
            waiting.push_back(message.to_owned());
            "ok".to_owned()
        }
        Some(("put", _)) => "full".to_owned(),
        _ => waiting.pop_front().unwrap_or_default(),
    };
    writeln!(stream, "{reply}")
}

fn ask(request: &str) -> io::Result<String> {
    let mut stream = UnixStream::connect(socket())?;
    stream.set_read_timeout(Some(IO_TIMEOUT))?;
    writeln!(stream, "{request}")?;
    let mut reply = String::new();
    BufReader::new(stream).read_line(&mut reply)?;
    Ok(reply.trim_end().to_owned())
}

/// `feedd PACE_MILLI SEED`
pub fn feed(args: &[String]) -> i32 {
    let Some(mut pace) = Pace::from_args(args) else {
        eprintln!("usage: feedd PACE_MILLI SEED");
        return 2;
    };
    loop {
        let message: u64 = pace.rng.random();
        // The broker may not listen yet, or be restarting.
        let _ = ask(&format!("put order {message:016x}"));
        pace.sleep();
    }
}

/// `workd`: takes messages, hashes each, appends the result to its log.
pub fn work() -> i32 {
    loop {
        match ask("take") {
            Ok(message) if !message.is_empty() => {
                if let Err(error) = record(&message) {
                    eprintln!("error: workd: {error}");
                }
            }
            _ => thread::sleep(IDLE),
        }
    }
}

fn record(message: &str) -> io::Result<()> {
    let path = format!("{}/orders.log", image::LOGS);
    if fs::metadata(&path).is_ok_and(|meta| meta.len() > LOG_BYTES_MAX) {
        fs::rename(&path, format!("{path}.1"))?;
    }
    let mut log = OpenOptions::new().create(true).append(true).open(path)?;
    writeln!(log, "{message} {}", blake3::hash(message.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_out_in_order_and_are_bounded() {
        let mut waiting = VecDeque::new();
        let mut say = |line: &str| {
            let (near, far) = UnixStream::pair().unwrap();
            writeln!(&near, "{line}").unwrap();
            answer(far, &mut waiting).unwrap();
            let mut reply = String::new();
            BufReader::new(near).read_line(&mut reply).unwrap();
            reply.trim_end().to_owned()
        };
        assert_eq!(say("put a b"), "ok");
        assert_eq!(say("put c"), "ok");
        assert_eq!([say("take"), say("take"), say("take")], ["a b", "c", ""]);
        for _ in 0..WAITING_MAX {
            assert_eq!(say("put x"), "ok");
        }
        assert_eq!(say("put x"), "full");
    }
}
