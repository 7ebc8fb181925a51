//! Reading kernel memory at offsets that user space found in BTF, and the walk from a file to its path.

use core::{arch::asm, mem::MaybeUninit};

use aya_ebpf::helpers::generated::{
    bpf_get_current_task, bpf_probe_read_kernel, bpf_probe_read_kernel_str, bpf_probe_read_user_str,
};
use recorder_ebpf::{DATA_MAX, PATH_DEPTH_MAX, PIECE_MAX, USER_PATH_MAX};

use crate::{Scratch, offset};

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
    let mut value = MaybeUninit::<T>::zeroed();
    // SAFETY: the helper checks the source and zeroes the destination on failure; T is plain data.
    unsafe {
        bpf_probe_read_kernel(
            value.as_mut_ptr().cast(),
            size_of::<T>() as u32,
            (base + offset as u64) as *const _,
        );
        value.assume_init()
    }
}

/// The current `task_struct`.
#[inline(always)]
pub fn current_task() -> u64 {
    // SAFETY: a helper without preconditions.
    unsafe { bpf_get_current_task() }
}

/// The `struct file` behind a descriptor of the current process; 0 if there is none.
#[inline(always)]
pub fn file_of(fd: u32) -> u64 {
    let files: u64 = read(current_task(), offset!(task_files));
    let table: u64 = read(files, offset!(files_fdt));
    if fd >= read::<u32>(table, offset!(fdtable_max_fds)) {
        return 0;
    }
    let array: u64 = read(table, offset!(fdtable_fd));
    read(array, fd as usize * 8)
}

/// Appends the components of `file`'s path, leaf first, each with its NUL.
#[inline(always)]
pub fn file_path(scratch: &mut Scratch, file: u64) {
    let dentry = read(file, offset!(file_path) + offset!(path_dentry));
    let mount = read(file, offset!(file_path) + offset!(path_mnt));
    walk(scratch, dentry, mount);
}

/// Appends the components of the current working directory, as [`file_path`] does.
#[inline(always)]
pub fn cwd_path(scratch: &mut Scratch) {
    let fs: u64 = read(current_task(), offset!(task_fs));
    let dentry = read(fs, offset!(fs_pwd) + offset!(path_dentry));
    let mount = read(fs, offset!(fs_pwd) + offset!(path_mnt));
    walk(scratch, dentry, mount);
}

/// Walks from a dentry up to the process's root across mounts, as d_path (fs/d_path.c) does, but
/// without locks: a rename meanwhile gives a path that existed in part.
#[inline(never)]
fn walk(scratch: &mut Scratch, dentry: u64, mount: u64) -> u64 {
    let fs: u64 = read(current_task(), offset!(task_fs));
    let root_dentry: u64 = read(fs, offset!(fs_root) + offset!(path_dentry));
    let root_mount: u64 = read(fs, offset!(fs_root) + offset!(path_mnt));
    let (mut dentry, mut mount) = (dentry, mount);
    let mut depth = 0;
    while depth < PATH_DEPTH_MAX {
        depth += 1;
        if dentry == 0
            || (dentry == root_dentry && mount == root_mount)
            || scratch.at() > DATA_MAX - PIECE_MAX
        {
            break;
        }
        if dentry == read::<u64>(mount, offset!(vfsmount_root)) {
            let outer = mount - offset!(mount_mnt) as u64;
            let parent: u64 = read(outer, offset!(mount_parent));
            if parent == outer {
                break;
            }
            dentry = read(outer, offset!(mount_mountpoint));
            mount = parent + offset!(mount_mnt) as u64;
            continue;
        }
        let name: u64 = read(dentry, offset!(dentry_name));
        kernel_string(scratch, name, PIECE_MAX);
        let parent: u64 = read(dentry, offset!(dentry_parent));
        if parent == dentry {
            break; // a name without a place: pipe, socket, memfd
        }
        dentry = parent;
    }
    u64::from(depth)
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

/// Appends a string of user memory with its NUL.
#[inline(always)]
pub fn user_string(scratch: &mut Scratch, address: u64) {
    if scratch.at() > DATA_MAX - USER_PATH_MAX {
        return;
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
}

/// Is the string at `at` relative?
#[inline(always)]
pub fn is_relative(scratch: &Scratch, at: usize) -> bool {
    // SAFETY: masked into the array.
    unsafe { *scratch.data.as_ptr().add(bounded(at, DATA_MAX - 1)) != b'/' }
}
