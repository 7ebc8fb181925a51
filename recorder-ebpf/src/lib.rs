//! What the probes and user space agree on: record layouts, map keys, offsets, limits.
//!
//! Both sides are built from this file. It is not the file format: it may change with each
//! release. All structs are `repr(C)` without implicit padding, little endian on both sides
//! because both sides are the same machine.
#![no_std]

/// Ids of the probes, in [`Header::probe`], in loss counts and in the trace.
pub mod probe {
    pub const SYS_EXIT: u8 = 1;
    pub const FORK: u8 = 2;
    pub const EXEC: u8 = 3;
    pub const EXIT: u8 = 4;
    pub const TCP_STATE: u8 = 5;
    pub const CGROUP_MKDIR: u8 = 6;
    pub const CGROUP_RMDIR: u8 = 7;
    pub const SIGNAL: u8 = 8;
    pub const OOM_KILL: u8 = 9;
    pub const TCP_RETRANSMIT: u8 = 10;
    pub const TCP_RESET_SENT: u8 = 11;
    pub const TCP_RESET_RECEIVED: u8 = 12;
    pub const URING_SUBMIT: u8 = 13;
    pub const URING_COMPLETE: u8 = 14;
    /// Writes no events.
    pub const SYS_ENTER: u8 = 15;
    /// One more than the highest id: the length of the per-CPU counter array.
    pub const COUNT: u32 = 16;
}

/// Layout of a record of the ring buffers, in [`Header::kind`].
pub mod kind {
    /// No record: a call that is only counted, and a plain system call, which has a ring of its own.
    pub const COUNT: u8 = 0;
    pub const SYSCALL: u8 = 1;
    pub const OPEN: u8 = 2;
    pub const PATH_CALL: u8 = 3;
    pub const SOCK_CALL: u8 = 4;
    pub const FORK: u8 = 5;
    pub const EXEC: u8 = 6;
    pub const EXIT: u8 = 7;
    pub const TCP_STATE: u8 = 8;
    pub const CGROUP: u8 = 9;
    pub const IO: u8 = 10;
    pub const SIGNAL: u8 = 11;
    pub const OOM_KILL: u8 = 12;
    pub const TCP_EVENT: u8 = 13;
    pub const URING: u8 = 14;
    pub const IPC: u8 = 15;
    pub const PROCESS_ACCESS: u8 = 16;
    pub const DNS: u8 = 20;
    pub const HTTP: u8 = 21;
    pub const PEER: u8 = 22;
    pub const CREDENTIALS: u8 = 23;
    pub const PAYLOAD: u8 = 25;
    pub const PASSED_FD: u8 = 26;
}

/// What happens at the exit of a system call: the value of the policy array at its number.
pub mod action {
    pub const IGNORE: u32 = 0;
    /// Counted per cgroup and number, in the kernel.
    pub const COUNT: u32 = 1;
    /// As a [`CallRecord`](super::CallRecord). Bits [`ARITY_SHIFT`].. say how many arguments it has.
    pub const RECORD: u32 = 2;
    /// open family: path from the returned file.
    pub const OPEN: u32 = 3;
    /// Calls that name files by path. Bits 8.. say which arguments: see [`PathShape`](super::PathShape).
    pub const PATH: u32 = 4;
    /// Socket calls.
    pub const SOCK: u32 = 5;
    /// Only failed calls are recorded, as a path call (execve: its success is an exec event).
    pub const FAILED_PATH: u32 = 6;
    /// Reads and writes, counted per process and descriptor. Bits 8.. say what they are: see
    /// [`IoShape`](super::IoShape).
    pub const IO: u32 = 7;
    /// Counted, and what was counted of the descriptor becomes an event. With an arity (as [`RECORD`] has
    /// one) it is recorded instead of counted.
    pub const CLOSE: u32 = 8;
    /// Counted, unless the file is on the list: then as [`OPEN`].
    pub const OPEN_LISTED: u32 = 9;
    /// Calls on what processes share: see [`IpcShape`](super::IpcShape).
    pub const IPC: u32 = 10;
    /// Calls into another process: see [`AccessShape`](super::AccessShape).
    pub const ACCESS: u32 = 11;
    /// As [`RECORD`], and what it changed of the caller's rights is an event beside it.
    pub const CREDENTIALS: u32 = 12;
    /// As [`IO`] of a call that is recorded, with the first bytes of what passed:
    /// [`Settings::snaplen`](super::Settings::snaplen).
    pub const PAYLOAD: u32 = 13;
    pub const MASK: u32 = 0xff;
    pub const ARITY_SHIFT: u32 = 8;

    /// Bits 28 to 30: which descriptors mean another file after the call succeeded; see [`reuse`].
    pub const REUSE_SHIFT: u32 = 28;
    pub const REUSE_MASK: u32 = 7;
    /// In the policy array the requests of io_uring are at this place plus their opcode: [`COUNT`] or
    /// [`RECORD`], and with it [`URGENT`].
    pub const URING: u32 = 768;
    pub const URING_MAX: u32 = 256;
    /// It must not be crowded out.
    pub const URGENT: u32 = 1 << 8;
}

/// Which descriptors a call makes mean another file, whatever they meant before: what was counted of
/// them becomes an event. (Descriptors that a call returns have been closed before, but not always by a
/// call of close.)
pub mod reuse {
    pub const NONE: u32 = 0;
    /// The one that it returns.
    pub const RESULT: u32 = 1;
    /// The second argument (dup2).
    pub const SECOND: u32 = 2;
    /// Two, in memory that the first argument points to (pipe).
    pub const PAIR_AT_FIRST: u32 = 3;
    /// Two, in memory that the fourth argument points to (socketpair).
    pub const PAIR_AT_FOURTH: u32 = 4;
    /// From the first argument to the second, of these at most [`IO_EXIT_FDS`](super::IO_EXIT_FDS) (close_range).
    pub const RANGE: u32 = 5;
}

/// Which arguments of a path call are what; packed into the policy value above [`action::MASK`].
/// Index 7 means none; a directory index of 6 means the working directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathShape {
    pub dir: u32,
    pub path: u32,
    pub dir2: u32,
    pub path2: u32,
    /// Flags or mode.
    pub arg: u32,
}
impl PathShape {
    pub const NONE: u32 = 7;
    pub const CWD: u32 = 6;
    pub const fn pack(self) -> u32 {
        (self.dir << 8)
            | (self.path << 12)
            | (self.dir2 << 16)
            | (self.path2 << 20)
            | (self.arg << 24)
    }
    pub const fn unpack(policy: u32) -> Self {
        PathShape {
            dir: (policy >> 8) & 7,
            path: (policy >> 12) & 7,
            dir2: (policy >> 16) & 7,
            path2: (policy >> 20) & 7,
            arg: (policy >> 24) & 7,
        }
    }
}

