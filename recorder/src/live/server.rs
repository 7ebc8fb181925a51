//! The gRPC service: `format-spec/proto/live.proto` over a unix socket, or TCP with mutual TLS.

use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, bail};
use futures_util::Stream;
use tokio::{
    net::{TcpListener, UnixListener},
    sync::{mpsc, oneshot},
};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream, UnixListenerStream};
use tonic::{
    Request, Response, Status,
    transport::{Certificate, Identity, Server, ServerTlsConfig, server::Router},
};
use trace_format::live::{
    DescribeRequest, Description, End as EndMessage, MESSAGE_BYTES_MAX, Missed, StatusReply,
    StatusRequest, SubscribeRequest, Update,
    live_server::{Live, LiveServer},
    update,
};

use super::hub::{Hub, Next};
use crate::{capture::Progress, clock, control, notice, privileges};

/// Messages on their way to one subscriber; the hub holds the rest.
const IN_FLIGHT: usize = 4;
/// Subscribers at once; each is a task and a few chunks.
const SUBSCRIBERS_MAX: u32 = 64;
/// A subscriber that does not answer for this long is gone, and its seat is free.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// After the last chunk subscribers get this long to take what is held.
const GOODBYE: Duration = Duration::from_millis(1_500);

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    Unix(PathBuf),
    Tcp(SocketAddr),
}

impl Address {
    /// `unix:///path`, `/path` or `ip:port`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let path = text
            .strip_prefix("unix://")
            .or_else(|| text.starts_with('/').then_some(text));
        if let Some(path) = path {
            return if path.starts_with('/') {
                Ok(Address::Unix(path.into()))
            } else {
                Err(format!(
                    "{text:?}: a socket path is absolute, as in unix:///run/trailcam/live.sock"
                ))
            };
        }
        let address = text.strip_prefix("tcp://").unwrap_or(text);
        address.parse().map(Address::Tcp).map_err(|_| {
            format!("{text:?} is no address; write unix:///path/to.sock or IP:PORT, for example 0.0.0.0:7443")
        })
    }
}

/// How TCP is protected.
#[derive(Clone, Debug)]
pub enum Security {
    /// Nobody is authenticated and nothing is encrypted.
    Insecure,
    /// PEM texts: own certificate and key, and the authority that signed the subscribers'.
    MutualTls {
        certificate: Vec<u8>,
        key: Vec<u8>,
        client_ca: Vec<u8>,
    },
}

/// What the service tells about the capture.
pub struct About {
    pub trace_uuid: [u8; 16],
    pub hostname: String,
    pub profile: String,
    pub progress: Arc<Progress>,
}

/// A running service. It ends when it is dropped or [`Service::stop`]ped.
pub struct Service {
    /// `unix:///path` or `http(s)://ip:port`, as a subscriber writes it.
    pub url: String,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
    socket: Option<PathBuf>,
}

impl Service {
    /// Binds at once (so that an address in use is an error here) and serves on a thread of its own.
    pub fn start(
        address: &Address,
        security: Option<Security>,
        hub: Arc<Hub>,
        about: About,
    ) -> anyhow::Result<Self> {
        let mut builder = Server::builder()
            .http2_keepalive_interval(Some(KEEP_ALIVE))
            .http2_keepalive_timeout(Some(KEEP_ALIVE));
        let mut scheme = "http";
        match (address, security) {
            (Address::Unix(_), _) | (_, Some(Security::Insecure)) => {}
            (
                Address::Tcp(_),
                Some(Security::MutualTls {
                    certificate,
                    key,
                    client_ca,
                }),
            ) => {
                let config = ServerTlsConfig::new()
                    .identity(Identity::from_pem(certificate, key))
                    .client_ca_root(Certificate::from_pem(client_ca));
                builder = builder
                    .tls_config(config)
                    .context("the certificate, key or client authority is not usable")?;
                scheme = "https";
            }
            (Address::Tcp(address), None) => bail!(
                "listening on {address} needs mutual TLS: give --tls-cert, --tls-key and --tls-client-ca, or \
                 --insecure, which lets anyone who reaches that port read everything that is recorded"
            ),
        }
        let service = LiveService {
            hub,
            about: Arc::new(about),
            started_ns: clock::boot_ns(),
            subscribers: Arc::default(),
        };
        let server = LiveServer::new(service).max_encoding_message_size(MESSAGE_BYTES_MAX);
        let router = builder.add_service(server);
        // Two workers: one blocked send never keeps another subscriber waiting.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .on_thread_start(privileges::none)
            .enable_all()
            .build()?;
        let (stop, stopped) = oneshot::channel();
        let guard = runtime.enter();
        let (url, socket, incoming) = match address {
            Address::Unix(path) => {
                let listener = control::bind(path, "--listen")?;
                listener.set_nonblocking(true)?;
                let listener = UnixListener::from_std(listener)?;
                (
                    format!("unix://{}", path.display()),
                    Some(path.clone()),
                    Incoming::Unix(listener),
                )
            }
            Address::Tcp(address) => {
                let listener = std::net::TcpListener::bind(address)
                    .with_context(|| format!("cannot listen on {address}"))?;
                listener.set_nonblocking(true)?;
                let url = format!("{scheme}://{}", listener.local_addr()?);
                (url, None, Incoming::Tcp(TcpListener::from_std(listener)?))
            }
        };
        drop(guard);
        let thread = thread::Builder::new()
            .name("rec-live".into())
            .spawn(move || {
                privileges::none();
                let ended = runtime.block_on(serve(router, incoming, async {
                    // A dropped sender ends the service too.
                    let _ = stopped.await;
                }));
                if let Err(error) = ended {
                    notice::say(format_args!("rec: the live service ended: {error}"));
                }
                runtime.shutdown_timeout(Duration::from_millis(100));
            })?;
        Ok(Service {
            url,
            stop: Some(stop),
            thread: Some(thread),
            socket,
        })
    }

