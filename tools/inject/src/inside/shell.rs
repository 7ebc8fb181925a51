//! `sh`: a small shell, and `webd pool`, a server's worker that starts one.
//!
//! It knows the few commands with which somebody looks around; everything else is "not found".

use std::{
    fs,
    io::{self, BufRead, Write},
    process::{Command, Stdio},
};

use crate::image::SHELL;

/// `sh [-c COMMANDS]`: commands are separated by newlines or semicolons; without -c they come from stdin.
pub fn main(args: &[String]) -> i32 {
    let mut out = io::stdout().lock();
    if let [flag, commands, ..] = args
        && flag == "-c"
    {
        return commands
            .split([';', '\n'])
            .find_map(|line| run(line, &mut out))
            .unwrap_or(0);
    }
    for line in io::stdin().lock().lines().map_while(Result::ok) {
        if let Some(code) = run(&line, &mut out) {
            return code;
        }
    }
    0
}

/// `Some`: the shell ends with this code.
fn run(line: &str, out: &mut impl Write) -> Option<i32> {
    let mut words = line.split_whitespace();
    let command = words.next()?;
    let first = words.next();
    let done = match command {
        "exit" => return Some(first.and_then(|code| code.parse().ok()).unwrap_or(0)),
        "id" => writeln!(out, "{}", nix::unistd::getuid()),
        "uname" => fs::read("/proc/version").and_then(|text| out.write_all(&text)),
        "cat" => fs::read(first.unwrap_or("/dev/null")).and_then(|text| out.write_all(&text)),
        "ls" => list(first.unwrap_or("."), out),
        "echo" => writeln!(out, "{}", first.unwrap_or("")),
        _ => writeln!(out, "sh: {command}: not found"),
    };
    if let Err(error) = done {
        // Whoever typed it reads it; when nobody does, the next read ends the shell.
        let _ = writeln!(out, "sh: {line}: {error}");
    }
    None
}

fn list(directory: &str, out: &mut impl Write) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        writeln!(out, "{}", entry?.file_name().to_string_lossy())?;
    }
    Ok(())
}

/// `webd pool N`: a worker that hands a request to a shell.
pub fn pool() -> i32 {
    let status = Command::new(SHELL)
        .args(["-c", "id; uname; ls /srv; cat /etc/passwd"])
        .stdin(Stdio::null())
        .status();
    i32::from(!status.is_ok_and(|status| status.success()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_answer_and_exit_ends() {
        let mut out = Vec::new();
        assert_eq!(run("echo hello", &mut out), None);
        assert_eq!(run("", &mut out), None);
        assert_eq!(run("rm -rf /", &mut out), None);
        assert_eq!(run("exit 3", &mut out), Some(3));
        assert_eq!(out, b"hello\nsh: rm: not found\n");
    }
}
