//! Reads and writes, counted per process and descriptor instead of each being an event.
//!
//! There are two tables. The programs count in one while user space empties the other, once a
//! second: so nothing is ever counted in a table that is being read, and the sums are exact. A
//! closed descriptor's counts become an event at once, because the number may soon mean another file.
//! A call that finds no room in the table is an event of its own.
//!
//! The element of a closed descriptor stays, with sums of zero: programs open and close the same numbers over
//! and over, and to remove an element and to insert it again takes locks and lists that finding it does not.
//! Those of a process that ended are removed.
//!
//! A look into the table is what costs most. So the second call in a row on a CPU takes a place of the CPU's
//! own ([`IoNear`]), where the following ones are a comparison and two additions. The element in the
//! table knows which CPUs have one; they are added to it when it becomes an event.
//!
//! An element also says whether what goes through the descriptor is worth a look (`sniff`), so that this
//! is decided once a second and descriptor and costs a call on any other nothing.

use core::arch::asm;

use aya_ebpf::{
    bindings::BPF_NOEXIST,
    helpers::{bpf_get_smp_processor_id, bpf_probe_read_user},
};
use recorder_ebpf::{
    FileKey, IO_EXIT_FDS, IO_NEAR_CPUS_MAX, IO_NEAR_MAX, IO_SLOTS, IoCount, IoNear, IoRecord,
    IoShape, IoSums, MESSAGES_MAX, NetRecord, URING_READ, URING_WRITE, UringIo, abi, action, kind,
    probe, reuse,
};

use crate::{
    BULK, Current, IO_EVEN, IO_NEAR, IO_ODD, LISTED_FILES, POLICY, URING_IO, calls, count_drop,
    counts::{count, odd},
    header_of_wanted,
    kernel::{bounded, file_of, read},
    offset, passing, payload, scratch_of, setting, sniff,
    syscalls::Call,
    wakeup,
};

const EBADF: i64 = 9;
/// close, on x86-64.
const CLOSE: u32 = 3;

/// Are reads and writes counted at all?
#[inline(always)]
pub fn counting() -> bool {
    POLICY
        .get(CLOSE)
        .is_some_and(|policy| *policy == action::CLOSE)
}

/// Which table is in use now (bit 0), and whose scratch there is to use (from bit 8 on).
#[inline(always)]
fn turn(probe: u8) -> u64 {
    u64::from(odd()) | u64::from(probe) << 8
}

#[inline(always)]
fn key(pid_tgid: u64, fd: u32) -> u64 {
    pid_tgid & !0xffff_ffff | u64::from(fd)
}

#[inline(always)]
pub fn get(odd: bool, key: u64) -> Option<*mut IoCount> {
    if odd {
        IO_ODD.get_ptr_mut(key)
    } else {
        IO_EVEN.get_ptr_mut(key)
    }
}

