//! What the network of a container moved, from /proc/PID/net/dev of one of its processes.
//!
//! The process's directory stays open: it cannot come to mean another process. The file in it is opened
//! each time, because an open one would keep the network namespace alive.

use std::{
    ffi::CStr,
    fs::File,
    os::{
        fd::{AsRawFd, FromRawFd},
        unix::fs::MetadataExt,
    },
};

use trace_format::event::Sample;

use super::reading::Text;
use crate::observe::cgroups::Cgroups;

/// A cgroup without processes (they are all in cgroups below it) is asked again after so many rounds.
const ROUNDS_WITHOUT: u8 = 15;

/// Received and sent, by all interfaces that were asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    received_bytes: u64,
    received_packets: u64,
    sent_bytes: u64,
    sent_packets: u64,
}

impl Counts {
    /// From the text of a `net/dev`; None: there is no interface that is wanted.
    ///
    /// `eth0: bytes packets errs drop fifo frame compressed multicast bytes packets …`
    pub fn of(text: &str, mut wanted: impl FnMut(&str) -> bool) -> Option<Counts> {
        let mut sum: Option<Counts> = None;
        for line in text.lines() {
            let Some((name, numbers)) = line.split_once(':') else {
                continue;
            };
            if !wanted(name.trim()) {
                continue;
            }
            let mut numbers = numbers.split_whitespace().map(|word| word.parse::<u64>());
            let mut next = |skipped: usize| numbers.nth(skipped).and_then(Result::ok);
            let (
                Some(received_bytes),
                Some(received_packets),
                Some(sent_bytes),
                Some(sent_packets),
            ) = (next(0), next(0), next(6), next(0))
            else {
                continue;
            };
            let sum = sum.get_or_insert_default();
            sum.received_bytes = sum.received_bytes.saturating_add(received_bytes);
            sum.received_packets = sum.received_packets.saturating_add(received_packets);
            sum.sent_bytes = sum.sent_bytes.saturating_add(sent_bytes);
            sum.sent_packets = sum.sent_packets.saturating_add(sent_packets);
        }
        sum
    }

    pub fn put(self, sample: &mut Sample) {
        sample.net_received_bytes = self.received_bytes;
        sample.net_received_packets = self.received_packets;
        sample.net_sent_bytes = self.sent_bytes;
        sample.net_sent_packets = self.sent_packets;
    }
}

/// Where a cgroup's network is read.
#[derive(Default)]
pub struct Network {
    /// Directory of one of its processes.
    process: Option<File>,
    /// Rounds until a process is looked for.
    wait: u8,
}

impl Network {
    /// None: the cgroup has no processes of its own, or its network is the host's, which `host` names.
    pub fn read(
        &mut self,
        cgroups: &Cgroups,
        id: u64,
        path: &str,
        host: Option<u64>,
        text: &mut Text,
    ) -> Option<Counts> {
        if self.process.is_none() {
            if let Some(left) = self.wait.checked_sub(1) {
                self.wait = left;
                return None;
            }
            self.process = process(cgroups, id, path, text);
            if self.process.is_none() {
                self.wait = ROUNDS_WITHOUT;
            }
        }
        let Some(file) = open_at(self.process.as_ref()?, c"net/dev", libc::O_RDONLY) else {
            // The process has ended: another one the next time.
            self.process = None;
            return None;
        };
        if Some(file.metadata().ok()?.ino()) == host {
            return None;
        }
        Counts::of(text.of_file(&file)?, |name| name != "lo").or(Some(Counts::default()))
    }
}

/// The directory of the cgroup's first process.
fn process(cgroups: &Cgroups, id: u64, path: &str, text: &mut Text) -> Option<File> {
    let members = cgroups
        .told
        .as_ref()?
        .join(path.trim_start_matches('/'))
        .join("cgroup.procs");
    let pid: u32 = text.of_path(members)?.lines().next()?.parse().ok()?;
    let dir = File::open(format!("/proc/{pid}")).ok()?;
    // Another process may have got the id in between.
    (cgroups.of_process(pid) == Some(id)).then_some(dir)
}

fn open_at(dir: &File, path: &CStr, flags: i32) -> Option<File> {
    // SAFETY: the path ends with a NUL; the result is a new descriptor.
    unsafe {
        let fd = libc::openat(dir.as_raw_fd(), path.as_ptr(), flags | libc::O_CLOEXEC);
        (fd >= 0).then(|| File::from_raw_fd(fd))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "Inter-|   Receive  |  Transmit\n face |bytes    packets errs\n    \
        lo: 5 6 0 0 0 0 0 0 7 8 0 0 0 0 0 0\n  eth0:10 20 0 0 0 0 0 0 30 40 0 0 0 0 0 0\n  \
        eth1: 1 2 0 0 0 0 0 0 3 4 0 0 0 0 0 0\n";

    #[test]
    fn interfaces_are_summed() {
        let counts = Counts::of(TEXT, |name| name != "lo").unwrap();
        let mut sample = Sample::default();
        counts.put(&mut sample);
        assert_eq!(
            (sample.net_received_bytes, sample.net_received_packets),
            (11, 22)
        );
        assert_eq!((sample.net_sent_bytes, sample.net_sent_packets), (33, 44));
        assert_eq!(Counts::of(TEXT, |_| false), None);
        assert_eq!(Counts::of("eth0: 1 2 3\n", |_| true), None);
    }
}
