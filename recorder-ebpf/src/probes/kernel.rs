//! Reading kernel memory at offsets that user space found in BTF, and the walk from a file to its path.

use core::{arch::asm, mem::MaybeUninit};

use aya_ebpf::helpers::generated::{
    bpf_get_current_task, bpf_get_current_task_btf, bpf_get_smp_processor_id,
    bpf_probe_read_kernel, bpf_probe_read_kernel_str, bpf_probe_read_user_str,
};
use recorder_ebpf::{
    DATA_MAX, ListedName, Offsets, PATH_DEPTH_MAX, PIECE_MAX, PLAIN_WORDS_CALL, USER_PATH_MAX,
    listed, marks,
};

use crate::{CURRENT_AT, LISTED_NAMES, Scratch, offset, scratch_of, setting};

/// `value & mask`, which the compiler must not simplify away: the verifier needs to see it.
#[inline(always)]
pub fn bounded(value: usize, mask: usize) -> usize {
    let mut value = value;
    // SAFETY: an AND of two registers.
    unsafe { asm!("{value} &= {mask}", value = inout(reg) value, mask = in(reg) mask) };
    value
}

/// A `T` at `base + offset` of kernel memory; zero where that cannot be read.
#[inline(always)]
pub fn read<T: Copy>(base: u64, offset: usize) -> T {
    if loads_anywhere() && size_of::<T>() <= size_of::<u64>() {
        // SAFETY: the kernel checks the address when it is loaded from.
        return unsafe { load(plain_words(base + offset as u64), 0) };
    }
    // Not zeroed first: the compiler calls a function that stores byte by byte.
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: the helper checks the source, and fills the destination with zeros on failure; T is plain data.
    unsafe {
        bpf_probe_read_kernel(
            value.as_mut_ptr().cast(),
            size_of::<T>() as u32,
            (base + offset as u64) as *const _,
        );
        value.assume_init()
    }
}

/// Can any address be loaded from, without a helper call? A call costs some thirty times what a load does.
#[inline(always)]
pub fn loads_anywhere() -> bool {
    setting!(words_type) != 0
}

/// Any address as a pointer that [`load`] takes: the verifier is told that a structure of plain words
/// ([`recorder_ebpf::Settings::words_type`]) lies there. Costs nothing: the kernel makes a move of the call.
#[inline(always)]
fn plain_words(address: u64) -> *const u8 {
    let structure = setting!(words_type);
    // SAFETY: the loader puts the kernel's own function in this place (see `PLAIN_WORDS_CALL`).
    unsafe {
        let cast: unsafe extern "C" fn(u64, u32) -> *const u8 =
            core::mem::transmute(PLAIN_WORDS_CALL as usize);
        cast(address, structure)
    }
}

/// A `T` at `offset` of what `base` points to: a plain load, checked by the verifier, zero on a fault.
///
/// # Safety
/// The verifier must know the type of `base`: it comes from [`typed_task`] or was loaded from such a pointer.
#[inline(always)]
pub unsafe fn load<T: Copy>(base: *const u8, offset: usize) -> T {
    // SAFETY: the verifier refuses the program otherwise.
    unsafe { base.add(offset).cast::<T>().read_volatile() }
}

/// The current `task_struct`, of a type that the verifier knows. Only where `task_btf` is set.
#[inline(always)]
pub fn typed_task() -> *const u8 {
    // SAFETY: a helper without preconditions.
    unsafe { bpf_get_current_task_btf().cast() }
}

/// The current task: asked for once, and handed on.
#[derive(Clone, Copy)]
pub struct Task(*const u8);

impl Task {
    #[inline(always)]
    pub fn current() -> Self {
        if Self::is_typed() {
            Task(typed_task())
        } else {
            Task(address_of_current() as *const u8)
        }
    }

    /// Does the verifier know its type? Else it is a plain number.
    #[inline(always)]
    fn is_typed() -> bool {
        setting!(task_btf) != 0 && !loads_anywhere()
    }

