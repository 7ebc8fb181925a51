//! Hashes, and talks lines of JSON over one long connection to port 3333.

use std::{
    hint,
    io::{BufRead, BufReader, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use rand::Rng;

use super::{Act, ActError, Ctx, Info, Kind, Signal, peer::Peer};

pub struct MinerLike;

static INFO: Info = Info {
    name: "miner_like",
    kind: Kind::Anomaly,
    attack_id: "T1496.001",
    about: "hashes for the given share of the time and reports to a pool at port 3333 of loopback",
    needs: "a CPU limit",
    signals: &[Signal::CpuTime, Signal::MiningPort],
};

const PORT: u16 = 3333;

/// Busy and idle alternate within this.
const PERIOD: Duration = Duration::from_millis(100);

/// Between two reports.
const REPORT: Duration = Duration::from_secs(1);

impl Act for MinerLike {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn run(&self, ctx: &mut Ctx) -> Result<String, ActError> {
        let pool = Peer::start(PORT, reply)?;
        let mut stream = pool.connect()?;
        let shown = pool.address.to_string();
        let mut replies = BufReader::new(
            stream
                .try_clone()
                .map_err(ActError::io("share a connection to", &shown))?,
        );
        let mut say = |line: String| {
            stream.write_all(line.as_bytes()).and_then(|()| {
                let mut reply = String::new();
                replies.read_line(&mut reply)
            })
        };
        let wallet = ctx.word();
        say(format!(
            "{{\"id\":1,\"method\":\"login\",\"params\":{{\"login\":\"{wallet}\"}}}}\n"
        ))
        .map_err(ActError::io("log in at", &shown))?;
        let busy = PERIOD.mul_f64(ctx.intensity);
        let mut block = [0u8; 80];
        let (mut hashes, mut shares, mut reported) = (0u64, 0u64, Instant::now());
        while !ctx.over() {
            let start = Instant::now();
            while start.elapsed() < busy {
                for _ in 0..500 {
                    block[..8].copy_from_slice(&hashes.to_le_bytes());
                    hint::black_box(blake3::hash(&block));
                    hashes += 1;
                }
            }
            ctx.sleep(PERIOD.saturating_sub(start.elapsed()));
            if reported.elapsed() >= REPORT {
                reported = Instant::now();
                shares += 1;
                let nonce: u32 = ctx.rng.random();
                say(format!("{{\"id\":{},\"method\":\"submit\",\"params\":{{\"nonce\":\"{nonce:08x}\"}}}}\n", shares + 1))
                    .map_err(ActError::io("submit to", &shown))?;
            }
        }
        Ok(format!("{hashes} hashes, {shares} shares"))
    }
}

/// The pool: says yes to everything.
fn reply(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut out = stream.try_clone()?;
    for line in BufReader::new(stream).lines() {
        line?;
        out.write_all(b"{\"result\":{\"status\":\"OK\"}}\n")?;
    }
    Ok(())
}
