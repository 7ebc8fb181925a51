//! Where containers come from: Docker's engine, or namespaces and cgroups of our own.
//!
//! A runtime starts containers from the one image of [`crate::image`]; a started container is an
//! [`Identity`] and a [`Wire`] to the supervisor in it. Everything above this module treats all alike.

pub mod docker;
pub mod guest;
pub mod sandbox;
mod wire;

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result, bail};
use serde::Serialize;

use crate::{
    cgroup::Limits,
    frame::{Order, Said},
    proc,
};
pub use wire::{Heard, Wire};

/// How long a container may take until its supervisor speaks, and until its workload runs.
const START_MAX: Duration = Duration::from_secs(30);

/// Who a container is, for labels and for looking at it from outside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Identity {
    pub id: String,
    pub name: String,
    pub image: String,
    pub cgroup_id: u64,
    #[serde(skip)]
    pub cgroup: PathBuf,
    /// Of the supervisor, on the host.
    pub pid: u32,
    /// Its memory limit.
    #[serde(skip)]
    pub memory_bytes: u64,
}

/// Whose IPC namespace a container is in.
#[derive(Clone, Copy, Debug)]
pub enum Ipc<'a> {
    Own,
    /// Its own, which another container will share.
    Shareable,
    /// That of a container that was started as shareable.
    Of(&'a Identity),
}

pub trait Runtime {
    fn name(&self) -> &'static str;

    /// Removes what an injector left that was killed; how many containers.
    fn reap(&mut self) -> Result<usize>;

    /// Starts a container of a version of the image (the first is 1), whose supervisor waits for its
    /// first order.
    fn start(
        &mut self,
        name: &str,
        limits: &Limits,
        version: u32,
        ipc: Ipc,
    ) -> Result<Box<dyn Container>>;

    /// Namespaces that its containers share with the host by design.
    fn may_share(&self) -> &'static [&'static str];

    /// Its containers have a workload of their own, so none is started.
    fn is_guest(&self) -> bool {
        false
    }

    /// Whether all its containers have no more CPU together than one parent cgroup gives them.
    fn limits_together(&self) -> Result<bool> {
        Ok(true)
    }

    /// Removes what the runtime made for all its containers.
    fn finish(&mut self) -> Result<()>;
}

/// A started container. Dropping it without [`Container::stop`] removes it too, without a word.
pub trait Container {
    fn identity(&self) -> &Identity;
    fn wire(&mut self) -> &mut Wire;
    /// Ends the supervisor and removes the container. Safe to call twice.
    fn stop(&mut self) -> Result<()>;
}

/// Waits for the supervisor and makes sure that it is apart from the host.
pub fn greet(container: &mut dyn Container, may_share: &[&str]) -> Result<()> {
    let name = container.identity().name.clone();
    let wire = container.wire();
    match hear(wire).with_context(|| format!("container {name} did not start"))? {
        Said::Hello { namespaces } => proc::refuse_shared(&namespaces, may_share)
            .with_context(|| format!("container {name} is refused")),
        said => bail!("container {name} began with {said:?} instead of its namespaces"),
    }
}

/// Starts the workload of a container that was greeted.
pub fn begin(container: &mut dyn Container, order: &Order) -> Result<()> {
    let name = container.identity().name.clone();
    let wire = container.wire();
    wire.order(order)?;
    match hear(wire).with_context(|| format!("the workload of container {name} did not start"))? {
        Said::Ready => Ok(()),
        said => bail!("container {name} said {said:?} instead of being ready"),
    }
}

/// The next thing said that is not mere chatter; an error when there is none.
fn hear(wire: &mut Wire) -> Result<Said> {
    let until = std::time::Instant::now() + START_MAX;
    let mut chatter = Vec::new();
    loop {
        let left = until.saturating_duration_since(std::time::Instant::now());
        match wire.hear(left) {
            Heard::Said(Said::Fatal(text)) => bail!("{text}"),
            Heard::Said(Said::Other(text)) => chatter.push(text),
            Heard::Said(said) => return Ok(said),
            Heard::Nothing => bail!("nothing was heard of it for {START_MAX:?}"),
            Heard::Closed => bail!("it ended before it was ready; it said: {chatter:?}"),
        }
        if crate::interrupt::asked() {
            bail!("interrupted");
        }
    }
}