/// What a call that reads or writes does, packed into the policy value above [`action::MASK`]. A
/// call may do both, on two descriptors (sendfile).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IoShape {
    /// Where it is counted in [`IoCount::calls`], on the descriptor that it reads from; [`IoShape::NONE`].
    pub read: u32,
    /// The same of the one that it writes to.
    pub write: u32,
    /// Which arguments these are.
    pub read_fd: u32,
    pub write_fd: u32,
    /// Arguments of the call, where it is recorded nevertheless.
    pub arity: u32,
    /// Each call is recorded; nothing is counted.
    pub record: bool,
    /// Where its data are: [`IoShape::BUFFER`] and so on.
    pub payload: u32,
    /// HTTP/1 is looked for in what goes through TCP sockets.
    pub http: bool,
    /// DNS messages and the addresses of UDP become events.
    pub udp: bool,
    /// Descriptors that pass through unix sockets become events.
    pub passing: bool,
}
impl IoShape {
    pub const NONE: u32 = 31;
    /// In the place of a slot: the call takes many messages, and its result is their number. Its calls are
    /// counted per cgroup, not here.
    pub const MANY: u32 = 28;
    /// Argument 1 points to the data, to an array of `struct iovec`, to a `struct msghdr` (of a call that takes many:
    /// `struct mmsghdr`).
    pub const BUFFER: u32 = 1;
    pub const VECTOR: u32 = 2;
    pub const MESSAGE: u32 = 3;
    /// Places of bits in the packed form.
    const PASSING: u32 = 23;
    const RECORD: u32 = 27;
    const PAYLOAD: u32 = 28;
    const HTTP: u32 = 30;
    const UDP: u32 = 31;
    pub const fn pack(self) -> u32 {
        (self.read << 8)
            | (self.write << 13)
            | (self.read_fd << 18)
            | (self.write_fd << 21)
            | (self.passing as u32) << Self::PASSING
            | (self.arity << 24)
            | (self.record as u32) << Self::RECORD
            | self.payload << Self::PAYLOAD
            | (self.http as u32) << Self::HTTP
            | (self.udp as u32) << Self::UDP
    }
    /// The [`sniff`] bits of descriptors whose data the call's policy wants looked at.
    #[inline(always)]
    pub const fn wants(policy: u32) -> u64 {
        ((policy >> Self::UDP) as u64 * sniff::ALL_UDP)
            | (((policy >> Self::HTTP) & 1) as u64 * sniff::TCP)
            | (((policy >> Self::PASSING) & 1) as u64 * sniff::UNIX)
    }
    pub const fn unpack(policy: u32) -> Self {
        IoShape {
            read: (policy >> 8) & 31,
            write: (policy >> 13) & 31,
            read_fd: (policy >> 18) & 7,
            write_fd: (policy >> 21) & 3,
            passing: (policy >> Self::PASSING) & 1 != 0,
            arity: (policy >> 24) & 7,
            record: (policy >> Self::RECORD) & 1 != 0,
            payload: (policy >> Self::PAYLOAD) & 3,
            http: (policy >> Self::HTTP) & 1 != 0,
            udp: (policy >> Self::UDP) & 1 != 0,
        }
    }
}

/// What a call on an object of IPC does, packed into the policy value above [`action::MASK`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpcShape {
    /// [`ipc`] kind.
    pub kind: u32,
    /// How the call says which object: [`by`].
    pub by: u32,
    /// The argument with the bytes of a message, 6: the result has them, 7: the object tells its size.
    pub size: u32,
    /// Flags, command, priority; 7: none.
    pub arg: u32,
    /// 1: each call is an event; 0: the first one a second of a process on an object.
    pub each: u32,
}
impl IpcShape {
    pub const RESULT: u32 = 6;
    pub const NONE: u32 = 7;
    pub const fn pack(self) -> u32 {
        (self.kind << 8)
            | (self.by << 12)
            | (self.size << 16)
            | (self.arg << 20)
            | (self.each << 24)
    }
    pub const fn unpack(policy: u32) -> Self {
        IpcShape {
            kind: (policy >> 8) & 7,
            by: (policy >> 12) & 7,
            size: (policy >> 16) & 7,
            arg: (policy >> 20) & 7,
            each: (policy >> 24) & 1,
        }
    }
}

/// Kinds of objects; those of System V less one are places in the kernel's table of a namespace.
pub mod ipc {
    pub const SEMAPHORES: u32 = 1;
    pub const MESSAGES: u32 = 2;
    pub const MEMORY: u32 = 3;
    /// POSIX message queue.
    pub const QUEUE: u32 = 4;
    /// Marks of an [`IpcRecord`](super::IpcRecord).
    pub const KEY_KNOWN: u32 = 2;
}

/// How a call names its object.
pub mod by {
    /// A key in argument 0; the result is the id.
    pub const KEY: u32 = 0;
    /// An id in argument 0.
    pub const ID: u32 = 1;
    /// The address in argument 0 where the object is attached.
    pub const ADDRESS: u32 = 2;
    /// A descriptor in argument 0.
    pub const DESCRIPTOR: u32 = 3;
    /// A name in argument 0; the result is a descriptor.
    pub const OPENED: u32 = 4;
    /// A name in argument 0.
    pub const NAME: u32 = 5;
    /// As [`ID`]; what it returns is where the object is attached now.
    pub const ATTACHED: u32 = 6;
}

/// A call into another process, packed likewise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessShape {
    /// The argument with its id in the caller's namespace.
    pub target: u32,
    /// 1: that is a descriptor of a process.
    pub descriptor: u32,
    /// Request or flags; 7: none.
    pub arg: u32,
    /// As in [`IpcShape`].
    pub each: u32,
    /// 1: a request of 0 has no target.
    pub zero_is_none: u32,
}
impl AccessShape {
    pub const NONE: u32 = 7;
    pub const fn pack(self) -> u32 {
        (self.target << 8)
            | (self.descriptor << 12)
            | (self.arg << 16)
            | (self.each << 24)
            | (self.zero_is_none << 25)
    }
    pub const fn unpack(policy: u32) -> Self {
        AccessShape {
            target: (policy >> 8) & 7,
            descriptor: (policy >> 12) & 1,
            arg: (policy >> 16) & 7,
            each: (policy >> 24) & 1,
            zero_is_none: (policy >> 25) & 1,
        }
    }
}