    /// A 32-bit member.
    #[inline(always)]
    pub fn word(self, offset: usize) -> u32 {
        if Self::is_typed() {
            // SAFETY: the task's type is known.
            unsafe { load(self.0, offset) }
        } else {
            read(self.0 as u64, offset)
        }
    }

    /// Only where [`loads_anywhere`] says so.
    #[inline(always)]
    pub fn address(self) -> u64 {
        self.0 as u64
    }

    /// What the verifier knows the type of. Only where `task_btf` is set and [`loads_anywhere`] is not.
    #[inline(always)]
    pub fn typed(self) -> *const u8 {
        self.0
    }
}

/// In [`CURRENT_AT`]: this CPU's current task is not found that way.
const NOT_FOUND: u64 = 1;

/// The address of the current task.
///
/// To ask the kernel is a helper call, which costs more than all else that a counted call needs. So each CPU
/// remembers where the kernel keeps it, among the variables that each CPU has of its own (`current_task`).
#[inline(always)]
fn address_of_current() -> u64 {
    // SAFETY: a helper without preconditions.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    if loads_anywhere()
        && let Some(place) = CURRENT_AT.get_ptr_mut(cpu)
    {
        // SAFETY: this CPU's element, a whole word.
        let at = unsafe { place.read_volatile() };
        if at > NOT_FOUND {
            return read(at, 0);
        }
        if at == 0 {
            return find_current();
        }
    }
    // SAFETY: a helper without preconditions.
    unsafe { bpf_get_current_task() }
}

/// The same, once for each CPU.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn find_current() -> u64 {
    // SAFETY: a helper without preconditions.
    let task = unsafe { bpf_get_current_task() };
    let [queue, run_queue] = [offset!(task_cfs_rq), offset!(cfs_rq_rq)];
    let missing = Offsets::MISSING as usize;
    let from_run_queue = setting!(current_at);
    let mut found = NOT_FOUND;
    if queue != missing && run_queue != missing && from_run_queue != 0 {
        // The run queue is one of these variables too, and the task that runs leads to it.
        let at = read::<u64>(read(task, queue), run_queue)
            .wrapping_add(i64::from(from_run_queue as i32) as u64);
        if read::<u64>(at, 0) == task {
            found = at;
        }
    }
    // SAFETY: a helper without preconditions.
    if let Some(place) = CURRENT_AT.get_ptr_mut(unsafe { bpf_get_smp_processor_id() }) {
        // SAFETY: this CPU's element, a whole word.
        unsafe { place.write_volatile(found) };
    }
    task
}

/// A pointer of the current task's structure `task_offset`, then the words at `offsets` of that.
#[inline(always)]
fn of_task<const N: usize>(task_offset: usize, offsets: [usize; N]) -> [u64; N] {
    if setting!(task_btf) != 0 {
        // SAFETY: typed from the task on.
        unsafe {
            let inner: *const u8 = load(typed_task(), task_offset);
            offsets.map(|offset| load(inner, offset))
        }
    } else {
        // SAFETY: a helper without preconditions.
        let inner: u64 = read(unsafe { bpf_get_current_task() }, task_offset);
        offsets.map(|offset| read(inner, offset))
    }
}

/// The id of a task's cgroup.
///
/// Seen from outside, so that it costs its callers no stack: see `ipc::use_of`.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn cgroup_of(task: u64) -> u64 {
    cgroup_of_typed(task)
}

/// The same for a pointer whose type the verifier knows: only plain numbers go into a function.
#[inline(always)]
pub fn cgroup_of_typed(task: u64) -> u64 {
    let set: u64 = read(task, offset!(task_cgroups));
    let mut group: u64 = read(set, offset!(css_set_cgroup));
    if setting!(hierarchy) != 0 {
        group = read(group, offset!(css_cgroup));
    }
    let node: u64 = read(group, offset!(cgroup_kn));
    read(node, offset!(kernfs_id))
}

