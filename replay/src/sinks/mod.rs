//! Where findings go besides standard output: files ([`file`]) and receivers on the network
//! ([`delivery`]). Everything here is I/O after the fold: what is found does not depend on it.
//!
//! A sink is named by one argument, `KIND=TARGET[,OPTION=VALUE…]` ([`Spec`]). A file that cannot be written
//! ends the command; a receiver that is down does not: what it should get waits in a spool.

mod alertmanager;
mod delivery;
mod file;
mod http;
mod spec;
mod spool;
mod syslog;
mod template;
mod webhook;

pub use self::{
    delivery::{BACKOFF_MAX, BACKOFF_MIN},
    spec::{Kind, Spec, SpecError},
    spool::{MESSAGES_MAX, Spool},
    template::{Template, TemplateError},
};

use std::{io, path::PathBuf};

use crate::findings::Finding;

/// Why a sink cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Spec(#[from] SpecError),
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{}: {source}", path.display())]
    Table {
        path: PathBuf,
        source: crate::export::Error,
    },
    #[error("{} exists: the option ,force replaces it", .0.display())]
    Exists(PathBuf),
    #[error("{}: the template: {source}", path.display())]
    Template {
        path: PathBuf,
        source: TemplateError,
    },
    #[error("{what} cannot be used: {reason}")]
    Setup { what: String, reason: String },
}

/// What became of what a sink was given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Findings written or taken by the receiver.
    pub delivered: u64,
    /// Still in a spool on disk: the next run with that spool delivers them.
    pub kept: u64,
    /// Lost: the spool was full, the receiver refused them, or there was no spool on disk.
    pub dropped: u64,
    /// Why, one line each.
    pub reasons: Vec<String>,
}

/// Takes findings in order.
pub trait Sink {
    fn finding(&mut self, finding: &Finding) -> Result<(), Error>;
    /// What came so far is on its way.
    fn flush(&mut self) -> Result<(), Error>;
    /// No finding follows.
    fn finish(self: Box<Self>) -> Result<Report, Error>;
}

/// Makes the sink that an argument names.
pub fn open(spec: &Spec) -> Result<Box<dyn Sink>, Error> {
    match spec.kind {
        Kind::Text | Kind::Jsonl | Kind::Csv | Kind::Parquet | Kind::Sqlite => file::open(spec),
        Kind::Webhook => webhook::open(spec),
        Kind::Alertmanager => alertmanager::open(spec),
        Kind::Syslog => syslog::open(spec),
    }
}
