//! Sends a lot to a sink on loopback and gets nothing back.

use std::{
    io::Write,
    time::{Duration, Instant},
};

use rand::RngCore;

use super::{
    Act, ActError, Ctx, Info, Kind, Signal,
    peer::{Peer, drain},
};

pub struct Exfil;

static INFO: Info = Info {
    name: "exfil",
    kind: Kind::Anomaly,
    attack_id: "T1048",
    about: "sends 5 to 50 MB to a sink on loopback, spread over its time",
    needs: "nothing",
    signals: &[Signal::SendRate],
};

/// About a packet.
const BLOCK_BYTES: usize = 1400;

/// Sooner than its time: the last blocks must not be cut off.
const SPREAD: f64 = 0.9;

impl Act for Exfil {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn run(&self, ctx: &mut Ctx) -> Result<String, ActError> {
        let sink = Peer::start(0, drain)?;
        let total = (ctx.scale(0.0, 50e6)) as u64;
        let mut stream = sink.connect()?;
        let mut block = vec![0; BLOCK_BYTES];
        let start = Instant::now();
        let whole = ctx.duration().mul_f64(SPREAD).as_secs_f64().max(0.001);
        let mut sent = 0u64;
        while sent < total && !ctx.over() {
            // Compressed or encrypted data look like this.
            ctx.rng.fill_bytes(&mut block[..64]);
            stream
                .write_all(&block)
                .map_err(ActError::io("send to", sink.address.to_string()))?;
            sent += block.len() as u64;
            let due = Duration::from_secs_f64(sent as f64 / total as f64 * whole);
            ctx.sleep(due.saturating_sub(start.elapsed()));
        }
        Ok(format!("{sent} bytes sent"))
    }
}
