//! System V IPC: a piece of shared memory, a message queue and a semaphore that belong together.
//!
//! Whoever makes them publishes, whoever finds them by their key reads, or meddles. Nothing waits: a full
//! queue or a semaphore that is down is passed over. All end with their IPC namespace at the latest.

use std::{io, ptr};

const SHARED_BYTES: usize = 4096;
const MODE: libc::c_int = 0o600;
const MESSAGE_BYTES: usize = 64;

/// `struct msgbuf`: a positive type, then the text.
#[repr(C)]
struct Message {
    kind: libc::c_long,
    text: [u8; MESSAGE_BYTES],
}

#[derive(Debug, thiserror::Error)]
#[error("cannot get {what} with key {key:#x}: {source}")]
pub struct NotGot {
    what: &'static str,
    key: libc::key_t,
    source: io::Error,
}

/// One of each, with the memory attached.
pub struct Objects {
    memory: libc::c_int,
    queue: libc::c_int,
    semaphore: libc::c_int,
    shared: *mut u64,
    /// Then they are removed when dropped.
    made: bool,
}

impl Objects {
    /// New ones that only this process and its children know.
    pub fn private() -> Result<Objects, NotGot> {
        Objects::get(libc::IPC_PRIVATE, libc::IPC_CREAT)
    }

    /// Those of a key, made if they are not there.
    pub fn make(key: libc::key_t) -> Result<Objects, NotGot> {
        Objects::get(key, libc::IPC_CREAT)
    }

    /// Somebody else's.
    pub fn find(key: libc::key_t) -> Result<Objects, NotGot> {
        Objects::get(key, 0)
    }

    fn get(key: libc::key_t, create: libc::c_int) -> Result<Objects, NotGot> {
        let checked = |what: &'static str, id: libc::c_int| match id {
            -1 => Err(NotGot {
                what,
                key,
                source: io::Error::last_os_error(),
            }),
            id => Ok(id),
        };
        let mut objects = Objects {
            memory: -1,
            queue: -1,
            semaphore: -1,
            shared: ptr::null_mut(),
            made: create != 0,
        };
        let flags = create | MODE;
        // SAFETY: plain calls with a key, sizes and flags.
        unsafe {
            objects.memory = checked("shared memory", libc::shmget(key, SHARED_BYTES, flags))?;
            objects.queue = checked("a message queue", libc::msgget(key, flags))?;
            objects.semaphore = checked("a semaphore", libc::semget(key, 1, flags))?;
            let shared = libc::shmat(objects.memory, ptr::null(), 0);
            if shared.addr() == usize::MAX {
                return Err(NotGot {
                    what: "a view of shared memory",
                    key,
                    source: io::Error::last_os_error(),
                });
            }
            objects.shared = shared.cast();
        }
        Ok(objects)
    }

    /// Writes a number, says so by the semaphore and by a message; true: the queue took it.
    pub fn send(&self, number: u64) -> bool {
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

    /// Reads the number and takes one message; true: there was one.
    pub fn receive(&self) -> bool {
        let mut message = Message {
            kind: 0,
            text: [0; MESSAGE_BYTES],
        };
        // SAFETY: as in `send`; the buffer has the size that is given.
        unsafe {
            self.shared.read_volatile();
            self.raise(-1);
            let received = libc::msgrcv(
                self.queue,
                ptr::from_mut(&mut message).cast(),
                MESSAGE_BYTES,
                0,
                libc::IPC_NOWAIT,
            );
            received >= 0
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
            if self.made {
                libc::shmctl(self.memory, libc::IPC_RMID, ptr::null_mut());
                libc::msgctl(self.queue, libc::IPC_RMID, ptr::null_mut());
                libc::semctl(self.semaphore, 0, libc::IPC_RMID);
            }
        }
    }
}
