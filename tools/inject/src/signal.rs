//! Signals: what an act moves in a trace, and from when on it counts as moved.
//!
//! A signal is a number that can be read from a trace for one container and a stretch of time. The
//! words are those of the labels' `expected_signals`; [`crate::verify`] measures them.

use std::fmt;

use serde::{Serialize, Serializer};

/// What is compared with the time before the act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Events a second, and how many there must be at least.
    Rate { at_least: u64 },
    /// Occurrences of what did not occur before: enough of them is all there is to it.
    New { at_least: u64 },
    /// Different values within the act.
    Distinct { at_least: u64 },
    /// Growth of a sampled counter a second; at least this much a second.
    Counter { at_least: u64 },
    /// Rise of a sampled level, in its unit.
    Rise { at_least: u64 },
    /// Connections to one port at even intervals, at least this many.
    Regular { at_least: u64 },
}

macro_rules! signals {
    ($($variant:ident $name:literal $measure:expr, $about:literal;)*) => {
        /// See [`Signal::about`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Signal { $(#[doc = $about] $variant,)* }

        impl Signal {
            pub const ALL: &'static [Signal] = &[$(Signal::$variant,)*];

            pub fn name(self) -> &'static str {
                match self { $(Signal::$variant => $name,)* }
            }

            pub fn about(self) -> &'static str {
                match self { $(Signal::$variant => $about,)* }
            }

            pub fn measure(self) -> Measure {
                match self { $(Signal::$variant => $measure,)* }
            }
        }
    };
}

/// Too many to be somebody else's by chance.
const SEVERAL: Measure = Measure::Rate { at_least: 10 };
/// Once is enough: normal work never does it.
const ONCE: Measure = Measure::Rate { at_least: 1 };

signals! {
    CpuTime "cpu_time" Measure::Counter { at_least: 20_000_000 }, "CPU nanoseconds a second";
    Throttled "throttled" Measure::Counter { at_least: 1_000_000 }, "nanoseconds a second held back by the CPU limit";
    MemoryGrowth "memory_growth" Measure::Rise { at_least: 1_048_576 }, "bytes of memory more than before";
    ForkRate "fork_rate" SEVERAL, "new processes";
    ThreadRate "thread_rate" SEVERAL, "new threads";
    ExitRate "exit_rate" SEVERAL, "ended processes";
    FailedExits "failed_exits" Measure::Rate { at_least: 2 }, "processes that ended with an error or by a signal";
    KilledExits "killed_exits" ONCE, "processes that ended by SIGKILL";
    ExecRate "exec_rate" ONCE, "started programs";
    ExecNewFile "exec_new_file" ONCE, "started programs from a directory that the container writes";
    WriteThenExec "write_then_exec" ONCE, "started programs that were written within the trace";
    ExecMemory "exec_memory" ONCE, "started programs that are no file";
    ShellExec "shell_exec" ONCE, "started shells";
    NewEdge "new_edge" Measure::New { at_least: 1 }, "pairs of parent and started program that did not occur before";
    OpenRate "open_rate" SEVERAL, "opened files";
    OpenExhausted "open_exhausted" ONCE, "opens refused for want of descriptors";
    SensitiveOpen "sensitive_open" ONCE, "opens of files with secrets";
    ProcMemOpen "proc_mem_open" ONCE, "opens of another process's memory";
    PersistenceWrite "persistence_write" ONCE, "opens for writing of what starts programs by itself";
    LogTruncate "log_truncate" ONCE, "truncations below /var/log";
    UnlinkRate "unlink_rate" SEVERAL, "removed files";
    RenameRate "rename_rate" SEVERAL, "renamed files";
    SetuidFile "setuid_file" ONCE, "files made setuid";
    WriteRate "write_rate" SEVERAL, "calls that write";
    FsyncRate "fsync_rate" SEVERAL, "calls that wait for the disk";
    FutexRate "futex_rate" SEVERAL, "calls that wait for a lock";
    SendRate "send_rate" SEVERAL, "calls that send";
    ConnectRate "connect_rate" SEVERAL, "calls of connect";
    ConnectRefused "connect_refused" SEVERAL, "TCP connections refused";
    DistinctPorts "distinct_ports" Measure::Distinct { at_least: 20 }, "different ports connected to";
    DistinctAddresses "distinct_addresses" Measure::Distinct { at_least: 20 }, "different addresses connected to";
    AcceptRate "accept_rate" SEVERAL, "accepted connections";
    DnsRate "dns_rate" SEVERAL, "sockets connected to port 53";
    RegularConnects "regular_connects" Measure::Regular { at_least: 3 }, "connections to one port at even intervals";
    MiningPort "mining_port" ONCE, "connections to port 3333";
    PacketSocket "packet_socket" ONCE, "packet sockets asked for";
    SocketDup "socket_dup" ONCE, "sockets put in place of stdin, stdout or stderr";
    CredentialCalls "credential_calls" ONCE, "calls that change user, group or capabilities";
    NamespaceCalls "namespace_calls" ONCE, "calls of unshare and setns";
    MountRefused "mount_refused" ONCE, "mounts refused";
    PtraceCalls "ptrace_calls" ONCE, "calls of ptrace";
    KernelCalls "kernel_calls" ONCE, "calls that change the kernel";
    MemfdCalls "memfd_calls" ONCE, "files made in memory";
    IpcCalls "ipc_calls" ONCE, "System V shared memory, queues and semaphores asked for";
    IpcAcross "ipc_across" SEVERAL, "System V objects that another container has made, asked for by their key";
    SignalRate "signal_rate" SEVERAL, "signals sent";
}

impl Signal {
    pub fn by_name(name: &str) -> Option<Signal> {
        Signal::ALL
            .iter()
            .copied()
            .find(|signal| signal.name() == name)
    }
}

impl Signal {
    /// Moves only where the host has CPU to spare: a container that others hold back is not held back
    /// by its limit. Measured and shown, but no promise.
    pub fn depends_on_host(self) -> bool {
        self == Signal::Throttled
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

impl Serialize for Signal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// As in a label: separated by spaces.
pub fn joined(signals: &[Signal]) -> String {
    signals
        .iter()
        .map(|signal| signal.name())
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct_words_and_lead_back() {
        for signal in Signal::ALL {
            assert_eq!(Signal::by_name(signal.name()), Some(*signal));
            assert!(
                signal
                    .name()
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
            );
        }
        assert_eq!(Signal::by_name("nothing"), None);
    }
}
