//! Whose container it is, asked of whoever made it: Docker, Podman, containerd and CRI-O through CRI,
//! and the state directories of runc and crun.
//!
//! Runs in a thread of its own: the drain never waits for an engine. Every question gets exactly one
//! answer; an engine that is away answers "nobody knows", and is asked again for the next container.
//! Docker also tells of each container it creates: one that lives for milliseconds and is removed is
//! known before anybody asks.

use std::{
    collections::{HashMap, VecDeque},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use bollard::{API_DEFAULT_VERSION, Docker, query_parameters::EventsOptions};
use crossbeam_channel::{Receiver, Sender, unbounded};
use futures_util::StreamExt;
use tokio::sync::{Semaphore, mpsc};

use super::{
    cri::Cri,
    docker,
    metadata::{Answer, Metadata},
    oci,
};

/// Questions waiting at once.
const QUEUE_MAX: usize = 4_096;
/// Questions on their way: an engine under load answers many slowly rather than one at a time.
const ASKED_MAX: usize = 16;
/// An engine that does not know a container yet may know it soon (it is being created).
const ATTEMPTS: u32 = 5;
const RETRY: Duration = Duration::from_millis(50);
/// Pause before the engine is asked for its events again.
const EVENTS_RETRY: Duration = Duration::from_secs(1);
/// Containers remembered from the engine's events: those of the last minutes on a busy host.
const CREATED_MAX: usize = 4_096;
/// Seconds that bollard gives one request.
const PODMAN_TIMEOUT_S: u64 = 2;

/// Where bollard looks without `DOCKER_HOST`.
const DOCKER_SOCKET: &str = "/var/run/docker.sock";
const PODMAN_SOCKET: &str = "/run/podman/podman.sock";
/// Containerd's and CRI-O's usual places, and containerd's under k3s.
const CRI_SOCKETS: [(&str, &str); 3] = [
    ("containerd", "/run/containerd/containerd.sock"),
    ("cri-o", "/run/crio/crio.sock"),
    ("containerd", "/run/k3s/containerd/containerd.sock"),
];
/// As crictl: the one place to ask instead.
const CRI_ENDPOINT: &str = "CONTAINER_RUNTIME_ENDPOINT";

struct Question {
    id: String,
    runtime: String,
}

pub struct Resolver {
    questions: mpsc::Sender<Question>,
    /// No more than one for each question, and those are bounded.
    pub answers: Receiver<Answer>,
}

impl Resolver {
    /// Starts the thread. It ends when the resolver is dropped.
    pub fn start() -> Self {
        let (questions, asked) = mpsc::channel(QUEUE_MAX);
        let (answer, answers) = unbounded();
        thread::Builder::new()
            .name("rec-runtimes".into())
            .spawn(move || serve(asked, answer))
            .expect("a thread for the container runtimes: the process may start threads");
        Resolver { questions, answers }
    }

    /// Asks for a container; false when nobody is there to be asked, or the queue is full (then no
    /// answer comes).
    pub fn ask(&self, id: &str, runtime: &str) -> bool {
        let question = Question {
            id: id.to_owned(),
            runtime: runtime.to_owned(),
        };
        runtime != "sandbox" && self.questions.try_send(question).is_ok()
    }
}

fn serve(mut asked: mpsc::Receiver<Question>, answers: Sender<Answer>) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    else {
        return;
    };
    runtime.block_on(async {
        let engines = Arc::new(Engines::default());
        let seats = Arc::new(Semaphore::new(ASKED_MAX));
        let listening = tokio::spawn(listen(engines.clone()));
        while let Some(Question { id, runtime }) = asked.recv().await {
            let Ok(seat) = seats.clone().acquire_owned().await else {
                break;
            };
            let (engines, answers) = (engines.clone(), answers.clone());
            tokio::spawn(async move {
                let metadata = engines.resolve(&id, &runtime).await;
                // Nobody waits any more: the capture has ended.
                let _ = answers.send(Answer { id, metadata });
                drop(seat);
            });
        }
        listening.abort();
    });
}

/// Where there is no socket there is nothing to ask, every second of a long recording.
fn docker_may_answer() -> bool {
    std::env::var_os("DOCKER_HOST").is_some() || Path::new(DOCKER_SOCKET).exists()
}

/// Remembers what Docker says of every container that it creates.
async fn listen(engines: Arc<Engines>) {
    loop {
        if docker_may_answer()
            && let Ok(engine) = Docker::connect_with_defaults()
        {
            let filters = HashMap::from([
                ("type".to_owned(), vec!["container".to_owned()]),
                ("event".to_owned(), vec!["create".to_owned()]),
            ]);
            let mut events = engine.events(Some(EventsOptions {
                filters: Some(filters),
                ..EventsOptions::default()
            }));
            while let Some(Ok(event)) = events.next().await {
                let Some(actor) = event.actor else { continue };
                let mut attributes = actor.attributes.unwrap_or_default();
                let metadata = Metadata {
                    name: attributes.remove("name").unwrap_or_default(),
                    image: attributes.remove("image").unwrap_or_default(),
                    labels: {
                        let mut labels: Vec<_> = attributes.into_iter().collect();
                        labels.sort();
                        labels
                    },
                    ..Metadata::default()
                };
                engines
                    .created()
                    .add(actor.id.unwrap_or_default(), metadata);
            }
        }
        tokio::time::sleep(EVENTS_RETRY).await;
    }
}

/// Newest containers by id.
#[derive(Default)]
struct Created {
    known: HashMap<String, Metadata>,
    order: VecDeque<String>,
}

