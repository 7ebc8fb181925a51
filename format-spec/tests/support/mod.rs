//! Events for the tests: any event of any family, and small traces.
#![allow(dead_code, reason = "each test program uses its own part of this")]

pub mod forge;
pub mod sample;
pub mod spec;
pub mod spec_types;
pub mod stored;
pub mod town;

use proptest::{collection::vec, prelude::*};
use trace_format::*;

pub const UUID: [u8; 16] = *b"trailcam-testing";

pub fn text() -> impl Strategy<Value = Text> {
    prop_oneof![
        Just(Text::default()),
        Just(Text::from("/usr/bin/nginx")),
        "[a-z/]{1,12}".prop_map(Text::from),
        vec(any::<u8>(), 0..40).prop_map(Text::from),
    ]
}

/// Mostly small, now and then anything: what real columns look like, and their extremes.
pub fn number() -> impl Strategy<Value = u64> {
    prop_oneof![4 => 0..300u64, 1 => any::<u64>(), 1 => Just(u64::MAX), 1 => Just(1 << 63)]
}

pub fn endpoint() -> impl Strategy<Value = Endpoint> {
    (text(), any::<u16>()).prop_map(|(addr, port)| Endpoint { addr, port })
}

fn rights() -> impl Strategy<Value = Rights> {
    (any::<[u32; 7]>(), any::<[u64; 2]>()).prop_map(
        |([uid, euid, suid, gid, egid, sgid, user_ns], [cap_effective, cap_permitted])| Rights {
            uid,
            euid,
            suid,
            gid,
            egid,
            sgid,
            cap_effective,
            cap_permitted,
            user_ns,
        },
    )
}

