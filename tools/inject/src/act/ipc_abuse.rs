//! Two processes that talk through every kind of System V IPC, and a flood of signals between them.

use std::{io, ptr, thread, time::Duration};

use nix::{
    sys::{
        signal::{Signal as Number, kill},
        wait::waitpid,
    },
    unistd::{ForkResult, Pid, fork},
};

use super::{Act, ActError, Ctx, Info, Kind, Signal};

pub struct IpcAbuse;

static INFO: Info = Info {
    name: "ipc_abuse",
    kind: Kind::Anomaly,
    attack_id: "T1559",
    about: "shared memory, message queue and semaphore between two processes, and 50 to 1000 signals a second",
    needs: "nothing",
    signals: &[Signal::IpcCalls, Signal::SignalRate],
};

const SHARED_BYTES: usize = 4096;
const MODE: libc::c_int = libc::IPC_CREAT | 0o600;
const MESSAGE_BYTES: usize = 64;

/// `struct msgbuf`: a positive type, then the text.
#[repr(C)]
struct Message {
    kind: libc::c_long,
    text: [u8; MESSAGE_BYTES],
}

impl Act for IpcAbuse {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn run(&self, ctx: &mut Ctx) -> Result<String, ActError> {
        let pause = ctx.pause(50.0, 1000.0);
        let objects = Objects::make()?;
        // SAFETY: the task process has one thread, so the child may do whatever a process may.
        let other = match unsafe { fork() }.map_err(ActError::os("fork", "a child"))? {
            ForkResult::Child => {
                // SAFETY: sets a disposition; the flood is not to end it.
                unsafe { libc::signal(libc::SIGUSR1, libc::SIG_IGN) };
                loop {
                    objects.receive();
                    thread::sleep(Duration::from_millis(1));
                }
            }
            ForkResult::Parent { child } => child,
        };
        let (mut signals, mut messages) = (0u64, 0u64);
        // At least once, however short its time.
        loop {
            messages += u64::from(objects.send(messages));
            signals += u64::from(kill(other, Number::SIGUSR1).is_ok());
            ctx.sleep(pause);
            if ctx.over() {
                break;
            }
        }
        end(other);
        Ok(format!("{messages} messages, {signals} signals"))
    }
}

fn end(other: Pid) {
    let _ = kill(other, Number::SIGKILL);
    let _ = waitpid(other, None);
}

/// One of each; removed when dropped, and with the container's namespace at the latest.
struct Objects {
    memory: libc::c_int,
    queue: libc::c_int,
    semaphore: libc::c_int,
    shared: *mut u64,
}

impl Objects {
    fn make() -> Result<Objects, ActError> {
        let checked = |what: &'static str, id: libc::c_int| match id {
            -1 => Err(ActError::io("make", what)(io::Error::last_os_error())),
            id => Ok(id),
        };
        let mut objects = Objects {
            memory: -1,
            queue: -1,
            semaphore: -1,
            shared: ptr::null_mut(),
        };
        // SAFETY: plain calls; a private key makes a new object each time.
        unsafe {
            objects.memory = checked(
                "shared memory",
                libc::shmget(libc::IPC_PRIVATE, SHARED_BYTES, MODE),
            )?;
            objects.queue = checked("a message queue", libc::msgget(libc::IPC_PRIVATE, MODE))?;
            objects.semaphore = checked("a semaphore", libc::semget(libc::IPC_PRIVATE, 1, MODE))?;
            let shared = libc::shmat(objects.memory, ptr::null(), 0);
            if shared.addr() == usize::MAX {
                return Err(ActError::io("attach", "shared memory")(
                    io::Error::last_os_error(),
                ));
            }
            objects.shared = shared.cast();
        }
        Ok(objects)
    }

    /// True: the queue took it.
    fn send(&self, number: u64) -> bool {
        let message = Message {
            kind: 1,
            text: [number as u8; MESSAGE_BYTES],
        };
        // SAFETY: the memory is attached for the life of this; the message outlives the call.
        unsafe {
            self.shared.write_volatile(number);
            self.raise(1);
            let sent = libc::msgsnd(
                self.queue,
                ptr::from_ref(&message).cast(),
                MESSAGE_BYTES,
                libc::IPC_NOWAIT,
            );
            sent == 0
        }
    }

    fn receive(&self) {
        let mut message = Message {
            kind: 0,
            text: [0; MESSAGE_BYTES],
        };
        // SAFETY: as in `send`; the buffer has the size that is given.
        unsafe {
            self.shared.read_volatile();
            self.raise(-1);
            libc::msgrcv(
                self.queue,
                ptr::from_mut(&mut message).cast(),
                MESSAGE_BYTES,
                0,
                libc::IPC_NOWAIT,
            );
        }
    }

    fn raise(&self, by: libc::c_short) {
        let mut operation = libc::sembuf {
            sem_num: 0,
            sem_op: by,
            sem_flg: libc::IPC_NOWAIT as libc::c_short,
        };
        // SAFETY: one operation that outlives the call.
        unsafe { libc::semop(self.semaphore, &mut operation, 1) };
    }
}

impl Drop for Objects {
    fn drop(&mut self) {
        // SAFETY: ids that were never given are refused; the memory is not used after this.
        unsafe {
            if !self.shared.is_null() {
                libc::shmdt(self.shared.cast());
            }
            libc::shmctl(self.memory, libc::IPC_RMID, ptr::null_mut());
            libc::msgctl(self.queue, libc::IPC_RMID, ptr::null_mut());
            libc::semctl(self.semaphore, 0, libc::IPC_RMID);
        }
    }
}
