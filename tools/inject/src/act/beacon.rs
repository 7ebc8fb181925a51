//! Reports to its master at a fixed period with a little jitter.

use std::{
    io::{Read, Write},
    time::Duration,
};

use rand::Rng;

use super::{
    Act, ActError, Ctx, Info, Kind, Signal,
    peer::{Peer, answer},
};

pub struct Beacon;

static INFO: Info = Info {
    name: "beacon",
    kind: Kind::Anomaly,
    attack_id: "T1071.001",
    about: "asks a web server on loopback for orders every 0.25 to 4 s, give or take 5 %",
    needs: "nothing",
    signals: &[Signal::RegularConnects],
};

const JITTER: f64 = 0.05;

impl Act for Beacon {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn run(&self, ctx: &mut Ctx) -> Result<String, ActError> {
        let master = Peer::start(0, answer)?;
        let period = ctx.scale(4.0, 0.25);
        let mut reports = 0u64;
        while !ctx.over() {
            let mut stream = master.connect()?;
            let mut order = String::new();
            stream
                .write_all(b"GET /check HTTP/1.1\r\nHost: updates.example\r\n\r\n")
                .and_then(|()| stream.read_to_string(&mut order))
                .map_err(ActError::io("ask", master.address.to_string()))?;
            reports += 1;
            let jitter = ctx.rng.random_range(-JITTER..JITTER);
            ctx.sleep(Duration::from_secs_f64(period * (1.0 + jitter)));
        }
        Ok(format!("{reports} reports"))
    }
}