/// Uses (process, call, object) whose last event is remembered; the least recently used one goes, and its
/// next call is an event again.
pub const USES_MAX: u32 = 8_192;
/// Places where shared memory is attached, for shmdt; the least recently used one goes.
pub const ATTACHED_MAX: u32 = 8_192;
/// A call of the same use becomes an event again after this.
pub const USE_QUIET_NS: u64 = 1_000_000_000;

#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UseKey {
    pub object: u64,
    /// Its type's, or the request: what tells uses of one object apart.
    pub what: u64,
    pub tgid: u32,
    pub nr: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Use {
    /// When it was an event.
    pub event_ns: u64,
    /// Calls since then.
    pub calls: u64,
}

/// Followed by the name of a queue, where it has one.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct IpcRecord {
    pub header: Header,
    pub ret: i64,
    /// Of System V its id, else an inode number; -1: unknown.
    pub id: i64,
    pub size: u64,
    pub calls: u64,
    pub arg: u64,
    pub nr: u32,
    pub key: u32,
    pub namespace: u32,
    pub kind: u32,
    pub marks: u32,
    pub reserved: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct AccessRecord {
    pub header: Header,
    pub ret: i64,
    pub arg: u64,
    pub calls: u64,
    pub target_cgroup: u64,
    pub nr: u32,
    pub target_pid: u32,
    pub target_tid: u32,
    pub reserved: u32,
}

/// What goes through a descriptor is worth a look at: bits of [`IoCount::sniff`].
pub mod sniff {
    /// A UDP socket that is connected to port 53, or that sent there.
    pub const DNS: u64 = 1;
    /// A UDP socket that is not connected: each call may have its own address.
    pub const UDP: u64 = 2;
    /// A TCP socket.
    pub const TCP: u64 = 4;
    /// A connected UDP socket that nobody told of yet.
    pub const PEER: u64 = 8;
    /// A UDP socket on port 53.
    pub const SERVER: u64 = 16;
    /// A unix socket.
    pub const UNIX: u64 = 32;
    pub const ALL_UDP: u64 = DNS | UDP | PEER | SERVER;
}
/// Bytes of a DNS message that are kept: header (12), longest name (255), type and class.
pub const DNS_BYTES_MAX: usize = 12 + 255 + 4;
/// Bytes of the beginning of an HTTP message that are kept, less one; a power of two.
pub const HTTP_BYTES_MAX: usize = 512;
/// DNS and HTTP messages of one descriptor that become events between two turns of the tables (a second).
pub const SNIFFED_MAX: u32 = 1_024;
/// Payloads of a TCP descriptor that were no HTTP in such a second: then nobody looks any more until it is over.
pub const MISSES_MAX: u16 = 8;
/// Messages of one call (sendmmsg, recvmmsg) that are looked at: a resolver asks for two at once.
pub const MESSAGES_MAX: u64 = 4;
/// (Process, descriptor, address) of UDP that are remembered; the least recently used one goes.
pub const PEERS_MAX: u32 = 4_096;
/// Such a triple becomes an event once in this time.
pub const PEER_PAUSE_NS: u64 = 1_000_000_000;

/// A triple of those.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerKey {
    /// Thread group and descriptor, as for [`IoCount`].
    pub descriptor: u64,
    pub addr: [u64; 2],
    /// Port, family above it.
    pub port: u64,
}

/// (Process, descriptor) pairs that are counted at once; a call on one more is an event of its own.
pub const IO_MAX: u32 = 8_192;
/// Kinds of calls that are counted apart. The last one means none.
pub const IO_SLOTS: usize = 32;
/// Descriptors that a CPU counts without looking them up in the table, in each half: what is beyond, or
/// has the place of another, is looked up.
pub const IO_NEAR_MAX: u32 = 256;
/// CPUs that do so: one bit each of [`IoCount::cpus`].
pub const IO_NEAR_CPUS_MAX: u32 = 64;
/// Of an ended process so many descriptors are looked at, from 0: most have no more. What was counted
/// on higher ones comes within a second.
pub const IO_EXIT_FDS: u32 = 32;
/// Names of files and directories on the list.
pub const LISTED_NAMES_MAX: u32 = 256;
/// Longest name on the list: one that a dentry holds itself, in two words.
pub const LISTED_NAME_BYTES_MAX: usize = 15;
/// Files that were opened and are on the list; the least recently used one goes.
pub const LISTED_FILES_MAX: u32 = 1_024;

/// Where a name of the list counts: values of the map of names.
pub mod listed {
    /// The file itself has it.
    pub const FILE: u32 = 1;
    /// A directory above it has it.
    pub const DIRECTORY: u32 = 2;
    /// Components of a path that are compared: the file's name and the three directories above it.
    pub const DEPTH: u32 = 4;

    /// The bit of a name in [`Settings::names`](super::Settings): most names that are not on the list
    /// have one that no name of the list has, and need not be looked up. `word`: the first 8 bytes.
    #[inline(always)]
    pub const fn bit(word: u64) -> u64 {
        1 << (((word as u16 as u32).wrapping_mul(40_503) >> 10) & 63)
    }
}

/// A file name of up to [`LISTED_NAME_BYTES_MAX`] bytes, filled up with zeros.
pub type ListedName = [u64; 2];

/// A file by its inode and the kernel's device number.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileKey {
    pub ino: u64,
    pub dev: u64,
}

/// What one process did with one descriptor. The key is the thread group id in the upper half and the
/// descriptor in the lower.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IoCount {
    pub cgroup_id: u64,
    pub ino: u64,
    pub dev: u32,
    /// `i_mode` of the file; 0: unknown.
    pub mode: u16,
    /// 1: the file is on the list. Its calls are events and not counted here.
    pub listed: u8,
    /// [`sniff`]: 0 for all that is no internet or unix socket.
    pub sniff: u8,
    /// Messages of it that became events, and payloads that were none.
    pub sniffed: u32,
    pub misses: u16,
    /// 1: something was counted; 0: it was only looked at.
    pub counted: u8,
    /// 1: the descriptor was closed, and the file is another one when it is used again.
    pub closed: u8,
    /// Read, written.
    pub bytes: [u64; 2],
    /// The CPUs that count some of it in an [`IoNear`], as bits.
    pub cpus: u64,
    pub calls: [u32; IO_SLOTS],
}

