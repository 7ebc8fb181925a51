//! Findings as syslog messages (RFC 5424): to a Unix datagram socket, by UDP (one datagram each), or by TCP
//! (frames that begin with their length, RFC 6587 §3.4.1).

use std::{
    io::Write,
    net::{TcpStream, ToSocketAddrs, UdpSocket},
    os::unix::net::UnixDatagram,
    path::PathBuf,
    time::Duration,
};

use super::{
    Error, Report, Sink, Spec, SpecError,
    delivery::{Delivery, Failure, Transport},
};
use crate::{
    findings::{Finding, Severity, hex_id, one_line, short_id, uuid_text},
    time,
};

/// authpriv: messages about security.
const FACILITY: u8 = 10;
/// What every receiver has to take is 480 bytes, what it should is 2048 (RFC 5424 §6.1).
const MESSAGE_BYTES_MAX: usize = 2_048;
const CONNECT: Duration = Duration::from_secs(5);

pub(super) fn open(spec: &Spec) -> Result<Box<dyn Sink>, Error> {
    let wrong = || SpecError::Address {
        kind: "syslog",
        target: spec.target.clone(),
        expected: "unix:///path, udp://host:port or tcp://host:port",
    };
    let (scheme, rest) = spec.target.split_once("://").ok_or_else(wrong)?;
    if rest.is_empty() {
        return Err(wrong().into());
    }
    let address = rest.to_owned();
    let port = || {
        let port = rest
            .rsplit_once(':')
            .and_then(|(_, port)| port.parse().ok());
        port.map(|_: u16| ()).ok_or_else(wrong)
    };
    let to = match scheme {
        "unix" => To::Unix(address.into()),
        "udp" => {
            port()?;
            To::Udp(address)
        }
        "tcp" => {
            port()?;
            To::Tcp(address, None)
        }
        _ => return Err(wrong().into()),
    };
    Ok(Box::new(Syslog(Delivery::start(spec, Box::new(to))?)))
}

struct Syslog(Delivery);

impl Sink for Syslog {
    fn finding(&mut self, finding: &Finding) -> Result<(), Error> {
        self.0.push(message(finding));
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Report, Error> {
        Ok(self.0.finish())
    }
}

fn message(finding: &Finding) -> Vec<u8> {
    let severity = match finding.severity {
        Severity::Emergency => 0,
        Severity::Alert => 1,
        Severity::Critical => 2,
        Severity::Error => 3,
        Severity::Warning => 4,
        Severity::Notice => 5,
        Severity::Informational => 6,
        Severity::Debug => 7,
    };
    let time = match finding.wall_ns {
        None => "-".to_owned(),
        // At most six decimals.
        Some(wall_ns) => {
            let text = time::rfc3339(wall_ns);
            format!("{}Z", text.get(..26).unwrap_or(&text))
        }
    };
    let mut parameters = String::new();
    let mut parameter = |name: &str, value: &str| {
        if !value.is_empty() {
            let value = one_line(value)
                .replace('\\', "\\\\")
                .replace('"', "\\\"")
                .replace(']', "\\]");
            parameters.push_str(&format!(" {name}=\"{value}\""));
        }
    };
    parameter("rule", &finding.rule);
    parameter("engine", finding.engine.name());
    parameter("container", &finding.container.name);
    parameter("containerId", short_id(&finding.container.id));
    parameter("image", &finding.container.image);
    if let Some(process) = finding.lineage.first() {
        parameter("pid", &process.pid.to_string());
        parameter("comm", &process.comm);
    }
    parameter("incident", &hex_id(finding.incident));
    parameter("trace", &uuid_text(finding.trace_uuid));
    let text = match finding.message.is_empty() {
        true => finding.rule.to_string(),
        false => format!("{}: {}", finding.rule, finding.message),
    };
    // The number is the one that RFC 5612 sets aside for such uses.
    let mut message = format!(
        "<{}>1 {time} - trailcam - finding [trailcam@32473{parameters}] \u{feff}{}",
        FACILITY * 8 + severity,
        one_line(&text)
    );
    if message.len() > MESSAGE_BYTES_MAX {
        let mut end = MESSAGE_BYTES_MAX;
        while !message.is_char_boundary(end) {
            end -= 1;
        }
        message.truncate(end);
    }
    message.into_bytes()
}

enum To {
    Unix(PathBuf),
    Udp(String),
    Tcp(String, Option<TcpStream>),
}

impl Transport for To {
    fn most(&self) -> usize {
        1
    }

    fn send(&mut self, messages: &[Vec<u8>]) -> Result<(), Failure> {
        messages.iter().try_for_each(|message| self.one(message))
    }
}

impl To {
    fn one(&mut self, message: &[u8]) -> Result<(), Failure> {
        let sent = match self {
            To::Unix(path) => UnixDatagram::unbound()
                .and_then(|socket| socket.send_to(message, &*path))
                .map(drop)
                .map_err(|error| format!("{}: {error}", path.display())),
            To::Udp(address) => {
                udp(address, message).map_err(|error| format!("{address}: {error}"))
            }
            To::Tcp(address, stream) => {
                let sent = tcp(address, stream, message);
                if sent.is_err() {
                    *stream = None;
                }
                sent.map_err(|error| format!("{address}: {error}"))
            }
        };
        sent.map_err(|reason| Failure::Again(format!("syslog {reason}")))
    }
}

fn udp(address: &str, message: &[u8]) -> std::io::Result<()> {
    let to = resolved(address)?;
    let from = match to.is_ipv4() {
        true => "0.0.0.0:0",
        false => "[::]:0",
    };
    UdpSocket::bind(from)?.send_to(message, to).map(drop)
}

fn tcp(address: &str, stream: &mut Option<TcpStream>, message: &[u8]) -> std::io::Result<()> {
    let stream = match stream {
        Some(stream) => stream,
        None => {
            let connected = TcpStream::connect_timeout(&resolved(address)?, CONNECT)?;
            connected.set_write_timeout(Some(CONNECT))?;
            stream.insert(connected)
        }
    };
    let mut frame = format!("{} ", message.len()).into_bytes();
    frame.extend_from_slice(message);
    stream.write_all(&frame)
}

fn resolved(address: &str) -> std::io::Result<std::net::SocketAddr> {
    address
        .to_socket_addrs()?
        .next()
        .ok_or_else(|| std::io::Error::other("the name has no address"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::findings::EngineKind;

    #[test]
    fn a_message_is_what_the_rfc_says() {
        let mut finding = Finding::new(
            EngineKind::Rules,
            "A \"rule\"]".into(),
            Severity::Critical,
            1,
        );
        finding.wall_ns = Some(1_700_000_000_123_456_789);
        finding.message = "two\nlines".into();
        let text = String::from_utf8(message(&finding)).unwrap();
        let start = "<82>1 2023-11-14T22:13:20.123456Z - trailcam - finding [trailcam@32473 rule=\"A \\\"rule\\\"\\]\" engine=\"rules\"";
        assert!(text.starts_with(start), "{text}");
        assert!(
            text.ends_with("] \u{feff}A \"rule\"]: two\\nlines"),
            "{text}"
        );
    }

    #[test]
    fn a_message_is_bounded_and_stays_text() {
        let mut finding = Finding::new(EngineKind::Rules, "r".into(), Severity::Debug, 1);
        finding.message = "ü".repeat(4_000);
        let message = message(&finding);
        assert!(message.len() <= MESSAGE_BYTES_MAX && String::from_utf8(message).is_ok());
    }
}
