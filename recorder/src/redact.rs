//! Takes secrets out of what programs were started with and asked for, before anything is sealed.
//!
//! Program arguments are covered: those of exec events, of the process snapshot and of every later
//! checkpoint; so are the targets and hosts of HTTP requests, the names of DNS questions, and the first
//! bytes of what calls read and wrote. Patterns see arguments joined with blanks, as `ps` shows them; what
//! matches becomes [`REPLACEMENT`]. The trace holds how much that was (a mark with the label `redacted`),
//! never what.

use std::ops::Range;

use regex::bytes::Regex;
use trace_format::{Context, Event, EventData, Text};

/// Stands where something was taken out.
pub const REPLACEMENT: &[u8] = b"[redacted]";
/// Every pattern is run on every program start, HTTP message, DNS message and payload.
pub const PATTERNS_MAX: usize = 64;

#[derive(Clone, Debug, Default)]
pub struct Redact {
    patterns: Vec<Regex>,
    /// Texts that lost something, and how many places that were.
    pub texts: u64,
    pub places: u64,
}

impl Redact {
    pub fn new(patterns: Vec<Regex>) -> Self {
        Redact {
            patterns,
            ..Redact::default()
        }
    }

    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    pub fn patterns(&self) -> usize {
        self.patterns.len()
    }

    pub fn event(&mut self, event: &mut Event) {
        if self.is_empty() {
            return;
        }
        let texts: [Option<&mut Text>; 2] = match &mut event.data {
            EventData::Exec(exec) => [Some(&mut exec.args), None],
            EventData::Http(http) => [Some(&mut http.path), Some(&mut http.host)],
            EventData::Dns(dns) => [Some(&mut dns.name), None],
            EventData::Payload(payload) => [Some(&mut payload.data), None],
            _ => return,
        };
        for text in texts.into_iter().flatten() {
            if let Some(rest) = self.text(text) {
                *text = Text::from(rest);
            }
        }
    }

    pub fn context(&mut self, body: &mut Context) {
        if self.is_empty() {
            return;
        }
        if let Context::Process(process) = body
            && let Some(args) = self.text(&process.args)
        {
            process.args = args;
        }
    }

    /// The text without what matches; `None`: nothing does.
    fn text(&mut self, args: &[u8]) -> Option<Vec<u8>> {
        let shown: Vec<u8> = args
            .iter()
            .map(|&byte| if byte == 0 { b' ' } else { byte })
            .collect();
        let mut found: Vec<Range<usize>> = self
            .patterns
            .iter()
            .flat_map(|pattern| pattern.find_iter(&shown).map(|place| place.range()))
            .filter(|range| !range.is_empty())
            .collect();
        if found.is_empty() {
            return None;
        }
        found.sort_by_key(|range| range.start);
        self.texts += 1;
        let mut out = Vec::with_capacity(args.len());
        let mut at = 0;
        for range in found {
            if range.start >= at {
                out.extend_from_slice(&args[at..range.start]);
                out.extend_from_slice(REPLACEMENT);
                self.places += 1;
            }
            // Where two overlap, both go as one.
            at = at.max(range.end);
        }
        out.extend_from_slice(&args[at..]);
        Some(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redacted(patterns: &[&str], args: &str) -> (String, u64) {
        let patterns = patterns.iter().map(|text| Regex::new(text).unwrap());
        let mut redact = Redact::new(patterns.collect());
        let out = redact.text(args.as_bytes());
        let out = out.unwrap_or_else(|| args.as_bytes().to_vec());
        (String::from_utf8(out).unwrap(), redact.places)
    }

    #[test]
    fn what_matches_goes_and_the_rest_stays_byte_for_byte() {
        let args = "mysql\0--password=s3cret\0-h\0db\0";
        assert_eq!(
            redacted(&[r"password=\S+"], args),
            ("mysql\0--[redacted]\0-h\0db\0".into(), 1)
        );
        assert_eq!(redacted(&["nothing"], args), (args.into(), 0));
    }

    #[test]
    fn an_argument_of_its_own_is_reached_through_the_blank() {
        assert_eq!(
            redacted(&[r"-p \S+"], "x\0-p\0hunter2\0y"),
            ("x\0[redacted]\0y".into(), 1)
        );
    }

    #[test]
    fn overlapping_and_empty_matches_leave_nothing_behind() {
        assert_eq!(
            redacted(&["abc", "bcd"], "abcde"),
            ("[redacted]e".into(), 1)
        );
        assert_eq!(
            redacted(&["abcd", "bc", "x*"], "abcde"),
            ("[redacted]e".into(), 1)
        );
    }
}