/// Number of descriptors and the array of their `struct file`s.
#[inline(always)]
fn descriptors() -> (u32, u64) {
    if setting!(task_btf) != 0 {
        let (files, table) = (offset!(task_files), offset!(files_fdt));
        let (count, array) = (offset!(fdtable_max_fds), offset!(fdtable_fd));
        // SAFETY: typed from the task on.
        unsafe {
            let table = load(load(typed_task(), files), table);
            (load(table, count), load(table, array))
        }
    } else {
        let [table] = of_task(offset!(task_files), [offset!(files_fdt)]);
        (
            read(table, offset!(fdtable_max_fds)),
            read(table, offset!(fdtable_fd)),
        )
    }
}

/// The `struct file` behind a descriptor of the current process; 0 if there is none.
#[inline(always)]
pub fn file_of(fd: u32) -> u64 {
    let (count, array) = descriptors();
    if fd >= count {
        return 0;
    }
    read(array, fd as usize * 8)
}

/// Consecutive kernel memory, read with one helper call where each costs more than a hundred bytes do, else
/// word by word as it is asked for. It is filled where it lies, because returning it would copy it, and is told
/// where it is from each time, because what it held itself would be on the stack.
pub struct Block<const WORDS: usize>(MaybeUninit<[u64; WORDS]>);
/// Enough for what is read of a `struct file` and an inode.
const FILE_WORDS: usize = 12;
/// Enough for what is read of a dentry. 5.10 gives a program's functions 512 bytes of stack together,
/// and the walk is the deepest.
const DENTRY_WORDS: usize = 9;

impl<const WORDS: usize> Block<WORDS> {
    pub const fn new() -> Self {
        Block(MaybeUninit::uninit())
    }

    /// Can a block that begins at offset `first` hold all members (offset, length)? The verifier
    /// decides it once.
    #[inline(always)]
    pub fn holds(first: usize, members: &[(usize, usize)]) -> bool {
        loads_anywhere()
            || members.iter().all(|(offset, len)| {
                *offset >= first && offset + len <= first + WORDS * 8 && (offset - first) % len == 0
            })
    }

    /// Fills it with what a structure at `address` has from offset `first` on; zeros where that cannot be read.
    #[inline(always)]
    pub fn fill(&mut self, address: u64, first: usize) {
        if loads_anywhere() {
            return;
        }
        // SAFETY: the helper writes every byte.
        unsafe {
            bpf_probe_read_kernel(
                self.0.as_mut_ptr().cast(),
                (WORDS * 8) as u32,
                (address + first as u64) as *const _,
            )
        };
    }

    /// The member at `offset` of the structure that the block was filled from.
    #[inline(always)]
    pub fn get<T: Copy>(&self, address: u64, first: usize, offset: usize) -> T {
        if loads_anywhere() {
            return read(address, offset);
        }
        // SAFETY: inside the block, which the verifier checks again.
        unsafe {
            self.0
                .as_ptr()
                .cast::<u8>()
                .add(offset - first)
                .cast::<T>()
                .read_volatile()
        }
    }
}

/// What a `struct file` says about itself.
#[derive(Clone, Copy)]
pub struct File {
    pub dentry: u64,
    pub mount: u64,
    pub inode: u64,
    pub mode: u32,
}

#[inline(always)]
pub fn file(address: u64) -> File {
    let (dentry, mount) = (
        offset!(file_path) + offset!(path_dentry),
        offset!(file_path) + offset!(path_mnt),
    );
    let (inode, mode) = (offset!(file_inode), offset!(file_mode));
    if Block::<FILE_WORDS>::holds(0, &[(dentry, 8), (mount, 8), (inode, 8), (mode, 4)]) {
        let mut block = Block::<FILE_WORDS>::new();
        block.fill(address, 0);
        return File {
            dentry: block.get(address, 0, dentry),
            mount: block.get(address, 0, mount),
            inode: block.get(address, 0, inode),
            mode: block.get(address, 0, mode),
        };
    }
    File {
        dentry: read(address, dentry),
        mount: read(address, mount),
        inode: read(address, inode),
        mode: read(address, mode),
    }
}

