//! A ring of io_uring by hand: one request at a time, and its result.

use std::{
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    ptr::NonNull,
    sync::atomic::{AtomicU32, Ordering},
};

pub const OP_OPENAT: u8 = 18;
pub const OP_READ: u8 = 22;

/// `IORING_SETUP_SQPOLL`: a thread of the kernel looks for requests.
const SETUP_SQPOLL: u32 = 1 << 1;
/// `IORING_FEAT_SINGLE_MMAP`: one mapping for both queues.
const ONE_MAPPING: u32 = 1 << 0;
const ENTER_GETEVENTS: u32 = 1 << 0;
const ENTER_SQ_WAKEUP: u32 = 1 << 1;
const SQ_NEED_WAKEUP: u32 = 1 << 0;
const OFFSET_REQUESTS: i64 = 0x1000_0000;
const ENTRIES: u32 = 8;
/// `struct io_uring_sqe`, `struct io_uring_cqe`.
const REQUEST_BYTES: usize = 64;
const RESULT_BYTES: usize = 16;

/// `struct io_uring_params`.
#[repr(C)]
#[derive(Default)]
struct Params {
    sq_entries: u32,
    cq_entries: u32,
    flags: u32,
    sq_thread_cpu: u32,
    sq_thread_idle: u32,
    features: u32,
    wq_fd: u32,
    reserved: [u32; 3],
    /// head, tail, mask, entries, flags, dropped, array
    sq: [u32; 7],
    sq_rest: [u32; 3],
    /// head, tail, mask, entries, overflow, results
    cq: [u32; 6],
    cq_rest: [u32; 4],
}

pub struct Request {
    pub opcode: u8,
    pub fd: i32,
    pub offset: u64,
    pub address: u64,
    pub len: u32,
    pub flags: u32,
    pub user_data: u64,
}

pub struct Uring {
    fd: OwnedFd,
    params: Params,
    rings: NonNull<u8>,
    requests: NonNull<u8>,
    polled: bool,
}

impl Uring {
    /// `polled`: requests are taken by a thread of the kernel. An error where this kernel has no io_uring.
    pub fn new(polled: bool) -> io::Result<Uring> {
        let mut params = Params {
            flags: if polled { SETUP_SQPOLL } else { 0 },
            sq_thread_idle: 1_000,
            ..Params::default()
        };
        // SAFETY: the parameters are laid out as the kernel's; the result is a new descriptor.
        let fd = unsafe {
            let fd = libc::syscall(libc::SYS_io_uring_setup, ENTRIES, &raw mut params);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            OwnedFd::from_raw_fd(fd as i32)
        };
        assert!(params.features & ONE_MAPPING != 0);
        let of_requests = params.sq[6] as usize + params.sq_entries as usize * 4;
        let of_results = params.cq[5] as usize + params.cq_entries as usize * RESULT_BYTES;
        Ok(Uring {
            rings: map(&fd, of_requests.max(of_results), 0)?,
            requests: map(
                &fd,
                params.sq_entries as usize * REQUEST_BYTES,
                OFFSET_REQUESTS,
            )?,
            fd,
            params,
            polled,
        })
    }

    fn word(&self, at: u32) -> &AtomicU32 {
        // SAFETY: inside the mapping, aligned, shared with the kernel.
        unsafe { AtomicU32::from_ptr(self.rings.as_ptr().add(at as usize).cast()) }
    }

    fn enter(&self, submit: u32, wait: u32, flags: u32) {
        // SAFETY: numbers only.
        let result = unsafe {
            libc::syscall(
                libc::SYS_io_uring_enter,
                self.fd.as_raw_fd(),
                submit,
                wait,
                flags,
                0,
                0,
            )
        };
        assert!(result >= 0, "{}", io::Error::last_os_error());
    }

    /// Submits a request and waits for its result.
    pub fn ask(&mut self, request: &Request) -> i32 {
        let [_, tail, mask, _, flags, _, array] = self.params.sq;
        let at = self.word(tail).load(Ordering::Relaxed);
        let index = at & self.word(mask).load(Ordering::Relaxed);
        let mut bytes = [0u8; REQUEST_BYTES];
        bytes[0] = request.opcode;
        bytes[4..8].copy_from_slice(&request.fd.to_ne_bytes());
        bytes[8..16].copy_from_slice(&request.offset.to_ne_bytes());
        bytes[16..24].copy_from_slice(&request.address.to_ne_bytes());
        bytes[24..28].copy_from_slice(&request.len.to_ne_bytes());
        bytes[28..32].copy_from_slice(&request.flags.to_ne_bytes());
        bytes[32..40].copy_from_slice(&request.user_data.to_ne_bytes());
        // SAFETY: the index is below the entries of the mapping.
        unsafe {
            let place = self.requests.as_ptr().add(index as usize * REQUEST_BYTES);
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), place, REQUEST_BYTES);
        }
        self.word(array + index * 4).store(index, Ordering::Relaxed);
        self.word(tail).store(at.wrapping_add(1), Ordering::SeqCst);
        if !self.polled {
            self.enter(1, 1, ENTER_GETEVENTS);
        } else if self.word(flags).load(Ordering::SeqCst) & SQ_NEED_WAKEUP != 0 {
            self.enter(0, 1, ENTER_GETEVENTS | ENTER_SQ_WAKEUP);
        } else {
            self.enter(0, 1, ENTER_GETEVENTS);
        }
        let [head, tail, mask, _, _, results] = self.params.cq;
        let at = self.word(head).load(Ordering::Relaxed);
        assert_ne!(at, self.word(tail).load(Ordering::Acquire));
        let index = at & self.word(mask).load(Ordering::Relaxed);
        let result = self.word(results + index * RESULT_BYTES as u32 + 8);
        let result = result.load(Ordering::Relaxed) as i32;
        self.word(head).store(at.wrapping_add(1), Ordering::Release);
        result
    }
}

fn map(fd: &OwnedFd, len: usize, offset: i64) -> io::Result<NonNull<u8>> {
    // SAFETY: a new mapping at a place of the kernel's choice; it stays until the process ends.
    let start = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            len,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_POPULATE,
            fd.as_raw_fd(),
            offset,
        )
    };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(start.cast()).ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
}