    /// Ends the service; subscribers get the rest of what is held, for a moment.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        if let Some(socket) = self.socket.take() {
            let _ = fs::remove_file(socket);
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.end();
    }
}

enum Incoming {
    Unix(UnixListener),
    Tcp(TcpListener),
}

async fn serve(
    router: Router,
    incoming: Incoming,
    stopped: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error> {
    let (asked, ended) = oneshot::channel();
    let shutdown = async {
        stopped.await;
        let _ = asked.send(());
    };
    let serving = async {
        match incoming {
            Incoming::Unix(listener) => {
                router
                    .serve_with_incoming_shutdown(UnixListenerStream::new(listener), shutdown)
                    .await
            }
            Incoming::Tcp(listener) => {
                router
                    .serve_with_incoming_shutdown(TcpListenerStream::new(listener), shutdown)
                    .await
            }
        }
    };
    let patience = async {
        let _ = ended.await;
        tokio::time::sleep(GOODBYE).await;
    };
    tokio::select! {
        result = serving => result,
        () = patience => Ok(()),
    }
}

struct LiveService {
    hub: Arc<Hub>,
    about: Arc<About>,
    started_ns: u64,
    subscribers: Arc<AtomicU32>,
}

/// Counts a subscriber for as long as it lives.
struct Seat(Arc<AtomicU32>);
impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[tonic::async_trait]
impl Live for LiveService {
    type SubscribeStream = Pin<Box<dyn Stream<Item = Result<Update, Status>> + Send>>;

    async fn describe(&self, _: Request<DescribeRequest>) -> Result<Response<Description>, Status> {
        let (oldest_chunk, next_chunk) = self.hub.range();
        Ok(Response::new(Description {
            trace_uuid: self.about.trace_uuid.to_vec(),
            hostname: self.about.hostname.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            next_chunk,
            oldest_chunk,
        }))
    }

    async fn subscribe(
        &self,
        request: Request<SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let seat = Seat(self.subscribers.clone());
        if self.subscribers.fetch_add(1, Ordering::AcqRel) >= SUBSCRIBERS_MAX {
            return Err(Status::resource_exhausted(format!(
                "{SUBSCRIBERS_MAX} subscribers are connected already"
            )));
        }
        let start = request
            .into_inner()
            .from_chunk
            .unwrap_or_else(|| self.hub.start());
        let (_, next) = self.hub.range();
        if start > next {
            return Err(Status::out_of_range(format!(
                "chunk {start} was asked for, but the next one will be {next}"
            )));
        }
        let (updates, stream) = mpsc::channel(IN_FLIGHT);
        tokio::spawn(feed(self.hub.clone(), start, updates, seat));
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }

    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusReply>, Status> {
        let progress = &self.about.progress;
        Ok(Response::new(StatusReply {
            started_boot_ns: self.started_ns,
            now_boot_ns: clock::boot_ns(),
            events: progress.events.load(Ordering::Relaxed),
            dropped: progress.dropped.load(Ordering::Relaxed),
            chunks: progress.chunks.load(Ordering::Relaxed),
            bytes: progress.bytes.load(Ordering::Relaxed),
            subscribers: self.subscribers.load(Ordering::Relaxed),
            profile: self.about.profile.clone(),
        }))
    }
}

/// Feeds one subscriber from the hub until it goes away or the stream ends.
async fn feed(
    hub: Arc<Hub>,
    start: u64,
    updates: mpsc::Sender<Result<Update, Status>>,
    _seat: Seat,
) {
    let mut number = start;
    let mut changes = hub.changes();
    loop {
        // Before looking: a chunk that is pushed after the look wakes the wait below.
        changes.mark_unchanged();
        let (update, last) = match hub.next(number) {
            Next::Chunk(chunk) => {
                number += 1;
                (update::Update::Chunk(chunk.bytes.to_vec()), false)
            }
            Next::Missed { first, last } => {
                number = last + 1;
                let reason = if first == start {
                    "no longer held"
                } else {
                    "subscriber too slow"
                };
                (
                    update::Update::Missed(Missed {
                        first,
                        last,
                        reason: reason.to_owned(),
                    }),
                    false,
                )
            }
            Next::End(end) => (
                update::Update::End(EndMessage {
                    clean: end.clean,
                    reason: end.reason,
                }),
                true,
            ),
            Next::Wait => {
                if changes.changed().await.is_err() {
                    return;
                }
                continue;
            }
        };
        if updates
            .send(Ok(Update {
                update: Some(update),
            }))
            .await
            .is_err()
            || last
        {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_paths_or_ports() {
        assert_eq!(
            Address::parse("unix:///run/x.sock"),
            Ok(Address::Unix("/run/x.sock".into()))
        );
        assert_eq!(
            Address::parse("/run/x.sock"),
            Ok(Address::Unix("/run/x.sock".into()))
        );
        assert_eq!(
            Address::parse("127.0.0.1:7443"),
            Ok(Address::Tcp("127.0.0.1:7443".parse().unwrap()))
        );
        for wrong in ["", "localhost", "unix://x.sock", "7443"] {
            assert!(Address::parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
