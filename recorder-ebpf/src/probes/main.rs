//! The probes. Each file is one subject; this one declares the maps and what every probe shares.
//!
//! Order in every probe: filter → sequence number → reserve → fill → submit. Where the filter asks for a
//! path or an address, these are read first. The sequence number
//! is taken before reserve, so that a lost record leaves a hole that user space sees.
//! Records are submitted without a wake-up: user space drains the rings on its own clock.
//! Plain system calls, of which there are most, have a ring per CPU (`calls`); everything else
//! goes to one of two ring buffers that all CPUs share.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod calls;
mod cgroups;
mod counts;
mod credentials;
mod details;
mod durations;
mod files;
mod filter;
mod idr;
mod io;
mod ipc;
mod kernel;
mod passing;
mod payload;
mod process;
mod signals;
mod sniff;
mod sockets;
mod syscalls;
mod uring;

use core::arch::asm;

use aya_ebpf::{
    bindings::{BPF_F_MMAPABLE, BPF_NOEXIST, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    helpers::{
        bpf_get_current_pid_tgid, bpf_get_smp_processor_id,
        generated::{
            bpf_get_current_cgroup_id, bpf_get_current_task, bpf_ktime_get_boot_ns,
            bpf_ringbuf_output,
        },
    },
    macros::map,
    maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf},
};
use recorder_ebpf::{
    ATTACHED_MAX, COUNTS_MAX, CallPage, CallRing, CountKey, CountSlot, Counters, DATA_MAX,
    DROPS_MAX, FileKey, Header, IO_MAX, IoCount, IoNear, KnownRights, LISTED_FILES_MAX,
    LISTED_NAMES_MAX, ListedName, Offsets, PASSERS_MAX, PEERS_MAX, PIECE_MAX, Passer, PeerKey,
    RIGHTS_MAX, SOCKETS_MAX, SYSCALLS_MAX, Settings, SocketOwner, URING_IO_MAX, USES_MAX, UringIo,
    Use, UseKey, filter as option, probe,
};

use kernel::Task;

/// Plain system calls: one ring per CPU, each of `call_pages` pages. User space sets the sizes.
#[map]
static CALL_RINGS: Array<CallRing> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
static CALL_PAGES: Array<CallPage> = Array::with_max_entries(1, BPF_F_MMAPABLE);
/// What else there is much of: files. User space sets the size.
#[map]
static BULK: RingBuf = RingBuf::with_byte_size(2 << 20, 0);
/// What must not be crowded out: exec, exit, connect, cgroup changes.
#[map]
static URGENT: RingBuf = RingBuf::with_byte_size(2 << 20, 0);
#[map]
static COUNTERS: PerCpuArray<Counters> = PerCpuArray::with_max_entries(probe::COUNT, 0);
/// Events that found no room, by cgroup.
#[map]
static DROPS: HashMap<u64, u64> = HashMap::with_max_entries(DROPS_MAX, 0);
/// Indexed by system-call number: [`recorder_ebpf::action`].
#[map]
static POLICY: Array<u32> = Array::with_max_entries(SYSCALLS_MAX, 0);
/// What else follows the profile: [`recorder_ebpf::switched`].
#[map]
static SWITCHED: Array<u64> = Array::with_max_entries(recorder_ebpf::switched::COUNT, 0);
/// 1: user space sleeps until a ring buffer wakes it.
#[map]
static ASLEEP: Array<u64> = Array::with_max_entries(1, 0);
/// Calls counted per cgroup and number, in two halves: which one says the lowest bit of `TURN`. User
/// space sets the size of the slots: two times [`COUNTED_CALLS`] per CPU.
#[map]
static TURN: Array<u64> = Array::with_max_entries(1, 0);
#[map]
static COUNT_SLOTS: Array<CountSlot> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
static COUNTS_EVEN: HashMap<CountKey, u64> = HashMap::with_max_entries(COUNTS_MAX, 0);
#[map]
static COUNTS_ODD: HashMap<CountKey, u64> = HashMap::with_max_entries(COUNTS_MAX, 0);
#[map]
static SOCKETS: LruHashMap<u64, SocketOwner> = LruHashMap::with_max_entries(SOCKETS_MAX, 0);