/// Inode number and device.
#[inline(always)]
pub fn inode_identity(inode: u64) -> (u64, u32) {
    let (number, superblock) = (offset!(inode_ino), offset!(inode_sb));
    let (number, superblock): (u64, u64) =
        if Block::<FILE_WORDS>::holds(0, &[(number, 8), (superblock, 8)]) {
            let mut block = Block::<FILE_WORDS>::new();
            block.fill(inode, 0);
            (block.get(inode, 0, number), block.get(inode, 0, superblock))
        } else {
            (read(inode, number), read(inode, superblock))
        };
    (number, read(superblock, offset!(sb_dev)))
}

/// Appends the components of `file`'s path, leaf first, each with its NUL. [`marks::CUT`] or 0.
#[inline(always)]
pub fn file_path(scratch: &mut Scratch, address: u64) -> u32 {
    let file = file(address);
    walk(scratch, file.dentry, file.mount)
}

/// Appends the components of the current working directory, as [`file_path`] does.
#[inline(always)]
pub fn cwd_path(scratch: &mut Scratch) -> u32 {
    let place = offset!(task_fs);
    let fs: u64 = if setting!(task_btf) != 0 {
        // SAFETY: the task's type is known.
        unsafe { load(typed_task(), place) }
    } else {
        // SAFETY: a helper without preconditions.
        read(unsafe { bpf_get_current_task() }, place)
    };
    // By helper calls in any case: what a typed load gives is a pointer, and `climb` takes numbers.
    let pwd = offset!(fs_pwd);
    walk(
        scratch,
        read(fs, pwd + offset!(path_dentry)),
        read(fs, pwd + offset!(path_mnt)),
    )
}

/// Walks from a dentry up to the process's root across mounts, as d_path (fs/d_path.c) does, but
/// without locks: a rename meanwhile gives a path that existed in part. [`marks::CUT`] where the
/// beginning of the path is missing, else 0.
#[inline(always)]
pub fn walk(scratch: &mut Scratch, dentry: u64, mount: u64) -> u32 {
    if climb(scratch.probe(), dentry, mount) == 0 {
        marks::CUT
    } else {
        0
    }
}

/// 1: it came to an end; 0: there is more path than room.
///
/// A function that is seen from outside takes plain numbers only, and the verifier looks at it once,
/// whoever calls it: the loop here is most of its work.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn climb(probe: u64, dentry: u64, mount: u64) -> u64 {
    let Some(scratch) = scratch_of(probe as u32) else {
        return 0;
    };
    let [root_dentry, root_mount] = of_task(
        offset!(task_fs),
        [
            offset!(fs_root) + offset!(path_dentry),
            offset!(fs_root) + offset!(path_mnt),
        ],
    );
    let (mut dentry, mut mount) = (dentry, mount);
    let mut mount_root: u64 = read(mount, offset!(vfsmount_root));
    let mut depth = 0;
    while depth < PATH_DEPTH_MAX {
        depth += 1;
        if dentry == 0 || (dentry == root_dentry && mount == root_mount) {
            return 1;
        }
        if scratch.at() > DATA_MAX - PIECE_MAX {
            return 0;
        }
        if dentry == mount_root {
            let outer = mount - offset!(mount_mnt) as u64;
            let parent: u64 = read(outer, offset!(mount_parent));
            if parent == outer {
                return 1;
            }
            dentry = read(outer, offset!(mount_mountpoint));
            mount = parent + offset!(mount_mnt) as u64;
            mount_root = read(mount, offset!(vfsmount_root));
            continue;
        }
        let parent = component(scratch, dentry);
        if parent == dentry {
            return 1; // a name without a place: pipe, socket, memfd
        }
        dentry = parent;
    }
    0
}

