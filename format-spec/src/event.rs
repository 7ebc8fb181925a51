//! What the kernel reported: one struct per event, one variant per event family.
//!
//! An event is decoded data, without pointers into the trace: it outlives its chunk. Texts are
//! byte strings, because the kernel's paths and names are. The column table in [`crate::columns`]
//! says how each field is stored; SPEC.md §Families is normative.

use bincode::{Decode, Encode};
use serde::Serialize;

use crate::{declared::Declared, details::Details, text::Text};

/// One kernel observation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Nanoseconds of `CLOCK_BOOTTIME` on the recording host.
    pub boot_ns: u64,
    /// The CPU that ran the probe.
    pub cpu: u16,
    /// Which probe wrote it: an id that the trace's `Probes` context record names. 0: not a probe (samples).
    pub probe: u8,
    /// Sequence number of this (CPU, probe) pair, from 0; a hole is a lost event.
    pub seq: u64,
    /// Thread id and process id, in the initial pid namespace. 0/0: no process (samples, softirq without owner).
    pub tid: u32,
    pub pid: u32,
    /// Kernel id of the cgroup (v2 hierarchy) the thread was in; 0 when unknown.
    pub cgroup_id: u64,
    pub data: EventData,
}

/// What happened, by family. Field meanings: SPEC.md §Families.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventData {
    Syscall(Syscall),
    SyscallCount(SyscallCount),
    Fork(Fork),
    Exec(Exec),
    Exit(Exit),
    Open(Open),
    PathCall(PathCall),
    SockCall(SockCall),
    TcpState(TcpState),
    Cgroup(CgroupChange),
    Sample(Box<Sample>),
    Io(Io),
    Signal(Signal),
    OomKill(OomKill),
    TcpEvent(TcpEvent),
    Ipc(Ipc),
    ProcessAccess(ProcessAccess),
    Dns(Dns),
    Http(Http),
    Peer(Peer),
    Credentials(Credentials),
    Payload(Payload),
    PassedFd(PassedFd),
    /// Of a family that the trace describes itself.
    Declared(Declared),
}

/// A system call that has no richer family. The recorder zeroes arguments beyond the call's arity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Syscall {
    /// Number in the recording host's native table (x86-64 or aarch64: `Host.arch`).
    pub nr: u32,
    /// Negative: -errno.
    pub ret: i64,
    pub args: [u64; 6],
    /// From its beginning to its end; 0: unknown.
    pub duration_ns: u64,
}

/// A system call that read or wrote, with the first bytes of what passed: the call's only event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    /// `ret` says how many bytes passed.
    pub call: Syscall,
    /// The first of them, as the caller's memory had them after the call; empty: they could not be read.
    pub data: Text,
}

/// Calls of one number by one cgroup since the previous count of that pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyscallCount {
    pub nr: u32,
    pub calls: u64,
}

/// The event's thread created another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fork {
    pub child_tid: u32,
    /// Equal to `child_tid` for a new process; the event's pid for a new thread.
    pub child_pid: u32,
    /// `CLOCK_BOOTTIME` of the child's creation: with its pid, the process's identity.
    pub child_start_ns: u64,
    /// `child_tid` in the child's own pid namespace; 0: unknown.
    pub child_ns_tid: u32,
}

/// A successful execve or execveat, after the new image is in place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exec {
    /// Path of the executable file, resolved in the process's root; `memfd:NAME` style names keep what the kernel shows.
    pub path: Text,
    /// What the caller passed as path.
    pub filename: Text,
    /// argv, joined with NUL, as far as it was captured.
    pub args: Text,
    /// The kernel's 15-byte name of the new image.
    pub comm: Text,
    pub ppid: u32,
    pub uid: u32,
    pub gid: u32,
    pub start_ns: u64,
    pub dev: u64,
    pub ino: u64,
    pub flags: ExecFlags,
    /// What else was seen; None: nothing was.
    pub details: Option<Box<ExecDetails>>,
}

/// How the process stood when the new image was in place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecDetails {
    /// Working directory, in the process's root; empty: unknown.
    pub cwd: Text,
    /// Pid in its own namespace; 0: unknown.
    pub ns_pid: u32,
    pub process: Details,
}

