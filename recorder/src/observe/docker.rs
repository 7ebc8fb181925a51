//! Names and images of containers from the Docker Engine API (Podman's compatible socket too).
//!
//! Runs in a thread of its own: the drain never waits for an engine. Every question gets exactly
//! one answer; a full queue or a dead engine answers "nobody knows".

use std::{
    thread,
    time::{Duration, Instant},
};

use bollard::{Docker, query_parameters::InspectContainerOptions};
use crossbeam_channel::{Receiver, Sender, bounded};

/// Questions and answers waiting at once.
const QUEUE_MAX: usize = 1_024;
/// An engine that does not know a container yet may know it soon (it is being created).
const ATTEMPTS: u32 = 5;
const RETRY: Duration = Duration::from_millis(50);
/// One request.
const TIMEOUT: Duration = Duration::from_secs(2);

/// What an engine knows of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    pub name: String,
    pub image: String,
    pub privileged: bool,
    pub labels: Vec<(String, String)>,
}

/// The answer to one question; None: nobody knows.
pub struct Answer {
    pub id: String,
    pub metadata: Option<Metadata>,
}

pub struct Resolver {
    questions: Sender<String>,
    pub answers: Receiver<Answer>,
}

impl Resolver {
    /// Starts the thread. It ends when the resolver is dropped.
    pub fn start() -> Self {
        let (questions, asked) = bounded::<String>(QUEUE_MAX);
        let (answer, answers) = bounded(QUEUE_MAX);
        thread::Builder::new()
            .name("rec-docker".into())
            .spawn(move || serve(&asked, &answer))
            .expect("a thread for the Docker API: the process may start threads");
        Resolver { questions, answers }
    }

    /// Asks for a container; false when the queue is full (then no answer comes).
    pub fn ask(&self, id: &str) -> bool {
        self.questions.try_send(id.to_owned()).is_ok()
    }
}

/// Asks once and waits: for `--container NAME` at the start. `reference` is a name or the beginning of an id.
pub fn find(reference: &str) -> anyhow::Result<(String, Metadata)> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let engine = Docker::connect_with_defaults()?;
        tokio::time::timeout(TIMEOUT, inspect(&engine, reference)).await?
    })
}

fn serve(asked: &Receiver<String>, answer: &Sender<Answer>) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    else {
        return;
    };
    let mut engine = None;
    for id in asked {
        if engine.is_none() {
            engine = Docker::connect_with_defaults().ok();
        }
        let metadata = engine
            .as_ref()
            .and_then(|engine| runtime.block_on(resolve(engine, &id)));
        if answer.send(Answer { id, metadata }).is_err() {
            return;
        }
    }
}

async fn resolve(engine: &Docker, id: &str) -> Option<Metadata> {
    let started = Instant::now();
    for _ in 0..ATTEMPTS {
        match tokio::time::timeout(TIMEOUT, inspect(engine, id)).await {
            Ok(Ok((_, metadata))) => return Some(metadata),
            Ok(Err(error)) if is_not_found(&error) && started.elapsed() < TIMEOUT => {
                tokio::time::sleep(RETRY).await
            }
            _ => return None,
        }
    }
    None
}

fn is_not_found(error: &anyhow::Error) -> bool {
    matches!(
        error.downcast_ref::<bollard::errors::Error>(),
        Some(bollard::errors::Error::DockerResponseServerError {
            status_code: 404,
            ..
        })
    )
}

async fn inspect(engine: &Docker, reference: &str) -> anyhow::Result<(String, Metadata)> {
    let found = engine
        .inspect_container(reference, None::<InspectContainerOptions>)
        .await?;
    let config = found.config.unwrap_or_default();
    let mut labels: Vec<_> = config.labels.unwrap_or_default().into_iter().collect();
    labels.sort();
    let metadata = Metadata {
        name: found
            .name
            .unwrap_or_default()
            .trim_start_matches('/')
            .to_owned(),
        image: config.image.unwrap_or_default(),
        privileged: found
            .host_config
            .and_then(|host| host.privileged)
            .unwrap_or(false),
        labels,
    };
    Ok((found.id.unwrap_or_default(), metadata))
}

/// Version of the engine that answers.
pub fn version() -> anyhow::Result<String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let version =
            tokio::time::timeout(TIMEOUT, Docker::connect_with_defaults()?.version()).await??;
        Ok(version.version.unwrap_or_default())
    })
}
