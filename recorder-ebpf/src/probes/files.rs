//! Calls that name files: open, and everything that takes paths.
//!
//! A successful open is named by the file it returned, through the kernel's own dentries. Other
//! paths come from user memory after the call and are marked so; a relative one is followed by
//! the components of its directory.

use recorder_ebpf::{
    FileKey, OpenRecord, PathCallRecord, PathShape, filter as option, kind, listed, listing, marks,
    probe,
};

use crate::{
    Current, LISTED_FILES, Ring, Scratch, durations, filter, header_of_wanted, io,
    kernel::{
        cwd_path, dentry_listed, file, file_of, file_path, inode_identity, is_relative,
        path_listed, text_listed, user_string, walk,
    },
    scratch, send, setting,
    syscalls::Call,
};

/// `FMODE_CREATED` (include/linux/fs.h), the same bit since 4.19.
const FMODE_CREATED: u32 = 0x10_0000;
const AT_FDCWD: i32 = -100;
const EPERM: i64 = 1;
const EACCES: i64 = 13;

/// System-call numbers of the open family on x86-64; `open` has no directory argument, `creat` no flags.
mod nr {
    pub const OPEN: u32 = 2;
    pub const CREAT: u32 = 85;
    pub const OPENAT2: u32 = 437;
}
const O_CREAT_WRONLY_TRUNC: u32 = 0o1101;

#[inline(always)]
pub fn open(call: Call, current: Current) -> Option<()> {
    let scratch = scratch(probe::SYS_EXIT)?;
    let (dir, path, flags, mode) = match call.nr {
        nr::OPEN => (
            AT_FDCWD as u64,
            call.arg::<0>(),
            call.arg::<1>() as u32,
            call.arg::<2>() as u32,
        ),
        nr::CREAT => (
            AT_FDCWD as u64,
            call.arg::<0>(),
            O_CREAT_WRONLY_TRUNC,
            call.arg::<1>() as u32,
        ),
        nr::OPENAT2 => {
            // struct open_how { u64 flags, mode, resolve } in user memory.
            let how = call.arg::<2>();
            (
                call.arg::<0>(),
                call.arg::<1>(),
                user_u64(how) as u32,
                user_u64(how + 8) as u32,
            )
        }
        _ => (
            call.arg::<0>(),
            call.arg::<1>(),
            call.arg::<2>() as u32,
            call.arg::<3>() as u32,
        ),
    };
    let (mut ino, mut dev, mut marks, mut user_len) = (0u64, 0u32, 0u32, 0usize);
    let address = if call.ret >= 0 {
        file_of(call.ret as u32)
    } else {
        0
    };
    if address != 0 {
        let file = file(address);
        marks |= walk(scratch, file.dentry, file.mount);
        (ino, dev) = inode_identity(file.inode);
        if file.mode & FMODE_CREATED != 0 {
            marks |= marks::CREATED;
        }
        // The number may have been another file's, which was closed in a way that is not seen.
        io::flush(probe::SYS_EXIT, call.ret as u32, current);
        if path_listed(scratch.probe(), 0, listed::FILE) != 0 {
            marks |= marks::LISTED;
            let key = FileKey {
                ino,
                dev: u64::from(dev),
            };
            let _ = LISTED_FILES.insert(key, 1, 0);
        }
    } else {
        marks |= user_string(scratch, path) | marks::UNTRUSTED;
        user_len = scratch.at();
        marks |= directory(scratch, 0, user_len, dir as i32);
        marks |= written_listed(scratch, 0, user_len);
    }
    let end = scratch.at();
    let text = if user_len > 0 { 0 } else { filter::NO_TEXT };
    if !place_wanted(marks, [0, scratch.components()], text, false, (0, 0, 0)) {
        return None;
    }
    let header = header_of_wanted(probe::SYS_EXIT, kind::OPEN, current)?;
    let record = scratch.fixed::<OpenRecord>();
    record.header = header;
    record.header.data_len = end as u32;
    record.ret = call.ret;
    record.ino = ino;
    record.dev = dev;
    record.nr = call.nr;
    record.flags = flags;
    record.mode = mode;
    record.user_len = user_len as u32;
    record.marks = marks;
    record.duration_ns = durations::of_call();
    send::<OpenRecord>(ring_of(marks), probe::SYS_EXIT, scratch);
    Some(())
}

/// What is on the list must not be crowded out.
#[inline(always)]
fn ring_of(marks: u32) -> Ring {
    if marks & marks::LISTED != 0 {
        Ring::Urgent
    } else {
        Ring::Bulk
    }
}