/// What one CPU counts of one descriptor, to be added to its [`IoCount`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IoNear {
    /// As that of the [`IoCount`]; 0: free.
    pub key: u64,
    /// [`IoCount::sniff`] as it was last seen.
    pub sniff: u64,
    pub counted: IoSums,
}

/// Sums as whole words: two calls to a word.
pub type IoSums = [u64; 2 + IO_SLOTS / 2];

/// What was counted of a descriptor that is closed, or of a process that ended.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct IoRecord {
    pub header: Header,
    pub fd: u32,
    pub reserved: u32,
    pub count: IoCount,
}

/// A request of io_uring.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct UringRecord {
    pub header: Header,
    pub user_data: u64,
    /// -1: none, or not known.
    pub fd: i32,
    pub opcode: u32,
}

/// A request to read or write that is under way: what its result is counted for.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct UringIo {
    pub key: u64,
    pub cgroup_id: u64,
    pub place: u64,
}

/// Requests to read or write that are under way at once; the least recently used one goes.
pub const URING_IO_MAX: u32 = 8_192;
/// Places of such requests in [`IoCount::calls`].
pub const URING_READ: usize = 29;
pub const URING_WRITE: usize = 30;

/// Entries of the policy array. x86-64 and aarch64 numbers end well below.
pub const SYSCALLS_MAX: u32 = 1024;
/// Distinct (cgroup, syscall) pairs that are counted in one second beside the slots; a call of one more
/// is an event of its own.
pub const COUNTS_MAX: u32 = 8_192;
/// Cgroups of which it is known how many events were dropped: the first that lost any.
pub const DROPS_MAX: u32 = 1_024;
/// Numbers that have a slot on each CPU: all of x86-64 and aarch64, of which 471 exist.
pub const COUNTED_CALLS: u32 = 512;
/// Sockets whose owner is remembered at once; the least recently used one goes.
pub const SOCKETS_MAX: u32 = 16_384;
/// Cgroups a filter can name, with those that are made inside of them.
pub const FILTER_CGROUPS_MAX: u32 = 4_096;
/// Processes of the trees that a filter names: half of what a kernel's default `pid_max` allows.
pub const FILTER_PIDS_MAX: u32 = 16_384;
/// Of those the newest that ended, until what they leave behind is done.
pub const FILTER_ENDED_MAX: u32 = 1_024;
/// Values of any other option of a filter: more is a list that nobody wrote by hand.
pub const FILTER_VALUES_MAX: u32 = 64;
/// Of a path that a filter names, with its slash at the end: what a trie's key may have
/// (`LPM_DATA_SIZE_MAX`, kernel/bpf/lpm_trie.c).
pub const FILTER_PATH_BYTES_MAX: usize = 256;
/// Of the list of results: any errno.
pub const ANY_ERRNO: u32 = u32::MAX;

/// Options of the filter, as bits: of those that are given in [`Settings::filter`], of those that name
/// what is wanted (not only what is left out) in [`Settings::filter_must`].
pub mod filter {
    pub const CONTAINER: u32 = 1;
    pub const TREE: u32 = 2;
    pub const UID: u32 = 4;
    pub const COMM: u32 = 8;
    pub const WHO: u32 = CONTAINER | TREE | UID | COMM;
    /// What is recorded of all of them, whatever they do: where processes come from.
    pub const LINEAGE: u32 = CONTAINER | TREE;
    pub const CALL: u32 = 16;
    pub const KIND: u32 = 32;
    pub const RESULT: u32 = 64;
    pub const WHAT: u32 = CALL | KIND | RESULT;
    pub const PATH: u32 = 128;
    pub const ADDRESS: u32 = 256;
    pub const DURATION: u32 = 512;
    pub const WHERE: u32 = PATH | ADDRESS | DURATION;
}

/// What a list of the filter says of a value. None: it is not on the list.
pub mod listing {
    pub const WANTED: u8 = 1;
    pub const LEFT_OUT: u8 = 2;
}

/// A thread's name, filled up with zeros.
pub type Comm = [u64; 2];

/// A port and an address as the filter looks them up: the longest entry that begins as this does.
/// Port 0 stands for any; an address of IPv4 is ::ffff:a.b.c.d.
#[repr(C, packed)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FilterAddress {
    /// Big endian.
    pub port: [u8; 2],
    /// In the order of the wire.
    pub address: [u64; 2],
}
impl FilterAddress {
    pub const BITS: u32 = Self::PORT_BITS + 128;
    pub const PORT_BITS: u32 = 16;
}
/// Bytes of path or argument text in one record.
pub const DATA_MAX: usize = 4096;
/// Longest single path component (NAME_MAX and its NUL) or string piece.
pub const PIECE_MAX: usize = 256;
/// Longest user-space path that is read (untrusted paths), with its NUL.
pub const USER_PATH_MAX: usize = 1024;
/// Longest argument block that is read at exec.
pub const ARGS_MAX: usize = 1024;
/// Components of a path that are walked; deeper paths lose their beginning.
pub const PATH_DEPTH_MAX: u32 = 32;
/// Longest beginning of what a call read or wrote that is recorded: what a record has room for.
pub const PAYLOAD_BYTES_MAX: usize = DATA_MAX;
/// Bytes of a unix socket address's path (`sun_path`).
pub const SUN_PATH_MAX: usize = 108;

/// Starts every record.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Header {
    /// `CLOCK_BOOTTIME`.
    pub boot_ns: u64,
    pub seq: u64,
    pub cgroup_id: u64,
    /// The kernel's thread id (user space: tid) in the low half, thread group id (user space: pid) in the high half.
    pub pid_tgid: u64,
    pub cpu: u16,
    pub probe: u8,
    pub kind: u8,
    /// Length of the variable part that follows the fixed one.
    pub data_len: u32,
}

/// A plain system call, in the ring of its CPU (not in a ring buffer), followed by its arguments:
/// as many words as `args` says.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallRecord {
    /// `CLOCK_BOOTTIME`.
    pub boot_ns: u64,
    /// As in [`Header::pid_tgid`].
    pub pid_tgid: u64,
    pub cgroup_id: u64,
    pub ret: i64,
    /// Low half of the sequence number; [`CallRing::seq`] tells the rest.
    pub seq: u32,
    pub nr: u16,
    pub args: u8,
    /// Which table `nr` is from: [`abi`].
    pub abi: u8,
}

/// How a call entered the kernel: bits 30 and 31 of its number in the trace.
pub mod abi {
    pub const NATIVE: u8 = 0;
    pub const X32: u8 = 1;
    pub const I386: u8 = 2;
    pub const SHIFT: u32 = 30;
}

