//! What conditions mean.

use crate::world::*;
use replay::rules::{Engine, FieldValue, Filter, RuleSet};
use trace_format::{
    Container, Context, EventData, ExecFlags, PathMarks, Resolution, TcpState, Text,
};

fn read_shadow() -> EventData {
    open("/etc/shadow", 3, 0)
}

#[track_caller]
fn assert_all(world: &mut World, pid: u32, data: &EventData, cases: &[(&str, bool)]) {
    for (condition, expected) in cases {
        assert_eq!(
            world.holds(condition, pid, data.clone()),
            *expected,
            "{condition}"
        );
    }
}

#[test]
fn operators_mean_what_the_documentation_says() {
    let mut world = World::new();
    assert_all(
        &mut world,
        60,
        &read_shadow(),
        &[
            ("fd.name = /etc/shadow", true),
            ("fd.name == '/etc/shadow'", true),
            ("fd.name != /etc/shadow", false),
            ("fd.name in (/etc/passwd, /etc/shadow)", true),
            ("fd.name in ()", false),
            ("not fd.name in ()", true),
            ("fd.name intersects (/etc/shadow)", true),
            ("fd.name contains had", true),
            ("fd.name contains HAD", false),
            ("fd.name icontains HAD", true),
            ("fd.name startswith /etc", true),
            ("fd.name endswith dow", true),
            ("fd.name endswith /etc/shadow/x", false),
            ("fd.name pmatch (/etc)", true),
            ("fd.name pmatch (/et, /usr)", false),
            ("fd.name pmatch (/*/shadow)", true),
            ("fd.name glob /etc/sha*", true),
            ("fd.name glob /etc", false),
            ("fd.name iglob /ETC/*", true),
            ("fd.name > /etc/a and fd.name < /etc/z", true),
            ("fd.name >= /etc/shadow and fd.name <= /etc/shadow", true),
            ("fd.name exists", true),
            ("fd.name contains anyof (xyz, shadow)", true),
            ("fd.name contains allof (etc, shadow)", true),
            ("fd.name contains allof (etc, xyz)", false),
            ("fd.name contains oneof (etc, xyz)", true),
            ("fd.name contains oneof (etc, shadow)", false),
            (
                "fd.num = 3 and fd.num != 4 and fd.num < 4 and fd.num >= 3",
                true,
            ),
            ("fd.num in (1, 2, 3)", true),
            ("fd.num in (0x3)", true),
            (
                "evt.is_open_read = true and evt.is_open_read != false",
                true,
            ),
            ("evt.is_open_write = true", false),
            ("fd.name = val(fd.name)", true),
            ("fd.name endswith val(fd.filename)", true),
            ("fd.directory = val(proc.name)", false),
            ("proc.pid > val(fd.num)", true),
            ("toupper(fd.name) = /ETC/SHADOW", true),
            ("basename(fd.name) in (shadow)", true),
            ("tolower(basename(fd.name)) startswith sh", true),
            ("fd.name regex '/etc/(shadow|passwd)'", true),
            ("fd.name regex 'shadow'", false),
            ("fd.name regex anyof ('/x', '.*[[:alpha:]]+')", true),
            ("fd.name bcontains 736861", true),
            ("fd.name bcontains 736862", false),
            ("fd.name bstartswith 2F6574", true),
            ("len(fd.name) = 11 and len(fd.filename) < 7", true),
            ("len(proc.aname) >= 1", true),
            (
                "concat(fd.directory, '/', fd.filename) = val(fd.name)",
                true,
            ),
            ("concat(fd.directory, '/x') = /etc/x", true),
            ("join('+', (fd.filename, fd.num)) = shadow+3", true),
            ("join(',', proc.aname) = 'containerd-shim,systemd'", true),
            ("getopt(proc.args, 'g:')[g] = daemon", true),
            ("getopt(proc.args, 'xg:')[x] exists", false),
            ("fd.filename = basename(fd.name)", true),
            ("fd.name = toupper(fd.name)", false),
            ("fd.name = b64(fd.name)", false),
            ("proc.name in val(proc.aname)", false),
            ("proc.aname = val(proc.pname)", true),
            (
                "fd.name iglob val(fd.name) and fd.name pmatch val(fd.directory)",
                true,
            ),
            (
                "proc.apid = 50 and proc.apid[1] = 50 and proc.apid in (1)",
                true,
            ),
            ("proc.apid = 60", false),
            (
                "evt.is_open_read in (true) and evt.is_open_read intersects (true, false)",
                true,
            ),
            ("evt.is_open_read in (false)", false),
            ("evt.is_open_read = val(evt.is_open_write)", false),
        ],
    );
}