/// The mark of what is on the list, for a path that the caller wrote: it lies from `start` to `end` in the
/// data.
#[inline(always)]
fn written_listed(scratch: &Scratch, start: usize, end: usize) -> u32 {
    if setting!(names) != 0 && text_listed(scratch.probe(), start as u64, end as u64) != 0 {
        marks::LISTED
    } else {
        0
    }
}

/// Does the filter want what lies in the scratch: the components of one directory or file with the text
/// behind them, and of another one (up to, from, text)? One of them is enough.
#[inline(always)]
fn place_wanted(
    marks: u32,
    components: [u64; 2],
    text: u64,
    has_other: bool,
    (to, from, other_text): (u64, u64, u64),
) -> bool {
    if setting!(filter) & option::WHERE == 0 {
        return true;
    }
    let mut found = filter::of_path(components[0], components[1], text);
    if has_other && found != u64::from(listing::WANTED) {
        let second = filter::of_path(from, to, other_text);
        if second != 0 {
            found = second;
        }
    }
    if marks & marks::CUT != 0 && setting!(filter) & option::PATH != 0 {
        // Its beginning is not known: what cannot be decided is recorded.
        found = u64::from(listing::WANTED);
    }
    filter::place_wanted(probe::SYS_EXIT, found, durations::of_call())
}

/// Is what an open returned on the list, or was it refused for want of rights (what may be on it)?
#[inline(always)]
pub fn is_listed(call: &Call) -> bool {
    if call.ret < 0 {
        return call.ret == -EACCES || call.ret == -EPERM;
    }
    dentry_listed(file(file_of(call.ret as u32)).dentry) != 0
}

#[inline(always)]
fn user_u64(address: u64) -> u64 {
    // SAFETY: the helper checks the address.
    unsafe { aya_ebpf::helpers::bpf_probe_read_user(address as *const u64).unwrap_or(0) }
}

/// Where the path that lies at `start..end` is relative, appends its directory. Marks.
#[inline(always)]
fn directory(scratch: &mut Scratch, start: usize, end: usize, dirfd: i32) -> u32 {
    if end == start || !is_relative(scratch, start) {
        return 0;
    }
    let from = scratch.components();
    let marks = if dirfd == AT_FDCWD {
        cwd_path(scratch)
    } else if dirfd >= 0 {
        file_path(scratch, file_of(dirfd as u32))
    } else {
        0
    };
    if setting!(names) != 0 && path_listed(scratch.probe(), from, listed::DIRECTORY) != 0 {
        return marks | marks::LISTED;
    }
    marks
}

#[inline(always)]
fn dirfd(call: &Call, index: u32) -> i32 {
    if index == PathShape::CWD {
        AT_FDCWD
    } else {
        call.arg_at(index) as i32
    }
}

#[inline(always)]
pub fn path_call(policy: u32, call: Call, current: Current) -> Option<()> {
    let shape = PathShape::unpack(policy);
    let scratch = scratch(probe::SYS_EXIT)?;
    let mut marks = marks::UNTRUSTED | user_string(scratch, call.arg_at(shape.path));
    let user_end = scratch.at();
    marks |= written_listed(scratch, 0, user_end);
    marks |= directory(scratch, 0, user_end, dirfd(&call, shape.dir));
    let dir_end = scratch.at();
    let first = scratch.components();
    let (mut user2_end, mut dir2_end) = (dir_end, dir_end);
    if shape.path2 != PathShape::NONE {
        marks |= user_string(scratch, call.arg_at(shape.path2));
        user2_end = scratch.at();
        marks |= written_listed(scratch, dir_end, user2_end);
        marks |= directory(scratch, dir_end, user2_end, dirfd(&call, shape.dir2));
        dir2_end = scratch.at();
    }
    // Numbers also where there is no second path: what an Option does not hold may lie in a register that
    // nothing was written to, and the verifier refuses to store that.
    let second = (scratch.components(), first, dir_end as u64);
    let has_second = shape.path2 != PathShape::NONE;
    if !place_wanted(marks, [0, first], 0, has_second, second) {
        return None;
    }
    let header = header_of_wanted(probe::SYS_EXIT, kind::PATH_CALL, current)?;
    let record = scratch.fixed::<PathCallRecord>();
    record.header = header;
    record.header.data_len = dir2_end as u32;
    record.ret = call.ret;
    record.arg = call.arg_at(shape.arg);
    record.nr = call.nr;
    record.marks = marks;
    record.user_len = [user_end as u32, (user2_end - dir_end) as u32];
    record.duration_ns = durations::of_call();
    record.dir_len = [(dir_end - user_end) as u32, (dir2_end - user2_end) as u32];
    send::<PathCallRecord>(ring_of(marks), probe::SYS_EXIT, scratch);
    Some(())
}