/// Bits of [`Exec::flags`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode, Serialize)]
#[serde(transparent)]
pub struct ExecFlags(pub u32);
impl ExecFlags {
    /// The executable is a memfd: it has no name on any file system.
    pub const MEMFD: u32 = 1;
    /// The file on an overlay's upper layer: written after the image was made.
    pub const UPPER_LAYER: u32 = 2;
    /// `args` was cut at the capture limit.
    pub const ARGS_CUT: u32 = 4;
    /// The file's link count was 0: deleted before it ran.
    pub const DELETED: u32 = 8;
    pub fn has(self, bit: u32) -> bool {
        self.0 & bit != 0
    }
}

/// A thread ended. Its process ended when `tid == pid` and the group has no live threads left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// exit(2) status, 0..=255.
    pub code: u32,
    /// Signal that ended it, 0 if none.
    pub signal: u32,
    /// Start of the ended thread, `CLOCK_BOOTTIME`.
    pub start_ns: u64,
    /// True when this was the process's last thread.
    pub last_thread: bool,
    /// What it used; None: the recorder could not see it.
    pub usage: Option<Usage>,
}

/// What a thread used until its end; of a process's last thread what the process did, all its threads
/// together, those that ended before too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// CPU time, as far as the kernel had counted it: up to a tick may be missing.
    pub user_ns: u64,
    pub system_ns: u64,
    /// The most memory that the process had resident; 0: it was not its last thread.
    pub max_rss_bytes: u64,
    /// Page faults that needed no I/O, and those that did.
    pub minor_faults: u64,
    pub major_faults: u64,
}

/// open, openat, openat2, creat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    pub nr: u32,
    /// The descriptor, or -errno.
    pub ret: i64,
    /// `O_*` of the caller.
    pub flags: u32,
    pub mode: u32,
    /// Absolute in the process's root where the kernel resolved it; as the caller wrote it where the call failed.
    pub path: Text,
    pub dev: u64,
    pub ino: u64,
    pub marks: PathMarks,
    /// As in [`Syscall::duration_ns`].
    pub duration_ns: u64,
}

/// A call that names files: unlink, rename, mkdir, rmdir, link, symlink, chmod, chown, truncate, mount, a failed execve …
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathCall {
    pub nr: u32,
    pub ret: i64,
    /// The call's flags or mode, 0 when it has none.
    pub arg: u64,
    pub path: Text,
    /// Second path (rename, link, symlink, mount); empty when the call has one.
    pub path2: Text,
    pub marks: PathMarks,
    /// As in [`Syscall::duration_ns`].
    pub duration_ns: u64,
}

/// Bits that qualify a path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PathMarks(pub u32);
impl PathMarks {
    /// Read from user memory after the call: the caller could have changed it.
    pub const UNTRUSTED: u32 = 1;
    /// The call created the file.
    pub const CREATED: u32 = 2;
    /// Longer than the capture limit: the beginning is missing.
    pub const CUT: u32 = 4;
    /// Relative, and its directory could not be determined.
    pub const RELATIVE: u32 = 8;
    /// On the recorder's list of files that are always recorded.
    pub const LISTED: u32 = 16;
    pub fn has(self, bit: u32) -> bool {
        self.0 & bit != 0
    }
}

/// socket, bind, listen, connect, accept, accept4: one event a call, in the caller's context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SockCall {
    pub nr: u32,
    pub ret: i64,
    /// The descriptor the call worked on (for socket and accept: the new one, or -1).
    pub fd: i32,
    /// `AF_*`.
    pub family: u16,
    /// `SOCK_STREAM` and so on, without flag bits; 0 when unknown.
    pub sock_type: u16,
    pub local: Endpoint,
    pub remote: Endpoint,
    /// Unix socket path (a leading NUL means abstract); empty otherwise.
    pub unix_path: Text,
    pub marks: PathMarks,
    /// Number of the network interface that an `AF_PACKET` socket was bound to; 0: none, or all.
    pub interface: u32,
    /// As in [`Syscall::duration_ns`].
    pub duration_ns: u64,
}

/// An address and port. Empty address: none. 4 bytes: IPv4. 16 bytes: IPv6.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoint {
    pub addr: Text,
    pub port: u16,
}

