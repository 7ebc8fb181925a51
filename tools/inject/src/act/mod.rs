//! The acts: what an injected container does that a normal one does not.
//!
//! One module and one [`Act`] each. An act runs as a task process of the supervisor inside a
//! container that already does its normal work; it stays inside its time, its container and
//! the networks of it. Its class is known inside only by its number.

mod beacon;
mod capabilities;
mod conn_flood;
mod cpu_hog;
mod crash_loop;
mod cred_read;
mod disk_fill;
mod dns_tunnel;
mod drop_exec;
mod exfil;
mod fd_leak;
mod fileless_exec;
mod fork_storm;
mod host_sweep;
mod inode_storm;
mod io_storm;
mod ipc_abuse;
mod kernel_tamper;
mod log_wipe;
mod mass_delete;
mod mass_encrypt;
mod mem_leak;
mod miner_like;
mod noop;
mod ns_escape;
mod oom_kill;
pub(crate) mod peer;
mod persistence;
mod port_scan;
mod priv_esc;
mod ptrace_inject;
mod reverse_shell;
mod shell_from_service;
mod sniff;
mod thread_storm;

mod context;

use std::io;

use serde::Serialize;

use crate::errand;
pub use crate::errand::FromOutside;
pub use crate::signal::Signal;
pub use context::{Ctx, Shared, Surroundings};

/// Matrix version of every [`Info::attack_id`].
pub const ATTACK_VERSION: &str = "16";

/// What a detector should make of a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Anomaly,
    /// The start path and nothing else.
    Noop,
    /// Out of the ordinary, and normal: see [`crate::errand`].
    HardNegative,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Anomaly => "anomaly",
            Kind::Noop => "noop",
            Kind::HardNegative => "hard_negative",
        }
    }
}

/// What is known about a class without running it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Info {
    pub name: &'static str,
    pub kind: Kind,
    /// MITRE ATT&CK techniques, separated by a space; empty for what is not an attack.
    pub attack_id: &'static str,
    /// What it does, in one line.
    pub about: &'static str,
    /// What its container must offer.
    pub needs: &'static str,
    /// What must move in the trace while it runs.
    pub signals: &'static [Signal],
}

/// A program inside the container.
pub trait Act: Sync {
    fn info(&self) -> &'static Info;

    /// Makes what it works on, within the act's time.
    fn prepare(&self, _ctx: &mut Ctx) -> Result<(), ActError> {
        Ok(())
    }

    /// Acts until [`Ctx::over`], then returns one line that says what it did.
    fn run(&self, ctx: &mut Ctx) -> Result<String, ActError>;

    /// What it needs that such a container does not have: there it is refused.
    fn lacks(&self, _surroundings: &Surroundings) -> Option<&'static str> {
        None
    }

    /// What is done to the container instead of in it; then [`Act::run`] is never called.
    fn done_outside(&self) -> Option<FromOutside> {
        None
    }

    /// Undoes what [`Ctx`] does not undo by itself; called also after a failure.
    fn stop(&self, _ctx: &mut Ctx) {}
}

/// Prepares, runs and stops.
pub fn perform(act: &dyn Act, ctx: &mut Ctx) -> Result<String, ActError> {
    let result = act.prepare(ctx).and_then(|()| act.run(ctx));
    act.stop(ctx);
    ctx.tidy();
    result
}

