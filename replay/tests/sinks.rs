//! What is found reaches where it is sent: files that other programs read back, receivers on the network,
//! one that is down for a while, and a real Alertmanager.

mod place;
mod support;

use place::Place;
use serde_json::Value;
use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, UdpSocket},
    os::unix::net::UnixDatagram,
    path::Path,
    process::{Command, Output, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

impl Place {
    /// Detects with these sinks; what is printed is what they should have.
    fn detect(&self, sinks: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_replay"));
        command.args(["detect", "--json", &self.text("trace.zst")]);
        for sink in sinks {
            command.args(["--sink", sink]);
        }
        command.stdin(Stdio::null()).output().unwrap()
    }
}

fn lines(output: &Output) -> Vec<String> {
    let text = std::str::from_utf8(&output.stdout).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// The summary's object about the only sink.
fn summary(output: &Output) -> Value {
    let text = std::str::from_utf8(&output.stderr).unwrap();
    let line = text.lines().last().unwrap_or_default();
    let summary: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{text}"));
    summary["sinks"][0].clone()
}

fn installed(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok();
    if !found {
        assert!(
            std::env::var_os("TRAILCAM_NO_SKIP").is_none(),
            "{program} is not installed"
        );
        eprintln!("skipped: {program} is not installed");
    }
    found
}

#[test]
fn files_hold_what_is_printed() {
    let place = Place::new();
    let (text, jsonl, csv) = (
        place.text("f.txt"),
        place.text("f.jsonl"),
        place.text("f.csv"),
    );
    let (parquet, sqlite) = (place.text("f.parquet"), place.text("f.db"));
    let sinks = [
        format!("text={text}"),
        format!("jsonl={jsonl}"),
        format!("csv={csv}"),
        format!("parquet={parquet}"),
        format!("sqlite={sqlite}"),
    ];
    let output = place.detect(&sinks.each_ref().map(String::as_str));
    let printed = lines(&output);
    assert!(printed.len() > 3, "{output:?}");
    let written = fs::read_to_string(&jsonl).unwrap();
    assert_eq!(written.lines().collect::<Vec<_>>(), printed);
    assert!(
        fs::read_to_string(&text)
            .unwrap()
            .contains("evidence rules")
    );
    assert_eq!(
        fs::read_to_string(&csv).unwrap().lines().count(),
        printed.len() + 1
    );
    let mut reader = parquet::arrow::arrow_reader::ParquetRecordBatchReader::try_new(
        fs::File::open(&parquet).unwrap(),
        1_024,
    )
    .unwrap();
    assert_eq!(reader.next().unwrap().unwrap().num_rows(), printed.len());
    let database = rusqlite::Connection::open(&sqlite).unwrap();
    let rules: Vec<String> = database
        .prepare("SELECT rule FROM findings ORDER BY rowid")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let expected: Vec<String> = printed
        .iter()
        .map(|line| {
            serde_json::from_str::<Value>(line).unwrap()["rule"]
                .as_str()
                .unwrap()
                .into()
        })
        .collect();
    assert_eq!(rules, expected);
    // A file is not replaced, a database goes on.
    let output = place.detect(&[&sinks[1]]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("force"));
    place.detect(&[&sinks[4], &format!("jsonl={jsonl},force")]);
    let rows: i64 = database
        .query_row("SELECT count(*) FROM findings", [], |row| row.get(0))
        .unwrap();
    assert_eq!(rows as usize, 2 * printed.len());
}

/// A database of an earlier version has fewer columns: they are added, and its readers go on.
#[test]
fn a_database_of_yesterday_gets_the_columns_of_today() {
    let place = Place::new();
    let path = place.text("old.db");
    let database = rusqlite::Connection::open(&path).unwrap();
    database
        .execute_batch("CREATE TABLE findings (rule TEXT, boot_ns INTEGER); INSERT INTO findings VALUES ('old', 1)")
        .unwrap();
    let output = place.detect(&[&format!("sqlite={path}")]);
    let count: i64 = database
        .query_row("SELECT count(incident) FROM findings", [], |row| row.get(0))
        .unwrap();
    assert_eq!(count as usize, lines(&output).len());
    let old: String = database
        .query_row("SELECT rule FROM findings WHERE boot_ns = 1", [], |row| {
            row.get(0)
        })
        .unwrap();
    assert_eq!(old, "old");
}

/// Answers requests with a status and hands out their bodies.
fn receiver(listener: TcpListener, status: &'static str) -> mpsc::Receiver<String> {
    let (sender, bodies) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let mut length = 0;
            loop {
                let mut line = String::new();
                if stream.read_line(&mut line).unwrap_or(0) == 0 || line.trim().is_empty() {
                    break;
                }
                if let Some((name, value)) = line.split_once(':')
                    && name.eq_ignore_ascii_case("content-length")
                {
                    length = value.trim().parse().unwrap();
                }
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body).unwrap();
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 3\r\n\r\nno!");
            let _ = stream.get_mut().write_all(answer.as_bytes());
            if sender.send(String::from_utf8(body).unwrap()).is_err() {
                return;
            }
        }
    });
    bodies
}