/// Places for the times at which threads began the calls that they are in: one for each value of the low 16
/// bits of a thread's id. What there is then is whose it is (the other bits, in 6) and when (58 bits, nanoseconds).
pub const ENTERED_MAX: u32 = 1 << 16;
pub const ENTERED_TIME_BITS: u32 = 58;

/// Bytes of the largest call record.
pub const CALL_BYTES_MAX: usize = size_of::<CallRecord>() + 7 * 8;
/// A CPU's ring is made of pages: position `at` (which only grows) is byte `at % CALL_PAGE_BYTES` of page
/// `at / CALL_PAGE_BYTES` modulo their number.
pub const CALL_PAGE_BYTES: usize = 4096;

/// One element of the array of pages. A record that begins in a page lies in it as a whole: hence the room behind.
#[repr(C, align(8))]
pub struct CallPage {
    pub bytes: [u8; CALL_PAGE_BYTES],
    pub overhang: [u8; CALL_BYTES_MAX],
}

/// The state of one CPU's ring of plain system calls: written by one program, read by one thread of
/// user space, through shared memory. No lock, no helper call, no atomic operation: a third of the
/// cost of a ring buffer, which all CPUs share.
#[repr(C, align(64))]
#[derive(Debug, Default)]
pub struct CallRing {
    /// Where the next record goes. Stored last: what lies before it is complete.
    pub head: u64,
    /// Sequence number of the newest record.
    pub seq: u64,
    pub apart: [u64; 6],
    /// Where user space reads next: the only thing it writes. On a cache line of its own.
    pub tail: u64,
    pub apart_too: [u64; 7],
}

/// Followed by the components of the opened file's path (leaf first, each with its NUL), or, where
/// the call failed, by the caller's path and then, when that is relative, its directory's components.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct OpenRecord {
    pub header: Header,
    pub ret: i64,
    pub ino: u64,
    pub dev: u32,
    pub nr: u32,
    pub flags: u32,
    pub mode: u32,
    /// Length of the caller's path with its NUL; 0: the data is a resolved path.
    pub user_len: u32,
    pub marks: u32,
    /// How long the call took; 0: unknown.
    pub duration_ns: u64,
}

/// Followed by path 1 (`user_len[0]` bytes), its directory's components (`dir_len[0]`), path 2, its directory's components.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct PathCallRecord {
    pub header: Header,
    pub ret: i64,
    pub arg: u64,
    pub nr: u32,
    pub marks: u32,
    pub user_len: [u32; 2],
    pub dir_len: [u32; 2],
    /// How long the call took; 0: unknown.
    pub duration_ns: u64,
}

/// Followed by `sun_path` where the caller's address was a unix socket's.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SockCallRecord {
    pub header: Header,
    pub ret: i64,
    pub nr: u32,
    pub fd: i32,
    pub family: u16,
    pub sock_type: u16,
    pub local_port: u16,
    pub remote_port: u16,
    pub local: [u8; 16],
    pub remote: [u8; 16],
    /// `marks::UNTRUSTED` when the remote end is what the caller passed.
    pub marks: u32,
    /// Of a bind of a packet socket.
    pub interface: u32,
    /// How long the call took; 0: unknown.
    pub duration_ns: u64,
}

/// A DNS or HTTP message, or who is at the other end: followed by the message's beginning, or by a unix
/// socket's path.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct NetRecord {
    pub header: Header,
    pub peer_cgroup_id: u64,
    pub peer_pid: u32,
    pub fd: i32,
    /// 1: sent, or connected.
    pub sent: u32,
    pub family: u16,
    pub sock_type: u16,
    pub local_port: u16,
    pub remote_port: u16,
    pub reserved: u32,
    pub local: [u8; 16],
    pub remote: [u8; 16],
}

/// Descriptors of one call that become events. The largest message has 253 (`SCM_MAX_FD`); D-Bus lets one have 16.
pub const PASSED_FDS_MAX: u64 = 32;
/// Messages, control messages and descriptors that a call is looked through for the next one. A process that
/// receives has at most four control messages in each, whatever was sent.
pub const PASSING_STEPS_MAX: u64 = 32;
/// (File, socket) pairs whose sender is remembered; the least recently used one goes.
pub const PASSERS_MAX: u32 = 4_096;

/// Who sent a file to a socket.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passer {
    pub pid_tgid: u64,
    pub cgroup_id: u64,
}

/// A descriptor that came or went with a message, followed by the components of its file's path.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct PassedRecord {
    pub header: Header,
    pub ino: u64,
    pub peer_cgroup_id: u64,
    pub peer_pid: u32,
    /// The descriptor of the socket.
    pub socket: i32,
    pub fd: i32,
    /// 1: the event's process sent it.
    pub sent: u32,
    pub dev: u32,
    /// `i_mode`.
    pub mode: u32,
    /// Descriptors that came together, and which of these it is, from 0.
    pub count: u32,
    pub place: u32,
    /// [`passed`].
    pub marks: u32,
    pub reserved: u32,
}

/// Marks of a [`PassedRecord`].
pub mod passed {
    /// The process at the other end was seen to send this file to this socket.
    pub const SENDER_SEEN: u32 = 1;
    /// There were more control data than the receiver had room for.
    pub const CUT: u32 = 2;
    /// The beginning of the path is missing.
    pub const PATH_CUT: u32 = 4;
    /// The file is in no directory, and has a name only: memfd, pipe, socket, what the kernel makes.
    pub const NOWHERE: u32 = 8;
    pub const READABLE: u32 = 16;
    pub const WRITABLE: u32 = 32;
}

/// A call that read or wrote, followed by the first bytes of what passed.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct PayloadRecord {
    pub header: Header,
    pub ret: i64,
    pub args: [u64; 6],
    /// How long the call took; 0: unknown.
    pub duration_ns: u64,
    pub nr: u32,
    /// How many of the arguments the call has.
    pub arity: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ForkRecord {
    pub header: Header,
    pub child_start_ns: u64,
    pub child_tid: u32,
    pub child_pid: u32,
    /// In the child's own pid namespace; 0: unknown.
    pub child_ns_tid: u32,
    pub reserved: u32,
}

/// What overlayfs has in `s_magic`.
pub const OVERLAYFS_MAGIC: u64 = 0x794c_7630;

