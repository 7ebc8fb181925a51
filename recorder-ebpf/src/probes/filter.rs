//! The filter: who, what and where, decided before an event has a sequence number.
//!
//! Each list is a map whose value says whether what stands there is wanted or left out; what the user
//! did not give is a dead branch that the verifier takes away. Rejected events are counted as filtered,
//! by CPU and probe, and nowhere else. What replay needs to know who is who (fork, exec, exit, cgroups)
//! passes every option but those that name containers and process trees. What cannot be decided, as the
//! beginning of a path is missing, is recorded.
//!
//! The parts that look something up are functions that are seen from outside: the verifier looks at
//! each once, whoever calls it.

use core::arch::asm;

use aya_ebpf::{
    bindings::BPF_ANY,
    helpers::{
        bpf_get_current_comm,
        generated::{bpf_get_current_uid_gid, bpf_probe_read_kernel_str},
    },
    macros::map,
    maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, lpm_trie::Key},
};
use recorder_ebpf::{
    Comm, DATA_MAX, FILTER_CGROUPS_MAX, FILTER_ENDED_MAX, FILTER_PATH_BYTES_MAX, FILTER_PIDS_MAX,
    FILTER_VALUES_MAX, FilterAddress, IpcShape, PATH_DEPTH_MAX, PIECE_MAX, action, by,
    filter as option, kind, listing, probe,
};

use crate::{
    Current, counters, credentials, durations, files, io, ipc,
    kernel::{bounded, read},
    offset, scratch_of, setting, sockets,
    syscalls::Call,
};

#[map]
static FILTER_CGROUPS: HashMap<u64, u8> = HashMap::with_max_entries(FILTER_CGROUPS_MAX, 0);
/// Processes of the trees that were named, by thread group id.
#[map]
static FILTER_PIDS: HashMap<u32, u8> = HashMap::with_max_entries(FILTER_PIDS_MAX, 0);
/// Of these the newest that ended: a process still sends signals and closes sockets after its exit event.
#[map]
static FILTER_ENDED: LruHashMap<u32, u8> = LruHashMap::with_max_entries(FILTER_ENDED_MAX, 0);
#[map]
static FILTER_UIDS: HashMap<u32, u8> = HashMap::with_max_entries(FILTER_VALUES_MAX, 0);
#[map]
static FILTER_COMMS: HashMap<Comm, u8> = HashMap::with_max_entries(FILTER_VALUES_MAX, 0);
/// Results of system calls: 0 a success, else an errno or [`recorder_ebpf::ANY_ERRNO`].
#[map]
static FILTER_RESULTS: HashMap<u32, u8> = HashMap::with_max_entries(FILTER_VALUES_MAX, 0);
#[map]
static FILTER_CALLS: HashMap<u32, u8> = HashMap::with_max_entries(FILTER_VALUES_MAX, 0);
#[map]
static FILTER_PATHS: LpmTrie<[u8; FILTER_PATH_BYTES_MAX], u8> =
    LpmTrie::with_max_entries(FILTER_VALUES_MAX, 0);
#[map]
static FILTER_ADDRESSES: LpmTrie<FilterAddress, u8> =
    LpmTrie::with_max_entries(FILTER_VALUES_MAX * 2, 0);
/// Processes and cgroups that had no room on a list of theirs.
#[map]
static FILTER_FULL: Array<u64> = Array::with_max_entries(1, 0);

/// A path that is looked up, written from its root on. Only `sys_exit` has paths.
#[repr(C)]
pub struct PathKey {
    key: Key<[u8; FILTER_PATH_BYTES_MAX]>,
    overhang: [u8; PIECE_MAX * 2],
    /// Bytes so far; in memory for the reason that `Scratch` has.
    at: u64,
}
#[map]
static FILTER_PATH: PerCpuArray<PathKey> = PerCpuArray::with_max_entries(1, 0);

/// A path without user-space text.
pub const NO_TEXT: u64 = u64::MAX;
/// Asks about somebody whose rights and name are not those of the current thread.
pub const NOBODY: u64 = 1 << 32;

/// One more that was rejected.
#[inline(always)]
pub fn reject(probe: u8) {
    if let Some(counters) = counters(probe) {
        counters.filtered += 1;
    }
}