#[test]
fn a_webhook_that_is_down_at_first_gets_everything_once_in_order() {
    let place = Place::new();
    // Reserves a port, on which nobody listens for two seconds.
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let (started, bodies) = mpsc::channel();
    let late = thread::spawn(move || {
        thread::sleep(Duration::from_secs(2));
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        started.send(receiver(listener, "200 OK")).unwrap();
    });
    let spool = place.text("spool");
    let output = place.detect(&[&format!(
        "webhook=http://127.0.0.1:{port}/in,spool={spool},wait=30s"
    )]);
    late.join().unwrap();
    let bodies: Vec<String> = bodies.recv().unwrap().try_iter().collect();
    assert_eq!(bodies, lines(&output));
    assert_eq!(summary(&output)["delivered"], bodies.len());
    assert_eq!(fs::read_dir(&spool).unwrap().count(), 1, "the lock is left");
}

/// A receiver that is away for longer than a minute: retries grow, and are never further apart than that the
/// spool is emptied soon after it is back. Most of this test is waiting.
#[test]
fn an_outage_of_more_than_a_minute_loses_nothing() {
    let place = Place::new();
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let (started, bodies) = mpsc::channel();
    let late = thread::spawn(move || {
        thread::sleep(Duration::from_secs(65));
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        started.send(receiver(listener, "200 OK")).unwrap();
    });
    let spool = place.text("spool");
    let output = place.detect(&[&format!(
        "webhook=http://127.0.0.1:{port}/in,spool={spool},wait=300s"
    )]);
    late.join().unwrap();
    let bodies: Vec<String> = bodies.recv().unwrap().try_iter().collect();
    assert!(!bodies.is_empty());
    assert_eq!(bodies, lines(&output));
    let summary = summary(&output);
    assert_eq!(
        (&summary["delivered"], &summary["kept"]),
        (&bodies.len().into(), &0.into())
    );
    assert_eq!(fs::read_dir(&spool).unwrap().count(), 1, "the lock is left");
}

#[test]
fn what_a_spool_keeps_the_next_run_delivers() {
    let place = Place::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let sink = format!(
        "webhook=http://{address}/,spool={},wait=100ms",
        place.text("spool")
    );
    let first = place.detect(&[&sink]);
    let count = lines(&first).len();
    assert_eq!(summary(&first)["kept"], count, "{first:?}");
    assert_ne!(first.status.code(), Some(3), "nothing is lost");
    let bodies = receiver(TcpListener::bind(address).unwrap(), "204 No Content");
    let second = place.detect(&[&sink.replace("100ms", "30s")]);
    assert_eq!(summary(&second)["delivered"], 2 * count);
    assert_eq!(
        bodies.try_iter().collect::<Vec<_>>(),
        [lines(&first), lines(&second)].concat()
    );
}

#[test]
fn what_does_not_fit_is_said_to_be_dropped() {
    let place = Place::new();
    let address = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let output = place.detect(&[&format!(
        "webhook=http://{address}/,spool-bytes=1500,wait=100ms"
    )]);
    let said = summary(&output);
    assert_eq!(said["dropped"], lines(&output).len(), "{said}");
    assert_eq!(output.status.code(), Some(3));
    // What a receiver refuses is not tried again for ever.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let bodies = receiver(listener, "400 Bad Request");
    let output = place.detect(&[&format!("webhook=http://{address}/,wait=30s")]);
    assert_eq!(bodies.try_iter().count(), lines(&output).len());
    let said = summary(&output);
    assert_eq!(said["dropped"], lines(&output).len());
    assert!(
        said["reasons"][0]
            .as_str()
            .unwrap()
            .contains("400 Bad Request: no!"),
        "{said}"
    );
}

#[test]
fn a_template_makes_the_body() {
    let place = Place::new();
    let template = place.path("template");
    fs::write(
        &template,
        r#"{"text":"{{severity}}: {{rule}} in {{container.name}}"}"#,
    )
    .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let sink = format!(
        "webhook=http://{}/,wait=30s,template={}",
        listener.local_addr().unwrap(),
        template.display()
    );
    let bodies = receiver(listener, "200 OK");
    let output = place.detect(&[&sink]);
    let bodies: Vec<String> = bodies.try_iter().collect();
    assert_eq!(bodies.len(), lines(&output).len());
    for (body, line) in bodies.iter().zip(lines(&output)) {
        let (body, finding): (Value, Value) = (
            serde_json::from_str(body).unwrap(),
            serde_json::from_str(&line).unwrap(),
        );
        let text = body["text"].as_str().unwrap();
        assert!(text.contains(finding["rule"].as_str().unwrap()), "{text}");
    }
    fs::write(&template, "\n{{nothing}}").unwrap();
    let output = place.detect(&[&sink]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("line 2"));
}

