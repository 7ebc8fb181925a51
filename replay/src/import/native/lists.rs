//! State lists: what ran, was open and had a name when the capture began.

use trace_format::{Context, ContextRecord, Declared, Endpoint, Event, Text, context};

use super::{Told, details};
use crate::{
    import::scap::{lists::List, stored::StoredRecord},
    resolve::{Descriptor, DescriptorKind, Role},
};

pub(super) fn fold(event: &Event, data: &Declared, told: &mut Vec<Told>) {
    let Some(record) = StoredRecord::of(data) else {
        return;
    };
    let context = match record.list {
        List::Process => process(event, &record).map(Context::Process),
        List::User => record
            .number("uid")
            .zip(record.text("name"))
            .map(|(uid, name)| {
                Context::User(context::User {
                    uid: uid as u32,
                    name: name.to_string(),
                })
            }),
        List::Descriptor => {
            told.extend(descriptor(event, &record));
            None
        }
        // Host and clocks are records of the trace already.
        List::Section | List::Machine | List::Interface | List::Group => None,
    };
    told.extend(context.map(|body| {
        Told::Context(ContextRecord {
            boot_ns: event.boot_ns,
            body,
        })
    }));
}

/// Only main threads: a thread has nothing of its own that the state keeps.
fn process(event: &Event, record: &StoredRecord<'_>) -> Option<context::Process> {
    let number = |name: &str| record.number(name).unwrap_or(0) as u32;
    let text = |name: &str| {
        record
            .text(name)
            .map(|text| text.to_vec())
            .unwrap_or_default()
    };
    if record.number("tid")? != record.number("pid")? {
        return None;
    }
    let exe = text("exe");
    // Before there was a path of its own, argv[0] often was one.
    let path = match text("exepath") {
        path if !path.is_empty() => path,
        _ if exe.starts_with(b"/") => exe.clone(),
        _ => Vec::new(),
    };
    let mut args = exe;
    let rest = text("args");
    if !rest.is_empty() {
        args.push(0);
        args.extend_from_slice(rest.strip_suffix(&[0]).unwrap_or(&rest));
    }
    Some(context::Process {
        pid: event.pid,
        ppid: number("ptid"),
        start_ns: 0,
        uid: number("uid"),
        gid: number("gid"),
        cgroup_id: event.cgroup_id,
        comm: text("comm"),
        exe: path,
        args,
        cwd: text("cwd"),
        ns_pid: number("vpid"),
        details: Some(Box::new(details::of_process(record))),
    })
}

fn descriptor(event: &Event, record: &StoredRecord<'_>) -> Option<Told> {
    const AF_UNIX: u16 = 1;
    const AF_INET: u16 = 2;
    const AF_INET6: u16 = 10;
    // A thread's list is its process's.
    if event.tid != event.pid {
        return None;
    }
    let fd = i32::try_from(record.number("fd")? as i64).ok()?;
    let ty = record.number("type")?;
    let name = record.text("name").cloned().unwrap_or_default();
    let end = |addr: &str, port: &str| Endpoint {
        addr: record.text(addr).cloned().unwrap_or_default(),
        port: record.number(port).unwrap_or(0) as u16,
    };
    let mut descriptor = Descriptor::bare(match ty {
        1 | 16 => DescriptorKind::File,
        2 => DescriptorKind::Directory,
        3..=6 | 8 => DescriptorKind::Socket,
        7 => DescriptorKind::Other(b'p'),
        9 => DescriptorKind::Other(b'e'),
        11 => DescriptorKind::Other(b's'),
        12 => DescriptorKind::Other(b'l'),
        13 => DescriptorKind::Other(b'i'),
        14 => DescriptorKind::Other(b't'),
        15 => DescriptorKind::Other(b'n'),
        17 => DescriptorKind::Other(b'b'),
        18 => DescriptorKind::Other(b'U'),
        19 => DescriptorKind::Other(b'r'),
        20 => DescriptorKind::Other(b'm'),
        21 => DescriptorKind::Other(b'P'),
        _ => DescriptorKind::Other(b'X'),
    });
    match ty {
        3..=6 => {
            descriptor.family = if matches!(ty, 3 | 5) {
                AF_INET
            } else {
                AF_INET6
            };
            descriptor.sock_type = match record.number("l4proto") {
                Some(2) => 1,
                Some(3) => 2,
                Some(5) => 3,
                _ => 0,
            };
            descriptor.local = end("sip", "sport");
            if matches!(ty, 3 | 4) {
                descriptor.remote = end("dip", "dport");
            } else {
                descriptor.role = Some(Role::Server);
            }
        }
        8 => {
            descriptor.family = AF_UNIX;
            descriptor.path = name;
        }
        1 | 2 | 16 => descriptor.path = name,
        _ => descriptor.path = Text::default(),
    }
    Some(Told::Descriptor {
        pid: event.pid,
        fd,
        descriptor: Box::new(descriptor),
    })
}