/// Bytes of a name that a dentry itself holds: 40 on newer kernels, 32 or 36 before; always with a NUL.
const SHORT_WORDS: usize = 5;

/// Appends a dentry's name; its parent.
#[inline(always)]
pub fn component(scratch: &mut Scratch, dentry: u64) -> u64 {
    scratch.begin_component();
    let (parent, name, len, short) = (
        offset!(dentry_parent),
        offset!(dentry_name),
        offset!(dentry_len),
        offset!(dentry_short),
    );
    let inside = [
        (parent, 8),
        (name, 8),
        (len, 4),
        (short, 8),
        (short + SHORT_WORDS * 8 - 8, 8),
    ];
    if !Block::<DENTRY_WORDS>::holds(parent, &inside) {
        kernel_string(scratch, read(dentry, name), PIECE_MAX);
        return read(dentry, parent);
    }
    let mut block = Block::<DENTRY_WORDS>::new();
    block.fill(dentry, parent);
    let text: u64 = block.get(dentry, parent, name);
    if text != dentry + short as u64 {
        kernel_string(scratch, text, PIECE_MAX);
        return block.get(dentry, parent, parent);
    }
    let end = scratch.end();
    // SAFETY: `end` leaves room for PIECE_MAX × 4; a racing rename can mix two names, but each piece ends
    // with a NUL.
    let len = unsafe {
        let copy = |word: usize| {
            let from = block.get::<u64>(dentry, parent, short + word * 8);
            end.cast::<u64>().add(word).write_volatile(from);
        };
        copy(0);
        copy(1);
        // Most names are shorter than two words.
        if block.get::<u32>(dentry, parent, len) > 15 {
            let mut word = 2;
            while word < SHORT_WORDS {
                copy(word);
                word += 1;
            }
        }
        let len = bounded(block.get::<u32>(dentry, parent, len) as usize, 63);
        end.add(len).write_volatile(0);
        len
    };
    scratch.grow(len + 1);
    block.get(dentry, parent, parent)
}

/// The top bit of each byte that is zero, and of none before the first such.
#[inline(always)]
const fn zeros(word: u64) -> u64 {
    word.wrapping_sub(0x0101_0101_0101_0101) & !word & 0x8080_8080_8080_8080
}

/// All bits below the byte whose top bit is the lowest that is set; all where none is.
#[inline(always)]
const fn before(tops: u64) -> u64 {
    ((tops & tops.wrapping_neg()) >> 7).wrapping_sub(1)
}

/// Where the list has the name that begins with these words: [`listed::FILE`] and so on. What lies
/// behind the name's end is left from another name.
#[inline(always)]
fn place_on_list(first: u64, second: u64) -> u32 {
    // Without a branch, because this is done for each file that is opened.
    let (in_first, in_second) = (zeros(first), zeros(second));
    if listed::bit(first & before(in_first)) & setting!(names) == 0 {
        return 0;
    }
    let name: ListedName = if in_first != 0 {
        [first & before(in_first), 0]
    } else if in_second != 0 {
        [first, second & before(in_second)]
    } else {
        return 0; // longer than any on the list
    };
    // SAFETY: a plain number.
    unsafe { LISTED_NAMES.get(name) }.copied().unwrap_or(0)
}

/// Is a component on the list of the path whose walk began with component `from`? `place`: what the first one
/// is, [`listed::FILE`] or a directory as those behind it.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn path_listed(probe: u64, from: u64, place: u32) -> u64 {
    let Some(scratch) = scratch_of(probe as u32) else {
        return 0;
    };
    let (mut level, mut place) = (0, place);
    while level < listed::DEPTH {
        let Some(at) = scratch.start(from.wrapping_add(u64::from(level)) as usize) else {
            return 0;
        };
        // SAFETY: there is room behind any place below DATA_MAX.
        let (first, second) = unsafe {
            let words = scratch
                .data
                .as_ptr()
                .add(bounded(at, DATA_MAX - 1))
                .cast::<u64>();
            (words.read_volatile(), words.add(1).read_volatile())
        };
        if place_on_list(first, second) & place != 0 {
            return 1;
        }
        place = listed::DIRECTORY;
        level += 1;
    }
    0
}