#[test]
fn and_binds_tighter_than_or_and_not_tightest() {
    let mut world = World::new();
    let (t, f) = ("evt.type=openat", "evt.type=close");
    let cases = [
        (format!("{t} or {t} and {f}"), true),
        (format!("({t} or {t}) and {f}"), false),
        (format!("not {f} and {t}"), true),
        (format!("not ({f} or {t})"), false),
        (format!("not {t} or {t}"), true),
        (format!("not not {t}"), true),
        (format!("not not not {t}"), false),
        (format!("{f} or not({f})"), true),
        (format!("({t})and({t})"), true),
    ];
    for (condition, expected) in &cases {
        assert_eq!(
            world.holds(condition, 60, read_shadow()),
            *expected,
            "{condition}"
        );
    }
}

#[test]
fn a_missing_value_fails_every_comparison_and_its_negation_holds() {
    let mut world = World::new();
    for check in [
        "proc.tty = 0",
        "proc.tty != 0",
        "proc.tty >= 0",
        "proc.sname = x",
        "proc.sname != x",
        "proc.sname in (x)",
        "proc.sname exists",
        "fd.sip = 1.2.3.4",
        "fd.sip != 1.2.3.4",
        "fd.port != 1",
        "fs.path.target exists",
        "proc.aname[40] != x",
        "evt.arg.request != x",
    ] {
        assert!(!world.holds(check, 60, read_shadow()), "{check}");
        assert!(
            world.holds(&format!("not {check}"), 60, read_shadow()),
            "not {check}"
        );
    }
    assert!(world.holds("evt.arg.fd exists and proc.name exists", 60, read_shadow()));
}

#[test]
fn an_unknown_process_has_the_name_na_and_nothing_else() {
    let mut world = World::new();
    let cases = [
        ("proc.name = \"<NA>\"", true),
        ("proc.name exists", true),
        ("proc.exepath exists", false),
        ("proc.pname exists", false),
        ("proc.pid = 4242", true),
        ("user.uid exists", false),
    ];
    assert_all(&mut world, 4242, &read_shadow(), &cases);
}

#[test]
fn process_fields_describe_the_actor_and_its_ancestors() {
    let mut world = World::new();
    world.child(60, 61);
    world.happens(61, exec("/bin/sh", &["sh", "-c", "id"], 60, 33));
    world.child(61, 62);
    let cases = [
        (
            "proc.name = sh and proc.exe = sh and proc.exepath = /bin/sh",
            true,
        ),
        (
            "proc.args = '-c id' and proc.cmdline = 'sh -c id' and proc.exeline = 'sh -c id'",
            true,
        ),
        ("proc.pname = sh and proc.ppid = 61", true),
        (
            "proc.aname[2] = nginx and proc.aname[3] = containerd-shim",
            true,
        ),
        ("proc.aname[0] = sh", true),
        ("proc.aname = nginx", true),
        ("proc.aname in (systemd)", true),
        ("proc.aname = ghost", false),
        ("proc.apid[2] = 60", true),
        ("proc.acmdline contains 'daemon off'", true),
        ("proc.aexepath endswith nginx", true),
        (
            "proc.pexepath = /bin/sh and proc.pcmdline startswith 'sh -c'",
            true,
        ),
        ("proc.cwd = /srv/", true),
        (
            "user.uid = 33 and user.name = www-data and group.gid = 33",
            true,
        ),
        ("proc.duration < 5000000000", true),
        ("thread.tid = 62", true),
        ("proc.puid = 33", true),
    ];
    assert_all(&mut world, 62, &read_shadow(), &cases);
}

