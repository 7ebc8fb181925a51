//! Runs a program that lies in memory only.

use std::{
    ffi::{CString, c_char},
    fs::{self, File},
    io::{self, Write},
    os::fd::{AsRawFd, FromRawFd, RawFd},
    time::Duration,
};

use nix::{
    sys::wait::{WaitStatus, waitpid},
    unistd::{ForkResult, fork},
};

use super::{Act, ActError, Ctx, Info, Kind, Signal};

pub struct FilelessExec;

static INFO: Info = Info {
    name: "fileless_exec",
    kind: Kind::Anomaly,
    attack_id: "T1620",
    about: "memfd_create, writes a program into it, execveat, every 0.5 to 5 s",
    needs: "nothing",
    signals: &[Signal::ExecMemory, Signal::MemfdCalls],
};

impl Act for FilelessExec {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn run(&self, ctx: &mut Ctx) -> Result<String, ActError> {
        const OWN: &str = "/proc/self/exe";
        let program = fs::read(OWN).map_err(ActError::io("read", OWN))?;
        let pause = Duration::from_secs_f64(ctx.scale(5.0, 0.5));
        let mut runs = 0u64;
        // At least once, however short its time.
        loop {
            let name = CString::new(ctx.word()).unwrap_or_default();
            let mut file = memory_file(&name)?;
            file.write_all(&program)
                .map_err(ActError::io("write", "a file in memory"))?;
            run(file.as_raw_fd(), &name)?;
            drop(file);
            runs += 1;
            ctx.sleep(pause);
            if ctx.over() {
                return Ok(format!("{runs} programs run from memory"));
            }
        }
    }
}

fn memory_file(name: &CString) -> Result<File, ActError> {
    // SAFETY: the name is a C string; the result is a new descriptor or -1.
    let fd = unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC) };
    match fd {
        -1 => Err(ActError::io("make", "a file in memory")(
            io::Error::last_os_error(),
        )),
        // SAFETY: nothing else owns the descriptor.
        fd => Ok(unsafe { File::from_raw_fd(fd) }),
    }
}

/// A name that the program does not know makes it the stray of `inside::stray`.
fn run(fd: RawFd, name: &CString) -> Result<(), ActError> {
    let arguments: [*const c_char; 2] = [name.as_ptr(), std::ptr::null()];
    let environment: [*const c_char; 1] = [std::ptr::null()];
    // SAFETY: the task process has one thread; the child only calls execveat or _exit.
    match unsafe { fork() }.map_err(ActError::os("fork", "a child"))? {
        ForkResult::Child => unsafe {
            libc::syscall(
                libc::SYS_execveat,
                fd,
                c"".as_ptr(),
                arguments.as_ptr(),
                environment.as_ptr(),
                libc::AT_EMPTY_PATH,
            );
            libc::_exit(127)
        },
        ForkResult::Parent { child } => {
            let status = waitpid(child, None).map_err(ActError::os("wait for", "a child"))?;
            match status {
                WaitStatus::Exited(_, 0) => Ok(()),
                other => Err(ActError::io("run", "a file in memory")(io::Error::other(
                    format!("{other:?}"),
                ))),
            }
        }
    }
}