/// Reads and writes per process and descriptor, in two tables for the same reason.
#[map]
static IO_EVEN: HashMap<u64, IoCount> = HashMap::with_max_entries(IO_MAX, 0);
#[map]
static IO_ODD: HashMap<u64, IoCount> = HashMap::with_max_entries(IO_MAX, 0);
/// The same per CPU, for descriptors that are used again and again. User space sets the size: two times
/// [`recorder_ebpf::IO_NEAR_MAX`] per CPU.
#[map]
static IO_NEAR: Array<IoNear> = Array::with_max_entries(1, BPF_F_MMAPABLE);
/// Requests of io_uring, by the kernel's address of each.
#[map]
static URING_IO: LruHashMap<u64, UringIo> = LruHashMap::with_max_entries(URING_IO_MAX, 0);
/// Addresses of UDP that became an event, and when.
#[map]
static PEERS: LruHashMap<PeerKey, u64> = LruHashMap::with_max_entries(PEERS_MAX, 0);
/// Who sent a file (first word: its address) to a socket, which can be unknown (0).
#[map]
static PASSERS: LruHashMap<[u64; 2], Passer> = LruHashMap::with_max_entries(PASSERS_MAX, 0);
/// Names whose files are always recorded, and the files of that kind that were opened.
#[map]
static LISTED_NAMES: HashMap<ListedName, u32> = HashMap::with_max_entries(LISTED_NAMES_MAX, 0);
#[map]
static LISTED_FILES: LruHashMap<FileKey, u8> = LruHashMap::with_max_entries(LISTED_FILES_MAX, 0);

/// When a process last used an object in a way that became an event.
#[map]
static USES: LruHashMap<UseKey, Use> = LruHashMap::with_max_entries(USES_MAX, 0);
/// Id of the shared memory that a process (first word) attached at an address.
#[map]
static ATTACHED: LruHashMap<[u64; 2], u64> = LruHashMap::with_max_entries(ATTACHED_MAX, 0);

/// When threads began the calls that they are in: [`recorder_ebpf::ENTERED_MAX`]. User space makes it that
/// large where durations are asked for.
#[map]
static ENTERED: Array<u64> = Array::with_max_entries(1, 0);
/// Where each CPU's current task is found: see `kernel::find_current`.
#[map]
static CURRENT_AT: Array<u64> = Array::with_max_entries(1, 0);
/// Rights of threads, by tid, as they were when they were last looked at.
#[map]
static RIGHTS: LruHashMap<u32, KnownRights> = LruHashMap::with_max_entries(RIGHTS_MAX, 0);

/// Space to put a record of variable length together. One per CPU and probe, because another
/// probe may run on this CPU in between.
#[repr(C, align(8))]
pub struct Scratch {
    /// End of the data so far. Kept in memory on purpose: what is read back from a map is an
    /// unknown number to the verifier, so that the rounds of a loop look alike to it and are
    /// checked once. (In a register its range would grow with each round, and each would be a
    /// state of its own: 2 s of verifying instead of 20 ms.)
    at: u64,
    /// Whose it is.
    probe: u64,
    /// Of `sys_exit`: how long the call took, where that is measured; 0: unknown.
    pub duration_ns: u64,
    /// Components of paths so far, and where they begin.
    components: u64,
    starts: [u16; COMPONENTS],
    /// The fixed part, directly followed by `data` when it is sent: see [`send`].
    pub fixed: [u64; FIXED_WORDS],
    pub data: [u8; DATA_MAX + PIECE_MAX * 4],
}
pub const FIXED_WORDS: usize = 36;
/// All components of a path that is walked, and a power of two.
const COMPONENTS: usize = recorder_ebpf::PATH_DEPTH_MAX as usize;
#[map]
static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(probe::COUNT, 0);

#[unsafe(no_mangle)]
static OFFSETS: Offsets = Offsets::NONE;
#[unsafe(no_mangle)]
static SETTINGS: Settings = Settings {
    self_tgid: 0,
    filter: 0,
    empty: 0,
    call_pages: 1,
    task_btf: 0,
    durations: 0,
    victim_task: 0,
    details: 0,
    names: 0,
    uring_submit: 0,
    uring_complete: 0,
    filter_kinds: u64::MAX,
    filter_min_ns: 0,
    filter_must: 0,
    hierarchy: 0,
    snaplen: 0,
    words_type: 0,
    current_at: 0,
};

