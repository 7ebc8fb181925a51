//! One of everything, with no field left at its default: nothing can be forgotten unnoticed.
#![allow(dead_code, reason = "each test program uses its own part of this")]

use std::sync::Arc;

use trace_format::{
    columns::{Encoding, Type},
    *,
};

/// Two declared families: one with every kind of field, one without any.
pub fn event_types() -> [Arc<EventType>; 2] {
    let field = |name: &str, ty, encoding| Field {
        name: name.into(),
        ty,
        encoding,
    };
    let fields = vec![
        field("size", Type::U8, Encoding::Plain),
        field("offset", Type::U64, Encoding::Delta),
        field("res", Type::I64, Encoding::Zigzag),
        field("last", Type::Bool, Encoding::Plain),
        field("name", Type::Text, Encoding::Plain),
    ];
    [
        EventType::new(1024, "source.read_x", fields),
        EventType::new(1030, "source.nothing_e", Vec::new()),
    ]
    .map(|ty| Arc::new(ty.unwrap()))
}

/// An event of the `which`th of them.
pub fn declared<const N: usize>(which: usize, values: [Value; N]) -> EventData {
    EventData::Declared(Declared::new(event_types()[which].clone(), values).unwrap())
}

/// One event of every family, in the order of their ids.
pub fn one_of_each() -> Vec<EventData> {
    let endpoint = |addr: &[u8], port| Endpoint {
        addr: Text::new(addr),
        port,
    };
    vec![
        EventData::Syscall(Syscall {
            nr: 9,
            ret: i64::MIN,
            args: [1, u64::MAX, 1 << 63, 0x7fff_1234_5678, 0, 6],
            duration_ns: 0,
        }),
        EventData::SyscallCount(SyscallCount {
            nr: u32::MAX,
            calls: 1 << 40,
        }),
        EventData::Fork(Fork {
            child_tid: 41,
            child_pid: 40,
            child_start_ns: 4_999,
            child_ns_tid: 2,
        }),
        EventData::Exec(Exec {
            path: "/usr/bin/env".into(),
            filename: "env".into(),
            args: Text::new(b"env\0-i\0sh"),
            comm: "env".into(),
            ppid: 12,
            uid: 33,
            gid: 34,
            start_ns: 4_000,
            dev: 0x0010_0005,
            ino: 77,
            flags: ExecFlags(ExecFlags::UPPER_LAYER | ExecFlags::ARGS_CUT),
            details: Some(Box::new(ExecDetails {
                cwd: "/srv".into(),
                ns_pid: 7,
                process: details(),
            })),
        }),
        EventData::Exit(Exit {
            code: 255,
            signal: 9,
            start_ns: 3_000,
            last_thread: true,
            usage: Some(Usage {
                user_ns: 1,
                system_ns: 2,
                max_rss_bytes: 3,
                minor_faults: 4,
                major_faults: u64::MAX,
            }),
        }),
        EventData::Open(Open {
            nr: 257,
            ret: -13,
            flags: 0o100_1101,
            mode: 0o644,
            path: "/etc/shadow".into(),
            dev: 5,
            ino: u64::MAX,
            marks: PathMarks(PathMarks::UNTRUSTED | PathMarks::CREATED),
            duration_ns: 0,
        }),
        EventData::PathCall(PathCall {
            nr: 82,
            ret: -2,
            arg: 0o755,
            path: "a".into(),
            path2: "b".into(),
            marks: PathMarks(PathMarks::RELATIVE),
            duration_ns: 0,
        }),
        EventData::SockCall(SockCall {
            nr: 42,
            ret: -111,
            fd: -1,
            family: 10,
            sock_type: 1,
            local: endpoint(&[10, 0, 0, 1], 40_000),
            remote: endpoint(
                &[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
                443,
            ),
            unix_path: Text::new(b"\0abstract"),
            marks: PathMarks(PathMarks::CUT),
            interface: u32::MAX,
            duration_ns: 0,
        }),
        EventData::TcpState(TcpState {
            old: 2,
            new: 255,
            family: 2,
            local: endpoint(&[10, 0, 0, 1], 40_001),
            remote: endpoint(&[10, 0, 0, 2], 65_535),
            sock: 3,
            latency_ns: 180_000,
            sent_bytes: 1,
            received_bytes: 2,
            duration_ns: 3,
            error: 111,
        }),
        EventData::Cgroup(CgroupChange {
            id: 8_811,
            path: "/docker/abc".into(),
            removed: true,
        }),
        EventData::Sample(Box::new(Sample {
            cpu_ns: 1,
            throttled_ns: 2,
            memory_bytes: 3,
            memory_limit_bytes: 4,
            pids: 5,
            io_read_bytes: 6,
            io_write_bytes: 7,
            known: SampleKnown(SampleKnown::IO | SampleKnown::LOAD),
            memory_peak_bytes: 8,
            anon_bytes: 9,
            file_bytes: 10,
            minor_faults: 11,
            major_faults: 12,
            cpu_stall_ns: 13,
            memory_stall_ns: 14,
            memory_full_stall_ns: 15,
            io_stall_ns: 16,
            io_full_stall_ns: 17,
            io_reads: 18,
            io_writes: 19,
            net_received_bytes: 20,
            net_received_packets: 21,
            net_sent_bytes: 22,
            net_sent_packets: 23,
            load_hundredths: u64::MAX,
        })),
        EventData::Io(Io {
            fd: -1,
            kind: IoKind(IoKind::SOCKET),
            reads: 1,
            read_bytes: 2,
            writes: 3,
            written_bytes: u64::MAX,
            dev: 4,
            ino: 5,
        }),
        EventData::Signal(Signal {
            signal: 9,
            code: -6,
            target_tid: 71,
            target_pid: 70,
            to_group: true,
            outcome: 1,
        }),
        EventData::OomKill(OomKill {
            comm: "stress".into(),
            uid: 33,
            total_vm_bytes: 1 << 30,
            score_adj: -1_000,
            trigger_pid: 7,
        }),
        EventData::TcpEvent(TcpEvent {
            what: TcpWhat(TcpWhat::RESET_SENT),
            state: 7,
            family: 2,
            local: endpoint(&[10, 0, 0, 1], 40_001),
            remote: endpoint(&[10, 0, 0, 2], 80),
            sock: 3,
        }),
        EventData::Ipc(Ipc {
            nr: 240,
            ret: -13,
            kind: IpcKind(IpcKind::QUEUE),
            id: -1,
            key: u32::MAX,
            namespace: 4_026_531_839,
            size: 1,
            arg: 0o100,
            name: "/jobs".into(),
            calls: 2,
            marks: IpcMarks(IpcMarks::UNTRUSTED),
        }),
        EventData::ProcessAccess(ProcessAccess {
            nr: 101,
            ret: -1,
            target_pid: 70,
            target_tid: 71,
            target_cgroup: 8_811,
            arg: 16,
            calls: 1 << 40,
        }),
        EventData::Dns(Dns {
            fd: 5,
            sent: true,
            id: u16::MAX,
            flags: 0x8183,
            qtype: 28,
            name: "www.example.org".into(),
            answers: 2,
            malformed: true,
            family: 2,
            local: endpoint(&[10, 0, 0, 1], 40_002),
            remote: endpoint(&[10, 0, 0, 2], 53),
            latency_ns: 1_200_000,
        }),
        EventData::Http(Http {
            fd: 6,
            sent: true,
            status: 404,
            method: "GET".into(),
            path: "/index.html?a=b".into(),
            host: "example.org".into(),
            family: 10,
            local: endpoint(&[0; 16], 80),
            remote: endpoint(&[10, 0, 0, 2], 40_003),
            latency_ns: 1,
        }),
        EventData::Peer(Peer {
            fd: -1,
            sent: true,
            family: 1,
            sock_type: 2,
            local: endpoint(&[10, 0, 0, 1], 40_004),
            remote: endpoint(&[10, 0, 0, 2], 123),
            unix_path: "/run/app.sock".into(),
            peer_pid: 70,
            peer_cgroup_id: 8_811,
        }),
        EventData::Syscall(Syscall {
            nr: 35,
            ret: -4,
            args: [0; 6],
            duration_ns: u64::MAX,
        }),
        EventData::Credentials(Credentials {
            nr: 117,
            marks: CredentialMarks(CredentialMarks::BEFORE_KNOWN),
            after: Rights {
                uid: 1_000,
                euid: 1_000,
                suid: u32::MAX,
                gid: 100,
                egid: 101,
                sgid: 102,
                cap_effective: 0,
                cap_permitted: 1,
                user_ns: 4_026_531_837,
            },
            before: Rights {
                cap_effective: (1 << 41) - 1,
                cap_permitted: u64::MAX,
                user_ns: 4_026_531_837,
                ..Rights::default()
            },
        }),
        EventData::Payload(Payload {
            call: Syscall {
                nr: 1,
                ret: 4_096,
                args: [u64::MAX, 1 << 47, 4_096, 0, 0, 0],
                duration_ns: 1_500,
            },
            data: Text::new(b"GET \\ \x00\xff\xc3\xa9\n"),
        }),
        EventData::PassedFd(PassedFd {
            fd: -1,
            sent: true,
            socket: 7,
            count: 253,
            place: u32::MAX,
            mode: 0o100_777,
            path: "memfd:x".into(),
            dev: 1,
            ino: u64::MAX,
            peer_pid: 70,
            peer_cgroup_id: 8_811,
            marks: PassedMarks(PassedMarks::SENDER_SEEN | PassedMarks::NOWHERE),
        }),
        declared(
            0,
            [
                Value::Unsigned(255),
                Value::Unsigned(u64::MAX),
                Value::Signed(i64::MIN),
                Value::Bool(true),
                Value::Text("/etc/hosts".into()),
            ],
        ),
        declared(1, []),
    ]
}

/// The first event of [`one_of_each`] whose family is declared.
pub fn first_declared() -> EventData {
    one_of_each()
        .into_iter()
        .find(|data| matches!(data, EventData::Declared(_)))
        .expect("there is one")
}

/// One record of every kind, in one checkpoint, a nanosecond apart from 40 on.
pub fn one_of_each_context() -> Vec<ContextRecord> {
    let bodies = [
        Context::CheckpointBegin,
        Context::Host(Host {
            host_uuid: [1; 16],
            hostname: "web-1".into(),
            kernel_release: "6.18.0".into(),
            arch: "x86_64".into(),
            cpus: 2,
            memory_bytes: 24 << 30,
            boot_id: [2; 16],
            recorder_version: "0.1.0".into(),
        }),
        Context::Clock(Clock {
            boot_ns: 9,
            wall_ns: 1_795_000_000_000_000_000,
        }),
        Context::Process(Process {
            pid: 10,
            ppid: 1,
            start_ns: 3,
            uid: 33,
            gid: 34,
            cgroup_id: 7,
            comm: b"nginx".to_vec(),
            exe: b"/usr/sbin/nginx".to_vec(),
            args: b"nginx\0-g\0daemon off;".to_vec(),
            cwd: b"/".to_vec(),
            ns_pid: 1,
            details: Some(Box::new(SnapshotDetails {
                process: details(),
                dev: 0x0010_0005,
                ino: 78,
                flags: ExecFlags(ExecFlags::DELETED),
            })),
        }),
        Context::Container(Container {
            cgroup_id: 7,
            cgroup_path: "/docker/abc".into(),
            id: "abc".into(),
            runtime: "docker".into(),
            name: "web".into(),
            image: "nginx:1.22".into(),
            privileged: true,
            pod: "p".into(),
            namespace: "n".into(),
            labels: vec![("a".into(), "b".into())],
            resolution: Resolution::GaveUp,
        }),
        Context::Probes(Probes {
            profile: "full".into(),
            probes: vec![Probe {
                id: 2,
                name: "sys_exit".into(),
                attached: "tp_btf/sys_exit".into(),
                reason: "r".into(),
            }],
        }),
        Context::Loss(Loss {
            counts: vec![
                LossCount {
                    cpu: 0,
                    probe: 2,
                    seen: 100,
                    dropped: 3,
                    filtered: 1,
                },
                LossCount {
                    cpu: 1,
                    probe: 2,
                    seen: 50,
                    dropped: 4,
                    filtered: 0,
                },
            ],
        }),
        Context::Mark(Mark {
            label: "note".into(),
            text: "here".into(),
        }),
        Context::Tick,
        Context::User(User {
            uid: 33,
            name: "www-data".into(),
        }),
        Context::Continues(Continues {
            capture_uuid: [3; 16],
            part: 2,
            previous_uuid: [4; 16],
            previous_head: [5; 32],
            previous_chunks: 61,
        }),
        Context::Continued(Continued { next_uuid: [6; 16] }),
        Context::Drops(Drops {
            counts: vec![DropCount {
                cgroup_id: 4_711,
                dropped: 12,
            }],
        }),
        Context::Provenance(Provenance {
            action: "slice".into(),
            tool_version: "replay 0.1.0".into(),
            arguments: "--kind exec".into(),
            selected: true,
            sources: vec![ProvenanceSource {
                trace_uuid: [3; 16],
                chain_head: [4; 32],
                chunks: 12,
                name: "a.zst".into(),
                complete: true,
            }],
        }),
        Context::Discard(Discard {
            source: 1,
            offset: 2_000,
            bytes: 300,
            first_number: 4,
            chunks: 5,
            after_ns: 6,
            before_ns: 7,
            reason: "hash".into(),
        }),
        Context::Origin(Origin {
            source: 1,
            host: Host {
                hostname: "b".into(),
                ..Host::default()
            },
            clock: Clock {
                boot_ns: 5,
                wall_ns: 1_000,
            },
            time_base: 995,
            pid_base: 1 << 22,
            cgroup_base: 1 << 48,
            cpu_base: 4,
            probes: vec![(2, 3)],
        }),
        Context::Unknown {
            kind: 900,
            payload: vec![1, 2, 3],
        },
        Context::CheckpointEnd,
    ];
    bodies
        .into_iter()
        .zip(40..)
        .map(|(body, boot_ns)| ContextRecord { boot_ns, body })
        .collect()
}

/// Each value another one.
fn details() -> Details {
    Details {
        known: Known(63),
        sid: 101,
        pgid: 102,
        ns_sid: 3,
        ns_pgid: 4,
        tty: 0x8801,
        login_uid: Details::NO_LOGIN,
        cap_effective: 0x1ff_ffff_ffff,
        cap_permitted: 0xa804_25fb,
        cap_inheritable: 1 << 40,
        namespaces: Namespaces {
            cgroup: 4_026_531_835,
            ipc: 4_026_531_839,
            mnt: 4_026_531_841,
            net: 4_026_531_840,
            pid: 4_026_531_836,
            user: 4_026_531_837,
            uts: 4_026_531_838,
        },
        ns_start_ns: 2_999,
        exe_ctime_ns: 1_700_000_000_123_456_789,
        exe_mtime_ns: u64::MAX,
    }
}
