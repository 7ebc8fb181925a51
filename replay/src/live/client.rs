//! A recorder's live stream as a source of chunks: connects, checks, resumes after a lost connection.
//!
//! The stream carries sealed chunks as they are in the recorder's file; [`Stream`] checks each. What the
//! recorder did not send, because this end was too slow or came too late, is an issue.

use hyper_util::rt::TokioIo;
use std::{io, path::PathBuf, time::Duration};
use tokio::{
    net::UnixStream,
    runtime::{Builder, Runtime},
    signal::unix::{Signal, SignalKind, signal},
};
use tonic::{
    Status, Streaming,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};
use trace_format::{
    ChunkSource, Issue, SealedChunk,
    live::{MESSAGE_BYTES_MAX, SubscribeRequest, Update, live_client::LiveClient, update},
};

use super::stream::{End, Stream, kept};

/// A recorder answers at once or is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A quiet connection is asked whether it still lives: a recorder sends a tick chunk every second.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// Attempts after a lost connection, with twice the pause each time: half a minute in all, time for a
/// restart of the network but not for a recorder that is gone.
const RECONNECTS_MAX: u32 = 8;
const RECONNECT_PAUSE: Duration = Duration::from_millis(125);

/// How to connect.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Allow `http://`, where neither end is authenticated and nothing is encrypted.
    pub insecure: bool,
    /// PEM: the authority that signed the recorder's certificate; `https://` needs it.
    pub ca: Option<Vec<u8>>,
    /// PEM: own certificate and key; `https://` needs them, because the recorder asks for them.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
    /// First chunk wanted; `None`: the newest checkpoint, then what follows.
    pub from_chunk: Option<u64>,
    /// End the stream on SIGINT and SIGTERM, as if the recorder had.
    pub until_signal: bool,
}

/// Why there is no stream.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "{url} is not a live address; expected unix:///path, http://host:port or https://host:port"
    )]
    Address { url: String },
    #[error(
        "{url} is not encrypted and neither end is authenticated: --insecure accepts that, https:// with --ca, --cert and --key avoids it"
    )]
    Insecure { url: String },
    #[error(
        "{url} needs {missing}: a recorder is reached over TLS only when both ends show a certificate"
    )]
    Certificates { url: String, missing: &'static str },
    #[error("cannot start the network runtime: {0}")]
    Runtime(io::Error),
    #[error("cannot connect to {url}: {reason}; is rec live running there?")]
    Connect { url: String, reason: String },
    #[error("{url} refused: {reason}")]
    Refused { url: String, reason: String },
}

/// The source.
pub struct LiveSource {
    url: String,
    endpoint: Endpoint,
    /// For `unix://`.
    socket: Option<PathBuf>,
    runtime: Runtime,
    messages: Option<Streaming<Update>>,
    signals: Option<(Signal, Signal)>,
    told: Stream,
}

impl LiveSource {
    /// Connects and subscribes.
    pub fn connect(url: &str, options: &Options) -> Result<LiveSource, Error> {
        let (endpoint, socket) = endpoint(url, options)?;
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(Error::Runtime)?;
        let signals = {
            let _inside = runtime.enter();
            let both = || {
                Ok((
                    signal(SignalKind::interrupt())?,
                    signal(SignalKind::terminate())?,
                ))
            };
            options
                .until_signal
                .then(both)
                .transpose()
                .map_err(Error::Runtime)?
        };
        let mut source = LiveSource {
            url: url.to_owned(),
            endpoint,
            socket,
            runtime,
            messages: None,
            signals,
            told: Stream::new(options.from_chunk),
        };
        source.subscribe()?;
        Ok(source)
    }

    /// How the stream ended, once `next_chunk` has returned `None`.
    pub fn end(&self) -> End {
        self.told.end()
    }