/// Parts of [`TaskDetails`], in [`Settings::details`]: what the members that BTF has suffice for.
pub mod detail {
    /// Ids in the own pid namespace, process groups.
    pub const GROUPS: u32 = 1;
    pub const TTY: u32 = 2;
    pub const LOGIN: u32 = 4;
    pub const CAPABILITIES: u32 = 8;
    pub const FILE_TIMES: u32 = 16;
    pub const LAYER: u32 = 32;
    /// All but the pid namespace, which has a bit of its own.
    pub const NAMESPACES: u32 = 64;
    pub const PID_NAMESPACE: u32 = 128;
    pub const CWD: u32 = 256;
    /// Of what processes share, not of a process: objects of System V by their ids.
    pub const IPC_OBJECT: u32 = 512;
    /// The process that a call is about, by its id in the caller's namespace.
    pub const TARGET: u32 = 1024;
    /// Changes of credentials.
    pub const CREDENTIALS: u32 = 2048;
    /// What a thread or process used when it ends.
    pub const USAGE: u32 = 4096;
}

/// What the kernel keeps of a process beyond who it is. Zero where [`Settings::details`] lacks the bit.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TaskDetails {
    /// Effective, permitted, inheritable.
    pub capabilities: [u64; 3],
    /// `CLOCK_BOOTTIME` at which the first process of the pid namespace started.
    pub ns_start_ns: u64,
    pub ctime_s: i64,
    pub mtime_s: i64,
    pub ctime_ns: u32,
    pub mtime_ns: u32,
    pub ns_pid: u32,
    pub sid: u32,
    pub pgid: u32,
    pub ns_sid: u32,
    pub ns_pgid: u32,
    pub tty: u32,
    pub login_uid: u32,
    /// Inode numbers: cgroup, ipc, mnt, net, pid, user, uts.
    pub namespaces: [u32; 7],
    /// 1: the executable is on an overlay's upper layer.
    pub upper: u32,
    /// Which parts are there: [`detail`].
    pub known: u32,
}

/// Followed by the file name (`filename_len`), the components of the executable's path (`path_len`),
/// those of the working directory's (`cwd_len`), the arguments (`args_len`).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ExecRecord {
    pub header: Header,
    pub start_ns: u64,
    pub ino: u64,
    pub dev: u32,
    pub nlink: u32,
    /// Of the file: type and permissions.
    pub mode: u32,
    pub ppid: u32,
    pub uid: u32,
    pub gid: u32,
    pub cwd_len: u32,
    pub filename_len: u32,
    pub path_len: u32,
    pub args_len: u32,
    /// Length of the whole argument block, of which `args_len` was captured.
    pub args_total: u32,
    pub reserved: u32,
    pub comm: [u8; 16],
    pub details: TaskDetails,
}

/// Threads whose rights are remembered, to tell what they were when they change; the least recently used
/// one goes, and then that is not known.
pub const RIGHTS_MAX: u32 = 16_384;

/// What a thread may do and as whom.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    pub cap_effective: u64,
    pub cap_permitted: u64,
    pub uid: u32,
    pub gid: u32,
    pub suid: u32,
    pub sgid: u32,
    pub euid: u32,
    pub egid: u32,
    /// Inode number of the user namespace.
    pub user_ns: u32,
    pub reserved: u32,
}

/// Rights of the thread that started then.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KnownRights {
    pub start_ns: u64,
    pub rights: Rights,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct CredentialsRecord {
    pub header: Header,
    pub before: Rights,
    pub after: KnownRights,
    /// [`CredentialsRecord::EXEC`]: an exec.
    pub nr: u32,
    pub before_known: u32,
    /// Mode of the executable; 0 but for an exec.
    pub mode: u32,
    pub reserved: u32,
}
impl CredentialsRecord {
    pub const EXEC: u32 = u32::MAX;
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ExitRecord {
    pub header: Header,
    pub start_ns: u64,
    pub exit_code: u32,
    /// Threads of the group that are still alive.
    pub live: u32,
    /// Of the thread; where it is the last, of all threads. Zero where [`Settings::details`] lacks the bit.
    pub usage: TaskUsage,
    /// The most pages that the process had resident; 0 where threads are still alive.
    pub max_rss_pages: u64,
    /// Are they known?
    pub usage_known: u32,
    pub reserved: u32,
}

/// What the kernel has counted of a thread, or of all of a group.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TaskUsage {
    /// Exact, in ns, but for the time since the last tick or switch.
    pub runtime_ns: u64,
    /// By ticks: what part of the runtime was which.
    pub user_ns: u64,
    pub system_ns: u64,
    pub minor_faults: u64,
    pub major_faults: u64,
}

/// Threads of a process that have ended and are not yet part of its sums, of which what they used is added
/// when the last one ends: those that end at the same time on other CPUs.
pub const ENDING_MAX: u32 = 128;

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct TcpStateRecord {
    pub header: Header,
    pub sock_id: u64,
    pub latency_ns: u64,
    pub sent_bytes: u64,
    pub received_bytes: u64,
    pub duration_ns: u64,
    pub error: u32,
    pub reserved: u32,
    pub old: u8,
    pub new: u8,
    pub family: u16,
    pub local_port: u16,
    pub remote_port: u16,
    pub local: [u8; 16],
    pub remote: [u8; 16],
}

/// Followed by the path.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct CgroupRecord {
    pub header: Header,
    pub id: u64,
    pub removed: u32,
    pub reserved: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SignalRecord {
    pub header: Header,
    pub signal: u32,
    pub code: i32,
    pub target_tid: u32,
    pub target_pid: u32,
    pub to_group: u32,
    pub outcome: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct OomKillRecord {
    pub header: Header,
    pub total_vm_pages: u64,
    pub uid: u32,
    pub score_adj: i32,
    pub trigger_pid: u32,
    pub reserved: u32,
    pub comm: [u8; 16],
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct TcpEventRecord {
    pub header: Header,
    pub sock_id: u64,
    pub what: u8,
    pub state: u8,
    pub family: u16,
    pub local_port: u16,
    pub remote_port: u16,
    pub local: [u8; 16],
    pub remote: [u8; 16],
}

/// Marks shared by the path records.
pub mod marks {
    /// Read from user memory.
    pub const UNTRUSTED: u32 = 1;
    pub const CREATED: u32 = 2;
    pub const CUT: u32 = 4;
    /// On the list of what is always recorded.
    pub const LISTED: u32 = 16;
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct CountKey {
    pub cgroup_id: u64,
    pub nr: u64,
}

/// Calls with one number on one CPU, all by the same cgroup.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CountSlot {
    pub cgroup_id: u64,
    pub calls: u64,
}

/// One per CPU and probe.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Sequence numbers handed out.
    pub seen: u64,
    /// Of those: no room in the ring.
    pub dropped: u64,
    /// Rejected by a filter, before a sequence number.
    pub filtered: u64,
}

/// Who owns a socket, stored in process context.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct SocketOwner {
    pub id: u64,
    pub pid_tgid: u64,
    pub cgroup_id: u64,
    /// When the connect began (SYN_SENT); 0: none in progress.
    pub connect_ns: u64,
    /// When the connection was made; 0: it was not, or that was not seen.
    pub established_ns: u64,
    /// 1: the filter wanted its owner.
    pub wanted: u64,
}

