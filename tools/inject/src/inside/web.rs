//! The normal workload: a small web server and a client that asks it for files, over loopback.

use std::{
    fs::{self, OpenOptions},
    io::{self, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    time::Duration,
};

use rand::Rng;

use super::{pace::Pace, resolver};
use crate::image;

/// In the container's own network namespace, so every container can use the same.
pub const PORT: u16 = 8080;

/// A request line and headers longer than this are not served.
const REQUEST_BYTES_MAX: usize = 4096;

const IO_TIMEOUT: Duration = Duration::from_secs(5);

/// `webd`: serves `/srv/www`, one connection after another, and logs each request.
pub fn serve() -> i32 {
    let listener = match TcpListener::bind((Ipv4Addr::LOCALHOST, PORT)) {
        Ok(listener) => listener,
        Err(error) => return complain("webd", &format!("cannot listen on port {PORT}"), &error),
    };
    for stream in listener.incoming() {
        // A client that goes away is its own affair.
        let _ = stream.and_then(answer);
    }
    0
}

fn answer(mut stream: TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(IO_TIMEOUT))?;
    stream.set_write_timeout(Some(IO_TIMEOUT))?;
    let mut request = Vec::new();
    let mut part = [0; 1024];
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        let read = stream.read(&mut part)?;
        if read == 0 || request.len() + read > REQUEST_BYTES_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        request.extend_from_slice(&part[..read]);
    }
    let text = String::from_utf8_lossy(&request);
    let name = text
        .split([' ', '?'])
        .nth(1)
        .unwrap_or("")
        .trim_start_matches('/')
        .to_owned();
    let plain = !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'.');
    let page = if plain {
        fs::read(format!("/srv/www/{name}")).ok()
    } else {
        None
    };
    let (status, body) = match page {
        Some(body) => ("200 OK", body),
        None => ("404 Not Found", b"not found\n".to_vec()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(&body)?;
    let mut log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(access_log())?;
    writeln!(log, "GET /{name} {status} {}", body.len())
}

pub fn access_log() -> String {
    format!("{}/access.log", image::LOGS)
}

/// `fetchd PACE_MILLI SEED`: asks for pages at a rate that varies around the given one.
pub fn fetch(args: &[String]) -> i32 {
    let Some(mut pace) = Pace::from_args(args) else {
        eprintln!("usage: fetchd PACE_MILLI SEED");
        return 2;
    };
    loop {
        let page = pace.rng.random_range(0..image::PAGES + 1);
        if pace.rng.random_bool(0.05) {
            // What a resolver's library reads before it asks.
            let _ = fs::read("/etc/resolv.conf").and(fs::read("/etc/hosts"));
            let _ = resolver::look_up(pace.rng.random(), "pages.internal");
        }
        // The server may not listen yet, or be restarting.
        let _ = request(&format!("page{page}.html"));
        pace.sleep();
    }
}

fn request(name: &str) -> io::Result<()> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, PORT))?;
    stream.set_read_timeout(Some(IO_TIMEOUT))?;
    stream.write_all(format!("GET /{name} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(())
}

fn complain(part: &str, action: &str, error: &dyn std::fmt::Display) -> i32 {
    eprintln!("error: {part}: {action}: {error}");
    1
}