/// A call that reads or writes.
#[inline(always)]
pub fn io(policy: u32, call: Call, current: Current) -> Option<()> {
    let shape = IoShape::unpack(policy);
    if call.ret == -EBADF && !shape.record {
        return count(call, abi::NATIVE, current);
    }
    // First, while there is little else to remember: 5.10 has 512 bytes of stack for all functions.
    if payload::is_asked(policy, &call) {
        payload::call(shape, &call, current);
    }
    let turn = turn(probe::SYS_EXIT);
    let reads = shape.read != IoShape::NONE;
    let writes = shape.write != IoShape::NONE;
    let many = shape.read == IoShape::MANY || shape.write == IoShape::MANY;
    let first = if reads { shape.read_fd } else { shape.write_fd };
    let from = key(current.pid_tgid, call.arg_at(first) as u32);
    let wants = (IoShape::wants(policy) as u32) << WANTS;
    let found = if shape.record || many {
        // Of a call that is no socket's there is nothing to look for, and its descriptor is not counted.
        if passed_something(shape, &call) && (setting!(snaplen) == 0 || wants != 0) {
            on(from, turn, LOOK | wants, 0, current.cgroup_id)
        } else {
            0
        }
    } else if reads && writes {
        let to = key(current.pid_tgid, call.arg_at(shape.write_fd) as u32);
        // Neither is counted before it is known that both can be: the call is one event or none.
        let mut found = on(to, turn, CHECK, 0, current.cgroup_id) & APART;
        if found == 0 {
            found = on(from, turn, shape.read, call.ret, current.cgroup_id) & APART;
        }
        if found == 0 {
            on(to, turn, shape.write | WRITE, call.ret, current.cgroup_id);
        }
        found
    } else {
        let place = if reads {
            shape.read
        } else {
            shape.write | WRITE
        };
        on(from, turn, place | wants, call.ret, current.cgroup_id)
    };
    if payload::is_asked(policy, &call) {
        // It has its event.
    } else if found & APART != 0 || shape.record {
        let policy = action::RECORD | shape.arity << action::ARITY_SHIFT;
        calls::plain(policy, call, abi::NATIVE, current);
    } else if many {
        count(call, abi::NATIVE, current);
    }
    let mut worth = found & IoShape::wants(policy);
    if call.ret == 0 {
        worth &= sniff::UNIX;
    }
    if worth != 0 && passed_something(shape, &call) {
        look(
            shape,
            worth | u64::from(many) * sniff::MANY,
            turn & 1,
            call,
            from,
            current,
        );
    }
    Some(())
}

/// A message of no bytes can have descriptors.
#[inline(always)]
fn passed_something(shape: IoShape, call: &Call) -> bool {
    call.ret > 0 || (call.ret == 0 && shape.passing)
}

/// Looks at what went through.
#[inline(always)]
fn look(
    shape: IoShape,
    worth: u64,
    odd: u64,
    call: Call,
    key: u64,
    current: Current,
) -> Option<()> {
    let writes = shape.write != IoShape::NONE;
    if worth & sniff::UNIX != 0 {
        let how = u64::from(writes) * sniff::SENT | odd * sniff::ODD;
        let messages = if worth & sniff::MANY != 0 {
            call.ret as u64
        } else {
            1
        };
        // Who peeks gets the descriptors all the same (unix_peek_fds, net/unix/af_unix.c).
        return passing::look(how, key, call.arg::<1>(), messages);
    }
    // Of recvfrom and recvmsg: who only peeks gets the same again.
    let flags = match shape.payload {
        IoShape::BUFFER if shape.arity == 6 => call.arg::<3>(),
        IoShape::MESSAGE => call.arg::<2>(),
        _ => 0,
    };
    if !writes && worth & sniff::MANY == 0 && flags & sniff::MSG_PEEK != 0 {
        return None;
    }
    let record = scratch_of(u32::from(probe::SYS_EXIT))?.fixed::<NetRecord>();
    record.header.pid_tgid = current.pid_tgid;
    record.header.cgroup_id = current.cgroup_id;
    // sendto and recvfrom.
    let address = if shape.payload == IoShape::BUFFER && shape.arity == 6 {
        call.arg::<4>()
    } else {
        0
    };
    let how = worth
        | u64::from(shape.payload) << sniff::PAYLOAD
        | u64::from(writes) * sniff::SENT
        | odd * sniff::ODD;
    let messages = if worth & sniff::MANY != 0 {
        call.ret as u64
    } else {
        1
    };
    let at = call.arg::<1>();
    let mut message = 0;
    while message < MESSAGES_MAX && message < messages {
        sniff::message(
            how,
            key,
            at + message * sniff::MMSGHDR,
            address,
            call.ret as u64,
        );
        message += 1;
    }
    Some(())
}

/// What [`on`] says beside the bits of `sniff`: the call is to be an event instead, because the file is on
/// the list or the table is full.
const APART: u64 = 0x100;
/// In the place of a call's slot: it only asks, whether the call can be counted or what it is worth.
const CHECK: u32 = 0x200;
const LOOK: u32 = 0x400;
/// Beside the slot: the call writes.
const WRITE: u32 = 0x100;
/// Where the bits of `sniff` begin that the call asks for. (Others need not be said.)
const WANTS: u32 = 16;