#[test]
fn container_fields_tell_container_host_and_unknown_apart() {
    let mut world = World::new();
    let cases = [
        ("container.id = 0123456789ab", true),
        ("container.id != host", true),
        (&*format!("container.full_id = {WEB_ID}"), true),
        ("container.name = web and container.runtime = docker", true),
        ("container.image = registry.example/team/web:1.2", true),
        (
            "container.image.repository = registry.example/team/web",
            true,
        ),
        ("container.image.tag = 1.2", true),
        ("container.privileged = false", true),
        (
            "container.label[app] = shop and k8s.pod.label[app] = shop",
            true,
        ),
        ("container.label[other] exists", false),
        ("k8s.ns.name = shop and k8s.pod.name = web-7", true),
    ];
    assert_all(&mut world, 60, &read_shadow(), &cases);
    let cases = [
        ("container.id = host and container.name = host", true),
        ("container.image exists and container.image = ''", true),
        ("container.privileged = false", true),
    ];
    assert_all(&mut world, 70, &read_shadow(), &cases);
    // A cgroup that no record has described.
    world.process(90, 1, "x", "/x", &["x"], 999, 0);
    let cases = [
        ("container.id exists", false),
        ("container.id != host", false),
    ];
    assert_all(&mut world, 90, &read_shadow(), &cases);
    // Metadata still on its way.
    world.context(Context::Container(Container {
        cgroup_id: 999,
        id: "f".repeat(64),
        resolution: Resolution::Pending,
        ..Container::default()
    }));
    let cases = [
        ("container.id = ffffffffffff", true),
        ("container.privileged exists", false),
        ("container.name exists", false),
    ];
    assert_all(&mut world, 90, &read_shadow(), &cases);
}

#[test]
fn file_fields_follow_opens_and_the_calls_on_their_descriptors() {
    let mut world = World::new();
    let cases = [
        (
            "evt.type = openat and evt.dir = '<' and evt.res = SUCCESS and evt.rawres = 3",
            true,
        ),
        ("fd.typechar = f and fd.type = file", true),
        ("fd.directory = /etc and fd.filename = shadow", true),
        ("fs.path.name = /etc/shadow", true),
        (
            "evt.arg.flags = O_RDONLY and evt.arg.name = /etc/shadow and evt.arg[1] = /etc/shadow",
            true,
        ),
        ("evt.arg.fd = '<f>/etc/shadow' and evt.rawarg.fd = 3", true),
        ("evt.arg.mode = 0644", true),
        ("evt.args startswith 'fd=<f>/etc/shadow name='", true),
    ];
    assert_all(&mut world, 60, &read_shadow(), &cases);
    let cases = [(
        "fd.num = 3 and fd.name = /etc/shadow and evt.rawres = 100",
        true,
    )];
    assert_all(
        &mut world,
        60,
        &call("read", 100, [3, 0, 4096, 0, 0, 0]),
        &cases,
    );
    // The descriptor is still there when its close is judged, and gone after.
    let closing = "evt.type = close and fd.name = /etc/shadow";
    assert!(world.holds(closing, 60, call("close", 0, [3, 0, 0, 0, 0, 0])));
    assert!(world.holds(
        "fd.name = '' and fd.num = 3",
        60,
        call("read", -9, [3, 0, 1, 0, 0, 0])
    ));

    let failed = open("../../etc/passwd", -13, O_WRONLY | O_CREAT | O_TRUNC);
    let cases = [
        (
            "fd.num = -1 and evt.res = EACCES and evt.failed = true",
            true,
        ),
        ("fd.name = /etc/passwd", true),
        ("fd.nameraw = ../../etc/passwd", true),
        ("fs.path.name exists", false),
        (
            "evt.is_open_write = true and evt.is_open_read = false",
            true,
        ),
        (
            "evt.arg.flags contains O_TRUNC and evt.arg.fd = EACCES",
            true,
        ),
    ];
    assert_all(&mut world, 60, &failed, &cases);

    let mut made = open_data("/tmp/x", 4, 2 | O_CREAT);
    made.mode = 0o755;
    made.marks = PathMarks(PathMarks::CREATED);
    let cases = [
        (
            "evt.is_open_read = true and evt.is_open_write = true and evt.is_open_create = true",
            true,
        ),
        ("evt.is_open_exec = true", true),
    ];
    assert_all(&mut world, 60, &EventData::Open(made), &cases);
    let directory = open("/etc", 5, 0o200000);
    assert_all(
        &mut world,
        60,
        &directory,
        &[
            ("fd.typechar = d and fd.directory = /etc", true),
            ("fd.filename exists", false),
        ],
    );
}