/// A member's offset: a constant to the verifier, because the map behind it is frozen.
#[macro_export]
macro_rules! offset {
    ($field:ident) => {
        // SAFETY: a static of this program, only ever written by the loader.
        unsafe { core::ptr::read_volatile(&raw const $crate::OFFSETS.$field) as usize }
    };
}

/// A setting: a constant to the verifier.
#[macro_export]
macro_rules! setting {
    ($field:ident) => {
        // SAFETY: a static of this program, only ever written by the loader.
        unsafe { core::ptr::read_volatile(&raw const $crate::SETTINGS.$field) }
    };
}

/// Which ring a record goes to.
#[derive(Clone, Copy, PartialEq)]
pub enum Ring {
    Bulk,
    Urgent,
}

/// The current thread as the probes see it.
#[derive(Clone, Copy)]
pub struct Current {
    pub pid_tgid: u64,
    pub cgroup_id: u64,
}

#[inline(always)]
pub fn counters(probe: u8) -> Option<&'static mut Counters> {
    // SAFETY: this CPU's element; only a nested run of the same probe could share it.
    COUNTERS
        .get_ptr_mut(u32::from(probe))
        .map(|counters| unsafe { &mut *counters })
}

/// The current thread, or None when the filter rejects it (then it has been counted).
#[inline(always)]
pub fn current(probe: u8) -> Option<Current> {
    wanted(probe, option::WHO, Task::current())
}

/// The same for what says where processes come from: only containers and process trees are asked for.
#[inline(always)]
pub fn lineage(probe: u8) -> Option<Current> {
    wanted(probe, option::LINEAGE, Task::current())
}

/// The same of `task`, for these options of the filter.
#[inline(always)]
pub fn wanted(probe: u8, options: u32, task: Task) -> Option<Current> {
    let current = this(task)?;
    if !filter::wants(current, u64::from(options)) {
        filter::reject(probe);
        return None;
    }
    Some(current)
}

/// The current thread, whatever the filter says. None: it is the recorder.
#[inline(always)]
pub fn whoever() -> Option<Current> {
    this(Task::current())
}

#[inline(always)]
fn this(task: Task) -> Option<Current> {
    if setting!(empty) != 0 {
        return None;
    }
    let current = if kernel::loads_anywhere() {
        plain(task.address())
    } else if setting!(task_btf) != 0 {
        typed(task.typed())
    } else {
        helped()
    };
    (!is_recorder(current)).then_some(current)
}

#[inline(always)]
pub fn is_recorder(current: Current) -> bool {
    (current.pid_tgid >> 32) as u32 == setting!(self_tgid)
}

/// From the current task, by plain loads.
#[inline(always)]
fn typed(task: *const u8) -> Current {
    let (tid, pid) = (offset!(task_pid), offset!(task_tgid));
    let (set, cgroup) = (offset!(task_cgroups), offset!(css_set_cgroup));
    let (node, id) = (offset!(cgroup_kn), offset!(kernfs_id));
    // SAFETY: the verifier knows each pointer's type, from the task on.
    unsafe {
        let node = kernel::load(kernel::load(kernel::load(task, set), cgroup), node);
        Current {
            pid_tgid: u64::from(kernel::load::<u32>(task, pid)) << 32
                | u64::from(kernel::load::<u32>(task, tid)),
            cgroup_id: kernel::load(node, id),
        }
    }
}

/// The same where the task is known by its address.
#[inline(always)]
fn plain(task: u64) -> Current {
    let (tid, pid) = (offset!(task_pid), offset!(task_tgid));
    let pid_tgid = if pid == tid + 4 {
        kernel::read(task, tid)
    } else {
        u64::from(kernel::read::<u32>(task, pid)) << 32 | u64::from(kernel::read::<u32>(task, tid))
    };
    Current {
        pid_tgid,
        cgroup_id: kernel::cgroup_of_typed(task),
    }
}

#[inline(always)]
fn helped() -> Current {
    let hierarchy = setting!(hierarchy);
    Current {
        pid_tgid: bpf_get_current_pid_tgid(),
        // SAFETY: helpers without preconditions.
        cgroup_id: unsafe {
            if hierarchy == 0 {
                bpf_get_current_cgroup_id()
            } else {
                kernel::cgroup_of(bpf_get_current_task())
            }
        },
    }
}