/// A TCP socket changed state (Linux `TCP_*` numbers). The event's thread is the socket's owner, 0/0 when unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TcpState {
    pub old: u8,
    pub new: u8,
    pub family: u16,
    pub local: Endpoint,
    pub remote: Endpoint,
    /// Socket identity within the trace, not a kernel address.
    pub sock: u64,
    /// From SYN_SENT to this state, for a connect that ended (ESTABLISHED or CLOSE); 0 otherwise.
    pub latency_ns: u64,
    /// Without those that were sent again, at CLOSE; 0 otherwise.
    pub sent_bytes: u64,
    /// At CLOSE; 0 otherwise. The other end's FIN counts as one.
    pub received_bytes: u64,
    /// From ESTABLISHED to CLOSE; 0 otherwise, and when the beginning was not seen.
    pub duration_ns: u64,
    /// At CLOSE, why: an errno (ECONNREFUSED, ETIMEDOUT, ECONNRESET …), 0 for an orderly end.
    pub error: u16,
}

/// A cgroup was made or removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CgroupChange {
    pub id: u64,
    pub path: Text,
    pub removed: bool,
}

/// Resources of one cgroup (`cgroup_id` of the event; 0 = host), read by the recorder once a second. Cumulative where named so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// CPU time used, cumulative.
    pub cpu_ns: u64,
    /// Time throttled by the CPU limit, cumulative.
    pub throttled_ns: u64,
    pub memory_bytes: u64,
    /// 0: no limit.
    pub memory_limit_bytes: u64,
    pub pids: u64,
    /// Bytes read from and written to block devices, cumulative.
    pub io_read_bytes: u64,
    pub io_write_bytes: u64,
    pub known: SampleKnown,
    /// The most memory there was since the cgroup was made, or since somebody reset it.
    pub memory_peak_bytes: u64,
    /// Memory of no file, and of files: the page cache.
    pub anon_bytes: u64,
    pub file_bytes: u64,
    /// Page faults that needed no I/O, and those that did, cumulative.
    pub minor_faults: u64,
    pub major_faults: u64,
    /// Time in which some of its threads waited for a CPU, for memory and for I/O, and in which all of them
    /// did, cumulative (pressure stall information).
    pub cpu_stall_ns: u64,
    pub memory_stall_ns: u64,
    pub memory_full_stall_ns: u64,
    pub io_stall_ns: u64,
    pub io_full_stall_ns: u64,
    /// Operations on block devices, cumulative.
    pub io_reads: u64,
    pub io_writes: u64,
    /// Of its network namespace's interfaces, cumulative.
    pub net_received_bytes: u64,
    pub net_received_packets: u64,
    pub net_sent_bytes: u64,
    pub net_sent_packets: u64,
    /// Load average of one minute, in hundredths. The host's only.
    pub load_hundredths: u64,
}

/// Bits of [`Sample::known`]: what the recorder could read, as zero is a value of all of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SampleKnown(pub u32);
impl SampleKnown {
    pub const THROTTLED: u32 = 1;
    /// In use, and its limit.
    pub const MEMORY: u32 = 2;
    pub const PIDS: u32 = 4;
    /// Bytes and operations.
    pub const IO: u32 = 8;
    pub const MEMORY_PEAK: u32 = 16;
    /// Anonymous and of files.
    pub const MEMORY_KINDS: u32 = 32;
    pub const FAULTS: u32 = 64;
    pub const PRESSURE: u32 = 128;
    pub const NETWORK: u32 = 256;
    pub const LOAD: u32 = 512;
    /// Those of the fields that writers told before they said what they know. They may be 0 for not known.
    pub const SINCE_EVER: u32 =
        SampleKnown::THROTTLED | SampleKnown::MEMORY | SampleKnown::PIDS | SampleKnown::IO;
    pub fn has(self, bit: u32) -> bool {
        self.0 & bit != 0
    }
}

/// Reads and writes of one process on one descriptor since its event before, where they are not events of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Io {
    pub fd: i32,
    pub kind: IoKind,
    /// Calls that read, failed ones too.
    pub reads: u64,
    pub read_bytes: u64,
    pub writes: u64,
    pub written_bytes: u64,
    /// Of the file, 0 when unknown.
    pub dev: u64,
    pub ino: u64,
}

/// What is behind the descriptor of an [`Io`]. Other numbers are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IoKind(pub u8);
impl IoKind {
    pub const UNKNOWN: u8 = 0;
    pub const FILE: u8 = 1;
    pub const SOCKET: u8 = 2;
    pub const PIPE: u8 = 3;
    /// A character or block device, a terminal too.
    pub const DEVICE: u8 = 4;
    /// Of the kernel's own (eventfd, timerfd, epoll).
    pub const OTHER: u8 = 5;
}