#[test]
fn path_fields_know_source_and_target() {
    let mut world = World::new();
    let rename = path_call("rename", 0, "/tmp/a", "/usr/bin/a", 0);
    let cases = [
        (
            "fs.path.source = /tmp/a and fs.path.target = /usr/bin/a",
            true,
        ),
        (
            "evt.arg.oldpath = /tmp/a and evt.arg.newpath = /usr/bin/a",
            true,
        ),
        ("fs.path.name exists", false),
    ];
    assert_all(&mut world, 60, &rename, &cases);
    let symlink = path_call("symlinkat", 0, "/etc/shadow", "mine", 0);
    let cases = [
        (
            "fs.path.source = /srv/mine and fs.path.target = /etc/shadow",
            true,
        ),
        (
            "evt.arg.target = /etc/shadow and evt.arg.linkpath = mine",
            true,
        ),
    ];
    assert_all(&mut world, 60, &symlink, &cases);
    assert_all(
        &mut world,
        60,
        &path_call("unlink", -2, "/x", "", 0),
        &[("fs.path.name exists", false), ("evt.arg.path = /x", true)],
    );
    let chmod = path_call("fchmodat", 0, "/x", "", 0o4755);
    assert_all(
        &mut world,
        60,
        &chmod,
        &[(
            "evt.arg.mode contains S_ISUID and evt.arg.mode contains S_IXOTH",
            true,
        )],
    );
}

#[test]
fn socket_fields_tell_client_and_server() {
    let mut world = World::new();
    let out = connect(0, [93, 184, 216, 34], 443);
    let cases = [
        ("fd.name = '172.17.0.2:40000->93.184.216.34:443'", true),
        (
            "fd.typechar = 4 and fd.type = ipv4 and fd.l4proto = tcp and fd.sockfamily = ip",
            true,
        ),
        ("fd.sip = 93.184.216.34 and fd.cip = 172.17.0.2", true),
        ("fd.rip = 93.184.216.34 and fd.lip = 172.17.0.2", true),
        (
            "fd.sport = 443 and fd.rport = https and fd.cport = 40000 and fd.lport = 40000",
            true,
        ),
        ("fd.ip = 172.17.0.2 and fd.ip = 93.184.216.34", true),
        ("fd.ip != 172.17.0.2", false),
        ("fd.ip != 1.1.1.1", true),
        (
            "fd.port = 443 and fd.port = 40000 and fd.port in (443)",
            true,
        ),
        ("fd.port != 443", false),
        ("fd.port != 80", true),
        ("fd.net = '172.16.0.0/12'", true),
        ("fd.net != '172.16.0.0/12'", false),
        ("fd.snet in ('10.0.0.0/8', '93.184.0.0/16')", true),
        ("fd.connected = true", true),
        ("fd.sip in (93.184.216.34, ::1)", true),
        ("fd.sip = ::1", false),
    ];
    assert_all(&mut world, 60, &out, &cases);
    assert_all(
        &mut world,
        60,
        &connect(-111, [1, 2, 3, 4], 1),
        &[("fd.connected = false and evt.res = ECONNREFUSED", true)],
    );

    let accepted = EventData::SockCall(sock_data(
        "accept4",
        12,
        12,
        end([172, 17, 0, 2], 80),
        end([10, 0, 0, 9], 5555),
    ));
    let cases = [
        ("fd.name = '10.0.0.9:5555->172.17.0.2:80'", true),
        (
            "fd.sport = 80 and fd.cport = 5555 and fd.rport = 5555 and fd.lport = 80",
            true,
        ),
    ];
    assert_all(&mut world, 60, &accepted, &cases);
    // The descriptor remembers which end it is.
    assert_all(
        &mut world,
        60,
        &call("read", 5, [12, 0, 10, 0, 0, 0]),
        &[("fd.sport = 80 and fd.num = 12", true)],
    );

    let mut six = sock_data("connect", 0, 3, end([0, 0, 0, 0], 0), end([0, 0, 0, 0], 0));
    six.family = 10;
    six.local.addr = Text::new(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 127, 0, 0, 1]);
    six.remote.addr = Text::new(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 127, 0, 0, 1]);
    assert_all(
        &mut world,
        60,
        &EventData::SockCall(six),
        &[("fd.typechar = 4 and fd.sip = 127.0.0.1", true)],
    );

    let mut unix = sock_data("connect", 0, 3, Default::default(), Default::default());
    (unix.family, unix.unix_path) = (1, "/run/docker.sock".into());
    let cases = [
        (
            "fd.typechar = u and fd.name = /run/docker.sock and fd.sockfamily = unix",
            true,
        ),
        ("fd.sip exists", false),
    ];
    assert_all(&mut world, 60, &EventData::SockCall(unix), &cases);
}

