//! Ctrl-C and SIGTERM: the first ends the run in good order, the second at once.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

static ASKED: AtomicBool = AtomicBool::new(false);

extern "C" fn note(signal: libc::c_int) {
    if ASKED.swap(true, Ordering::SeqCst) {
        // The containers die with this process.
        // SAFETY: _exit is safe to call from a signal handler.
        unsafe { libc::_exit(128 + signal) }
    }
}

pub fn listen() -> Result<()> {
    let action = SigAction::new(
        SigHandler::Handler(note),
        SaFlags::SA_RESTART,
        SigSet::empty(),
    );
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        // SAFETY: the handler only touches an atomic and calls _exit.
        unsafe { sigaction(signal, &action) }.with_context(|| format!("cannot handle {signal}"))?;
    }
    Ok(())
}

pub fn asked() -> bool {
    ASKED.load(Ordering::SeqCst)
}
