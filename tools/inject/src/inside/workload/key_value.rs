//! `kvd` and `kvc`: a key-value store over TCP, one line a request, and its client.

use std::{
    collections::HashMap,
    io::{self, BufRead, BufReader, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    time::Duration,
};

use rand::Rng;

use crate::inside::pace::Pace;

const PORT: u16 = 6380;

/// Beyond that a new key is refused: the store lives in the container's memory.
const KEYS_MAX: usize = 4096;

/// Longer lines end the connection.
const LINE_BYTES_MAX: u64 = 1024;

/// The client begins a new connection after so many requests.
const REQUESTS: u32 = 50;

const IO_TIMEOUT: Duration = Duration::from_secs(5);

/// `kvd`
pub fn serve() -> i32 {
    let listener = match TcpListener::bind((Ipv4Addr::LOCALHOST, PORT)) {
        Ok(listener) => listener,
        Err(error) => {
            eprintln!("error: kvd: cannot listen on port {PORT}: {error}");
            return 1;
        }
    };
    let mut store = HashMap::new();
    for stream in listener.incoming() {
        // A client that goes away is its own affair.
        let _ = stream.and_then(|stream| answer(stream, &mut store));
    }
    0
}

fn answer(stream: TcpStream, store: &mut HashMap<String, String>) -> io::Result<()> {
    stream.set_read_timeout(Some(IO_TIMEOUT))?;
    stream.set_write_timeout(Some(IO_TIMEOUT))?;
    let mut out = stream.try_clone()?;
    let mut requests = BufReader::new(stream);
    loop {
        let mut line = String::new();
        let mut limited = io::Read::take(&mut requests, LINE_BYTES_MAX);
        if limited.read_line(&mut line)? == 0 || !line.ends_with('\n') {
            return Ok(());
        }
        let reply = obey(line.trim_end(), store);
        writeln!(out, "{reply}")?;
    }
}

fn obey(line: &str, store: &mut HashMap<String, String>) -> String {
    let mut words = line.splitn(3, ' ');
    let (command, key) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    match (command, words.next()) {
        ("set", Some(value)) if store.len() < KEYS_MAX || store.contains_key(key) => {
            store.insert(key.to_owned(), value.to_owned());
            "ok".into()
        }
        ("set", Some(_)) => "full".into(),
        ("get", None) => match store.get(key) {
            Some(value) => format!("value {value}"),
            None => "none".into(),
        },
        ("del", None) => match store.remove(key) {
            Some(_) => "ok".into(),
            None => "none".into(),
        },
        _ => "error".into(),
    }
}

/// `kvc PACE_MILLI SEED`
pub fn ask(args: &[String]) -> i32 {
    let Some(mut pace) = Pace::from_args(args) else {
        eprintln!("usage: kvc PACE_MILLI SEED");
        return 2;
    };
    loop {
        // The server may not listen yet, or be restarting.
        let _ = converse(&mut pace);
        pace.sleep();
    }
}

fn converse(pace: &mut Pace) -> io::Result<()> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, PORT))?;
    stream.set_read_timeout(Some(IO_TIMEOUT))?;
    let mut out = stream.try_clone()?;
    let mut replies = BufReader::new(stream);
    for _ in 0..REQUESTS {
        let key = pace.rng.random_range(0..2000);
        let request = match pace.rng.random_range(0..10) {
            0..=2 => format!("set key{key} {:016x}\n", pace.rng.random::<u64>()),
            3 => format!("del key{key}\n"),
            _ => format!("get key{key}\n"),
        };
        out.write_all(request.as_bytes())?;
        let mut reply = String::new();
        replies.read_line(&mut reply)?;
        pace.sleep();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_is_got_until_it_is_deleted_and_the_store_is_bounded() {
        let mut store = HashMap::new();
        let mut say = |line: &str| obey(line, &mut store);
        assert_eq!(say("set a b c"), "ok");
        assert_eq!(say("get a"), "value b c");
        assert_eq!((say("del a"), say("get a")), ("ok".into(), "none".into()));
        assert_eq!(say(""), "error");
        for key in 0..KEYS_MAX {
            assert_eq!(say(&format!("set {key} x")), "ok");
        }
        assert_eq!(say("set more x"), "full");
        assert_eq!(say("set 0 y"), "ok");
    }
}
