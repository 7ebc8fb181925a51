//! Attaches to a child of its own, writes into its memory, lets it go on.

use std::{
    fs::OpenOptions,
    io,
    os::unix::fs::FileExt,
    ptr,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

use nix::{
    sys::{
        signal::{Signal as Number, kill},
        wait::{WaitPidFlag, waitpid},
    },
    unistd::{ForkResult, Pid, fork},
};
use rand::Rng;

use super::{Act, ActError, Ctx, Info, Kind, Signal};

pub struct PtraceInject;

static INFO: Info = Info {
    name: "ptrace_inject",
    kind: Kind::Anomaly,
    attack_id: "T1055.008",
    about: "traces its own child and writes its memory through /proc/PID/mem, 1 to 10 a second",
    needs: "ptrace of own children",
    signals: &[Signal::PtraceCalls, Signal::ProcMemOpen],
};

/// What is written to: at the same address in the child, which is a fork.
static TARGET: AtomicU64 = AtomicU64::new(0);

impl Act for PtraceInject {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn run(&self, ctx: &mut Ctx) -> Result<String, ActError> {
        let pause = ctx.pause(0.5, 10.0);
        // SAFETY: the task process has one thread, so the child may do whatever a process may.
        let victim = match unsafe { fork() }.map_err(ActError::os("fork", "a child"))? {
            ForkResult::Child => loop {
                // Killed with its group, when not by its parent.
                thread::sleep(Duration::from_millis(50));
            },
            ForkResult::Parent { child } => child,
        };
        let mut injected = 0u64;
        // At least once, however short its time.
        let result = loop {
            if let Err(error) = inject(victim, ctx.rng.random()) {
                break Err(ActError::io("write the memory of", "a child")(error));
            }
            injected += 1;
            ctx.sleep(pause);
            if ctx.over() {
                break Ok(format!("{injected} writes"));
            }
        };
        let _ = kill(victim, Number::SIGKILL);
        let _ = waitpid(victim, None);
        result
    }
}

fn inject(victim: Pid, value: u64) -> io::Result<()> {
    trace(libc::PTRACE_ATTACH, victim, ptr::null_mut())?;
    waitpid(victim, Some(WaitPidFlag::__WALL))?;
    let address = ptr::from_ref(&TARGET).addr();
    let memory = OpenOptions::new()
        .read(true)
        .write(true)
        .open(format!("/proc/{victim}/mem"))?;
    memory.write_all_at(&value.to_le_bytes(), address as u64)?;
    let mut back = [0; 8];
    memory.read_exact_at(&mut back, address as u64)?;
    trace(
        libc::PTRACE_PEEKDATA,
        victim,
        ptr::without_provenance_mut(address),
    )?;
    trace(libc::PTRACE_DETACH, victim, ptr::null_mut())?;
    match u64::from_le_bytes(back) == value && TARGET.load(Ordering::Relaxed) == 0 {
        true => Ok(()),
        false => Err(io::Error::other("the child's memory did not change alone")),
    }
}

fn trace(request: libc::c_uint, victim: Pid, address: *mut libc::c_void) -> io::Result<()> {
    let mut word: libc::c_long = 0;
    // SAFETY: the requests used here take no data but a place for one word.
    let result = unsafe {
        libc::syscall(
            libc::SYS_ptrace,
            libc::c_long::from(request),
            victim.as_raw(),
            address,
            match request {
                libc::PTRACE_PEEKDATA => ptr::from_mut(&mut word),
                _ => ptr::null_mut(),
            },
        )
    };
    match result {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
