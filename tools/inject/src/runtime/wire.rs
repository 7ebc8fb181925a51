//! Orders in, answers out: a container's stdin and stdout, however they are carried.

use std::{
    io::{self, Write},
    sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender},
    time::Duration,
};

use anyhow::{Context, Result};

use crate::frame::{LINE_BYTES_MAX, Order, Said};

/// Answers that may wait to be read; a container that says more is made to wait.
const SAID_MAX: usize = 256;

pub struct Wire {
    orders: Box<dyn Write>,
    said: Receiver<Said>,
}

pub enum Heard {
    Said(Said),
    Nothing,
    Closed,
}

impl Wire {
    pub fn new(orders: Box<dyn Write>) -> (Wire, Ear) {
        let (sender, said) = mpsc::sync_channel(SAID_MAX);
        (
            Wire { orders, said },
            Ear {
                sender,
                line: Vec::new(),
            },
        )
    }

    pub fn order(&mut self, order: &Order) -> Result<()> {
        self.send(&order.encode())
            .context("cannot give an order: the container is gone")
    }

    pub(super) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.orders.write_all(bytes)?;
        self.orders.flush()
    }

    pub fn hear(&mut self, wait: Duration) -> Heard {
        match self.said.recv_timeout(wait) {
            Ok(said) => Heard::Said(said),
            Err(RecvTimeoutError::Timeout) => Heard::Nothing,
            Err(RecvTimeoutError::Disconnected) => Heard::Closed,
        }
    }
}

/// Cuts what a container writes into lines and passes them on; dropped at its end.
pub struct Ear {
    sender: SyncSender<Said>,
    line: Vec<u8>,
}

impl Ear {
    /// False: nobody listens any more.
    pub fn take(&mut self, bytes: &[u8]) -> bool {
        for &byte in bytes {
            if byte == b'\n' {
                let said = Said::parse(String::from_utf8_lossy(&self.line).trim_end());
                self.line.clear();
                if self.sender.send(said).is_err() {
                    return false;
                }
            } else if self.line.len() < LINE_BYTES_MAX {
                self.line.push(byte);
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_put_together_and_long_ones_cut() {
        let (mut wire, mut ear) = Wire::new(Box::new(io::sink()));
        assert!(ear.take(b"rea"));
        assert!(matches!(wire.hear(Duration::ZERO), Heard::Nothing));
        assert!(ear.take(b"dy\nfatal x\n"));
        assert!(matches!(
            wire.hear(Duration::ZERO),
            Heard::Said(Said::Ready)
        ));
        assert!(matches!(wire.hear(Duration::ZERO), Heard::Said(Said::Fatal(text)) if text == "x"));
        for length in [LINE_BYTES_MAX - 1, LINE_BYTES_MAX, LINE_BYTES_MAX + 1] {
            assert!(ear.take(&vec![b'a'; length]) && ear.take(b"\n"));
            let Heard::Said(Said::Other(text)) = wire.hear(Duration::ZERO) else {
                panic!("a line")
            };
            assert_eq!(text.len(), length.min(LINE_BYTES_MAX));
        }
        drop(ear);
        assert!(matches!(wire.hear(Duration::ZERO), Heard::Closed));
    }
}