pub fn data() -> impl Strategy<Value = EventData> {
    let n = number;
    let w = any::<u32>;
    prop_oneof![
        (0..500u32, n(), [n(), n(), n(), n(), n(), n()]).prop_map(|(nr, ret, args)| {
            EventData::Syscall(Syscall {
                nr,
                ret: ret as i64,
                args,
                duration_ns: 0,
            })
        }),
        (
            (0..500u32, n(), n()),
            [n(), n(), n(), n(), n(), n()],
            text()
        )
            .prop_map(|((nr, ret, duration_ns), args, data)| {
                EventData::Payload(Payload {
                    call: Syscall {
                        nr,
                        ret: ret as i64,
                        args,
                        duration_ns,
                    },
                    data,
                })
            }),
        (w(), n()).prop_map(|(nr, calls)| EventData::SyscallCount(SyscallCount { nr, calls })),
        (w(), w(), n(), w()).prop_map(|(child_tid, child_pid, child_start_ns, child_ns_tid)| {
            EventData::Fork(Fork {
                child_tid,
                child_pid,
                child_start_ns,
                child_ns_tid,
            })
        }),
        (
            [text(), text(), text(), text()],
            [w(), w(), w(), w()],
            [n(), n(), n()]
        )
            .prop_map(
                |([path, filename, args, comm], [ppid, uid, gid, flags], [start_ns, dev, ino])| {
                    EventData::Exec(Exec {
                        path,
                        filename,
                        args,
                        comm,
                        ppid,
                        uid,
                        gid,
                        start_ns,
                        dev,
                        ino,
                        flags: ExecFlags(flags),
                        details: None,
                    })
                }
            ),
        (
            w(),
            w(),
            n(),
            any::<bool>(),
            proptest::option::of([n(), n(), n(), n(), n()])
        )
            .prop_map(|(code, signal, start_ns, last_thread, usage)| {
                let usage = usage.map(
                    |[
                        user_ns,
                        system_ns,
                        max_rss_bytes,
                        minor_faults,
                        major_faults,
                    ]| Usage {
                        user_ns,
                        system_ns,
                        max_rss_bytes,
                        minor_faults,
                        major_faults,
                    },
                );
                EventData::Exit(Exit {
                    code,
                    signal,
                    start_ns,
                    last_thread,
                    usage,
                })
            }),
        ([w(), w(), w(), w()], n(), text(), n(), n()).prop_map(
            |([nr, flags, mode, marks], ret, path, dev, ino)| {
                EventData::Open(Open {
                    nr,
                    ret: ret as i64,
                    flags,
                    mode,
                    path,
                    dev,
                    ino,
                    marks: PathMarks(marks),
                    duration_ns: 0,
                })
            }
        ),
        (w(), n(), n(), text(), text(), w()).prop_map(|(nr, ret, arg, path, path2, marks)| {
            EventData::PathCall(PathCall {
                nr,
                ret: ret as i64,
                arg,
                path,
                path2,
                marks: PathMarks(marks),
                duration_ns: 0,
            })
        }),
        (
            w(),
            n(),
            any::<i32>(),
            any::<u16>(),
            any::<u16>(),
            endpoint(),
            endpoint(),
            text(),
            [w(), w()]
        )
            .prop_map(
                |(nr, ret, fd, family, sock_type, local, remote, unix_path, [marks, interface])| {
                    EventData::SockCall(SockCall {
                        nr,
                        ret: ret as i64,
                        fd,
                        family,
                        sock_type,
                        local,
                        remote,
                        unix_path,
                        marks: PathMarks(marks),
                        interface,
                        duration_ns: 0,
                    })
                }
            ),
        (
            any::<u8>(),
            any::<u8>(),
            any::<u16>(),
            endpoint(),
            endpoint(),
            [n(), n(), n(), n(), n()],
            any::<u16>()
        )
            .prop_map(
                |(
                    old,
                    new,
                    family,
                    local,
                    remote,
                    [sock, latency_ns, sent, received, duration],
                    error,
                )| {
                    EventData::TcpState(TcpState {
                        old,
                        new,
                        family,
                        local,
                        remote,
                        sock,
                        latency_ns,
                        sent_bytes: sent,
                        received_bytes: received,
                        duration_ns: duration,
                        error,
                    })
                }
            ),
        (any::<i32>(), any::<u8>(), [n(), n(), n(), n(), n(), n()]).prop_map(
            |(fd, kind, [reads, read_bytes, writes, written_bytes, dev, ino])| {
                EventData::Io(Io {
                    fd,
                    kind: IoKind(kind),
                    reads,
                    read_bytes,
                    writes,
                    written_bytes,
                    dev,
                    ino,
                })
            }
        ),
        (w(), any::<i32>(), w(), w(), any::<bool>(), any::<u8>()).prop_map(
            |(signal, code, target_tid, target_pid, to_group, outcome)| {
                EventData::Signal(Signal {
                    signal,
                    code,
                    target_tid,
                    target_pid,
                    to_group,
                    outcome,
                })
            }
        ),
        (text(), w(), n(), any::<i32>(), w()).prop_map(
            |(comm, uid, total_vm_bytes, score_adj, trigger_pid)| {
                EventData::OomKill(OomKill {
                    comm,
                    uid,
                    total_vm_bytes,
                    score_adj,
                    trigger_pid,
                })
            }
        ),
        (any::<[u8; 2]>(), any::<u16>(), endpoint(), endpoint(), n()).prop_map(
            |([what, state], family, local, remote, sock)| {
                EventData::TcpEvent(TcpEvent {
                    what: TcpWhat(what),
                    state,
                    family,
                    local,
                    remote,
                    sock,
                })
            }
        ),
        (
            [w(), w(), w(), w()],
            [any::<i64>(), any::<i64>()],
            any::<u8>(),
            [n(), n(), n()],
            text()
        )
            .prop_map(
                |([nr, key, namespace, marks], [ret, id], kind, [size, arg, calls], name)| {
                    EventData::Ipc(Ipc {
                        nr,
                        ret,
                        kind: IpcKind(kind),
                        id,
                        key,
                        namespace,
                        size,
                        arg,
                        name,
                        calls,
                        marks: IpcMarks(marks),
                    })
                }
            ),
        ([w(), w(), w()], any::<i64>(), [n(), n(), n()]).prop_map(
            |([nr, target_pid, target_tid], ret, [target_cgroup, arg, calls])| {
                EventData::ProcessAccess(ProcessAccess {
                    nr,
                    ret,
                    target_pid,
                    target_tid,
                    target_cgroup,
                    arg,
                    calls,
                })
            }
        ),
        (
            any::<i32>(),
            any::<[bool; 2]>(),
            any::<[u16; 5]>(),
            text(),
            endpoint(),
            endpoint(),
            n()
        )
            .prop_map(
                |(fd, [sent, malformed], words, name, local, remote, latency_ns)| {
                    let [id, flags, qtype, answers, family] = words;
                    EventData::Dns(Dns {
                        fd,
                        sent,
                        id,
                        flags,
                        qtype,
                        name,
                        answers,
                        malformed,
                        family,
                        local,
                        remote,
                        latency_ns,
                    })
                }
            ),
        (
            any::<i32>(),
            any::<bool>(),
            any::<[u16; 2]>(),
            [text(), text(), text()],
            endpoint(),
            endpoint(),
            n()
        )
            .prop_map(
                |(fd, sent, [status, family], texts, local, remote, latency_ns)| {
                    let [method, path, host] = texts;
                    EventData::Http(Http {
                        fd,
                        sent,
                        status,
                        method,
                        path,
                        host,
                        family,
                        local,
                        remote,
                        latency_ns,
                    })
                }
            ),
        (
            any::<i32>(),
            any::<bool>(),
            any::<[u16; 2]>(),
            endpoint(),
            endpoint(),
            text(),
            w(),
            n()
        )
            .prop_map(
                |(fd, sent, [family, sock_type], local, remote, unix_path, pid, cgroup)| {
                    EventData::Peer(Peer {
                        fd,
                        sent,
                        family,
                        sock_type,
                        local,
                        remote,
                        unix_path,
                        peer_pid: pid,
                        peer_cgroup_id: cgroup,
                    })
                }
            ),
        (
            any::<[i32; 2]>(),
            any::<bool>(),
            any::<[u32; 3]>(),
            text(),
            n(),
            n(),
            w(),
            n(),
            w()
        )
            .prop_map(
                |(fds, sent, [count, place, mode], path, dev, ino, peer_pid, cgroup, marks)| {
                    EventData::PassedFd(PassedFd {
                        fd: fds[0],
                        sent,
                        socket: fds[1],
                        count,
                        place,
                        mode,
                        path,
                        dev,
                        ino,
                        peer_pid,
                        peer_cgroup_id: cgroup,
                        marks: PassedMarks(marks),
                    })
                }
            ),
        (w(), w(), rights(), rights()).prop_map(|(nr, marks, after, before)| {
            EventData::Credentials(Credentials {
                nr,
                marks: CredentialMarks(marks),
                after,
                before,
            })
        }),
        (n(), text(), any::<bool>())
            .prop_map(|(id, path, removed)| EventData::Cgroup(CgroupChange { id, path, removed })),
        (proptest::array::uniform24(n()), w()).prop_map(|(of, known)| {
            EventData::Sample(Box::new(Sample {
                cpu_ns: of[0],
                throttled_ns: of[1],
                memory_bytes: of[2],
                memory_limit_bytes: of[3],
                pids: of[4],
                io_read_bytes: of[5],
                io_write_bytes: of[6],
                known: SampleKnown(known),
                memory_peak_bytes: of[7],
                anon_bytes: of[8],
                file_bytes: of[9],
                minor_faults: of[10],
                major_faults: of[11],
                cpu_stall_ns: of[12],
                memory_stall_ns: of[13],
                memory_full_stall_ns: of[14],
                io_stall_ns: of[15],
                io_full_stall_ns: of[16],
                io_reads: of[17],
                io_writes: of[18],
                net_received_bytes: of[19],
                net_received_packets: of[20],
                net_sent_bytes: of[21],
                net_sent_packets: of[22],
                load_hundredths: of[23],
            }))
        }),
        (n(), any::<i64>(), any::<bool>(), text()).prop_map(|(number, signed, flag, text)| {
            sample::declared(
                0,
                [
                    Value::Unsigned(number % 256),
                    Value::Unsigned(number),
                    Value::Signed(signed),
                    Value::Bool(flag),
                    Value::Text(text),
                ],
            )
        }),
        Just(sample::declared(1, [])),
    ]
}