#[test]
fn tcp_states_have_names_and_their_connections_roles() {
    let mut world = World::new();
    let change = |old, new, latency_ns| {
        EventData::TcpState(TcpState {
            old,
            new,
            family: 2,
            local: end([172, 17, 0, 2], 40000),
            remote: end([9, 9, 9, 9], 53),
            sock: 77,
            latency_ns,
            ..TcpState::default()
        })
    };
    assert!(world.holds(
        "evt.type = tcp_connecting and fd.sip = 9.9.9.9",
        60,
        change(7, 2, 0)
    ));
    let done = "evt.type = tcp_connect_done and evt.rawarg.latency = 1500 and proc.name = nginx";
    assert!(world.holds(done, 60, change(2, 1, 1500)));
    assert!(world.holds("evt.type = tcp_state", 60, change(1, 4, 0)));
    let closed = "evt.type = tcp_closed and fd.name = '172.17.0.2:40000->9.9.9.9:53'";
    assert!(world.holds(closed, 60, change(4, 7, 0)));
    assert!(world.holds(
        "evt.type = tcp_accepted and fd.sport = 40000",
        60,
        change(3, 1, 0)
    ));
    assert!(world.holds("evt.type = tcp_connect_failed", 60, change(2, 7, 9)));
}

#[test]
fn kernel_calls_show_their_flags_by_name() {
    let mut world = World::new();
    let newns = call("unshare", -1, [0x2_0000, 0, 0, 0, 0, 0]);
    assert_all(
        &mut world,
        60,
        &newns,
        &[("evt.arg.flags = CLONE_NEWNS and evt.res = EPERM", true)],
    );
    let attach = call("ptrace", 0, [16, 61, 0, 0, 0, 0]);
    assert_all(
        &mut world,
        60,
        &attach,
        &[(
            "evt.arg.request = PTRACE_ATTACH and evt.rawarg.pid = 61",
            true,
        )],
    );
    let load = call("bpf", -1, [5, 0, 0, 0, 0, 0]);
    assert_all(
        &mut world,
        60,
        &load,
        &[("evt.arg.cmd = BPF_PROG_LOAD", true)],
    );
    let mount = path_call("mount", -1, "none", "/mnt", 0x1000);
    assert_all(
        &mut world,
        60,
        &mount,
        &[("evt.arg.dir = /mnt and evt.arg.flags = MS_BIND", true)],
    );
    let mut packet = sock_data("socket", 5, 5, Default::default(), Default::default());
    packet.family = 17;
    assert_all(
        &mut world,
        60,
        &EventData::SockCall(packet),
        &[("evt.arg.domain = AF_PACKET and fd.typechar = X", true)],
    );
    assert_all(
        &mut world,
        60,
        &call("setuid", 0, [0; 6]),
        &[("evt.arg.uid = root and user.uid = 0", true)],
    );
}

#[test]
fn event_types_compare_like_texts_with_names_checked() {
    let mut world = World::new();
    let cases = [
        ("evt.type = openat", true),
        ("evt.type != openat", false),
        ("evt.type in (open, openat)", true),
        ("evt.type startswith open", true),
        ("evt.type contains pena", true),
        ("evt.type glob '*at'", true),
        ("syscall.type = openat", true),
        ("evt.type = switch", false),
        ("evt.type exists", true),
        ("not evt.type in (open)", true),
    ];
    assert_all(&mut world, 60, &read_shadow(), &cases);
    let started = world.boot_ns + 1;
    assert!(world.holds(
        "evt.type = clone and evt.rawarg.child = 65",
        60,
        fork(65, started)
    ));
    assert!(world.holds(
        "evt.type = procexit and evt.arg.sig = 0 and proc.name = nginx",
        65,
        exit(started)
    ));
    assert!(world.holds(
        "evt.type = umount",
        60,
        path_call("umount2", 0, "/mnt", "", 0)
    ));
    let error = Filter::compile("evt.type = opne").err().unwrap();
    assert_eq!((error.column, &*error.token), (12, "`opne`"));
}