/// Settings that never change while the probes run: a read-only global, so that the verifier removes dead branches.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Settings {
    /// The recorder's own thread group: never recorded.
    pub self_tgid: u32,
    /// Options that the filter has: [`filter`].
    pub filter: u32,
    /// 1: nothing is recorded, the programs only run (the cost of the hook itself).
    pub empty: u32,
    /// Pages in each CPU's ring of plain system calls; a power of two.
    pub call_pages: u32,
    /// 1: the kernel has `bpf_get_current_task_btf` (5.11), whose result is read without helper calls.
    pub task_btf: u32,
    /// 1: how long calls last is measured. Behind a [`CallRecord`] stands that, before the arguments.
    pub durations: u32,
    /// 1: `mark_victim` has the victim's task (6.9), else its pid.
    pub victim_task: u32,
    /// Parts of [`TaskDetails`] that are read: [`detail`].
    pub details: u32,
    /// [`listed::bit`]s of the names on the list; 0: there is no list.
    pub names: u64,
    /// Parameters of the tracepoint of a request's submission (io_uring_submit_sqe), its own included.
    pub uring_submit: u32,
    /// Parameters of that of its completion.
    pub uring_complete: u32,
    /// Bit n: events of [`kind`] n are wanted.
    pub filter_kinds: u64,
    /// What an event lasted at least; 0: any.
    pub filter_min_ns: u64,
    /// Options that name what is wanted.
    pub filter_must: u32,
    /// The hierarchy whose cgroups are told: 0 is v2's; else that of a v1 controller, and
    /// `css_set_cgroup` leads to the controller's state and not to the cgroup.
    pub hierarchy: u32,
    /// Bytes that are recorded of what a call of [`action::PAYLOAD`] passed, at most [`PAYLOAD_BYTES_MAX`];
    /// 0: there is no such call.
    pub snaplen: u32,
    /// The kernel's type `pt_regs`, which is nothing but words, where it has `bpf_rdonly_cast` (6.2): then
    /// kernel memory is loaded from without helper calls. 0: it has not.
    pub words_type: u32,
    /// From a CPU's run queue to where it has its current task, among the variables that each CPU has of its
    /// own; 0: unknown.
    pub current_at: u32,
}

/// The helper that programs call, by a number that no helper has, where they mean `bpf_rdonly_cast`: whoever
/// loads them puts the number of that function of the kernel there, or a plain move.
pub const PLAIN_WORDS_CALL: u32 = 0x6361_7374;

/// What a profile decides beside the policy of calls, and can be switched while the probes run: places
/// of an array of words.
pub mod switched {
    /// [`action`](crate::action) for calls of other tables than the native one.
    pub const FOREIGN: u32 = 0;
    /// Bit n: signal n is not recorded.
    pub const QUIET_SIGNALS: u32 = 1;
    /// Exits of threads that began before this time are not recorded.
    pub const EXITS_FROM: u32 = 2;
    pub const COUNT: u32 = 3;
}

macro_rules! offsets {
    ($($field:ident: $type:literal . $member:literal),* $(,)?) => {
        /// Byte offsets of kernel structure members, read from the running kernel's BTF. [`Offsets::MISSING`]: not
        /// there. A member with two names (`new|old`) was renamed between kernels; `*` is the structure's size.
        #[repr(C)]
        #[derive(Clone, Copy, Debug)]
        pub struct Offsets { $(pub $field: u32),* }
        impl Offsets {
            pub const MISSING: u32 = u32::MAX;
            /// What each field is: (structure, member path).
            pub const MEMBERS: &'static [(&'static str, &'static str)] = &[$(($type, $member)),*];
            pub const NONE: Offsets = Offsets { $($field: u32::MAX),* };
            /// `found` in the order of [`Offsets::MEMBERS`].
            pub fn from_slice(found: &[u32]) -> Option<Offsets> {
                let mut next = found.iter().copied();
                Some(Offsets { $($field: next.next()?),* })
            }
        }
    };
}

