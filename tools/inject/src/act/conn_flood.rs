//! Bursts of connections to a peer.

use std::time::Duration;

use super::{
    Act, ActError, Ctx, Info, Kind, Signal,
    peer::{Peer, drain},
};

pub struct ConnFlood;

static INFO: Info = Info {
    name: "conn_flood",
    kind: Kind::Anomaly,
    attack_id: "T1498.001",
    about: "bursts of connects to a peer on loopback, 100 to 1500 a second",
    needs: "nothing",
    signals: &[Signal::ConnectRate, Signal::AcceptRate],
};

/// Bursts a second.
const BURSTS: f64 = 4.0;

impl Act for ConnFlood {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn run(&self, ctx: &mut Ctx) -> Result<String, ActError> {
        let peer = Peer::start(0, drain)?;
        let burst = (ctx.scale(100.0, 1500.0) / BURSTS).round() as u64;
        let (mut made, mut refused) = (0u64, 0u64);
        while !ctx.over() {
            for _ in 0..burst {
                if ctx.over() {
                    break;
                }
                match peer.connect() {
                    Ok(_) => made += 1,
                    Err(_) => refused += 1,
                }
            }
            ctx.sleep(Duration::from_secs_f64(1.0 / BURSTS));
        }
        Ok(format!(
            "{made} connections, {refused} refused, {} accepted",
            peer.served()
        ))
    }
}