    /// What happened since the last call that a person at the terminal wants to know.
    pub fn notices(&mut self) -> std::vec::Drain<'_, String> {
        self.told.notices()
    }

    /// Issues beyond those kept.
    pub fn issues_not_kept(&self) -> u64 {
        self.told.issues_not_kept()
    }

    fn subscribe(&mut self) -> Result<(), Error> {
        let channel = match &self.socket {
            None => self.runtime.block_on(self.endpoint.connect()),
            Some(path) => {
                let path = path.clone();
                let connector = tower::service_fn(move |_| {
                    let path = path.clone();
                    async move { UnixStream::connect(path).await.map(TokioIo::new) }
                });
                self.runtime
                    .block_on(self.endpoint.connect_with_connector(connector))
            }
        };
        let channel: Channel = channel.map_err(|error| Error::Connect {
            url: self.url.clone(),
            reason: innermost(&error),
        })?;
        let mut client = LiveClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
        let request = SubscribeRequest {
            from_chunk: self.told.next_number(),
        };
        let answer = self.runtime.block_on(client.subscribe(request));
        let stream = answer.map_err(|status| Error::Refused {
            url: self.url.clone(),
            reason: said(&status),
        })?;
        self.messages = Some(stream.into_inner());
        Ok(())
    }

    /// The next message, or what ended the wait.
    fn wait(&mut self) -> Waited {
        let Some(messages) = &mut self.messages else {
            return Waited::Lost("not connected".into());
        };
        let signals = &mut self.signals;
        self.runtime.block_on(async {
            tokio::select! {
                () = stopped(signals) => Waited::Stopped,
                message = messages.message() => match message {
                    Ok(Some(Update { update: Some(update) })) => Waited::Update(update),
                    // A message of a newer recorder, which this version need not know.
                    Ok(Some(Update { update: None })) => Waited::Unknown,
                    Ok(None) => Waited::Lost("the recorder closed the stream without saying why".into()),
                    Err(status) => Waited::Lost(said(&status)),
                },
            }
        })
    }

    /// After a lost connection: tries again, with growing pauses. False: gave up, or was stopped.
    fn resume(&mut self, reason: String) -> bool {
        self.messages = None;
        self.told
            .notice(format!("connection lost ({reason}), trying again"));
        let mut pause = RECONNECT_PAUSE;
        let mut last = String::new();
        for _ in 0..RECONNECTS_MAX {
            if self.pause(pause) {
                self.told.stop();
                return false;
            }
            pause *= 2;
            match self.subscribe() {
                Ok(()) => {
                    self.told.notice("connected again".into());
                    return true;
                }
                Err(error) => last = error.to_string(),
            }
        }
        self.told.lost(&format!(
            "the connection was lost ({reason}) and did not come back: {last}"
        ));
        false
    }

    /// True when a signal came.
    fn pause(&mut self, pause: Duration) -> bool {
        let signals = &mut self.signals;
        self.runtime.block_on(async {
            tokio::select! {
                () = stopped(signals) => true,
                () = tokio::time::sleep(pause) => false,
            }
        })
    }
}

enum Waited {
    Update(update::Update),
    Unknown,
    Lost(String),
    Stopped,
}

impl ChunkSource for LiveSource {
    fn next_chunk(&mut self) -> Result<Option<SealedChunk>, trace_format::Error> {
        while self.told.end() == End::Open {
            match self.wait() {
                Waited::Update(update) => {
                    if let Some(chunk) = self.told.take(update) {
                        return Ok(Some(chunk));
                    }
                }
                Waited::Unknown => {}
                Waited::Lost(reason) => {
                    self.resume(reason);
                }
                Waited::Stopped => self.told.stop(),
            }
        }
        self.messages = None;
        Ok(None)
    }

    fn issues(&self) -> &[Issue] {
        self.told.issues()
    }
}

/// Ready when a signal came; never without signals.
async fn stopped(signals: &mut Option<(Signal, Signal)>) {
    match signals {
        Some((interrupt, terminate)) => {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        }
        None => std::future::pending().await,
    }
}

fn endpoint(url: &str, options: &Options) -> Result<(Endpoint, Option<PathBuf>), Error> {
    let bad = || Error::Address {
        url: url.to_owned(),
    };
    if let Some(path) = url.strip_prefix("unix://") {
        if !path.starts_with('/') {
            return Err(bad());
        }
        // The name is not used: the connector goes to the socket.
        let endpoint = Endpoint::from_static("http://recorder.invalid");
        return Ok((tuned(endpoint), Some(PathBuf::from(path))));
    }
    let endpoint = Endpoint::from_shared(url.to_owned()).map_err(|_| bad())?;
    if url.starts_with("http://") {
        if !options.insecure {
            return Err(Error::Insecure {
                url: url.to_owned(),
            });
        }
        return Ok((tuned(endpoint), None));
    }
    if !url.starts_with("https://") {
        return Err(bad());
    }
    let lacks = |missing| Error::Certificates {
        url: url.to_owned(),
        missing,
    };
    let ca = options.ca.as_ref().ok_or_else(|| lacks("--ca"))?;
    let (certificate, key) = options
        .identity
        .as_ref()
        .ok_or_else(|| lacks("--cert and --key"))?;
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(ca))
        .identity(Identity::from_pem(certificate, key));
    let endpoint = endpoint.tls_config(tls).map_err(|error| Error::Connect {
        url: url.to_owned(),
        reason: innermost(&error),
    })?;
    Ok((tuned(endpoint), None))
}

fn tuned(endpoint: Endpoint) -> Endpoint {
    endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .keep_alive_while_idle(true)
}

/// The cause at the bottom: "transport error" says nothing, "connection refused" does.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}

/// What a status says, without its envelope.
fn said(status: &Status) -> String {
    if std::error::Error::source(status).is_some() {
        return innermost(status);
    }
    match status.message() {
        "" => status.code().description().to_owned(),
        message => kept(message),
    }
}
