//! Cgroups made and removed: how a container gets its name even when it is gone before anyone looks.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use recorder_ebpf::{CgroupRecord, USER_PATH_MAX, filter as option, kind, probe};

use crate::{
    Ring, filter, header,
    kernel::{kernel_string, read},
    offset, scratch, send, setting, whoever,
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
    // Of the others nothing is told.
    let root: u64 = read(cgroup, offset!(cgroup_root));
    if read::<u32>(root, offset!(cgroup_root_hierarchy)) != setting!(hierarchy) {
        return None;
    }
    let node: u64 = read(cgroup, offset!(cgroup_kn));
    let id: u64 = read(node, offset!(kernfs_id));
    let mut wanted = true;
    if setting!(filter) & option::CONTAINER != 0 {
        if removed == 0 {
            let parent: u64 = read(node, offset!(kernfs_parent));
            filter::cgroup_made(id, read(parent, offset!(kernfs_id)));
        }
        wanted = filter::wants_cgroup(id);
        if removed != 0 {
            filter::cgroup_removed(id);
        }
    }
    let current = whoever()?;
    if !wanted {
        filter::reject(probe);
        return None;
    }
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