/// [`sniff::UNIX`] of a descriptor that has no place in the table: who fills that hides nothing behind it.
#[inline(always)]
fn unix_socket(fd: u32) -> u64 {
    let file = file_of(fd);
    let inode: u64 = read(file, offset!(file_inode));
    u64::from(sniff::worth(file, read(inode, offset!(inode_mode)))) & sniff::UNIX
}

/// A CPU's own place for a descriptor.
#[inline(always)]
fn place_of(cpu: u32, odd: bool, key: u64) -> Option<*mut IoNear> {
    // Those of one process lie side by side; neighbours of its number begin elsewhere.
    let at = ((key >> 32) * 37 + key) as usize;
    let at = bounded(at, IO_NEAR_MAX as usize - 1) as u32;
    IO_NEAR.get_ptr_mut((cpu * 2 + u32::from(odd)) * IO_NEAR_MAX + at)
}

/// Counts a call on one descriptor; [`APART`] and the bits of `sniff`. A function of its own, because what
/// it does to the stack and registers is then forgotten: else each way through it would double the
/// verifier's work for all that follows.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn on(key: u64, turn: u64, place: u32, ret: i64, cgroup_id: u64) -> u64 {
    let odd = turn & 1 != 0;
    // SAFETY: a helper without preconditions.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    // Only one program may use it: another one can run in the middle of this one. Null, not None: the
    // verifier does not let a register pass that nothing was written to.
    let mut near = core::ptr::null_mut();
    if (turn >> 8) as u8 == probe::SYS_EXIT
        && let Some(place) = place_of(cpu, odd, key)
    {
        near = place;
    }
    if !near.is_null() {
        // SAFETY: this CPU's place, of this program.
        unsafe {
            let asked = (*near).sniff as u32 & place >> WANTS;
            if (*near).key == key && asked & !(sniff::UNIX as u32) == 0 {
                if place & (CHECK | LOOK) == 0 {
                    let counted = (&raw mut (*near).counted).cast::<u64>();
                    let calls = counted.add(2).cast::<u32>();
                    *calls.add(bounded(place as usize, IO_SLOTS - 1)) += 1;
                    if ret > 0 {
                        *counted.add(usize::from(place & WRITE != 0)) += ret as u64;
                    }
                }
                // What passes through a unix socket needs nothing of the table to be looked at.
                return u64::from(asked);
            }
        }
    }
    let entry = match get(odd, key) {
        Some(entry) => {
            // SAFETY: an element of the table.
            if unsafe { (*entry).closed } != 0 {
                let _ = make(turn, key, cgroup_id, entry);
            }
            entry
        }
        None => {
            // That it did not work shows in there being none.
            let _ = make(turn, key, cgroup_id, core::ptr::null_mut());
            match get(odd, key) {
                Some(entry) => entry,
                None => return APART | unix_socket(key as u32),
            }
        }
    };
    // SAFETY: an element of the table; the slot is masked into its array. Other CPUs may add to the
    // same one, so the additions are atomic: without a result, which 5.10 does not have, and which the
    // compiler has no other way to write for this target.
    unsafe {
        if (*entry).listed != 0 {
            return APART;
        }
        let found = u64::from((*entry).sniff);
        let mut again = place & LOOK != 0;
        if place & (CHECK | LOOK) == 0 {
            again = (&raw const (*entry).counted).read_volatile() != 0;
            (&raw mut (*entry).counted).write_volatile(1);
            let calls = (&raw mut (*entry).calls).cast::<u32>();
            let calls = calls.add(bounded(place as usize, IO_SLOTS - 1));
            asm!("lock *(u32 *)({at} + 0) += {one}", at = in(reg) calls, one = in(reg) 1u64);
            if ret > 0 {
                let bytes = (&raw mut (*entry).bytes).cast::<u64>();
                let bytes = bytes.add(usize::from(place & WRITE != 0));
                asm!("lock *(u64 *)({at} + 0) += {more}", at = in(reg) bytes, more = in(reg) ret);
            }
        }
        if again && !near.is_null() {
            stay(near, entry, key, cpu, found);
        }
        found
    }
}

