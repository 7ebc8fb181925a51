//! What the two containers do, by the stock rule that it is about.

/// An act and a similar one. Lines of shell; `NAME: LINES` is a script of that name in the background.
pub struct Act {
    pub rules: &'static [&'static str],
    pub fires: &'static str,
    pub quiet: &'static str,
    /// Names of programs that run on both sides.
    pub programs: &'static [&'static str],
}

/// Rules that no recording here fulfils, and why.
pub const CANNOT: &[(&str, &str)] = &[(
    "Contact K8S API Server From Container",
    "it goes by the name of the address (fd.sip.name), and nobody is asked for names",
)];

/// A rule that asks for a privileged container, which not every machine starts: the program of this name is
/// run in one, and in one that is not privileged.
pub const PRIVILEGED: (&str, &str) = ("Debugfs Launched in Privileged Container", "debugfs");

/// Programs are named with their paths: busybox would run its own applets without an exec.
pub const ACTS: &[Act] = &[
    Act {
        rules: &["Directory traversal monitored file read"],
        // A path that was found is recorded as the kernel resolved it; one that was not, as it was written.
        fires: "echo ../../../../../../etc/none | /bin/xargs /bin/cat 2>/dev/null",
        quiet: "echo /etc/none | /bin/xargs /bin/cat 2>/dev/null",
        programs: &["xargs"],
    },
    Act {
        rules: &["Read sensitive file trusted after startup"],
        fires: "httpd: /bin/sleep 6\nread line < /etc/shadow",
        quiet: "httpd: /bin/sleep 6\nread line < /etc/group",
        programs: &["sleep"],
    },
    Act {
        rules: &["Read sensitive file untrusted"],
        fires: "/bin/cat /etc/shadow > /dev/null",
        quiet: "passwd: read line < /etc/shadow",
        programs: &[],
    },
    Act {
        rules: &["Run shell untrusted"],
        fires: "nginx: /bin/sh -c true\ntrue",
        quiet: "worker: /bin/sh -c true\ntrue",
        programs: &[],
    },
    Act {
        rules: &["System user interactive"],
        fires: "sshd: /bin/su -s /bin/sh -c /bin/id nobody > /dev/null",
        quiet: "crond: /bin/su -s /bin/sh -c /bin/id nobody > /dev/null",
        programs: &["su", "id"],
    },
    Act {
        rules: &[
            "Netcat Remote Code Execution in Container",
            "Redirect STDOUT/STDIN to Network Connection in Container",
        ],
        fires: "/bin/nc -l -p 7001 -e /bin/true &\n/bin/sleep 1\necho | /bin/nc -w 1 127.0.0.1 7001",
        quiet: "/bin/nc -l -p 7001 > /dev/null &\n/bin/sleep 1\necho | /bin/nc -w 1 127.0.0.1 7001",
        programs: &["nc"],
    },
    Act {
        rules: &["Search Private Keys or Passwords"],
        fires: "/bin/find /srv -name id_rsa",
        quiet: "/bin/find /srv -name notes",
        programs: &["find"],
    },
    Act {
        rules: &["Find AWS Credentials"],
        fires: "/bin/find /root -path '*/.aws/credentials'\n/bin/find /root -name .aws/credentials 2>/dev/null",
        quiet: "/bin/find /root -name credentials",
        programs: &["find"],
    },
    Act {
        rules: &["Clear Log Activities"],
        fires: ": > /var/log/syslog",
        quiet: "echo another line >> /var/log/syslog",
        programs: &[],
    },
    Act {
        rules: &["Remove Bulk Data from Disk"],
        fires: ": > /tmp/data\n/bin/shred /tmp/data",
        quiet: ": > /tmp/data\n/bin/rm /tmp/data",
        programs: &[],
    },
    Act {
        rules: &["Create Symlink Over Sensitive Files"],
        fires: "/bin/ln -s /etc/shadow /tmp/soft",
        quiet: "/bin/ln -s /etc/group /tmp/soft",
        programs: &["ln"],
    },
    Act {
        rules: &["Create Hardlink Over Sensitive Files"],
        fires: "/bin/ln /etc/shadow /etc/hard",
        quiet: "/bin/ln /etc/group /etc/hard",
        programs: &["ln"],
    },
    Act {
        rules: &["Packet socket created in container"],
        fires: "/bin/helper packet",
        quiet: "/bin/helper datagram",
        programs: &["helper"],
    },
    Act {
        // The container's first shell has a terminal, or has none.
        rules: &["Terminal shell in container"],
        fires: "true",
        quiet: "true",
        programs: &[],
    },
    Act {
        // With the capability the kernel refuses an empty module, without it everything.
        rules: &["Linux Kernel Module Injection Detected"],
        fires: "/bin/helper module",
        quiet: "/bin/helper module",
        programs: &["helper"],
    },
    Act {
        rules: &["Detect release_agent File Container Escapes"],
        fires: ": > /tmp/release_agent",
        quiet: ": > /tmp/release_agent",
        programs: &[],
    },
    Act {
        rules: &["PTRACE attached to process"],
        fires: "/bin/helper attach",
        quiet: "/bin/helper look",
        programs: &["helper"],
    },
    Act {
        rules: &["PTRACE anti-debug attempt"],
        fires: "/bin/helper traceme",
        quiet: "/bin/helper look",
        programs: &["helper"],
    },
    Act {
        rules: &["Execution from /dev/shm"],
        fires: "echo true > /dev/shm/job\n/bin/sh /dev/shm/job",
        quiet: "echo true > /tmp/job\n/bin/sh /tmp/job",
        programs: &[],
    },
    Act {
        rules: &["Drop and execute new binary in container"],
        fires: "/bin/cp /bin/busybox /tmp/true\n/tmp/true",
        quiet: "/bin/cp /bin/busybox /tmp/true\n/bin/true",
        programs: &["cp"],
    },
    Act {
        rules: &["Disallowed SSH Connection Non Standard Port"],
        // An address for documentation, on the container's own loopback interface.
        fires: "/bin/ip address add 198.51.100.1/32 dev lo\n/bin/ip link set lo up\n/bin/ssh connect 198.51.100.1 443",
        quiet: "/bin/ssh connect 127.0.0.1 443",
        programs: &["ssh"],
    },
    Act {
        rules: &["Fileless execution via memfd_create"],
        fires: "/bin/helper memory",
        quiet: "/bin/helper file",
        programs: &["helper"],
    },
];