/// A signal was sent; the event's thread sent it, unless the kernel did (`code` above 0).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Signal {
    pub signal: u32,
    /// `si_code`: above 0 the kernel's own, 0 kill, negative other senders (tgkill: -6).
    pub code: i32,
    pub target_tid: u32,
    pub target_pid: u32,
    /// For the whole process, not for the one thread.
    pub to_group: bool,
    /// `TRACE_SIGNAL_*`: 0 delivered, 1 ignored, 2 already pending, 3 and 4 lost for want of room.
    pub outcome: u8,
}

/// The kernel chose the event's process to free memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OomKill {
    pub comm: Text,
    pub uid: u32,
    pub total_vm_bytes: u64,
    pub score_adj: i32,
    /// The process that asked for the memory that was not there.
    pub trigger_pid: u32,
}

/// A segment that says that something is wrong. The event's thread is the socket's owner, 0/0 when unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TcpEvent {
    pub what: TcpWhat,
    /// Linux `TCP_*` of the socket then.
    pub state: u8,
    pub family: u16,
    pub local: Endpoint,
    pub remote: Endpoint,
    /// As in [`TcpState::sock`]; 0: the segment belongs to no socket.
    pub sock: u64,
}

/// What a [`TcpEvent`] tells. Other numbers are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpWhat(pub u8);
impl TcpWhat {
    pub const RETRANSMIT: u8 = 1;
    pub const RESET_SENT: u8 = 2;
    pub const RESET_RECEIVED: u8 = 3;
}

/// A call on an object of System V IPC or on a POSIX message queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ipc {
    pub nr: u32,
    pub ret: i64,
    pub kind: IpcKind,
    /// Of System V the object's id, of a queue its inode number; -1: unknown.
    pub id: i64,
    /// Of System V, where it [is known](IpcMarks::KEY_KNOWN); 0 is `IPC_PRIVATE`.
    pub key: u32,
    /// Inode number of the caller's IPC namespace: ids and keys are its own. 0: unknown.
    pub namespace: u32,
    /// Bytes of shared memory or of a message, number of semaphores; 0: the call does not tell.
    pub size: u64,
    /// Flags, command, number of operations or priority, as the call has it.
    pub arg: u64,
    /// Of a POSIX queue.
    pub name: Text,
    /// Calls of the process with this number on the object since its event before, this one included.
    pub calls: u64,
    pub marks: IpcMarks,
}

/// What an [`Ipc`] call is about. Other numbers are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IpcKind(pub u8);
impl IpcKind {
    pub const SEMAPHORES: u8 = 1;
    pub const MESSAGES: u8 = 2;
    pub const MEMORY: u8 = 3;
    /// POSIX message queue.
    pub const QUEUE: u8 = 4;
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IpcMarks(pub u32);
impl IpcMarks {
    /// The name comes from user memory after the call.
    pub const UNTRUSTED: u32 = 1;
    pub const KEY_KNOWN: u32 = 2;
    pub fn has(self, bit: u32) -> bool {
        self.0 & bit != 0
    }
}

/// A call into another process: ptrace, process_vm_*, pidfds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessAccess {
    pub nr: u32,
    pub ret: i64,
    /// In the initial pid namespace; 0: there is none, or it was gone when the call ended.
    pub target_pid: u32,
    pub target_tid: u32,
    /// 0 with an unknown target.
    pub target_cgroup: u64,
    /// ptrace: the request; pidfd_getfd: the descriptor there; pidfd_open: flags; else 0.
    pub arg: u64,
    /// As in [`Ipc::calls`], on the target with the same `arg`.
    pub calls: u64,
}

/// What a thread may do and as whom changed, by a system call or an exec.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    /// The call's number; an exec has that of execve.
    pub nr: u32,
    pub marks: CredentialMarks,
    pub after: Rights,
    /// Zeros where it [is not known](CredentialMarks::BEFORE_KNOWN).
    pub before: Rights,
}

/// Ids in the initial user namespace, capabilities in the one that `user_ns` names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    pub uid: u32,
    pub euid: u32,
    pub suid: u32,
    pub gid: u32,
    pub egid: u32,
    pub sgid: u32,
    pub cap_effective: u64,
    pub cap_permitted: u64,
    /// Inode number of the user namespace.
    pub user_ns: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CredentialMarks(pub u32);