/// The descriptor gets this CPU's place, if nobody has it.
///
/// # Safety
/// `near` is this CPU's, `entry` an element of the table.
#[inline(always)]
unsafe fn stay(near: *mut IoNear, entry: *mut IoCount, key: u64, cpu: u32, sniff: u64) {
    // SAFETY: see above.
    unsafe {
        if (*near).key == key {
            (*near).sniff = sniff;
        } else if (*near).key == 0 && cpu < IO_NEAR_CPUS_MAX {
            let counted = (&raw mut (*near).counted).cast::<u64>();
            let mut at = 0;
            while at < size_of::<IoSums>() / 8 {
                counted.add(at).write_volatile(0);
                at += 1;
            }
            (*near).sniff = sniff;
            (&raw mut (*near).key).write_volatile(key);
            let cpus = &raw mut (*entry).cpus;
            // A CPU has one place for a descriptor: so its bit is added once.
            asm!("lock *(u64 *)({at} + 0) += {bit}", at = in(reg) cpus, bit = in(reg) 1u64 << cpu);
        }
    }
}

/// Adds to an element of the table what CPUs counted apart, and frees their places.
#[inline(always)]
fn gather(entry: *mut IoCount, odd: bool, key: u64) {
    // SAFETY: an element of the table, which is to become an event. A CPU that counts on the same
    // descriptor at this moment is as late as if the descriptor were closed already.
    unsafe {
        let mut cpus = (*entry).cpus;
        let mut cpu = 0;
        while cpu < IO_NEAR_CPUS_MAX && cpus != 0 {
            if cpus & 1 != 0
                && let Some(near) = place_of(cpu, odd, key)
                && (*near).key == key
            {
                // Or the compiler keeps a pointer to each word on the stack from one CPU to the next,
                // and with sys_exit's own it is more than 5.10 has.
                let mut entry = entry;
                asm!("{entry} = {entry}", entry = inout(reg) entry);
                let from = (&raw const (*near).counted).cast::<u64>();
                let to = (&raw mut (*entry).bytes).cast::<u64>();
                let (mut at, mut any) = (0, 0);
                while at < size_of::<IoSums>() / 8 {
                    let more = from.add(at).read_volatile();
                    // Between the bytes and the calls lie the CPUs.
                    let to = to.add(at + usize::from(at >= 2));
                    to.write_volatile(to.read_volatile() + more);
                    any |= more;
                    at += 1;
                }
                if any != 0 {
                    (&raw mut (*entry).counted).write_volatile(1);
                }
                (&raw mut (*near).key).write_volatile(0);
            }
            cpus >>= 1;
            cpu += 1;
        }
    }
}