/// Does one thing and ends: what no program of busybox does.
pub const HELPER: &str = r#"
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* Copies this program into a descriptor and runs it from there. */
static int again(int to, int from)
{
    char part[65536];
    long got;
    while ((got = read(from, part, sizeof part)) > 0)
        if (write(to, part, got) != got)
            return 2;
    char *args[] = {"again", "nothing", 0}, *env[] = {0};
    return fexecve(to, args, env) ? 3 : 0;
}

int main(int count, char **args)
{
    const char *what = count > 1 ? args[1] : "nothing";
    if (!strcmp(what, "packet"))
        return socket(AF_PACKET, SOCK_RAW, 0) < 0;
    if (!strcmp(what, "datagram"))
        return socket(AF_INET, SOCK_DGRAM, 0) < 0;
    if (!strcmp(what, "module"))
        return syscall(SYS_init_module, "", 0, "") == 0;
    if (!strcmp(what, "traceme"))
        return ptrace(PTRACE_TRACEME, 0, 0, 0) != 0;
    if (!strcmp(what, "attach") || !strcmp(what, "look")) {
        int child = fork();
        if (child == 0) {
            pause();
            _exit(0);
        }
        long result = 0;
        if (what[0] == 'a') {
            result = ptrace(PTRACE_ATTACH, child, 0, 0);
            waitpid(child, 0, 0);
            ptrace(PTRACE_DETACH, child, 0, 0);
        } else {
            /* It is not traced: refused, and nothing is attached. */
            ptrace(PTRACE_PEEKDATA, child, 0, 0);
        }
        kill(child, SIGKILL);
        waitpid(child, 0, 0);
        return result != 0;
    }
    if (!strcmp(what, "connect")) {
        struct sockaddr_in to = {.sin_family = AF_INET};
        to.sin_addr.s_addr = inet_addr(args[2]);
        to.sin_port = htons(atoi(args[3]));
        int listener = socket(AF_INET, SOCK_STREAM, 0);
        int caller = socket(AF_INET, SOCK_STREAM, 0);
        return bind(listener, (void *)&to, sizeof to) || listen(listener, 1)
            || connect(caller, (void *)&to, sizeof to);
    }
    if (!strcmp(what, "memory"))
        return again(memfd_create("part", 0), open("/proc/self/exe", O_RDONLY));
    if (!strcmp(what, "file")) {
        char *next[] = {"/bin/helper", "nothing", 0}, *env[] = {0};
        return execve(next[0], next, env);
    }
    return 0;
}
"#;