impl CredentialMarks {
    pub const BEFORE_KNOWN: u32 = 1;
    /// By an exec of a file with the set-user-ID bit.
    pub const SET_USER_ID: u32 = 2;
    /// By an exec of a file with the set-group-ID bit.
    pub const SET_GROUP_ID: u32 = 4;
    pub fn has(self, bit: u32) -> bool {
        self.0 & bit != 0
    }
}

/// A DNS message over UDP, as the process passed it to the kernel or got it from there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dns {
    pub fd: i32,
    /// By the event's process; false: it received it.
    pub sent: bool,
    /// The message's own number.
    pub id: u16,
    /// The header's second word: see [`Dns::is_answer`] and [`Dns::rcode`].
    pub flags: u16,
    /// Of the first question.
    pub qtype: u16,
    /// Of the first question: labels with dots between, as they were written; bytes that are no letter,
    /// digit, `-` or `_` as `\DDD`. Empty: the root, or none.
    pub name: Text,
    /// Records in the answer section, as the header says.
    pub answers: u16,
    /// It could not be read as DNS; what could be read stands here.
    pub malformed: bool,
    pub family: u16,
    pub local: Endpoint,
    pub remote: Endpoint,
    /// Of an answer: since the question. 0: it is a question, or the question was not seen.
    pub latency_ns: u64,
}

impl Dns {
    pub fn is_answer(&self) -> bool {
        self.flags & 0x8000 != 0
    }
    /// 0 no error, 2 the server failed, 3 no such name, 5 refused (RFC 1035 and RFC 6895).
    pub fn rcode(&self) -> u8 {
        (self.flags & 0xf) as u8
    }
}

/// The beginning of an HTTP/1 request or response, as it passed through a read or write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Http {
    pub fd: i32,
    /// By the event's process; false: it received it.
    pub sent: bool,
    /// 0: a request.
    pub status: u16,
    /// Of the request; of a response those of the request that it answers, where that was seen.
    pub method: Text,
    /// The request's target, as it was written.
    pub path: Text,
    pub host: Text,
    pub family: u16,
    pub local: Endpoint,
    pub remote: Endpoint,
    /// Of a response: since the request. 0: it is a request, or the request was not seen.
    pub latency_ns: u64,
}

/// Who is at the other end of a descriptor, where no connection says so: UDP, once a second, and unix sockets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    pub fd: i32,
    /// The event's process sent (UDP) or connected (unix); false: it received or accepted.
    pub sent: bool,
    pub family: u16,
    pub sock_type: u16,
    pub local: Endpoint,
    pub remote: Endpoint,
    /// Of the listening unix socket.
    pub unix_path: Text,
    /// The process that listened or connected; 0: not known.
    pub peer_pid: u32,
    /// Where that is; 0: not known.
    pub peer_cgroup_id: u64,
}

/// A descriptor that a process sent or received with a message of a unix socket (`SCM_RIGHTS`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PassedFd {
    /// In the event's process.
    pub fd: i32,
    /// By the event's process; false: it received it.
    pub sent: bool,
    /// The descriptor of the socket.
    pub socket: i32,
    /// Descriptors that came together, of which a recorder may tell the first ones only.
    pub count: u32,
    /// Which of these it is, from 0.
    pub place: u32,
    /// The file's type and permissions, as `st_mode`.
    pub mode: u32,
    /// In the process's root; of a file that [is nowhere](PassedMarks::NOWHERE) its name.
    pub path: Text,
    pub dev: u64,
    pub ino: u64,
    /// Received: who sent it, where [that was seen](PassedMarks::SENDER_SEEN). Else the process that the
    /// socket is connected to. 0: not known.
    pub peer_pid: u32,
    pub peer_cgroup_id: u64,
    pub marks: PassedMarks,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PassedMarks(pub u32);
impl PassedMarks {
    pub const SENDER_SEEN: u32 = 1;
    /// More came than the receiver had room for.
    pub const CUT: u32 = 2;
    /// The beginning of the path is missing.
    pub const PATH_CUT: u32 = 4;
    /// In no directory: a memfd, a pipe, a socket, what the kernel makes.
    pub const NOWHERE: u32 = 8;
    pub const READABLE: u32 = 16;
    pub const WRITABLE: u32 = 32;
    pub fn has(self, bit: u32) -> bool {
        self.0 & bit != 0
    }
}