/// Does a value of a list let an option hold?
#[inline(always)]
fn holds(value: u8, option: u32) -> bool {
    value == listing::WANTED || (value == 0 && setting!(filter_must) & option == 0)
}

/// Does the filter want this thread? `options`: which of [`option::WHO`] are asked.
#[inline(always)]
pub fn wants(current: Current, options: u64) -> bool {
    setting!(filter) & option::WHO == 0
        || who_wanted(current.pid_tgid, current.cgroup_id, options) != 0
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn who_wanted(pid_tgid: u64, cgroup_id: u64, options: u64) -> u64 {
    let given = setting!(filter) & options as u32;
    let is_current = options & NOBODY == 0;
    if given & option::CONTAINER != 0 && !holds(of_cgroup(cgroup_id), option::CONTAINER) {
        return 0;
    }
    if given & option::TREE != 0 && !holds(of_process((pid_tgid >> 32) as u32), option::TREE) {
        return 0;
    }
    if given & option::UID != 0 {
        let mut value = 0;
        if is_current {
            // SAFETY: a helper without preconditions; a plain number.
            let uid = unsafe { bpf_get_current_uid_gid() } as u32;
            value = unsafe { FILTER_UIDS.get(uid) }.copied().unwrap_or(0);
        }
        if !holds(value, option::UID) {
            return 0;
        }
    }
    if given & option::COMM != 0 {
        let mut value = 0;
        if is_current && let Ok(name) = bpf_get_current_comm() {
            // SAFETY: a plain number.
            value = unsafe { FILTER_COMMS.get(tidy(name)) }
                .copied()
                .unwrap_or(0);
        }
        if !holds(value, option::COMM) {
            return 0;
        }
    }
    1
}

/// A name without what lies behind its NUL, which may be left from another one.
#[inline(always)]
fn tidy(name: [u8; 16]) -> Comm {
    let [first, second] = [0, 8].map(|at| {
        let mut word = [0; 8];
        word.copy_from_slice(&name[at..at + 8]);
        u64::from_le_bytes(word)
    });
    // As in `kernel::place_on_list`: the top bit of the first byte that is zero, and what lies before it.
    let zero = |word: u64| word.wrapping_sub(0x0101_0101_0101_0101) & !word & 0x8080_8080_8080_8080;
    let before = |zero: u64| (zero & zero.wrapping_neg()).wrapping_sub(1) >> 7;
    let (in_first, in_second) = (zero(first), zero(second));
    if in_first != 0 {
        [first & before(in_first), 0]
    } else if in_second != 0 {
        [first, second & before(in_second)]
    } else {
        [first, second]
    }
}

#[inline(always)]
pub fn of_cgroup(id: u64) -> u8 {
    // SAFETY: a plain number.
    unsafe { FILTER_CGROUPS.get(id) }.copied().unwrap_or(0)
}

#[inline(always)]
fn of_process(pid: u32) -> u8 {
    // SAFETY: plain numbers.
    unsafe { FILTER_PIDS.get(pid).or_else(|| FILTER_ENDED.get(pid)) }
        .copied()
        .unwrap_or(0)
}

/// Is a cgroup's making or removal wanted? It is about that cgroup, whoever does it.
#[inline(always)]
pub fn wants_cgroup(id: u64) -> bool {
    setting!(filter) & option::CONTAINER == 0 || holds(of_cgroup(id), option::CONTAINER)
}

/// What is made inside a cgroup of the list is on it too, from its first process on.
#[inline(always)]
pub fn cgroup_made(id: u64, parent: u64) {
    let value = of_cgroup(parent);
    if value != 0
        && FILTER_CGROUPS
            .insert(id, value, u64::from(BPF_ANY))
            .is_err()
    {
        count_full();
    }
}

#[inline(always)]
pub fn cgroup_removed(id: u64) {
    let _ = FILTER_CGROUPS.remove(id);
}

/// A child belongs to the tree of its parent.
#[inline(always)]
pub fn forked(parent: u32, child: u32) {
    let value = of_process(parent);
    if value == 0 {
        // The number may have been another's.
        let _ = FILTER_ENDED.remove(child);
    } else if FILTER_PIDS
        .insert(child, value, u64::from(BPF_ANY))
        .is_err()
    {
        count_full();
    }
}

/// The process ended: it makes room.
#[inline(always)]
pub fn exited(pid: u32) {
    let value = of_process(pid);
    if value != 0 {
        let _ = FILTER_ENDED.insert(pid, value, u64::from(BPF_ANY));
        let _ = FILTER_PIDS.remove(pid);
    }
}

#[inline(always)]
fn count_full() {
    if let Some(full) = FILTER_FULL.get_ptr_mut(0) {
        // SAFETY: a whole word of a map; an addition without a result, which 5.10 has too.
        unsafe { asm!("lock *(u64 *)({at} + 0) += {one}", at = in(reg) full, one = in(reg) 1u64) };
    }
}

/// An event of which no more is known than its kind: it has no result and no place.
#[inline(always)]
pub fn kind_wanted(kind: u8) -> bool {
    if setting!(filter) & (option::WHAT | option::WHERE) == 0 {
        return true;
    }
    matches!(kind, kind::FORK | kind::EXEC | kind::EXIT | kind::CGROUP)
        || (of_kinds(kind)
            && setting!(filter_must) & (option::RESULT | option::WHERE) == 0
            && setting!(filter) & option::DURATION == 0)
}

/// Of a connection, whose place is looked at apart.
#[inline(always)]
pub fn connection_kind_wanted(kind: u8) -> bool {
    setting!(filter) & option::WHAT == 0
        || (of_kinds(kind) && setting!(filter_must) & option::RESULT == 0)
}

#[inline(always)]
fn of_kinds(kind: u8) -> bool {
    setting!(filter_kinds) & (1u64 << kind) != 0
}

/// A system call before anything is made of it. One that is rejected has been counted, and what must
/// be known of it all the same has been noted.
#[inline(always)]
pub fn call_wanted(policy: u32, call: &Call, current: Current) -> bool {
    if setting!(filter) & (option::WHAT | option::WHERE) == 0 {
        return true;
    }
    let kind = match policy & action::MASK {
        action::RECORD | action::CREDENTIALS => kind::SYSCALL,
        action::OPEN => kind::OPEN,
        action::OPEN_LISTED if files::is_listed(call) => kind::OPEN,
        action::PATH | action::FAILED_PATH => kind::PATH_CALL,
        action::SOCK => kind::SOCK_CALL,
        action::IO => kind::IO,
        action::PAYLOAD if call.ret > 0 => kind::PAYLOAD,
        action::PAYLOAD => kind::SYSCALL,
        action::IPC => kind::IPC,
        action::ACCESS => kind::PROCESS_ACCESS,
        _ => kind::COUNT,
    };
    let wanted = call_kind_wanted(u64::from(kind), u64::from(call.nr), call.ret as u64) != 0;
    if !wanted {
        reject(probe::SYS_EXIT);
        left_out(policy, call, current);
    }
    wanted
}

/// The same of a call of which no more than a count is left.
#[inline(always)]
pub fn count_wanted(call: &Call) -> bool {
    if setting!(filter) & (option::WHAT | option::WHERE) == 0 {
        return true;
    }
    let kind = u64::from(kind::COUNT);
    let wanted = call_kind_wanted(kind, u64::from(call.nr), call.ret as u64) != 0;
    if !wanted {
        reject(probe::SYS_EXIT);
    }
    wanted
}

/// What reads and writes are looked at for.
const NETWORK: u64 = 1 << kind::DNS | 1 << kind::HTTP | 1 << kind::PEER | 1 << kind::PASSED_FD;

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn call_kind_wanted(kind: u64, nr: u64, ret: u64) -> u64 {
    let (given, nr, ret) = (setting!(filter), nr as u32, ret as i64);
    if given & (option::CALL | option::KIND) != 0 {
        // SAFETY: a plain number.
        let listing = unsafe { FILTER_CALLS.get(nr) }.copied().unwrap_or(0);
        let mut kinds = setting!(filter_kinds);
        if kind == u64::from(kind::IO) && kinds & NETWORK != 0 {
            kinds |= 1 << kind::IO;
        }
        let is_named = listing == listing::WANTED || kinds >> (kind & 63) & 1 != 0;
        if listing == listing::LEFT_OUT || !is_named {
            return 0;
        }
    }
    if given & option::RESULT != 0 {
        // What lies in the last page of the address space is an errno (IS_ERR_VALUE, include/linux/err.h).
        let errno = if (-4095..0).contains(&ret) {
            -ret as u32
        } else {
            0
        };
        // SAFETY: plain numbers.
        let mut value = unsafe { FILTER_RESULTS.get(errno) }.copied().unwrap_or(0);
        if value == 0 && errno != 0 {
            let any = recorder_ebpf::ANY_ERRNO;
            value = unsafe { FILTER_RESULTS.get(any) }.copied().unwrap_or(0);
        }
        if !holds(value, option::RESULT) {
            return 0;
        }
    }
    // The others have a place, which is looked at when it is known.
    let has_place = kind == u64::from(kind::OPEN)
        || kind == u64::from(kind::PATH_CALL)
        || kind == u64::from(kind::SOCK_CALL);
    let must = setting!(filter_must);
    u64::from(
        has_place
            || must & (option::PATH | option::ADDRESS) == 0
                && (given & option::DURATION == 0
                    || durations::of_call() >= setting!(filter_min_ns)),
    )
}

/// A call that is not recorded changes what others mean: a descriptor has another file, a connection
/// an owner.
#[inline(always)]
pub fn left_out(policy: u32, call: &Call, current: Current) {
    match policy & action::MASK {
        action::OPEN if call.ret >= 0 => io::flush(probe::SYS_EXIT, call.ret as u32, current),
        action::SOCK => sockets::accepted(call, current),
        action::CREDENTIALS if call.ret >= 0 => {
            credentials::may_have_changed(probe::SYS_EXIT, call.nr, 0, current);
        }
        action::IPC if IpcShape::unpack(policy).by == by::ATTACHED => ipc::attached(call, current),
        _ => {}
    }
}

/// Does the filter want an event at this place? `found` is what the lists say of its path or its ends,
/// `lasted_ns` how long it took. A rejected one has been counted.
#[inline(always)]
pub fn place_wanted(probe: u8, found: u64, lasted_ns: u64) -> bool {
    let given = setting!(filter);
    if given & option::WHERE == 0 {
        return true;
    }
    let value = found as u8;
    // Where both are given, either will do: no event has a path and an address.
    let wanted = (value == listing::WANTED
        || (value == 0 && setting!(filter_must) & (option::PATH | option::ADDRESS) == 0))
        && (given & option::DURATION == 0 || lasted_ns >= setting!(filter_min_ns));
    if !wanted {
        reject(probe);
    }
    wanted
}

/// What the list of paths says of what lies in the scratch of `sys_exit`: the components from `from` up
/// to `to`, leaf first, and then the text at `text_at`, if that is not [`NO_TEXT`].
#[inline(always)]
pub fn of_path(from: u64, to: u64, text_at: u64) -> u64 {
    if setting!(filter) & option::PATH == 0 {
        return 0;
    }
    path_listing(from, to, text_at)
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn path_listing(from: u64, to: u64, text_at: u64) -> u64 {
    let (Some(scratch), Some(path)) = (
        scratch_of(u32::from(probe::SYS_EXIT)),
        FILTER_PATH.get_ptr_mut(0),
    ) else {
        return 0;
    };
    if to > u64::from(PATH_DEPTH_MAX) {
        // The first ones are overwritten: what cannot be decided is recorded.
        return u64::from(listing::WANTED);
    }
    // SAFETY: this CPU's element; every place is masked into it.
    unsafe {
        (&raw mut (*path).at).write_volatile(0);
        let mut index = to;
        let mut round = 0;
        while round < PATH_DEPTH_MAX {
            round += 1;
            if index <= from {
                break;
            }
            index -= 1;
            let Some(start) = scratch.start(bounded(index as usize, PATH_DEPTH_MAX as usize - 1))
            else {
                break;
            };
            append(path, b'/');
            append_text(path, scratch.data.as_ptr(), start);
        }
        if text_at != NO_TEXT {
            let start = bounded(text_at as usize, DATA_MAX - 1);
            if scratch.data.as_ptr().add(start).read_volatile() != b'/' {
                append(path, b'/');
            }
            append_text(path, scratch.data.as_ptr(), start);
        }
        // A prefix ends with a slash too, so that it ends where a name does.
        append(path, b'/');
        let at = (&raw const (*path).at).read_volatile();
        let len = if at > FILTER_PATH_BYTES_MAX as u64 {
            FILTER_PATH_BYTES_MAX as u32
        } else {
            at as u32
        };
        (&raw mut (*path).key.prefix_len).write_unaligned(len * 8);
        u64::from(FILTER_PATHS.get(&(*path).key).copied().unwrap_or(0))
    }
}

/// Are all bytes there that are compared?
///
/// # Safety
/// `path` is this CPU's element.
#[inline(always)]
unsafe fn is_full(path: *const PathKey) -> bool {
    // SAFETY: a plain field.
    unsafe { (&raw const (*path).at).read_volatile() >= FILTER_PATH_BYTES_MAX as u64 }
}

/// # Safety
/// As in [`is_full`].
#[inline(always)]
unsafe fn end(path: *mut PathKey) -> *mut u8 {
    // SAFETY: masked into the text, which has room behind it.
    unsafe {
        let at = bounded(
            (&raw const (*path).at).read_volatile() as usize,
            PIECE_MAX * 2 - 1,
        );
        (&raw mut (*path).key.data).cast::<u8>().add(at)
    }
}

/// # Safety
/// As in [`is_full`].
#[inline(always)]
unsafe fn grow(path: *mut PathKey, len: u64) {
    // SAFETY: a plain field.
    unsafe {
        let at = (&raw const (*path).at).read_volatile();
        (&raw mut (*path).at).write_volatile(at + len);
    }
}

/// # Safety
/// As in [`is_full`].
#[inline(always)]
unsafe fn append(path: *mut PathKey, byte: u8) {
    // SAFETY: there is room behind any place that `end` gives.
    unsafe {
        if !is_full(path) {
            end(path).write_volatile(byte);
            grow(path, 1);
        }
    }
}

/// # Safety
/// As in [`is_full`]; `data` is the scratch's.
#[inline(always)]
unsafe fn append_text(path: *mut PathKey, data: *const u8, start: usize) {
    // SAFETY: a piece fits behind any place that `end` gives; the helper checks the source.
    unsafe {
        if is_full(path) {
            return;
        }
        let from = data.add(bounded(start, DATA_MAX - 1));
        let len = bpf_probe_read_kernel_str(end(path).cast(), PIECE_MAX as u32, from.cast());
        if len > 1 {
            grow(path, len as u64 - 1);
        }
    }
}

/// What the list of addresses says of one end. Left out, where one of its two entries says so.
#[inline(always)]
pub fn of_address(is_v4: bool, address: &[u8; 16], port: u16) -> u64 {
    let mut words = [[0u8; 8]; 2];
    if is_v4 {
        // ::ffff:0:0/96, RFC 4291 section 2.5.5.2.
        words[1] = [
            0, 0, 0xff, 0xff, address[0], address[1], address[2], address[3],
        ];
    } else {
        words[0].copy_from_slice(&address[..8]);
        words[1].copy_from_slice(&address[8..]);
    }
    address_listing(
        u64::from_ne_bytes(words[0]),
        u64::from_ne_bytes(words[1]),
        u64::from(port),
    )
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn address_listing(first: u64, second: u64, port: u64) -> u64 {
    let mut key = Key::new(
        FilterAddress::BITS,
        FilterAddress {
            port: (port as u16).to_be_bytes(),
            address: [first, second],
        },
    );
    let with_port = FILTER_ADDRESSES.get(&key).copied().unwrap_or(0);
    key.data.port = [0; 2];
    let without = FILTER_ADDRESSES.get(&key).copied().unwrap_or(0);
    u64::from(with_port | without)
}

/// What the list says of both ends, as one value: what is left out is left out, also where the other end
/// is wanted.
#[inline(always)]
pub fn joined(found: u64) -> u64 {
    if found & u64::from(listing::LEFT_OUT) != 0 {
        u64::from(listing::LEFT_OUT)
    } else {
        found
    }
}

/// The thread group id of a task.
#[inline(always)]
pub fn process_of(task: u64) -> u32 {
    read(task, offset!(task_tgid))
}
