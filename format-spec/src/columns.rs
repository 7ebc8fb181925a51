//! The column table: which families exist, which columns they have, how each is stored.
//!
//! The single source of truth in code; SPEC.md §Families says the same in words and is compared
//! with it. Ids are for ever: a column is added with a new id and never changes its encoding.

pub use crate::encoding::Encoding;

/// What a column's values mean, and the range a reader accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    U8,
    U16,
    U32,
    U64,
    /// Sign-extended to 64 bits.
    I32,
    I64,
    /// 0 or 1.
    Bool,
    /// Id in the chunk's dictionary; 0 is the empty string.
    Text,
}

impl Type {
    /// Every type at its number, less 1: how a declared family names it.
    pub const ALL: [Type; 8] = [
        Type::U8,
        Type::U16,
        Type::U32,
        Type::U64,
        Type::I32,
        Type::I64,
        Type::Bool,
        Type::Text,
    ];

    pub fn number(self) -> u8 {
        Type::ALL
            .iter()
            .position(|ty| *ty == self)
            .expect("all types are listed") as u8
            + 1
    }

    pub fn of(number: u8) -> Option<Type> {
        Type::ALL.get(usize::from(number).checked_sub(1)?).copied()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    pub id: u16,
    pub name: &'static str,
    pub ty: Type,
    pub encoding: Encoding,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Family {
    pub id: u16,
    pub name: &'static str,
    /// Beside [`COMMON`], in the order of the fields of the event's struct.
    pub fields: &'static [Column],
}

const fn column(id: u16, name: &'static str, ty: Type, encoding: Encoding) -> Column {
    Column {
        id,
        name,
        ty,
        encoding,
    }
}

pub const TIME: u16 = 1;
pub const TID: u16 = 2;
pub const PID: u16 = 3;
pub const CGROUP_ID: u16 = 4;
pub const CPU: u16 = 5;
pub const PROBE: u16 = 6;
pub const SEQ: u16 = 7;
pub const FAMILY: u16 = 8;
/// Ids of a family's own fields start here; below is room for common columns.
pub const FIELDS: u16 = 16;
const NR: u16 = FIELDS;

use Encoding::{Delta, DeltaBy, Plain, Sequence, Zigzag};
use Type::{Bool, I32, I64, Text, U8, U16, U32, U64};

/// The family under which the directory lists the common columns.
pub const COMMON_FAMILY: u16 = 0;
/// Families from here on are described by the trace itself: [`crate::EventType`].
pub const DECLARED: u16 = 1_024;

/// Columns of every row, whatever its family.
pub const COMMON: [Column; 8] = [
    column(TIME, "time", U64, Delta),
    column(TID, "tid", U32, Delta),
    column(PID, "pid", U32, Delta),
    column(CGROUP_ID, "cgroup_id", U64, Delta),
    column(CPU, "cpu", U16, Plain),
    column(PROBE, "probe", U8, Plain),
    column(SEQ, "seq", U64, Sequence),
    column(FAMILY, "family", U16, Plain),
];

pub const SYSCALL: u16 = 1;
pub const SYSCALL_COUNT: u16 = 2;
pub const FORK: u16 = 3;
pub const EXEC: u16 = 4;
pub const EXIT: u16 = 5;
pub const OPEN: u16 = 6;
pub const PATH_CALL: u16 = 7;
pub const SOCK_CALL: u16 = 8;
pub const TCP_STATE: u16 = 9;
pub const CGROUP: u16 = 10;
pub const SAMPLE: u16 = 11;
pub const IO: u16 = 12;
pub const SIGNAL: u16 = 13;
pub const OOM_KILL: u16 = 14;
pub const TCP_EVENT: u16 = 15;
pub const IPC: u16 = 16;
pub const PROCESS_ACCESS: u16 = 17;
pub const DNS: u16 = 18;
pub const HTTP: u16 = 19;
pub const PEER: u16 = 20;
pub const CREDENTIALS: u16 = 21;
/// A [`SYSCALL`] whose duration is known.
pub const TIMED_SYSCALL: u16 = 22;
/// A [`SYSCALL`] with the first bytes of what it read or wrote.
pub const PAYLOAD: u16 = 24;
pub const PASSED_FD: u16 = 25;

/// Ascending by id. Ids that are not here were never given out.
pub const FAMILIES: [Family; 24] = [
    Family {
        id: SYSCALL,
        name: "syscall",
        fields: &[
            column(16, "nr", U32, Plain),
            column(17, "ret", I64, DeltaBy(NR)),
            column(18, "arg0", U64, DeltaBy(NR)),
            column(19, "arg1", U64, DeltaBy(NR)),
            column(20, "arg2", U64, DeltaBy(NR)),
            column(21, "arg3", U64, DeltaBy(NR)),
            column(22, "arg4", U64, DeltaBy(NR)),
            column(23, "arg5", U64, DeltaBy(NR)),
        ],
    },
    Family {
        id: SYSCALL_COUNT,
        name: "syscall_count",
        fields: &[
            column(16, "nr", U32, Plain),
            column(17, "calls", U64, Plain),
        ],
    },
    Family {
        id: FORK,
        name: "fork",
        fields: &[
            column(16, "child_tid", U32, Delta),
            column(17, "child_pid", U32, Delta),
            column(18, "child_start_ns", U64, Delta),
            column(19, "child_ns_tid", U32, Plain),
        ],
    },
    Family {
        id: EXEC,
        name: "exec",
        fields: &[
            column(16, "path", Text, Plain),
            column(17, "filename", Text, Plain),
            column(18, "args", Text, Plain),
            column(19, "comm", Text, Plain),
            column(20, "ppid", U32, Delta),
            column(21, "uid", U32, Plain),
            column(22, "gid", U32, Plain),
            column(23, "start_ns", U64, Delta),
            column(24, "dev", U64, Plain),
            column(25, "ino", U64, Plain),
            column(26, "flags", U32, Plain),
            column(27, "cwd", Text, Plain),
            column(28, "known", U32, Plain),
            column(29, "ns_pid", U32, Plain),
            column(30, "sid", U32, Plain),
            column(31, "pgid", U32, Plain),
            column(32, "ns_sid", U32, Plain),
            column(33, "ns_pgid", U32, Plain),
            column(34, "tty", U32, Plain),
            column(35, "login_uid", U32, Plain),
            column(36, "cap_effective", U64, Plain),
            column(37, "cap_permitted", U64, Plain),
            column(38, "cap_inheritable", U64, Plain),
            column(39, "cgroup_ns", U32, Plain),
            column(40, "ipc_ns", U32, Plain),
            column(41, "mnt_ns", U32, Plain),
            column(42, "net_ns", U32, Plain),
            column(43, "pid_ns", U32, Plain),
            column(44, "user_ns", U32, Plain),
            column(45, "uts_ns", U32, Plain),
            column(46, "ns_start_ns", U64, Plain),
            column(47, "exe_ctime_ns", U64, Plain),
            column(48, "exe_mtime_ns", U64, Plain),
        ],
    },
    Family {
        id: EXIT,
        name: "exit",
        fields: &[
            column(16, "code", U32, Plain),
            column(17, "signal", U32, Plain),
            column(18, "start_ns", U64, Delta),
            column(19, "last_thread", Bool, Plain),
            column(20, "usage_known", Bool, Plain),
            column(21, "user_ns", U64, Plain),
            column(22, "system_ns", U64, Plain),
            column(23, "max_rss_bytes", U64, Plain),
            column(24, "minor_faults", U64, Plain),
            column(25, "major_faults", U64, Plain),
        ],
    },
    Family {
        id: OPEN,
        name: "open",
        fields: &[
            column(16, "nr", U32, Plain),
            column(17, "ret", I64, Zigzag),
            column(18, "flags", U32, Plain),
            column(19, "mode", U32, Plain),
            column(20, "path", Text, Plain),
            column(21, "dev", U64, Plain),
            column(22, "ino", U64, Plain),
            column(23, "marks", U32, Plain),
            column(24, "duration_ns", U64, Plain),
        ],
    },
    Family {
        id: PATH_CALL,
        name: "path_call",
        fields: &[
            column(16, "nr", U32, Plain),
            column(17, "ret", I64, Zigzag),
            column(18, "arg", U64, Plain),
            column(19, "path", Text, Plain),
            column(20, "path2", Text, Plain),
            column(21, "marks", U32, Plain),
            column(22, "duration_ns", U64, Plain),
        ],
    },
    Family {
        id: SOCK_CALL,
        name: "sock_call",
        fields: &[
            column(16, "nr", U32, Plain),
            column(17, "ret", I64, Zigzag),
            column(18, "fd", I32, Zigzag),
            column(19, "family", U16, Plain),
            column(20, "sock_type", U16, Plain),
            column(21, "local_addr", Text, Plain),
            column(22, "local_port", U16, Plain),
            column(23, "remote_addr", Text, Plain),
            column(24, "remote_port", U16, Plain),
            column(25, "unix_path", Text, Plain),
            column(26, "marks", U32, Plain),
            column(27, "interface", U32, Plain),
            column(28, "duration_ns", U64, Plain),
        ],
    },
    Family {
        id: TCP_STATE,
        name: "tcp_state",
        fields: &[
            column(16, "old", U8, Plain),
            column(17, "new", U8, Plain),
            column(18, "family", U16, Plain),
            column(19, "local_addr", Text, Plain),
            column(20, "local_port", U16, Plain),
            column(21, "remote_addr", Text, Plain),
            column(22, "remote_port", U16, Plain),
            column(23, "sock", U64, Plain),
            column(24, "latency_ns", U64, Plain),
            column(25, "sent_bytes", U64, Plain),
            column(26, "received_bytes", U64, Plain),
            column(27, "duration_ns", U64, Plain),
            column(28, "error", U16, Plain),
        ],
    },
    Family {
        id: CGROUP,
        name: "cgroup",
        fields: &[
            column(16, "id", U64, Plain),
            column(17, "path", Text, Plain),
            column(18, "removed", Bool, Plain),
        ],
    },
    Family {
        id: SAMPLE,
        name: "sample",
        fields: &[
            column(16, "cpu_ns", U64, DeltaBy(CGROUP_ID)),
            column(17, "throttled_ns", U64, DeltaBy(CGROUP_ID)),
            column(18, "memory_bytes", U64, DeltaBy(CGROUP_ID)),
            column(19, "memory_limit_bytes", U64, DeltaBy(CGROUP_ID)),
            column(20, "pids", U64, DeltaBy(CGROUP_ID)),
            column(21, "io_read_bytes", U64, DeltaBy(CGROUP_ID)),
            column(22, "io_write_bytes", U64, DeltaBy(CGROUP_ID)),
            column(23, "known", U32, Plain),
            column(24, "memory_peak_bytes", U64, DeltaBy(CGROUP_ID)),
            column(25, "anon_bytes", U64, DeltaBy(CGROUP_ID)),
            column(26, "file_bytes", U64, DeltaBy(CGROUP_ID)),
            column(27, "minor_faults", U64, DeltaBy(CGROUP_ID)),
            column(28, "major_faults", U64, DeltaBy(CGROUP_ID)),
            column(29, "cpu_stall_ns", U64, DeltaBy(CGROUP_ID)),
            column(30, "memory_stall_ns", U64, DeltaBy(CGROUP_ID)),
            column(31, "memory_full_stall_ns", U64, DeltaBy(CGROUP_ID)),
            column(32, "io_stall_ns", U64, DeltaBy(CGROUP_ID)),
            column(33, "io_full_stall_ns", U64, DeltaBy(CGROUP_ID)),
            column(34, "io_reads", U64, DeltaBy(CGROUP_ID)),
            column(35, "io_writes", U64, DeltaBy(CGROUP_ID)),
            column(36, "net_received_bytes", U64, DeltaBy(CGROUP_ID)),
            column(37, "net_received_packets", U64, DeltaBy(CGROUP_ID)),
            column(38, "net_sent_bytes", U64, DeltaBy(CGROUP_ID)),
            column(39, "net_sent_packets", U64, DeltaBy(CGROUP_ID)),
            column(40, "load_hundredths", U64, Plain),
        ],
    },
    Family {
        id: IO,
        name: "io",
        fields: &[
            column(16, "fd", I32, Zigzag),
            column(17, "kind", U8, Plain),
            column(18, "reads", U64, Plain),
            column(19, "read_bytes", U64, Plain),
            column(20, "writes", U64, Plain),
            column(21, "written_bytes", U64, Plain),
            column(22, "dev", U64, Plain),
            column(23, "ino", U64, Plain),
        ],
    },
    Family {
        id: SIGNAL,
        name: "signal",
        fields: &[
            column(16, "signal", U32, Plain),
            column(17, "code", I32, Zigzag),
            column(18, "target_tid", U32, Delta),
            column(19, "target_pid", U32, Delta),
            column(20, "to_group", Bool, Plain),
            column(21, "outcome", U8, Plain),
        ],
    },
    Family {
        id: OOM_KILL,
        name: "oom_kill",
        fields: &[
            column(16, "comm", Text, Plain),
            column(17, "uid", U32, Plain),
            column(18, "total_vm_bytes", U64, Plain),
            column(19, "score_adj", I32, Zigzag),
            column(20, "trigger_pid", U32, Plain),
        ],
    },
    Family {
        id: TCP_EVENT,
        name: "tcp_event",
        fields: &[
            column(16, "what", U8, Plain),
            column(17, "state", U8, Plain),
            column(18, "family", U16, Plain),
            column(19, "local_addr", Text, Plain),
            column(20, "local_port", U16, Plain),
            column(21, "remote_addr", Text, Plain),
            column(22, "remote_port", U16, Plain),
            column(23, "sock", U64, Plain),
        ],
    },
    Family {
        id: IPC,
        name: "ipc",
        fields: &[
            column(16, "nr", U32, Plain),
            column(17, "ret", I64, Zigzag),
            column(18, "kind", U8, Plain),
            column(19, "id", I64, Zigzag),
            column(20, "key", U32, Plain),
            column(21, "ipc_ns", U32, Plain),
            column(22, "size", U64, Plain),
            column(23, "arg", U64, Plain),
            column(24, "name", Text, Plain),
            column(25, "calls", U64, Plain),
            column(26, "marks", U32, Plain),
        ],
    },
    Family {
        id: PROCESS_ACCESS,
        name: "process_access",
        fields: &[
            column(16, "nr", U32, Plain),
            column(17, "ret", I64, Zigzag),
            column(18, "target_pid", U32, Delta),
            column(19, "target_tid", U32, Delta),
            column(20, "target_cgroup", U64, Plain),
            column(21, "arg", U64, Plain),
            column(22, "calls", U64, Plain),
        ],
    },
    Family {
        id: DNS,
        name: "dns",
        fields: &[
            column(16, "fd", I32, Zigzag),
            column(17, "sent", Bool, Plain),
            column(18, "id", U16, Plain),
            column(19, "flags", U16, Plain),
            column(20, "qtype", U16, Plain),
            column(21, "name", Text, Plain),
            column(22, "answers", U16, Plain),
            column(23, "malformed", Bool, Plain),
            column(24, "family", U16, Plain),
            column(25, "local_addr", Text, Plain),
            column(26, "local_port", U16, Plain),
            column(27, "remote_addr", Text, Plain),
            column(28, "remote_port", U16, Plain),
            column(29, "latency_ns", U64, Plain),
        ],
    },
    Family {
        id: HTTP,
        name: "http",
        fields: &[
            column(16, "fd", I32, Zigzag),
            column(17, "sent", Bool, Plain),
            column(18, "status", U16, Plain),
            column(19, "method", Text, Plain),
            column(20, "path", Text, Plain),
            column(21, "host", Text, Plain),
            column(22, "family", U16, Plain),
            column(23, "local_addr", Text, Plain),
            column(24, "local_port", U16, Plain),
            column(25, "remote_addr", Text, Plain),
            column(26, "remote_port", U16, Plain),
            column(27, "latency_ns", U64, Plain),
        ],
    },
    Family {
        id: PEER,
        name: "peer",
        fields: &[
            column(16, "fd", I32, Zigzag),
            column(17, "sent", Bool, Plain),
            column(18, "family", U16, Plain),
            column(19, "sock_type", U16, Plain),
            column(20, "local_addr", Text, Plain),
            column(21, "local_port", U16, Plain),
            column(22, "remote_addr", Text, Plain),
            column(23, "remote_port", U16, Plain),
            column(24, "unix_path", Text, Plain),
            column(25, "peer_pid", U32, Plain),
            column(26, "peer_cgroup_id", U64, Plain),
        ],
    },
    Family {
        id: CREDENTIALS,
        name: "credentials",
        fields: &[
            column(16, "nr", U32, Plain),
            column(17, "marks", U32, Plain),
            column(18, "uid", U32, Plain),
            column(19, "euid", U32, Plain),
            column(20, "suid", U32, Plain),
            column(21, "gid", U32, Plain),
            column(22, "egid", U32, Plain),
            column(23, "sgid", U32, Plain),
            column(24, "cap_effective", U64, Plain),
            column(25, "cap_permitted", U64, Plain),
            column(26, "user_ns", U32, Plain),
            column(27, "old_uid", U32, Plain),
            column(28, "old_euid", U32, Plain),
            column(29, "old_suid", U32, Plain),
            column(30, "old_gid", U32, Plain),
            column(31, "old_egid", U32, Plain),
            column(32, "old_sgid", U32, Plain),
            column(33, "old_cap_effective", U64, Plain),
            column(34, "old_cap_permitted", U64, Plain),
            column(35, "old_user_ns", U32, Plain),
        ],
    },
    Family {
        id: TIMED_SYSCALL,
        name: "timed_syscall",
        fields: &[
            column(16, "nr", U32, Plain),
            column(17, "ret", I64, DeltaBy(NR)),
            column(18, "arg0", U64, DeltaBy(NR)),
            column(19, "arg1", U64, DeltaBy(NR)),
            column(20, "arg2", U64, DeltaBy(NR)),
            column(21, "arg3", U64, DeltaBy(NR)),
            column(22, "arg4", U64, DeltaBy(NR)),
            column(23, "arg5", U64, DeltaBy(NR)),
            column(24, "duration_ns", U64, Plain),
        ],
    },
    Family {
        id: PAYLOAD,
        name: "payload",
        fields: &[
            column(16, "nr", U32, Plain),
            column(17, "ret", I64, DeltaBy(NR)),
            column(18, "arg0", U64, DeltaBy(NR)),
            column(19, "arg1", U64, DeltaBy(NR)),
            column(20, "arg2", U64, DeltaBy(NR)),
            column(21, "arg3", U64, DeltaBy(NR)),
            column(22, "arg4", U64, DeltaBy(NR)),
            column(23, "arg5", U64, DeltaBy(NR)),
            column(24, "duration_ns", U64, Plain),
            column(25, "data", Text, Plain),
        ],
    },
    Family {
        id: PASSED_FD,
        name: "passed_fd",
        fields: &[
            column(16, "fd", I32, Zigzag),
            column(17, "sent", Bool, Plain),
            column(18, "socket", I32, Zigzag),
            column(19, "count", U32, Plain),
            column(20, "place", U32, Plain),
            column(21, "mode", U32, Plain),
            column(22, "path", Text, Plain),
            column(23, "dev", U64, Plain),
            column(24, "ino", U64, Plain),
            column(25, "peer_pid", U32, Plain),
            column(26, "peer_cgroup_id", U64, Plain),
            column(27, "marks", U32, Plain),
        ],
    },
];

/// Room for the ids of [`FAMILIES`].
const PLACES: usize = 64;
/// By id: the place in [`FAMILIES`], plus 1.
static PLACE: [u8; PLACES] = {
    let mut places = [0; PLACES];
    let mut at = 0;
    while at < FAMILIES.len() {
        places[FAMILIES[at].id as usize] = at as u8 + 1;
        at += 1;
    }
    places
};

/// Where the family of an id is in [`FAMILIES`].
#[inline]
pub(crate) fn place(id: u16) -> Option<u16> {
    match PLACE.get(usize::from(id)) {
        None | Some(0) => None,
        Some(place) => Some(u16::from(*place) - 1),
    }
}

/// Where a common column is in [`COMMON`], or a field in its family's list.
pub(crate) fn position(id: u16) -> usize {
    usize::from(if id < FIELDS { id - 1 } else { id - FIELDS })
}

/// The table's entry of a family id, if this version knows it.
pub fn family(id: u16) -> Option<&'static Family> {
    FAMILIES.get(usize::from(place(id)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ids index arrays in the codec, and a key column must be decodable before its dependants, which
    /// in one family have the same.
    #[test]
    fn ids_lead_to_their_families_and_keys_come_from_unkeyed_columns() {
        for (index, family) in FAMILIES.iter().enumerate() {
            assert_eq!(place(family.id), Some(index as u16));
            assert!(index == 0 || FAMILIES[index - 1].id < family.id);
            let keys = family
                .fields
                .iter()
                .filter_map(|field| field.encoding.key());
            assert!(
                keys.clone().all(|key| keys.clone().next() == Some(key)),
                "{}",
                family.name
            );
            for (index, field) in family.fields.iter().enumerate() {
                assert_eq!(
                    usize::from(field.id),
                    usize::from(FIELDS) + index,
                    "{} {}",
                    family.name,
                    field.name
                );
                if let DeltaBy(key) = field.encoding {
                    let key = COMMON
                        .iter()
                        .chain(family.fields)
                        .find(|column| column.id == key)
                        .unwrap();
                    assert!(
                        matches!(key.encoding, Plain | Delta),
                        "{} {}",
                        family.name,
                        field.name
                    );
                }
            }
        }
        for (index, column) in COMMON.iter().enumerate() {
            assert_eq!(usize::from(column.id), index + 1);
        }
    }
}
