//! The first bytes of what a call read or wrote, where that was asked for.
//!
//! Such a call has one record, here in place of a plain one, because its bytes need room that the rings of
//! plain calls have not. The bytes are read as `sniff` reads messages: from the caller's memory, after the
//! call, so that the caller could have changed what it wrote.

use aya_ebpf::helpers::generated::bpf_probe_read_user;
use recorder_ebpf::{IoShape, PAYLOAD_BYTES_MAX, PayloadRecord, action, kind, probe};

use crate::{
    Current, Ring, durations, header_of_wanted,
    kernel::bounded,
    scratch_of, send, setting,
    sniff::{user, word},
    syscalls::Call,
};

/// Is the call one whose bytes are recorded? With none asked for, the verifier takes this away.
#[inline(always)]
pub fn is_asked(policy: u32, call: &Call) -> bool {
    setting!(snaplen) != 0 && policy & action::MASK == action::PAYLOAD && call.ret > 0
}

/// A call that succeeded and passed something. The filter has been asked.
#[inline(always)]
pub fn call(shape: IoShape, call: &Call, current: Current) -> Option<()> {
    let record = scratch_of(u32::from(probe::SYS_EXIT))?.fixed::<PayloadRecord>();
    record.header.pid_tgid = current.pid_tgid;
    record.header.cgroup_id = current.cgroup_id;
    record.ret = call.ret;
    let args = record.args.as_mut_ptr();
    // SAFETY: room for six words; volatile, so that each goes where it belongs before the next is read, and
    // none needs room on the stack.
    unsafe {
        args.write_volatile(call.arg::<0>());
        args.add(1).write_volatile(call.arg::<1>());
        args.add(2).write_volatile(call.arg::<2>());
        args.add(3).write_volatile(call.arg::<3>());
        args.add(4).write_volatile(call.arg::<4>());
        args.add(5).write_volatile(call.arg::<5>());
    }
    record.duration_ns = durations::of_call();
    record.nr = call.nr;
    record.arity = shape.arity;
    let mut len = call.ret as u64;
    if shape.payload == IoShape::BUFFER {
        // A datagram that was cut (MSG_TRUNC) can be longer than the buffer.
        len = len.min(call.arg::<2>());
    }
    passed(shape.payload.into(), call.arg::<1>(), len);
    Some(())
}

/// Sends the record that lies in the scratch, with what `len` bytes of passed. Seen from outside, so that
/// the verifier looks at it on its own.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn passed(payload: u64, at: u64, len: u64) -> u64 {
    let _ = with_data(payload as u32, at, len);
    0
}

#[inline(always)]
fn with_data(payload: u32, at: u64, len: u64) -> Option<()> {
    let scratch = scratch_of(u32::from(probe::SYS_EXIT))?;
    let place = scratch.data.as_mut_ptr().cast::<u64>();
    let (mut base, mut len) = (at, len);
    if payload != IoShape::BUFFER {
        let mut vector = at;
        if payload == IoShape::MESSAGE {
            // struct user_msghdr: name, length of the name, vector.
            user::<3>(place, at);
            vector = word(place, 2);
        }
        user::<2>(place, vector);
        if word(place, 1) == 0 {
            // A C library puts what it kept back there, be it nothing.
            user::<2>(place, vector + 16);
        }
        base = word(place, 0);
        len = len.min(word(place, 1));
    }
    scratch.clear();
    let record = scratch.fixed::<PayloadRecord>();
    let current = Current {
        pid_tgid: record.header.pid_tgid,
        cgroup_id: record.header.cgroup_id,
    };
    record.header = header_of_wanted(probe::SYS_EXIT, kind::PAYLOAD, current)?;
    let wanted = len.min(u64::from(setting!(snaplen))) as usize;
    let wanted = bounded(wanted, PAYLOAD_BYTES_MAX * 2 - 1).min(PAYLOAD_BYTES_MAX);
    // SAFETY: at most as many bytes as the data have.
    let failed = unsafe {
        bpf_probe_read_user(
            scratch.data.as_mut_ptr().cast(),
            wanted as u32,
            base as *const _,
        )
    };
    let there = if failed < 0 { 0 } else { wanted };
    scratch.set_at(there);
    scratch.fixed::<PayloadRecord>().header.data_len = there as u32;
    send::<PayloadRecord>(Ring::Bulk, probe::SYS_EXIT, scratch);
    Some(())
}