impl Created {
    fn add(&mut self, id: String, metadata: Metadata) {
        if self.known.insert(id.clone(), metadata).is_some() {
            return;
        }
        self.order.push_back(id);
        if self.order.len() > CREATED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }
}

/// Clients, made when they are first needed.
#[derive(Default)]
struct Engines {
    docker: Mutex<Option<Docker>>,
    podman: Mutex<Option<Docker>>,
    cri: tokio::sync::Mutex<HashMap<PathBuf, Cri>>,
    created: Mutex<Created>,
}

/// What one engine said.
enum Said {
    Known(Metadata),
    /// Not this engine, or not yet.
    Unknown,
    Away,
}

impl Engines {
    fn created(&self) -> std::sync::MutexGuard<'_, Created> {
        // Each change is complete before the lock opens.
        self.created.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn resolve(&self, id: &str, runtime: &str) -> Option<Metadata> {
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                tokio::time::sleep(RETRY).await;
            }
            let said = match runtime {
                "docker" => self.docker(id).await,
                "podman" => self.podman(id).await,
                "containerd" | "cri-o" => self.cri(id, runtime).await,
                _ => Said::Unknown,
            };
            match said {
                Said::Known(metadata) => return Some(metadata),
                Said::Away => break,
                Said::Unknown => {}
            }
            // A container that is gone already was told of when it was created.
            let created = self.created().known.get(id).cloned();
            if let Some(metadata) = created.or_else(|| oci::find(id)) {
                return Some(metadata);
            }
        }
        let created = self.created().known.get(id).cloned();
        created.or_else(|| oci::find(id))
    }

    async fn docker(&self, id: &str) -> Said {
        let client = cached(&self.docker, || Docker::connect_with_defaults().ok());
        asked(client, id).await
    }

    async fn podman(&self, id: &str) -> Said {
        let client = cached(&self.podman, || {
            let host = std::env::var("CONTAINER_HOST").ok();
            let socket = host
                .as_deref()
                .and_then(|host| host.strip_prefix("unix://"))
                .unwrap_or(PODMAN_SOCKET);
            Docker::connect_with_unix(socket, PODMAN_TIMEOUT_S, API_DEFAULT_VERSION).ok()
        });
        asked(client, id).await
    }

    async fn cri(&self, id: &str, runtime: &str) -> Said {
        let mut said = Said::Away;
        for socket in cri_sockets(runtime) {
            let Ok(client) = self.cri_at(&socket).await else {
                continue;
            };
            match client.find(id).await {
                Ok(Some(metadata)) => return Said::Known(metadata),
                Ok(None) => said = Said::Unknown,
                // It connects again by itself when the runtime is back.
                Err(_) => {}
            }
        }
        said
    }

    async fn cri_at(&self, socket: &Path) -> anyhow::Result<Cri> {
        let mut clients = self.cri.lock().await;
        if let Some(client) = clients.get(socket) {
            return Ok(client.clone());
        }
        let client = Cri::connect(socket).await?;
        clients.insert(socket.to_owned(), client.clone());
        Ok(client)
    }
}

fn cached(slot: &Mutex<Option<Docker>>, make: impl FnOnce() -> Option<Docker>) -> Option<Docker> {
    let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
    if slot.is_none() {
        *slot = make();
    }
    slot.clone()
}

async fn asked(client: Option<Docker>, id: &str) -> Said {
    let Some(client) = client else {
        return Said::Away;
    };
    match docker::inspect_now(&client, id).await {
        Ok(Some(metadata)) => Said::Known(metadata),
        Ok(None) => Said::Unknown,
        Err(_) => Said::Away,
    }
}

/// Sockets of the runtimes of this name that are there.
fn cri_sockets(runtime: &str) -> Vec<PathBuf> {
    if let Ok(endpoint) = std::env::var(CRI_ENDPOINT) {
        let path = endpoint.strip_prefix("unix://").unwrap_or(&endpoint);
        return vec![path.into()];
    }
    CRI_SOCKETS
        .iter()
        .filter(|(name, socket)| *name == runtime && Path::new(socket).exists())
        .map(|(_, socket)| socket.into())
        .collect()
}

/// Names and versions of the CRI runtimes that answer, for `rec check`.
pub fn cri_versions() -> Vec<Result<String, String>> {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    else {
        return Vec::new();
    };
    let mut sockets = cri_sockets("containerd");
    sockets.extend(cri_sockets("cri-o"));
    sockets.sort();
    sockets.dedup();
    let version = async |socket: PathBuf| {
        let said = async { Ok::<_, anyhow::Error>(Cri::connect(&socket).await?.version().await?) };
        let told = said
            .await
            .map(|version| format!("{version} at {}", socket.display()));
        told.map_err(|error| format!("{}: {error:#}", socket.display()))
    };
    sockets
        .into_iter()
        .map(|socket| runtime.block_on(version(socket)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_that_were_told_of_are_remembered_up_to_the_bound() {
        let mut created = Created::default();
        for number in 0..CREATED_MAX + 10 {
            created.add(number.to_string(), Metadata::default());
            created.add(number.to_string(), Metadata::default());
        }
        assert_eq!(created.known.len(), CREATED_MAX);
        assert!(!created.known.contains_key("9") && created.known.contains_key("10"));
    }

    #[test]
    fn a_question_that_nobody_can_answer_is_answered() {
        let resolver = Resolver::start();
        assert!(!resolver.ask("x", "sandbox"));
        assert!(resolver.ask(&"0".repeat(64), "unheard of"));
        let answer = resolver
            .answers
            .recv_timeout(Duration::from_secs(10))
            .unwrap();
        assert_eq!(answer.metadata, None);
    }
}