offsets! {
    task_files: "task_struct"."files",
    task_fs: "task_struct"."fs",
    task_mm: "task_struct"."mm",
    task_pid: "task_struct"."pid",
    task_tgid: "task_struct"."tgid",
    task_real_parent: "task_struct"."real_parent",
    task_start_boottime: "task_struct"."start_boottime",
    task_exit_code: "task_struct"."exit_code",
    task_signal: "task_struct"."signal",
    task_comm: "task_struct"."comm",
    task_cred: "task_struct"."cred",
    task_status: "task_struct"."thread_info.status",
    task_cgroups: "task_struct"."cgroups",
    task_cfs_rq: "task_struct"."se.cfs_rq",
    cfs_rq_rq: "cfs_rq"."rq",
    css_set_cgroup: "css_set"."dfl_cgrp",
    css_cgroup: "cgroup_subsys_state"."cgroup",
    cred_uid: "cred"."uid",
    cred_gid: "cred"."gid",
    cred_euid: "cred"."euid",
    cred_egid: "cred"."egid",
    cred_suid: "cred"."suid",
    cred_sgid: "cred"."sgid",
    task_signal_score: "signal_struct"."oom_score_adj",
    mm_total_vm: "mm_struct"."total_vm",
    siginfo_code: "kernel_siginfo"."si_code",
    sock_err: "sock"."sk_err",
    skc_state: "sock_common"."skc_state",
    tcp_sent: "tcp_sock"."bytes_sent",
    tcp_retrans: "tcp_sock"."bytes_retrans",
    inet_sport: "inet_sock"."inet_sport",
    tcp_received: "tcp_sock"."bytes_received",
    skb_head: "sk_buff"."head",
    skb_network: "sk_buff"."network_header",
    skb_transport: "sk_buff"."transport_header",
    signal_live: "signal_struct"."live",
    files_fdt: "files_struct"."fdt",
    fdtable_max_fds: "fdtable"."max_fds",
    fdtable_fd: "fdtable"."fd",
    fs_root: "fs_struct"."root",
    fs_pwd: "fs_struct"."pwd",
    path_mnt: "path"."mnt",
    path_dentry: "path"."dentry",
    file_path: "file"."f_path",
    file_inode: "file"."f_inode",
    file_mode: "file"."f_mode",
    file_private: "file"."private_data",
    inode_ino: "inode"."i_ino",
    inode_sb: "inode"."i_sb",
    inode_nlink: "inode"."i_nlink",
    inode_mode: "inode"."i_mode",
    sb_dev: "super_block"."s_dev",
    dentry_parent: "dentry"."d_parent",
    dentry_name: "dentry"."d_name.name",
    dentry_len: "dentry"."d_name.len",
    dentry_short: "dentry"."d_shortname|d_iname",
    mount_parent: "mount"."mnt_parent",
    mount_mountpoint: "mount"."mnt_mountpoint",
    mount_mnt: "mount"."mnt",
    vfsmount_root: "vfsmount"."mnt_root",
    mm_exe_file: "mm_struct"."exe_file",
    mm_arg_start: "mm_struct"."arg_start",
    mm_arg_end: "mm_struct"."arg_end",
    bprm_filename: "linux_binprm"."filename",
    socket_sk: "socket"."sk",
    sock_type: "sock"."sk_type",
    skc_family: "sock_common"."skc_family",
    skc_num: "sock_common"."skc_num",
    skc_dport: "sock_common"."skc_dport",
    skc_daddr: "sock_common"."skc_daddr",
    skc_rcv_saddr: "sock_common"."skc_rcv_saddr",
    skc_v6_daddr: "sock_common"."skc_v6_daddr",
    sock_peer_pid: "sock"."sk_peer_pid",
    unix_peer: "unix_sock"."peer",
    unix_addr: "unix_sock"."addr",
    unix_len: "unix_address"."len",
    unix_name: "unix_address"."name",
    pid_tasks: "pid"."tasks",
    task_pid_links: "task_struct"."pid_links",
    skc_v6_rcv_saddr: "sock_common"."skc_v6_rcv_saddr",
    cgroup_kn: "cgroup"."kn",
    cgroup_root: "cgroup"."root",
    kernfs_id: "kernfs_node"."id",
    kernfs_parent: "kernfs_node"."__parent|parent",
    uring_opcode: "io_kiocb"."opcode",
    uring_flags: "io_kiocb"."flags",
    uring_user_data: "io_kiocb"."cqe.user_data|user_data",
    uring_fd: "io_kiocb"."cqe.fd",
    cqe_res: "io_uring_cqe"."res",
    cgroup_root_hierarchy: "cgroup_root"."hierarchy_id",
    task_thread_pid: "task_struct"."thread_pid",
    task_loginuid: "task_struct"."loginuid",
    task_nsproxy: "task_struct"."nsproxy",
    pid_level: "pid"."level",
    pid_numbers: "pid"."numbers",
    upid_nr: "upid"."nr",
    upid_ns: "upid"."ns",
    upid_size: "upid"."*",
    signal_pids: "signal_struct"."pids",
    signal_tty: "signal_struct"."tty",
    tty_driver: "tty_struct"."driver",
    tty_index: "tty_struct"."index",
    driver_major: "tty_driver"."major",
    driver_minor_start: "tty_driver"."minor_start",
    cred_cap_effective: "cred"."cap_effective",
    cred_cap_permitted: "cred"."cap_permitted",
    cred_cap_inheritable: "cred"."cap_inheritable",
    cred_user_ns: "cred"."user_ns",
    nsproxy_cgroup: "nsproxy"."cgroup_ns",
    nsproxy_ipc: "nsproxy"."ipc_ns",
    nsproxy_mnt: "nsproxy"."mnt_ns",
    nsproxy_net: "nsproxy"."net_ns",
    nsproxy_uts: "nsproxy"."uts_ns",
    cgroup_ns_inum: "cgroup_namespace"."ns.inum",
    ipc_ns_inum: "ipc_namespace"."ns.inum",
    mnt_ns_inum: "mnt_namespace"."ns.inum",
    net_ns_inum: "net"."ns.inum",
    pid_ns_inum: "pid_namespace"."ns.inum",
    user_ns_inum: "user_namespace"."ns.inum",
    uts_ns_inum: "uts_namespace"."ns.inum",
    pid_ns_reaper: "pid_namespace"."child_reaper",
    inode_ctime_s: "inode"."i_ctime_sec|__i_ctime.tv_sec|i_ctime.tv_sec",
    inode_ctime_ns: "inode"."i_ctime_nsec|__i_ctime.tv_nsec|i_ctime.tv_nsec",
    inode_mtime_s: "inode"."i_mtime_sec|__i_mtime.tv_sec|i_mtime.tv_sec",
    inode_mtime_ns: "inode"."i_mtime_nsec|__i_mtime.tv_nsec|i_mtime.tv_nsec",
    sb_magic: "super_block"."s_magic",
    ovl_inode_vfs: "ovl_inode"."vfs_inode",
    ovl_inode_upper: "ovl_inode"."__upperdentry",
    pid_ns_idr: "pid_namespace"."idr",
    idr_head: "idr"."idr_rt.xa_head",
    idr_base: "idr"."idr_base",
    xa_shift: "xa_node"."shift",
    xa_slots: "xa_node"."slots",
    xa_marks: "xa_node"."marks",
    inode_private: "inode"."i_private",
    ipc_ns_ids: "ipc_namespace"."ids",
    ipc_ids_size: "ipc_ids"."*",
    ipc_ids_idr: "ipc_ids"."ipcs_idr",
    ipc_perm_id: "kern_ipc_perm"."id",
    ipc_perm_key: "kern_ipc_perm"."key",
    shm_size: "shmid_kernel"."shm_segsz",
    sem_count: "sem_array"."sem_nsems",
    task_runtime: "task_struct"."se.sum_exec_runtime",
    task_utime: "task_struct"."utime",
    task_stime: "task_struct"."stime",
    task_min_flt: "task_struct"."min_flt",
    task_maj_flt: "task_struct"."maj_flt",
    task_thread_node: "task_struct"."thread_node",
    signal_threads: "signal_struct"."thread_head",
    signal_runtime: "signal_struct"."sum_sched_runtime",
    signal_utime: "signal_struct"."utime",
    signal_stime: "signal_struct"."stime",
    signal_min_flt: "signal_struct"."min_flt",
    signal_maj_flt: "signal_struct"."maj_flt",
    signal_maxrss: "signal_struct"."maxrss",
}