/// Makes an element, or the one of a closed descriptor (`old`, else null) that of the file which has its
/// number now. A new one is put together in the scratch of the program, which counts instead of writing a
/// record: 5.10 gives all functions together 512 bytes of stack.
#[inline(never)]
fn make(turn: u64, key: u64, cgroup_id: u64, old: *mut IoCount) -> Option<()> {
    let file = file_of(key as u32);
    let inode: u64 = read(file, offset!(file_inode));
    let superblock: u64 = read(inode, offset!(inode_sb));
    let ino: u64 = read(inode, offset!(inode_ino));
    let dev: u32 = read(superblock, offset!(sb_dev));
    let mode: u16 = read(inode, offset!(inode_mode));
    let sniff = sniff::worth(file, mode);
    let mut listed = 0;
    if setting!(names) != 0 {
        let known = FileKey {
            ino,
            dev: u64::from(dev),
        };
        // SAFETY: the value is not used, only its presence.
        listed = u8::from(unsafe { LISTED_FILES.get(known) }.is_some());
    }
    if !old.is_null() {
        // SAFETY: an element of the table. Another thread that does the same writes the same, and the sums
        // are not touched.
        unsafe {
            (*old).cgroup_id = cgroup_id;
            (*old).ino = ino;
            (*old).dev = dev;
            (*old).mode = mode;
            (*old).listed = listed;
            (*old).sniff = sniff;
            (&raw mut (*old).closed).write_volatile(0);
        }
        return Some(());
    }
    let words = scratch_of((turn >> 8) as u32)?
        .data
        .as_mut_ptr()
        .cast::<u64>();
    // SAFETY: the data is longer than an element, and aligned as the scratch is.
    let count = unsafe {
        let mut at = 0;
        while at < size_of::<IoCount>() / 8 {
            words.add(at).write_volatile(0);
            at += 1;
        }
        let count = words.cast::<IoCount>();
        (*count).cgroup_id = cgroup_id;
        (*count).ino = ino;
        (*count).dev = dev;
        (*count).mode = mode;
        (*count).listed = listed;
        (*count).sniff = sniff;
        &*count
    };
    // Another thread may have been faster: its element is the one. A full table is seen by the caller.
    let flags = u64::from(BPF_NOEXIST);
    if turn & 1 != 0 {
        IO_ODD.insert(key, count, flags).ok()
    } else {
        IO_EVEN.insert(key, count, flags).ok()
    }
}

/// A descriptor's number may mean another file from here on: what was counted becomes an event.
#[inline(always)]
pub fn flush(probe: u8, fd: u32, current: Current) {
    flush_from(
        u64::from(probe),
        u64::from(odd()),
        fd,
        current.pid_tgid,
        current.cgroup_id,
    );
}

/// A function of its own for the reason that [`on`] is one.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn flush_from(probe: u64, odd: u64, fd: u32, pid_tgid: u64, cgroup_id: u64) -> u64 {
    let key = key(pid_tgid, fd);
    let Some(count) = get(odd != 0, key) else {
        return 0;
    };
    // SAFETY: an element of the table.
    let closed = unsafe { (&raw const (*count).closed).read_volatile() } != 0;
    if !closed {
        gather(count, odd != 0, key);
        // SAFETY: see above.
        let counted = unsafe { (&raw const (*count).counted).read_volatile() } != 0;
        if counted {
            let current = Current {
                pid_tgid,
                cgroup_id,
            };
            event(probe as u8, fd, count, current);
        }
    }
    if probe == u64::from(probe::EXIT) {
        let _ = if odd != 0 {
            IO_ODD.remove(key)
        } else {
            IO_EVEN.remove(key)
        };
    } else if !closed {
        close(count);
    }
    0
}

/// What is counted from here on is another file's.
#[inline(always)]
fn close(count: *mut IoCount) {
    // SAFETY: an element of the table, as whole words.
    unsafe {
        (&raw mut (*count).sniffed).write_volatile(0);
        (&raw mut (*count).misses).write_volatile(0);
        (&raw mut (*count).counted).write_volatile(0);
        let sums = (&raw mut (*count).bytes).cast::<u64>();
        let mut at = 0;
        while at < size_of::<IoSums>() / 8 + 1 {
            sums.add(at).write_volatile(0);
            at += 1;
        }
        (&raw mut (*count).closed).write_volatile(1);
    }
}

#[inline(always)]
fn event(probe: u8, fd: u32, count: *const IoCount, current: Current) -> Option<()> {
    // The filter was asked when it was counted.
    let header = header_of_wanted(probe, kind::IO, current)?;
    match BULK.reserve::<IoRecord>(0) {
        Some(mut entry) => {
            let record = entry.as_mut_ptr();
            // SAFETY: room for a record; both sides are whole words.
            unsafe {
                (&raw mut (*record).header).write(header);
                (&raw mut (*record).fd).write(fd);
                (&raw mut (*record).reserved).write(0);
                let (from, to) = (
                    count.cast::<u64>(),
                    (&raw mut (*record).count).cast::<u64>(),
                );
                let mut at = 0;
                while at < size_of::<IoCount>() / 8 {
                    to.add(at).write_volatile(from.add(at).read_volatile());
                    at += 1;
                }
            }
            entry.submit(wakeup());
        }
        None => count_drop(probe, current.cgroup_id),
    }
    Some(())
}

