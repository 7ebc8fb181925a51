//! The same events as plain rows: what a recorder would write that serialises one struct after the other.
//!
//! A row is bincode of the event (standard configuration: variable-length integers; a variant's number,
//! then its fields), strings in place. 65,536 rows are compressed together.

use anyhow::{Context, Result};
use trace_format::{Event, EventData, Value, event::Endpoint, family_of};

/// As many as a full chunk of a trace holds.
pub const CHUNK_ROWS: usize = 65_536;

pub struct Rows {
    zstd: zstd::bulk::Compressor<'static>,
    rows: usize,
    encoded: Vec<u8>,
    frame: Vec<u8>,
    /// Compressed so far.
    pub bytes: u64,
    pub events: u64,
}

impl Rows {
    pub fn new(level: i32) -> Result<Rows> {
        Ok(Rows {
            zstd: zstd::bulk::Compressor::new(level).context("starting a compressor")?,
            rows: 0,
            encoded: Vec::new(),
            frame: Vec::new(),
            bytes: 0,
            events: 0,
        })
    }

    pub fn push(&mut self, event: &Event) -> Result<()> {
        encode(event, &mut self.encoded).context("encoding a row")?;
        self.rows += 1;
        self.events += 1;
        if self.rows == CHUNK_ROWS {
            self.seal()?;
        }
        Ok(())
    }

    /// Compresses what is left.
    pub fn seal(&mut self) -> Result<()> {
        if self.rows > 0 {
            self.frame.clear();
            self.frame
                .reserve(zstd::zstd_safe::compress_bound(self.encoded.len()));
            self.zstd
                .compress_to_buffer(self.encoded.as_slice(), &mut self.frame)
                .context("compressing rows")?;
            self.bytes += self.frame.len() as u64;
        }
        self.rows = 0;
        self.encoded.clear();
        Ok(())
    }
}

/// A tuple is stored as a struct with these fields is.
fn encode(event: &Event, out: &mut Vec<u8>) -> Result<(), bincode::error::EncodeError> {
    let common = (
        event.boot_ns,
        event.cpu,
        event.probe,
        event.seq,
        event.tid,
        event.pid,
        event.cgroup_id,
        u32::from(family_of(&event.data)),
    );
    put(common, out)?;
    let text = |text: &trace_format::Text, out: &mut Vec<u8>| put(text.as_bytes(), out);
    let endpoint = |end: &Endpoint, out: &mut Vec<u8>| put((end.addr.as_bytes(), end.port), out);
    match &event.data {
        EventData::Syscall(call) => put((call.nr, call.ret, call.args), out),
        EventData::Fork(fork) => put((fork.child_tid, fork.child_pid, fork.child_start_ns), out),
        EventData::Exec(exec) => {
            text(&exec.path, out)?;
            text(&exec.filename, out)?;
            text(&exec.args, out)?;
            text(&exec.comm, out)?;
            put((exec.ppid, exec.uid, exec.gid), out)?;
            put((exec.start_ns, exec.dev, exec.ino, exec.flags.0), out)
        }
        EventData::Exit(exit) => {
            put(
                (exit.code, exit.signal, exit.start_ns, exit.last_thread),
                out,
            )?;
            let used = exit.usage.map(|used| {
                let cpu = (used.user_ns, used.system_ns);
                (
                    cpu,
                    used.max_rss_bytes,
                    used.minor_faults,
                    used.major_faults,
                )
            });
            put(used, out)
        }
        EventData::Open(open) => {
            put((open.nr, open.ret, open.flags, open.mode), out)?;
            text(&open.path, out)?;
            put((open.dev, open.ino, open.marks.0), out)
        }
        EventData::PathCall(call) => {
            put((call.nr, call.ret, call.arg), out)?;
            text(&call.path, out)?;
            text(&call.path2, out)?;
            put(call.marks.0, out)
        }
        EventData::SockCall(call) => {
            put(
                (call.nr, call.ret, call.fd, call.family, call.sock_type),
                out,
            )?;
            endpoint(&call.local, out)?;
            endpoint(&call.remote, out)?;
            text(&call.unix_path, out)?;
            put(call.marks.0, out)
        }
        EventData::TcpState(state) => {
            put((state.old, state.new, state.family), out)?;
            endpoint(&state.local, out)?;
            endpoint(&state.remote, out)?;
            put((state.sock, state.latency_ns), out)
        }
        // The rare ones, by the names of their columns.
        _ => event
            .columns()
            .into_iter()
            .skip(7)
            .try_for_each(|(_, value)| match value {
                Value::Unsigned(number) => put(number, out),
                Value::Signed(number) => put(number, out),
                Value::Bool(flag) => put(flag, out),
                Value::Text(value) => text(&value, out),
            }),
    }
}

fn put(value: impl bincode::Encode, out: &mut Vec<u8>) -> Result<(), bincode::error::EncodeError> {
    bincode::encode_into_std_write(value, out, bincode::config::standard()).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use trace_format::Syscall;

    /// What the tuples stand for.
    #[derive(bincode::Encode)]
    struct Row {
        boot_ns: u64,
        cpu: u16,
        probe: u8,
        seq: u64,
        tid: u32,
        pid: u32,
        cgroup_id: u64,
        data: Data,
    }
    #[derive(bincode::Encode)]
    enum Data {
        #[expect(dead_code, reason = "number 0: families count from 1")]
        None,
        Syscall {
            nr: u32,
            ret: i64,
            args: [u64; 6],
        },
    }

    #[test]
    fn a_row_is_what_bincode_makes_of_a_struct() {
        let args = [1, 2, 300, u64::MAX, 5, 6];
        let event = Event {
            boot_ns: 1 << 40,
            cpu: 1,
            probe: 2,
            seq: 70_000,
            tid: 4_000,
            pid: 3_999,
            cgroup_id: 8_811,
            data: EventData::Syscall(Syscall {
                nr: 257,
                ret: -2,
                args,
                duration_ns: 0,
            }),
        };
        let mut row = Vec::new();
        encode(&event, &mut row).expect("it is plain data");
        let same = Row {
            boot_ns: 1 << 40,
            cpu: 1,
            probe: 2,
            seq: 70_000,
            tid: 4_000,
            pid: 3_999,
            cgroup_id: 8_811,
            data: Data::Syscall {
                nr: 257,
                ret: -2,
                args,
            },
        };
        let expected = bincode::encode_to_vec(same, bincode::config::standard());
        assert_eq!(row, expected.expect("it is plain data"));
    }
}
