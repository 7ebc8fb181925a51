//! Process details: which of them this kernel's types suffice for, and from the probe's words to the trace's.
//!
//! A member that BTF has not turns off the parts that need it, and nothing else: `rec check` names both.

use recorder_ebpf::{Offsets, TaskDetails, detail};
use trace_format::{Details, Known, Namespaces};

/// One part, and the members that it reads.
struct Part {
    bit: u32,
    what: &'static str,
    needs: &'static [(&'static str, &'static [&'static str])],
}

const OWN_PID: (&str, &[&str]) = ("task_struct", &["thread_pid"]);
const IDR: (&str, &[&str]) = ("idr", &["idr_rt.xa_head", "idr_base"]);
const NODE: (&str, &[&str]) = ("xa_node", &["shift", "slots", "marks"]);
const PIDS: (&str, &[&str]) = ("pid", &["level", "numbers"]);

const PARTS: &[Part] = &[
    Part {
        bit: detail::GROUPS,
        what: "pid in the namespace, process groups",
        needs: &[
            OWN_PID,
            PIDS,
            ("upid", &["nr", "*"]),
            ("signal_struct", &["pids"]),
        ],
    },
    Part {
        bit: detail::TTY,
        what: "terminal",
        needs: &[
            ("signal_struct", &["tty"]),
            ("tty_struct", &["driver", "index"]),
            ("tty_driver", &["major", "minor_start"]),
        ],
    },
    Part {
        bit: detail::LOGIN,
        what: "login user",
        needs: &[("task_struct", &["loginuid"])],
    },
    Part {
        bit: detail::CAPABILITIES,
        what: "capabilities",
        needs: &[(
            "cred",
            &["cap_effective", "cap_permitted", "cap_inheritable"],
        )],
    },
    Part {
        bit: detail::FILE_TIMES,
        what: "times of the executable",
        needs: &[(
            "inode",
            &[
                "i_ctime_sec|__i_ctime.tv_sec|i_ctime.tv_sec",
                "i_ctime_nsec|__i_ctime.tv_nsec|i_ctime.tv_nsec",
                "i_mtime_sec|__i_mtime.tv_sec|i_mtime.tv_sec",
                "i_mtime_nsec|__i_mtime.tv_nsec|i_mtime.tv_nsec",
            ],
        )],
    },
    Part {
        bit: detail::LAYER,
        what: "upper layer of overlayfs",
        needs: &[
            ("super_block", &["s_magic"]),
            ("ovl_inode", &["vfs_inode", "__upperdentry"]),
        ],
    },
    Part {
        bit: detail::NAMESPACES,
        what: "namespaces",
        needs: &[
            ("task_struct", &["nsproxy"]),
            ("cred", &["user_ns"]),
            (
                "nsproxy",
                &["cgroup_ns", "ipc_ns", "mnt_ns", "net_ns", "uts_ns"],
            ),
            ("cgroup_namespace", &["ns.inum"]),
            ("ipc_namespace", &["ns.inum"]),
            ("mnt_namespace", &["ns.inum"]),
            ("net", &["ns.inum"]),
            ("user_namespace", &["ns.inum"]),
            ("uts_namespace", &["ns.inum"]),
        ],
    },
    Part {
        bit: detail::PID_NAMESPACE,
        what: "pid namespace and its start",
        needs: &[
            OWN_PID,
            PIDS,
            ("upid", &["ns", "*"]),
            ("pid_namespace", &["ns.inum", "child_reaper"]),
        ],
    },
    Part {
        bit: detail::IPC_OBJECT,
        what: "objects of System V IPC and message queues",
        needs: &[
            ("task_struct", &["nsproxy"]),
            ("nsproxy", &["ipc_ns"]),
            ("ipc_namespace", &["ns.inum", "ids"]),
            ("ipc_ids", &["*", "ipcs_idr"]),
            IDR,
            NODE,
            ("kern_ipc_perm", &["id", "key"]),
            ("shmid_kernel", &["shm_segsz"]),
            ("sem_array", &["sem_nsems"]),
            ("super_block", &["s_magic"]),
        ],
    },
    Part {
        bit: detail::TARGET,
        what: "targets of ptrace, process_vm_* and pidfds",
        needs: &[
            ("task_struct", &["thread_pid", "pid_links"]),
            ("pid", &["level", "numbers", "tasks"]),
            ("upid", &["nr", "ns", "*"]),
            ("pid_namespace", &["idr"]),
            IDR,
            NODE,
            ("inode", &["i_private"]),
        ],
    },
    Part {
        bit: detail::CREDENTIALS,
        what: "changes of credentials",
        needs: &[
            (
                "cred",
                &["suid", "sgid", "cap_effective", "cap_permitted", "user_ns"],
            ),
            ("user_namespace", &["ns.inum"]),
        ],
    },
    Part {
        bit: detail::USAGE,
        what: "what processes used when they end",
        needs: &[
            (
                "task_struct",
                &[
                    "se.sum_exec_runtime",
                    "utime",
                    "stime",
                    "min_flt",
                    "maj_flt",
                    "thread_node",
                ],
            ),
            (
                "signal_struct",
                &[
                    "thread_head",
                    "sum_sched_runtime",
                    "utime",
                    "stime",
                    "min_flt",
                    "maj_flt",
                    "maxrss",
                ],
            ),
        ],
    },
    Part {
        bit: detail::CWD,
        what: "working directory",
        needs: &[
            ("fs_struct", &["pwd", "root"]),
            ("mount", &["mnt_parent", "mnt_mountpoint", "mnt"]),
        ],
    },
];

