//! io_uring: what is asked of the kernel without a system call for each thing.
//!
//! A request is seen when it is submitted: by a thread of its owner, also where the kernel polls for
//! requests (SQPOLL), because the polling thread is one of the owner's since Linux 5.12. It is counted or
//! recorded by its opcode, as a system call is by its number. What it read or wrote is counted per
//! descriptor when it is completed: only then is it known.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use recorder_ebpf::{Offsets, UringRecord, action, kind, probe};

use crate::{
    POLICY, Ring, counts, current, filter, header, io, kernel::read, offset, setting, submit,
};

/// Marks an opcode among the numbers of system calls.
const OPCODE: u32 = 1 << 29;
/// `REQ_F_FIXED_FILE`: its descriptor is a place in the ring's own table.
const FIXED_FILE: u8 = 1 << 0;
/// `REQ_F_CQE_SKIP`: its success is not told.
const SILENT: u8 = 1 << 6;
/// Parameters of `io_uring_submit_sqe` from 5.13 to 5.17 (and in late 5.10), its own included.
const SPELLED_OUT: u32 = 8;
/// Parameters of `io_uring_complete` from 6.0 on, and where the last is the result as user space sees it.
const BY_VALUE: u32 = 8;
const BY_ENTRY: u32 = 4;

#[btf_tracepoint(function = "io_uring_submit_req")]
fn io_uring_submit_req(ctx: BtfTracePointContext) -> i32 {
    request(ctx.arg(0));
    0
}

/// The name of the same before 6.4.
#[btf_tracepoint(function = "io_uring_submit_sqe")]
fn io_uring_submit_sqe(ctx: BtfTracePointContext) -> i32 {
    if setting!(uring_submit) == SPELLED_OUT {
        submitted(Request {
            at: 0,
            opcode: ctx.arg::<u32>(2) & 0xff,
            user_data: ctx.arg(3),
            fd: -1,
        });
    } else {
        request(ctx.arg(0));
    }
    0
}

#[btf_tracepoint(function = "io_uring_complete")]
fn io_uring_complete(ctx: BtfTracePointContext) -> i32 {
    let ret = match setting!(uring_complete) {
        BY_VALUE => ctx.arg::<i32>(3),
        BY_ENTRY => read(ctx.arg(2), offset!(cqe_res)),
        _ => return 0,
    };
    io::completed(ctx.arg(1), ret.into());
    0
}

struct Request {
    at: u64,
    opcode: u32,
    user_data: u64,
    /// -1: none, or not known.
    fd: i32,
}

#[inline(always)]
fn request(at: u64) -> Option<()> {
    let flags: u8 = read(at, offset!(uring_flags));
    let known = offset!(uring_fd) != Offsets::MISSING as usize && flags & FIXED_FILE == 0;
    submitted(Request {
        at: if flags & SILENT == 0 { at } else { 0 },
        opcode: u32::from(read::<u8>(at, offset!(uring_opcode))),
        user_data: read(at, offset!(uring_user_data)),
        fd: if known {
            read(at, offset!(uring_fd))
        } else {
            -1
        },
    })
}

#[inline(always)]
fn submitted(request: Request) -> Option<()> {
    let policy = *POLICY.get(action::URING + request.opcode)?;
    if policy == action::IGNORE {
        return None;
    }
    let current = current(probe::URING_SUBMIT)?;
    let apart = request.at != 0
        && request.fd >= 0
        && filter::kind_wanted(kind::IO)
        && io::requested(request.at, request.opcode, request.fd as u32, current) != 0;
    if policy & action::MASK == action::COUNT && !apart {
        if !filter::kind_wanted(kind::COUNT) {
            filter::reject(probe::URING_SUBMIT);
            return None;
        }
        if counts::beside(OPCODE | request.opcode, current) {
            return None;
        }
    }
    let ring = if policy & action::URGENT != 0 {
        Ring::Urgent
    } else {
        Ring::Bulk
    };
    submit(
        ring,
        probe::URING_SUBMIT,
        UringRecord {
            header: header(probe::URING_SUBMIT, kind::URING, current)?,
            user_data: request.user_data,
            fd: request.fd,
            opcode: request.opcode,
        },
    );
    Some(())
}