/// Takes a sequence number and the time, for an event of which the filter needs no more than its kind.
/// None: the filter does not want it, and it has been counted.
#[inline(always)]
pub fn header(probe: u8, kind: u8, current: Current) -> Option<Header> {
    if !filter::kind_wanted(kind) {
        filter::reject(probe);
        return None;
    }
    header_of_wanted(probe, kind, current)
}

/// Takes a sequence number and the time: the filter has been asked.
#[inline(always)]
pub fn header_of_wanted(probe: u8, kind: u8, current: Current) -> Option<Header> {
    let counters = counters(probe)?;
    let seq = counters.seen;
    counters.seen = seq + 1;
    Some(Header {
        // SAFETY: a helper without preconditions.
        boot_ns: unsafe { bpf_ktime_get_boot_ns() },
        seq,
        cgroup_id: current.cgroup_id,
        pid_tgid: current.pid_tgid,
        // SAFETY: a helper without preconditions.
        cpu: unsafe { bpf_get_smp_processor_id() } as u16,
        probe,
        kind,
        data_len: 0,
    })
}

/// The flags with which a record is handed over: nobody is woken unless user space sleeps, and then once.
#[inline(always)]
pub fn wakeup() -> u64 {
    if let Some(asleep) = ASLEEP.get_ptr_mut(0) {
        // SAFETY: the only element; whole words.
        unsafe {
            if asleep.read_volatile() != 0 {
                asleep.write_volatile(0);
                return BPF_RB_FORCE_WAKEUP.into();
            }
        }
    }
    BPF_RB_NO_WAKEUP.into()
}

/// Wakes user space if it sleeps: for what is written to no ring buffer.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn wake() -> u64 {
    if wakeup() == u64::from(BPF_RB_FORCE_WAKEUP)
        && let Some(entry) = BULK.reserve::<u64>(0)
    {
        entry.discard(BPF_RB_FORCE_WAKEUP.into());
    }
    0
}

/// An event of this cgroup has a number and found no room.
#[inline(always)]
pub fn count_drop(probe: u8, cgroup_id: u64) {
    if let Some(counters) = counters(probe) {
        counters.dropped += 1;
        dropped_of(cgroup_id);
    }
}

/// A function of its own, so that it costs no caller the stack.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn dropped_of(cgroup_id: u64) -> u64 {
    if DROPS.get_ptr_mut(cgroup_id).is_none() {
        // Another CPU may have been faster. That the table is full shows in there being none: then whose it
        // was is not known.
        let _ = DROPS.insert(cgroup_id, 0, u64::from(BPF_NOEXIST));
    }
    if let Some(drops) = DROPS.get_ptr_mut(cgroup_id) {
        // SAFETY: an element of the table; without a result, which 5.10 does not have.
        unsafe { asm!("lock *(u64 *)({at} + 0) += {one}", at = in(reg) drops, one = in(reg) 1u64) };
    }
    0
}

/// Sends a record of fixed size through reserve and submit: no copy.
#[inline(always)]
pub fn submit<T: Copy + 'static>(ring: Ring, probe: u8, record: T) {
    // SAFETY: a record begins with its header.
    let cgroup_id = unsafe { (*(&raw const record).cast::<Header>()).cgroup_id };
    let entry = match ring {
        Ring::Bulk => BULK.reserve::<T>(0),
        Ring::Urgent => URGENT.reserve::<T>(0),
    };
    match entry {
        Some(mut entry) => {
            entry.write(record);
            entry.submit(wakeup());
        }
        None => count_drop(probe, cgroup_id),
    }
}

/// This CPU's and this probe's scratch, without data.
#[inline(always)]
pub fn scratch(probe: u8) -> Option<&'static mut Scratch> {
    let scratch = scratch_of(u32::from(probe))?;
    scratch.clear();
    scratch.probe = u64::from(probe);
    Some(scratch)
}

/// The same as it is, for a function that cannot be handed it.
#[inline(always)]
pub fn scratch_of(probe: u32) -> Option<&'static mut Scratch> {
    // SAFETY: this CPU's element of this probe.
    Some(unsafe { &mut *SCRATCH.get_ptr_mut(probe)? })
}

