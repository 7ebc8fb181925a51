//! One HTTP/1.1 POST per attempt, over TCP or TLS (rustls).

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use http_body_util::{BodyExt, Full, Limited};
use hyper::{Request, Uri, body::Bytes, header};
use hyper_util::rt::TokioIo;
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    runtime::Runtime,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, RootCertStore, crypto},
};

use super::{
    Error, SpecError,
    delivery::{Failure, Transport},
};

/// For one attempt, from the look-up of the name to the end of the answer.
const ATTEMPT: Duration = Duration::from_secs(10);
/// Of an answer that is read, for the reason in it.
const ANSWER_BYTES_MAX: usize = 4_096;
/// Of the reason that is shown.
const REASON_CHARS: usize = 200;

/// Where distributions keep the certificates that they trust.
const SYSTEM_CERTIFICATES: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
];

/// A receiver.
pub struct Http {
    url: Uri,
    host: String,
    port: u16,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    content_type: String,
    runtime: Runtime,
}

impl Http {
    pub fn new(
        kind: &'static str,
        url: &str,
        ca: Option<&Path>,
        content_type: &str,
    ) -> Result<Http, Error> {
        let wrong = || SpecError::Address {
            kind,
            target: url.to_owned(),
            expected: "http://host[:port]/path or https://host[:port]/path",
        };
        let url: Uri = url.parse().map_err(|_| wrong())?;
        let host = url.host().ok_or_else(wrong)?;
        let host = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let setup = |what: &str, reason: String| Error::Setup {
            what: what.to_owned(),
            reason,
        };
        let (tls, port) = match url.scheme_str() {
            Some("http") => (None, 80),
            Some("https") => {
                let name = ServerName::try_from(host.clone()).map_err(|_| wrong())?;
                (Some((connector(ca)?, name)), 443)
            }
            _ => return Err(wrong().into()),
        };
        if hyper::header::HeaderValue::from_str(content_type).is_err() {
            return Err(setup(
                content_type,
                "it is no content type: expected one such as application/json".into(),
            ));
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| setup("the network", error.to_string()))?;
        Ok(Http {
            port: url.port_u16().unwrap_or(port),
            host,
            url,
            tls,
            content_type: content_type.to_owned(),
            runtime,
        })
    }

    /// Sends a body and takes any 2xx for an answer.
    pub fn post(&mut self, body: Vec<u8>) -> Result<(), Failure> {
        let attempt = async {
            let connect = TcpStream::connect((self.host.as_str(), self.port)).await;
            let stream = connect.map_err(|error| self.again(&error))?;
            match &self.tls {
                None => self.exchange(stream, body).await,
                Some((connector, name)) => {
                    let stream = connector.connect(name.clone(), stream).await;
                    self.exchange(stream.map_err(|error| self.again(&error))?, body)
                        .await
                }
            }
        };
        let within = async { tokio::time::timeout(ATTEMPT, attempt).await };
        self.runtime.block_on(within).unwrap_or_else(|_| {
            Err(Failure::Again(format!(
                "{}: no answer within {} s",
                self.url,
                ATTEMPT.as_secs()
            )))
        })
    }

    async fn exchange<S>(&self, stream: S, body: Vec<u8>) -> Result<(), Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(|error| self.again(&error))?;
        let connection = tokio::spawn(connection);
        let path = self.url.path_and_query().map_or("/", |path| path.as_str());
        let host = self.url.authority().map_or("", |authority| {
            // A name and a password in the address are no part of the host.
            authority.as_str().rsplit('@').next().unwrap_or_default()
        });
        let request = Request::post(path)
            .header(header::HOST, host)
            .header(header::CONTENT_TYPE, &self.content_type)
            .header(
                header::USER_AGENT,
                concat!("trailcam/", env!("CARGO_PKG_VERSION")),
            )
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| Failure::Refused(format!("{}: {error}", self.url)))?;
        let answer = sender.send_request(request).await;
        let answer = answer.map_err(|error| self.again(&error))?;
        let status = answer.status();
        let said = Limited::new(answer.into_body(), ANSWER_BYTES_MAX)
            .collect()
            .await
            .map(|body| body.to_bytes())
            .unwrap_or_default();
        connection.abort();
        if status.is_success() {
            return Ok(());
        }
        let said = crate::findings::one_line(String::from_utf8_lossy(&said).trim());
        let said: String = said.chars().take(REASON_CHARS).collect();
        let reason = format!("{} answers {status}: {said}", self.url);
        // Too many requests, too slow, or broken on its side: later it may take the same.
        match status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429) {
            true => Err(Failure::Again(reason)),
            false => Err(Failure::Refused(reason)),
        }
    }

    fn again(&self, error: &dyn std::fmt::Display) -> Failure {
        Failure::Again(format!("{}: {error}", self.url))
    }
}

/// Trusts the system's certificates, or those of a file.
fn connector(ca: Option<&Path>) -> Result<TlsConnector, Error> {
    let path = match ca {
        Some(path) => path.to_owned(),
        None => {
            let found = SYSTEM_CERTIFICATES.iter().map(PathBuf::from);
            found
                .into_iter()
                .find(|path| path.exists())
                .ok_or_else(|| Error::Setup {
                    what: "https".into(),
                    reason:
                        "this system has no file of trusted certificates: give one with ,ca=FILE"
                            .into(),
                })?
        }
    };
    let pem = fs::read(&path).map_err(|source| Error::File {
        path: path.clone(),
        source,
    })?;
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok);
    let (trusted, _) = roots.add_parsable_certificates(certificates);
    if trusted == 0 {
        return Err(Error::Setup {
            what: path.display().to_string(),
            reason: "it has no certificate (PEM) that can be trusted".into(),
        });
    }
    let provider = Arc::new(crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::Setup {
            what: "TLS".into(),
            reason: error.to_string(),
        })?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Each message is a body.
pub struct Bodies(pub Http);

impl Transport for Bodies {
    fn most(&self) -> usize {
        1
    }

    fn send(&mut self, messages: &[Vec<u8>]) -> Result<(), Failure> {
        messages
            .iter()
            .try_for_each(|body| self.0.post(body.clone()))
    }
}