#[test]
fn the_time_of_an_event_is_wall_time() {
    let mut world = World::new();
    // 1 700 000 000 s after 1970 is 22:13:20 on 14 November 2023.
    world.boot_ns = 1_000_000_000 - 1_000_000;
    assert!(world.holds("evt.time = '22:13:21.000000000'", 60, read_shadow()));
    world.boot_ns = 1_000_000_000 - 1_000_000;
    assert!(world.holds(
        "evt.time.iso8601 = '2023-11-14T22:13:21.000000000+0000'",
        60,
        read_shadow()
    ));
    assert!(world.holds(
        "evt.rawtime > 1700000000000000000 and evt.num >= 3",
        60,
        read_shadow()
    ));
}

#[test]
fn outputs_fill_in_fields_with_their_types() {
    let rules = "
- rule: r
  desc: d
  condition: evt.type=openat
  output: '*%proc.name read %fd.name. tty=%proc.tty up=%toupper(proc.name) [%8proc.name|%3proc.name] %proc.aname[1] %evt.is_open_read at %evt.time: 100%evt.cpu'
  priority: info
  tags: [T1003.008, T1552, network, TA0001, T10]
";
    let mut engine = Engine::new(RuleSet::load(&[("t", rules)]).unwrap().0);
    let mut world = World::new();
    world.boot_ns = 1_000_000_000 - 1_000_000;
    let matches = world.judge(&mut engine, 60, open("/tmp/a\nb\u{1b}[31m", 3, 0));
    assert_eq!(
        matches[0].output,
        "nginx read /tmp/a\\nb\\u001b[31m. tty=<NA> up=NGINX [nginx   |ngi] containerd-shim true at 22:13:21.000000000: 1000"
    );
    let field = |name: &str| {
        matches[0]
            .fields
            .iter()
            .find(|field| &*field.0 == name)
            .unwrap()
            .1
            .clone()
    };
    assert_eq!(field("proc.tty"), FieldValue::Missing);
    assert_eq!(field("evt.is_open_read"), FieldValue::Boolean(true));
    assert_eq!(
        field("evt.time"),
        FieldValue::Number(1_700_000_001_000_000_000)
    );
    assert_eq!(
        field("proc.aname[1]"),
        FieldValue::Text("containerd-shim".into())
    );
    assert_eq!(
        matches[0].techniques().collect::<Vec<_>>(),
        ["T1003.008", "T1552"]
    );
    assert_eq!(serde_json::to_string(&field("proc.tty")).unwrap(), "null");
}

#[test]
fn bytes_that_are_no_text_are_compared_as_they_are() {
    let mut world = World::new();
    let mut data = open_data("x", 3, 0);
    data.path = Text::new(b"/tmp/\xff\xfe");
    assert!(world.holds(r"fd.name = '/tmp/\xff\xfe'", 60, EventData::Open(data)));
}

#[test]
fn exec_flags_are_booleans_of_the_process() {
    let mut world = World::new();
    let mut exec = exec_data("/memfd:x (deleted)", &["x"], 60, 33);
    exec.flags = ExecFlags(ExecFlags::MEMFD | ExecFlags::UPPER_LAYER | ExecFlags::DELETED);
    world.child(60, 61);
    let condition = "proc.is_exe_from_memfd = true and proc.is_exe_upper_layer = true and proc.is_exe_deleted = true \
                     and evt.arg.flags contains EXE_FROM_MEMFD and proc.exe_ino = 77";
    assert!(world.holds(condition, 61, EventData::Exec(exec)));
    assert!(world.holds(
        "proc.is_exe_from_memfd exists and proc.exe_born_in_container = false",
        61,
        read_shadow()
    ));
    // Never seen to exec: unknown, not false.
    assert!(world.holds("not proc.is_exe_from_memfd exists", 60, read_shadow()));
}
