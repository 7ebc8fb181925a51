//! Cgroups made and removed: how a container gets its name even when it is gone before anyone looks.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use recorder_ebpf::{CgroupRecord, USER_PATH_MAX, kind, probe};

use crate::{
    FILTER_CGROUPS, Ring, current, header,
    kernel::{kernel_string, read},
    offset, scratch, send, setting,
};

#[btf_tracepoint(function = "cgroup_mkdir")]
fn cgroup_mkdir(ctx: BtfTracePointContext) -> i32 {
    change(&ctx, probe::CGROUP_MKDIR, 0);
    0
}

#[btf_tracepoint(function = "cgroup_rmdir")]
fn cgroup_rmdir(ctx: BtfTracePointContext) -> i32 {
    change(&ctx, probe::CGROUP_RMDIR, 1);
    0
}

#[inline(always)]
fn change(ctx: &BtfTracePointContext, probe: u8, removed: u32) -> Option<()> {
    let cgroup: u64 = ctx.arg(0);
    let path: u64 = ctx.arg(1);
    // Only the v2 hierarchy has ids that bpf_get_current_cgroup_id knows; its number is 0.
    let root: u64 = read(cgroup, offset!(cgroup_root));
    if read::<u32>(root, offset!(cgroup_root_hierarchy)) != 0 {
        return None;
    }
    let node: u64 = read(cgroup, offset!(cgroup_kn));
    let id: u64 = read(node, offset!(kernfs_id));
    if setting!(filter_cgroups) != 0 {
        inherit(node, id, removed);
    }
    let current = current(probe)?;
    let scratch = scratch(probe)?;
    let header = header(probe, kind::CGROUP, current)?;
    kernel_string(scratch, path, USER_PATH_MAX);
    let end = scratch.at();
    let record = scratch.fixed::<CgroupRecord>();
    record.header = header;
    record.header.data_len = end as u32;
    record.id = id;
    record.removed = removed;
    record.reserved = 0;
    send::<CgroupRecord>(Ring::Urgent, probe, scratch);
    Some(())
}

/// What is made inside a recorded cgroup is recorded too, from its first process on.
#[inline(always)]
fn inherit(node: u64, id: u64, removed: u32) {
    if removed != 0 {
        let _ = FILTER_CGROUPS.remove(id);
        return;
    }
    let parent: u64 = read(node, offset!(kernfs_parent));
    let parent: u64 = read(parent, offset!(kernfs_id));
    // SAFETY: the value is not used, only its presence.
    if unsafe { FILTER_CGROUPS.get(parent) }.is_some() {
        // A full filter leaves the new one out, as it would at the start.
        let _ = FILTER_CGROUPS.insert(id, 1, 0);
    }
}
