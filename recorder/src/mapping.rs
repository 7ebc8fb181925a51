//! A BPF map's memory in this process's address space.

use std::{
    ffi::c_void,
    io,
    os::fd::{AsRawFd, BorrowedFd},
    ptr::NonNull,
};

/// Unmapped when dropped.
pub struct Mapping {
    pub start: NonNull<c_void>,
    len: usize,
}

// SAFETY: the mapping is this value's own; nothing else of the process refers to it.
unsafe impl Send for Mapping {}

impl Mapping {
    pub fn new(fd: BorrowedFd, len: usize, access: i32) -> io::Result<Self> {
        // SAFETY: a new mapping at a place of the kernel's choice.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                access,
                libc::MAP_SHARED,
                fd.as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start).ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Mapping { start, len })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: this value's own mapping; it cannot fail for a whole one.
        unsafe { libc::munmap(self.start.as_ptr(), self.len) };
    }
}
