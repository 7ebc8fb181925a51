//! Marks in the trace: where each act starts and stops, on the capture's clock, through the recorder's
//! control socket (what `rec ctl mark` does; the protocol is in the recorder's `control` module).
//!
//! Marks are notes on the host's side: no container sees the socket, and no feature, rule or model looks
//! at them. The labels do not depend on them.

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// The label of our marks.
pub const LABEL: &str = "act";
/// The recorder says that it records when its socket is there.
const ANSWER_MAX: Duration = Duration::from_secs(20);
/// One end of an act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    Start,
    Stop,
}

/// The text of a mark. The time is the act's own; the mark stands where the injector heard of it.
pub fn text(edge: Edge, run: &str, class: &str, container_id: &str, boot_ns: u64) -> String {
    let word = match edge {
        Edge::Start => "start",
        Edge::Stop => "stop",
    };
    format!("{word} run={run} class={class} container={container_id} boot_ns={boot_ns}")
}

pub struct Marker {
    path: PathBuf,
    stream: Option<BufReader<UnixStream>>,
    /// Written so far.
    pub written: u64,
}

impl Marker {
    pub fn new(path: &Path) -> Marker {
        Marker {
            path: path.to_owned(),
            stream: None,
            written: 0,
        }
    }

    /// Returns when it is in the trace's open chunk.
    pub fn mark(&mut self, text: &str) -> Result<u64> {
        let boot_ns = self
            .ask(text)
            .with_context(|| format!("cannot write a mark through {:?}", self.path))?;
        self.written += 1;
        Ok(boot_ns)
    }

    fn ask(&mut self, text: &str) -> Result<u64> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            none => {
                let stream = UnixStream::connect(&self.path)?;
                stream.set_read_timeout(Some(ANSWER_MAX))?;
                stream.set_write_timeout(Some(ANSWER_MAX))?;
                none.insert(BufReader::new(stream))
            }
        };
        let request = json!({ "mark": { "label": LABEL, "text": text } });
        writeln!(stream.get_mut(), "{request}")?;
        let mut line = String::new();
        stream.read_line(&mut line)?;
        let reply: Value = serde_json::from_str(&line)
            .with_context(|| format!("the recorder answered {line:?}"))?;
        match reply["marked"]["boot_ns"].as_u64() {
            Some(boot_ns) => Ok(boot_ns),
            None => bail!("the recorder answered {reply}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_mark_is_one_line_and_so_is_its_answer() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let recorder = std::thread::spawn(move || {
            let mut stream = BufReader::new(listener.accept().unwrap().0);
            let mut asked = Vec::new();
            for answer in ["{\"marked\":{\"boot_ns\":7}}", "{\"refused\":\"over\"}"] {
                let mut line = String::new();
                stream.read_line(&mut line).unwrap();
                asked.push(serde_json::from_str::<Value>(&line).unwrap());
                writeln!(stream.get_mut(), "{answer}").unwrap();
            }
            asked
        });
        let mut marker = Marker::new(&path);
        let said = text(Edge::Start, "5f2a", "noop", "ab", 12);
        assert_eq!(said, "start run=5f2a class=noop container=ab boot_ns=12");
        assert_eq!(marker.mark(&said).unwrap(), 7);
        let refused = format!("{:#}", marker.mark("late").unwrap_err());
        assert!(refused.contains("over"), "{refused}");
        assert_eq!(marker.written, 1);
        let asked = recorder.join().unwrap();
        assert_eq!(asked[0]["mark"]["text"], said);
        assert_eq!(asked[1]["mark"]["label"], LABEL);
    }
}