#[test]
fn syslog_comes_by_socket_datagram_and_stream() {
    let place = Place::new();
    let unix = UnixDatagram::bind(place.path("log")).unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let sinks = [
        format!("syslog=unix://{},wait=30s", place.text("log")),
        format!("syslog=udp://{},wait=30s", udp.local_addr().unwrap()),
        format!("syslog=tcp://{},wait=30s", tcp.local_addr().unwrap()),
    ];
    let stream = thread::spawn(move || {
        let mut frames = Vec::new();
        tcp.accept().unwrap().0.read_to_end(&mut frames).unwrap();
        frames
    });
    // A datagram socket holds few: they are read while they come.
    let (from_unix, from_udp) = (mpsc::channel(), mpsc::channel());
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(bytes) = unix.recv(&mut buffer) {
            let _ = from_unix.0.send(buffer[..bytes].to_vec());
        }
    });
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(bytes) = udp.recv(&mut buffer) {
            let _ = from_udp.0.send(buffer[..bytes].to_vec());
        }
    });
    let output = place.detect(&sinks.each_ref().map(String::as_str));
    let count = lines(&output).len();
    let frames = stream.join().unwrap();
    let mut rest = &frames[..];
    for _ in 0..count {
        let take =
            |from: &mpsc::Receiver<Vec<u8>>| from.recv_timeout(Duration::from_secs(10)).unwrap();
        let message = take(&from_unix.1);
        assert_eq!(take(&from_udp.1), message);
        assert!(message.starts_with(b"<8") && message[4..].starts_with(b"1 2023-"));
        let blank = rest.iter().position(|byte| *byte == b' ').unwrap();
        let length: usize = std::str::from_utf8(&rest[..blank])
            .unwrap()
            .parse()
            .unwrap();
        assert_eq!(&rest[blank + 1..blank + 1 + length], &message[..]);
        rest = &rest[blank + 1 + length..];
    }
    assert!(rest.is_empty());
}

/// Ended with the test, whatever becomes of it.
struct Running(std::process::Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn alertmanager(place: &Place, port: u16) -> Running {
    let config = place.path("alertmanager.yml");
    fs::write(
        &config,
        "route:\n  receiver: none\nreceivers:\n  - name: none\n",
    )
    .unwrap();
    let child = Command::new("prometheus-alertmanager")
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.path={}", place.text("alerts")))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .arg("--cluster.listen-address=")
        .stdout(Stdio::null())
        .stderr(fs::File::create(place.path("alertmanager.log")).unwrap())
        .spawn()
        .unwrap();
    Running(child)
}

#[test]
fn alerts_arrive_in_alertmanager() {
    if !installed("prometheus-alertmanager") || !installed("amtool") {
        return;
    }
    let place = Place::new();
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let url = format!("http://127.0.0.1:{port}");
    // It starts while the first attempts fail.
    let _running = alertmanager(&place, port);
    let output = place.detect(&[&format!("alertmanager={url},wait=60s")]);
    assert_eq!(
        summary(&output)["delivered"],
        lines(&output).len(),
        "{}",
        log(&place)
    );
    let mut expected: Vec<(String, String)> = lines(&output)
        .iter()
        .map(|line| {
            let finding: Value = serde_json::from_str(line).unwrap();
            let word = |value: &Value| value.as_str().unwrap_or("host").to_owned();
            (word(&finding["rule"]), word(&finding["container"]["name"]))
        })
        .collect();
    expected.sort();
    expected.dedup();
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let told = Command::new("amtool")
            .args([
                "alert",
                "query",
                "--output=json",
                &format!("--alertmanager.url={url}"),
            ])
            .output()
            .unwrap();
        let told: Value = serde_json::from_slice(&told.stdout).unwrap();
        let mut alerts: Vec<(String, String)> = told
            .as_array()
            .unwrap()
            .iter()
            .map(|alert| {
                assert!(
                    alert["startsAt"].as_str().unwrap().starts_with("2023-"),
                    "{alert}"
                );
                let label = |name: &str| alert["labels"][name].as_str().unwrap().to_owned();
                (label("alertname"), label("container"))
            })
            .collect();
        alerts.sort();
        if alerts == expected {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "{alerts:?}\n{expected:?}\n{}",
            log(&place)
        );
        thread::sleep(Duration::from_millis(200));
    }
}

fn log(place: &Place) -> String {
    fs::read_to_string(place.path("alertmanager.log")).unwrap_or_default()
}

#[test]
fn a_mistake_in_a_sink_is_a_mistake_in_the_arguments() {
    let place = Place::new();
    for (sink, word) in [
        ("mail=x", "alertmanager"),
        ("webhook=ftp://x", "https://host"),
        ("syslog=tcp://nowhere", "tcp://host:port"),
        ("csv=x,wait=1s", "force"),
    ] {
        let output = place.detect(&[sink]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(word), "{said}");
    }
    assert!(!Path::new("x").exists());
}