/// Is a component on the list of what the caller wrote, which lies from `start` to `end` in the data, its NUL
/// included?
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn text_listed(probe: u64, start: u64, end: u64) -> u64 {
    const SLASHES: u64 = u64::from_ne_bytes([b'/'; 8]);
    let Some(scratch) = scratch_of(probe as u32) else {
        return 0;
    };
    let data = scratch.data.as_ptr();
    let until_slash = |word: u64| word & before(zeros(word ^ SLASHES));
    let (mut at, mut left, mut begins, mut place) = (start, USER_PATH_MAX, true, 0);
    while left > 0 && at + 1 < end {
        // SAFETY: there is room behind any place below DATA_MAX.
        let here = unsafe { data.add(bounded(at as usize, DATA_MAX - 1)) };
        // SAFETY: see above.
        if unsafe { here.read_volatile() } == b'/' {
            begins = true;
        } else if begins {
            begins = false;
            if place & listed::DIRECTORY != 0 {
                return 1;
            }
            // SAFETY: see above.
            let (first, second) = unsafe {
                let words = here.cast::<u64>();
                (words.read_volatile(), words.add(1).read_volatile())
            };
            place = place_on_list(until_slash(first), until_slash(second));
        }
        at += 1;
        left -= 1;
    }
    u64::from(place != 0)
}

/// Is a file, or the directory that it is in, on the list?
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn dentry_listed(dentry: u64) -> u64 {
    let (parent, short) = (offset!(dentry_parent), offset!(dentry_short));
    if !Block::<DENTRY_WORDS>::holds(parent, &[(parent, 8), (short, 8), (short + 8, 8)]) {
        return 0;
    }
    let mut dentry = dentry;
    let mut level = 0;
    while level < 2 {
        let mut block = Block::<DENTRY_WORDS>::new();
        block.fill(dentry, parent);
        let place = if level == 0 {
            listed::FILE
        } else {
            listed::DIRECTORY
        };
        let first = block.get(dentry, parent, short);
        let second = block.get(dentry, parent, short + 8);
        if place_on_list(first, second) & place != 0 {
            return 1;
        }
        dentry = block.get(dentry, parent, parent);
        level += 1;
    }
    0
}

/// Appends a string of kernel memory with its NUL; `max` is at most `PIECE_MAX * 4`.
#[inline(always)]
pub fn kernel_string(scratch: &mut Scratch, address: u64, max: usize) {
    // SAFETY: `end` leaves room for `max`.
    let len =
        unsafe { bpf_probe_read_kernel_str(scratch.end().cast(), max as u32, address as *const _) };
    if len > 0 {
        scratch.grow(len as usize);
    }
}

/// Appends a string of user memory with its NUL. [`marks::CUT`] where it fills all there is room for, else 0.
#[inline(always)]
pub fn user_string(scratch: &mut Scratch, address: u64) -> u32 {
    if scratch.at() > DATA_MAX - USER_PATH_MAX {
        return marks::CUT;
    }
    const { assert!(USER_PATH_MAX <= PIECE_MAX * 4) };
    // SAFETY: `end` leaves room for USER_PATH_MAX.
    let len = unsafe {
        bpf_probe_read_user_str(
            scratch.end().cast(),
            USER_PATH_MAX as u32,
            address as *const _,
        )
    };
    if len > 0 {
        scratch.grow(len as usize);
    }
    if len as usize == USER_PATH_MAX {
        marks::CUT
    } else {
        0
    }
}

/// Is the string at `at` relative?
#[inline(always)]
pub fn is_relative(scratch: &Scratch, at: usize) -> bool {
    // SAFETY: masked into the array.
    unsafe { *scratch.data.as_ptr().add(bounded(at, DATA_MAX - 1)) != b'/' }
}