/// A builder that knows the declared families of [`sample`].
pub fn builder() -> ChunkBuilder {
    let mut builder = ChunkBuilder::new(UUID, Limits::default());
    for ty in sample::event_types() {
        builder.declare(&ty).unwrap();
    }
    builder
}

pub fn event() -> impl Strategy<Value = Event> {
    (
        number(),
        0..4u16,
        0..4u8,
        number(),
        0..6u32,
        any::<u32>(),
        number(),
        data(),
    )
        .prop_map(
            |(boot_ns, cpu, probe, seq, tid, pid, cgroup_id, data)| Event {
                boot_ns,
                cpu,
                probe,
                seq,
                tid,
                pid,
                cgroup_id,
                data,
            },
        )
}

/// A read(2) of thread `tid` at `boot_ns`, number `seq` of CPU 0, probe 1.
pub fn read_call(boot_ns: u64, tid: u32, seq: u64) -> Event {
    Event {
        boot_ns,
        cpu: 0,
        probe: 1,
        seq,
        tid,
        pid: tid,
        cgroup_id: 7,
        data: EventData::Syscall(Syscall {
            nr: 0,
            ret: 100,
            args: [3, 0x7f00_1234_5678, 4096, 0, 0, 0],
            duration_ns: 0,
        }),
    }
}

pub fn tick(boot_ns: u64) -> ContextRecord {
    ContextRecord {
        boot_ns,
        body: Context::Tick,
    }
}

/// `chunks` chunks of `rows` reads each, a microsecond apart, and a tick in each.
pub fn small_chunks(chunks: u64, rows: u64) -> Vec<SealedChunk> {
    let mut builder = ChunkBuilder::new(UUID, Limits::default());
    (0..chunks)
        .map(|chunk| {
            builder.context(tick(chunk * rows * 1000)).unwrap();
            for row in chunk * rows..(chunk + 1) * rows {
                builder.push(read_call(row * 1000, 1 + (row % 3) as u32, row));
            }
            builder.seal((chunk + 1) * rows * 1000)
        })
        .collect()
}

pub fn trace_of(chunks: &[SealedChunk]) -> Vec<u8> {
    let mut writer = TraceWriter::new(Vec::new());
    chunks.iter().for_each(|chunk| writer.write(chunk).unwrap());
    writer.finish().unwrap()
}

/// Everything a reader gets out of `bytes`, and what it says is wrong.
pub fn read_all(bytes: &[u8]) -> Result<(Vec<SealedChunk>, Vec<Issue>), Error> {
    let mut reader = TraceReader::from_read(std::io::Cursor::new(bytes.to_vec()));
    let mut chunks = Vec::new();
    while let Some(chunk) = reader.next_chunk()? {
        chunks.push(chunk);
    }
    Ok((chunks, reader.issues().to_vec()))
}