#[derive(Debug, thiserror::Error)]
pub enum ActError {
    #[error("cannot {action} {object}: {error}")]
    Io {
        action: &'static str,
        object: String,
        error: io::Error,
    },
    #[error(transparent)]
    Ipc(#[from] crate::sysv::NotGot),
    #[error("found none of the {tried} decoy files that the image should hold")]
    NoDecoys { tried: usize },
    #[error("this container has no {what}")]
    Missing { what: &'static str },
    #[error("{what} did not happen in {tried} tries")]
    NotReached { what: &'static str, tried: u64 },
    #[error("the container has capability {capability}, with which this act could do harm")]
    TooPowerful { capability: &'static str },
}

impl ActError {
    pub(crate) fn io(
        action: &'static str,
        object: impl Into<String>,
    ) -> impl FnOnce(io::Error) -> ActError {
        let object = object.into();
        move |error| ActError::Io {
            action,
            object,
            error,
        }
    }

    /// The same for calls whose result is nix's.
    pub(crate) fn os(
        action: &'static str,
        object: impl Into<String>,
    ) -> impl FnOnce(nix::errno::Errno) -> ActError {
        let io = ActError::io(action, object);
        move |error| io(error.into())
    }
}

/// Every class; its number is its place, counted from 1, so the list is only ever appended to.
static ACTS: [&dyn Act; 43] = [
    &noop::Noop,
    &cpu_hog::CpuHog,
    &port_scan::PortScan,
    &cred_read::CredRead,
    &drop_exec::DropExec,
    &mem_leak::MemLeak,
    &oom_kill::OomKill,
    &fork_storm::ForkStorm,
    &thread_storm::ThreadStorm,
    &fd_leak::FdLeak,
    &disk_fill::DiskFill,
    &io_storm::IoStorm,
    &inode_storm::InodeStorm,
    &crash_loop::CrashLoop,
    &mass_encrypt::MassEncrypt,
    &mass_delete::MassDelete,
    &log_wipe::LogWipe,
    &fileless_exec::FilelessExec,
    &shell_from_service::ShellFromService,
    &reverse_shell::ReverseShell,
    &host_sweep::HostSweep,
    &conn_flood::ConnFlood,
    &dns_tunnel::DnsTunnel,
    &exfil::Exfil,
    &beacon::Beacon,
    &miner_like::MinerLike,
    &priv_esc::PrivEsc,
    &ns_escape::NsEscape,
    &ptrace_inject::PtraceInject,
    &kernel_tamper::KernelTamper,
    &persistence::Persistence,
    &sniff::Sniff,
    &ipc_abuse::IpcAbuse,
    &errand::PackageInstall,
    &errand::TarBackup,
    &errand::LogRotation,
    &errand::ImageBuild,
    &errand::JvmStart,
    &errand::LoadTest,
    &errand::CronJob,
    &errand::DbCheckpoint,
    &errand::ContainerRestart,
    &errand::ImageDeploy,
];

pub fn all() -> impl Iterator<Item = &'static Info> {
    ACTS.iter().map(|act| act.info())
}

pub fn by_number(class: u64) -> Option<&'static dyn Act> {
    let place = usize::try_from(class.checked_sub(1)?).ok()?;
    ACTS.get(place).copied()
}

/// A class by its name, with its number.
pub fn by_name(name: &str) -> Option<(u64, &'static Info)> {
    let place = ACTS.iter().position(|act| act.info().name == name)?;
    Some((place as u64 + 1, ACTS[place].info()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_have_distinct_names_and_are_found_by_name_and_number() {
        for (place, info) in all().enumerate() {
            let (number, found) = by_name(info.name).expect("listed classes have names");
            assert_eq!((number, found), (place as u64 + 1, info));
            assert_eq!(by_number(number).map(|act| act.info()), Some(info));
        }
        assert!(by_number(0).is_none() && by_number(ACTS.len() as u64 + 1).is_none());
        assert!(by_name("CPU_HOG").is_none());
    }

    #[test]
    fn every_anomaly_names_a_technique_and_a_signal() {
        for info in all() {
            let anomaly = info.kind == Kind::Anomaly;
            assert_eq!(!info.attack_id.is_empty(), anomaly, "{}", info.name);
            assert!(!anomaly || !info.signals.is_empty(), "{}", info.name);
        }
        let count = |kind| all().filter(|info| info.kind == kind).count();
        assert_eq!(
            [Kind::Anomaly, Kind::Noop, Kind::HardNegative].map(count),
            [32, 1, 10]
        );
    }
}