/// Sends the scratch: the fixed part `T` (at the end of `fixed`) and the data behind it.
#[inline(always)]
pub fn send<T>(ring: Ring, probe: u8, scratch: &mut Scratch) {
    let words = size_of::<T>() / 8;
    let data_len = kernel::bounded(scratch.at(), DATA_MAX * 2 - 1).min(DATA_MAX);
    // SAFETY: `fixed` and `data` are adjacent, and the length ends inside `data`.
    let result = unsafe {
        let start = scratch.fixed.as_mut_ptr().add(FIXED_WORDS - words);
        let len = size_of::<T>() + data_len;
        let ring = match ring {
            Ring::Bulk => &raw const BULK,
            Ring::Urgent => &raw const URGENT,
        };
        bpf_ringbuf_output(ring.cast_mut().cast(), start.cast(), len as u64, wakeup())
    };
    if result < 0 {
        // SAFETY: a record begins with its header.
        let cgroup_id = unsafe {
            let start = scratch.fixed.as_ptr().add(FIXED_WORDS - words);
            (*start.cast::<Header>()).cgroup_id
        };
        count_drop(probe, cgroup_id);
    }
}

impl Scratch {
    /// Starts over.
    #[inline(always)]
    pub fn clear(&mut self) {
        self.set_at(0);
        self.components = 0;
    }

    /// Whose it is.
    #[inline(always)]
    pub fn probe(&self) -> u64 {
        // SAFETY: a plain field.
        unsafe { core::ptr::read_volatile(&raw const self.probe) }
    }

    /// A component of a path begins here.
    #[inline(always)]
    pub fn begin_component(&mut self) {
        let at = self.at();
        // SAFETY: plain fields, the index masked into the array; volatile for the reason that `at` is.
        unsafe {
            let count = core::ptr::read_volatile(&raw const self.components);
            let start = kernel::bounded(count as usize, COMPONENTS - 1);
            core::ptr::write_volatile(self.starts.as_mut_ptr().add(start), at as u16);
            core::ptr::write_volatile(&raw mut self.components, count + 1);
        }
    }

    /// How many components there are.
    #[inline(always)]
    pub fn components(&self) -> u64 {
        // SAFETY: a plain field; volatile for the reason that `at` is.
        unsafe { core::ptr::read_volatile(&raw const self.components) }
    }

    /// Where component `index` of the paths begins, if there is one.
    #[inline(always)]
    pub fn start(&self, index: usize) -> Option<usize> {
        // SAFETY: as in `begin_component`.
        unsafe {
            let count = core::ptr::read_volatile(&raw const self.components);
            let start = kernel::bounded(index, COMPONENTS - 1);
            (count > index as u64)
                .then(|| core::ptr::read_volatile(self.starts.as_ptr().add(start)) as usize)
        }
    }

    /// End of the data so far.
    #[inline(always)]
    pub fn at(&self) -> usize {
        // SAFETY: a plain field; volatile, so that the compiler does not keep it in a register.
        unsafe { core::ptr::read_volatile(&raw const self.at) as usize }
    }

    #[inline(always)]
    pub fn set_at(&mut self, at: usize) {
        // SAFETY: as in `at`.
        unsafe { core::ptr::write_volatile(&raw mut self.at, at as u64) };
    }

    /// Where the next piece goes. There is room for [`PIECE_MAX`] × 4 bytes behind any place it gives.
    #[inline(always)]
    pub fn end(&mut self) -> *mut u8 {
        let at = kernel::bounded(self.at(), DATA_MAX - 1);
        // SAFETY: masked into the array.
        unsafe { self.data.as_mut_ptr().add(at) }
    }

    /// `len` more bytes are there.
    #[inline(always)]
    pub fn grow(&mut self, len: usize) {
        let at = self.at();
        self.set_at(at + len);
    }

    /// Where the fixed part `T` lies: right before `data`.
    #[inline(always)]
    pub fn fixed<T>(&mut self) -> &mut T {
        const { assert!(size_of::<T>() % 8 == 0 && size_of::<T>() <= FIXED_WORDS * 8) };
        // SAFETY: inside `fixed`, aligned to 8 as all records are; any bits are a valid record.
        unsafe {
            &mut *self
                .fixed
                .as_mut_ptr()
                .add(FIXED_WORDS - size_of::<T>() / 8)
                .cast::<T>()
        }
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