/// Members that no probe is left out for: they are for a part of the details alone.
pub fn is_optional(structure: &str, member: &str) -> bool {
    // Paths need the last part's members too, of what every probe of files needs.
    PARTS
        .iter()
        .filter(|part| part.bit != detail::CWD)
        .any(|part| {
            part.needs
                .iter()
                .any(|(name, members)| *name == structure && members.contains(&member))
        })
}

/// The parts that `found` (in the order of [`Offsets::MEMBERS`]) suffices for, as `Settings::details`.
pub fn readable(found: &[u32]) -> u32 {
    PARTS
        .iter()
        .filter(|part| missing(part, found).is_none())
        .fold(0, |bits, part| bits | part.bit)
}

/// What is off, and for want of which member: a line each.
pub fn left_out(found: &[u32]) -> Vec<String> {
    let line = |part: &Part| {
        let member = missing(part, found)?;
        Some(format!("{}: this kernel's BTF has no {member}", part.what))
    };
    PARTS.iter().filter_map(line).collect()
}

fn missing(part: &Part, found: &[u32]) -> Option<String> {
    let is_found = |structure: &str, member: &str| {
        Offsets::MEMBERS
            .iter()
            .zip(found)
            .any(|(known, offset)| *known == (structure, member) && *offset != Offsets::MISSING)
    };
    part.needs.iter().find_map(|(structure, members)| {
        let member = members.iter().find(|member| !is_found(structure, member))?;
        Some(match *member {
            "*" => format!("struct {structure}"),
            member => format!("{structure}.{member}"),
        })
    })
}

/// In the trace's words.
pub fn of_task(task: &TaskDetails) -> Details {
    const PARTS: [(u32, u32); 6] = [
        (detail::GROUPS, Known::GROUPS),
        (detail::TTY, Known::TTY),
        (detail::LOGIN, Known::LOGIN),
        (detail::CAPABILITIES, Known::CAPABILITIES),
        (detail::FILE_TIMES, Known::FILE_TIMES),
        (detail::LAYER, Known::LAYER),
    ];
    let [cap_effective, cap_permitted, cap_inheritable] = task.capabilities;
    let [cgroup, ipc, mnt, net, pid, user, uts] = task.namespaces;
    Details {
        known: Known(
            PARTS
                .iter()
                .filter(|(from, _)| task.known & from != 0)
                .fold(0, |bits, (_, to)| bits | to),
        ),
        sid: task.sid,
        pgid: task.pgid,
        ns_sid: task.ns_sid,
        ns_pgid: task.ns_pgid,
        tty: task.tty,
        login_uid: task.login_uid,
        cap_effective,
        cap_permitted,
        cap_inheritable,
        namespaces: Namespaces {
            cgroup,
            ipc,
            mnt,
            net,
            pid,
            user,
            uts,
        },
        ns_start_ns: task.ns_start_ns,
        exe_ctime_ns: wall_ns(task.ctime_s, task.ctime_ns.into()),
        exe_mtime_ns: wall_ns(task.mtime_s, task.mtime_ns.into()),
    }
}

/// Nanoseconds since 1970; a time before that, or after 2554, is 0.
pub fn wall_ns(seconds: i64, nanoseconds: i64) -> u64 {
    let whole = u64::try_from(seconds)
        .ok()
        .and_then(|seconds| seconds.checked_mul(1_000_000_000));
    match (whole, u64::try_from(nanoseconds)) {
        (Some(whole), Ok(rest)) => whole.checked_add(rest).unwrap_or(0),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_member_that_a_part_needs_is_looked_up() {
        let all = vec![0; Offsets::MEMBERS.len()];
        assert!(left_out(&all).is_empty(), "{:?}", left_out(&all));
        assert_eq!(readable(&all), 8191);
    }

    #[test]
    fn a_member_that_is_missing_turns_off_what_needs_it_and_says_so() {
        let without = |structure: &str, member: &str| -> Vec<u32> {
            let lacks = |known: &(&str, &str)| *known == (structure, member);
            Offsets::MEMBERS
                .iter()
                .map(|known| if lacks(known) { Offsets::MISSING } else { 8 })
                .collect()
        };
        let found = without("ovl_inode", "__upperdentry");
        assert_eq!(readable(&found), 8191 & !detail::LAYER);
        assert_eq!(
            left_out(&found),
            ["upper layer of overlayfs: this kernel's BTF has no ovl_inode.__upperdentry"]
        );
        let found = without("upid", "*");
        assert_eq!(
            readable(&found),
            8191 & !detail::GROUPS & !detail::PID_NAMESPACE & !detail::TARGET
        );
        assert!(is_optional("task_struct", "loginuid"));
        assert!(!is_optional("task_struct", "pid"));
    }

    #[test]
    fn times_are_nanoseconds_since_1970_or_nothing() {
        assert_eq!(wall_ns(2, 5), 2_000_000_005);
        assert_eq!(wall_ns(-1, 5), 0);
        assert_eq!(wall_ns(i64::MAX, 5), 0);
    }
}
