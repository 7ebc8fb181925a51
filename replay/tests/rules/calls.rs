//! What a call says beyond its arguments: how long it took, and what it changed of the caller's rights.

use super::world::*;
use trace_format::{CredentialMarks, Credentials, EventData, Open, Payload, Rights, Syscall, Text};

fn rights(uid: u32, capabilities: u64) -> Rights {
    Rights {
        uid,
        euid: uid,
        suid: uid,
        cap_effective: capabilities,
        cap_permitted: capabilities,
        user_ns: 7,
        ..Rights::default()
    }
}

fn changed(name: &str, marks: u32) -> EventData {
    EventData::Credentials(Credentials {
        nr: nr(name),
        marks: CredentialMarks(marks),
        after: rights(33, 0),
        before: rights(0, 1 << 7 | 1),
    })
}

#[test]
fn a_call_says_how_long_it_took_where_that_is_known() {
    let mut world = World::new();
    let slow = EventData::Syscall(Syscall {
        nr: nr("fsync"),
        ret: 0,
        args: [3, 0, 0, 0, 0, 0],
        duration_ns: 20_000_000,
    });
    assert!(world.holds("evt.type=fsync and evt.latency = 20000000", 60, slow));
    let open = EventData::Open(Open {
        duration_ns: 1_500,
        ..open_data("/etc/hosts", 3, 0)
    });
    assert!(world.holds("evt.latency > 1000 and fd.name=/etc/hosts", 60, open));
    let unknown = call("fsync", 0, [3, 0, 0, 0, 0, 0]);
    assert!(!world.holds("evt.latency exists", 60, unknown.clone()));
    assert!(!world.holds("evt.latency < 1000", 60, unknown));
}

#[test]
fn a_payload_is_the_call_that_passed_it() {
    let mut world = World::new();
    let passed = |data: &[u8]| {
        EventData::Payload(Payload {
            call: Syscall {
                nr: nr("write"),
                ret: 4_096,
                args: [3, 0x7000, 4_096, 0, 0, 0],
                duration_ns: 1_500,
            },
            data: Text::new(data),
        })
    };
    world.happens(60, open("/srv/upload", 3, 1));
    for condition in [
        "evt.type=write and evt.buffer startswith \"<?php\" and fd.name=/srv/upload",
        "evt.buffer bcontains 00ff and evt.arg.data contains system",
        "evt.rawres=4096 and evt.arg.size=4096 and evt.arg[1]=val(evt.buffer) and evt.latency=1500",
        "evt.buffer contains \"eval\" or evt.buffer endswith \";\"",
    ] {
        let data = passed(b"<?php \x00\xff system($_GET[1]);");
        assert!(world.holds(condition, 60, data), "{condition}");
    }
    let unreadable = passed(b"");
    assert!(world.holds(
        "evt.type=write and evt.arg.data=NULL",
        60,
        unreadable.clone()
    ));
    assert!(!world.holds("evt.buffer exists", 60, unreadable));
    let plain = call("write", 4_096, [3, 0x7000, 4_096, 0, 0, 0]);
    assert!(world.holds("evt.type=write and evt.arg.size=4096", 60, plain.clone()));
    assert!(!world.holds("evt.buffer exists or evt.arg.data exists", 60, plain));
}

#[test]
fn a_change_of_rights_says_what_they_were() {
    let mut world = World::new();
    let known = changed("setresuid", CredentialMarks::BEFORE_KNOWN);
    for condition in [
        "evt.type=credentials_changed and evt.arg.call=setresuid",
        "evt.arg.euid=33 and evt.arg.old_euid=0 and evt.arg.user_ns=7",
        "evt.arg.old_cap_effective contains CAP_SETUID and not evt.arg.cap_effective contains CAP_SETUID",
        // Of the process from here on.
        "user.uid=33",
    ] {
        assert!(world.holds(condition, 60, known.clone()), "{condition}");
    }
    let unknown = changed("setresuid", 0);
    assert!(world.holds("evt.arg.euid=33", 60, unknown.clone()));
    assert!(!world.holds("evt.arg.old_euid exists", 60, unknown.clone()));
    assert!(!world.holds("evt.arg.old_cap_effective exists", 60, unknown));
    let program = changed(
        "execve",
        CredentialMarks::BEFORE_KNOWN | CredentialMarks::SET_USER_ID,
    );
    assert!(world.holds("evt.arg.file contains setuid", 60, program));
}