/// The process ended.
#[inline(always)]
pub fn process_ended(current: Current) {
    let odd = u64::from(odd());
    let mut fd = 0;
    while fd < IO_EXIT_FDS {
        flush_from(
            probe::EXIT.into(),
            odd,
            fd,
            current.pid_tgid,
            current.cgroup_id,
        );
        fd += 1;
    }
}

/// A request of io_uring was submitted. 1: it is to be an event, for the reasons that [`on`] has.
#[inline(always)]
pub fn requested(request: u64, opcode: u32, fd: u32, current: Current) -> u64 {
    /// Opcodes (include/uapi/linux/io_uring.h): readv, read_fixed, recvmsg, read, recv, readv_fixed.
    const READS: u64 = 1 << 1 | 1 << 4 | 1 << 10 | 1 << 22 | 1 << 27 | 1 << 60;
    /// writev, write_fixed, sendmsg, write, send, writev_fixed.
    const WRITES: u64 = 1 << 2 | 1 << 5 | 1 << 9 | 1 << 23 | 1 << 26 | 1 << 61;
    let bit = 1u64 << (opcode & 63);
    let place = if opcode > 63 || !counting() {
        return 0;
    } else if READS & bit != 0 {
        URING_READ as u32
    } else if WRITES & bit != 0 {
        URING_WRITE as u32 | WRITE
    } else {
        return 0;
    };
    let key = key(current.pid_tgid, fd);
    if on(key, turn(probe::URING_SUBMIT), CHECK, 0, current.cgroup_id) & APART != 0 {
        return 1;
    }
    let io = UringIo {
        key,
        cgroup_id: current.cgroup_id,
        place: place.into(),
    };
    // The table makes room for it.
    let _ = URING_IO.insert(request, io, 0);
    0
}

/// It is done, with this result.
#[inline(always)]
pub fn completed(request: u64, ret: i64) -> Option<()> {
    // SAFETY: copied at once; nobody else has this request.
    let UringIo {
        key,
        cgroup_id,
        place,
    } = *unsafe { URING_IO.get(request) }?;
    let _ = URING_IO.remove(request);
    on(
        key,
        turn(probe::URING_COMPLETE),
        place as u32,
        ret,
        cgroup_id,
    );
    Some(())
}

/// A call that succeeded made descriptors mean another file: see [`reuse`].
#[inline(always)]
pub fn reused(how: u32, call: &Call, current: Current) {
    let odd = u64::from(odd());
    let [mut fd, mut last] = match how {
        reuse::RESULT => [call.ret as u32; 2],
        reuse::SECOND => {
            let to = call.arg::<1>() as u32;
            if to == call.arg::<0>() as u32 {
                return; // nothing happened
            }
            [to; 2]
        }
        reuse::RANGE => [call.arg::<0>() as u32, call.arg::<1>() as u32],
        _ => {
            let at = if how == reuse::PAIR_AT_FIRST {
                call.arg::<0>()
            } else {
                call.arg::<3>()
            };
            // SAFETY: the helper checks the address.
            match unsafe { bpf_probe_read_user(at as *const [u32; 2]) } {
                Ok(pair) => pair,
                Err(_) => return,
            }
        }
    };
    if how != reuse::RANGE && last != fd {
        // Two that need not be neighbours.
        flush_from(
            probe::SYS_EXIT.into(),
            odd,
            last,
            current.pid_tgid,
            current.cgroup_id,
        );
        last = fd;
    }
    let mut left = IO_EXIT_FDS;
    while left > 0 && fd <= last {
        flush_from(
            probe::SYS_EXIT.into(),
            odd,
            fd,
            current.pid_tgid,
            current.cgroup_id,
        );
        fd += 1;
        left -= 1;
    }
}
