//! The other side of a connection: what an attacker's machine would be, on loopback.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use super::ActError;

/// Whoever says nothing for so long is let go.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// Accepts and serves one connection after another until it is dropped.
pub struct Peer {
    pub address: SocketAddr,
    served: Arc<AtomicU64>,
    done: Arc<AtomicBool>,
}

impl Peer {
    /// Port 0: any that is free. `serve` gets each connection.
    pub fn start(
        port: u16,
        serve: impl Fn(&mut TcpStream) -> std::io::Result<()> + Send + 'static,
    ) -> Result<Peer, ActError> {
        let wanted = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let listener =
            TcpListener::bind(wanted).map_err(ActError::io("listen on", wanted.to_string()))?;
        let address = listener
            .local_addr()
            .map_err(ActError::io("read the address of", "a listener"))?;
        let (served, done) = (
            Arc::new(AtomicU64::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let (count, stop) = (Arc::clone(&served), Arc::clone(&done));
        thread::spawn(move || {
            for stream in listener.incoming() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                // A connection that breaks is the other side's affair.
                let _ = stream.and_then(|mut stream| {
                    stream.set_read_timeout(Some(SILENCE_MAX))?;
                    stream.set_write_timeout(Some(SILENCE_MAX))?;
                    count.fetch_add(1, Ordering::Relaxed);
                    serve(&mut stream)
                });
            }
        });
        Ok(Peer {
            address,
            served,
            done,
        })
    }

    pub fn connect(&self) -> Result<TcpStream, ActError> {
        let connected = TcpStream::connect(self.address).and_then(|stream| {
            stream.set_read_timeout(Some(SILENCE_MAX))?;
            stream.set_write_timeout(Some(SILENCE_MAX))?;
            Ok(stream)
        });
        connected.map_err(ActError::io("connect to", self.address.to_string()))
    }

    pub fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
    }
}

/// Reads to the end and drops it.
pub fn drain(stream: &mut TcpStream) -> std::io::Result<()> {
    std::io::copy(stream, &mut std::io::sink()).map(drop)
}

/// Reads a request and answers with a short page.
pub fn answer(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut request = [0; 1024];
    let _ = stream.read(&mut request)?;
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nsleep")
}
