//! Randomness that no seed decides: identities, which must differ between runs of one plan.

use anyhow::{Context, Result};

/// Bytes of the kernel's generator.
pub fn bytes<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    // SAFETY: the buffer is valid for N bytes; requests of up to 256 bytes are never cut short.
    let filled = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), N, 0) };
    match filled == N as isize {
        true => Ok(bytes),
        false => Err(std::io::Error::last_os_error()).context("the kernel gave no random bytes"),
    }
}

/// The same as hexadecimal digits, two for each byte.
pub fn hex<const N: usize>() -> Result<String> {
    Ok(bytes::<N>()?
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}
