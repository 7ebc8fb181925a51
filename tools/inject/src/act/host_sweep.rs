//! Looks for hosts: one port on each address of a /24 that lies wholly on loopback.

use std::{
    io::ErrorKind,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::Duration,
};

use rand::{Rng, seq::SliceRandom};

use super::{Act, ActError, Ctx, Info, Kind, Signal};

pub struct HostSweep;

static INFO: Info = Info {
    name: "host_sweep",
    kind: Kind::Anomaly,
    attack_id: "T1018",
    about: "connects to every address of a /24 of loopback, 20 to 400 a second",
    needs: "nothing",
    signals: &[Signal::DistinctAddresses, Signal::ConnectRate],
};

/// What is asked for on each address.
const PORTS: [u16; 3] = [22, 80, 445];

/// Loopback answers at once.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(100);

impl Act for HostSweep {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn run(&self, ctx: &mut Ctx) -> Result<String, ActError> {
        let pause = ctx.pause(20.0, 400.0);
        let (mut tried, mut refused, mut open) = (0u64, 0u64, 0u64);
        while !ctx.over() {
            let (second, third) = (ctx.rng.random_range(1..=254), ctx.rng.random());
            let mut hosts: Vec<u8> = (1..=254).collect();
            hosts.shuffle(&mut ctx.rng);
            for host in hosts {
                if ctx.over() {
                    break;
                }
                let port = PORTS[ctx.rng.random_range(0..PORTS.len())];
                let address = Ipv4Addr::new(127, second, third, host);
                tried += 1;
                match TcpStream::connect_timeout(
                    &SocketAddr::from((address, port)),
                    CONNECT_TIMEOUT,
                ) {
                    Ok(_) => open += 1,
                    Err(error) if error.kind() == ErrorKind::ConnectionRefused => refused += 1,
                    Err(_) => {}
                }
                ctx.sleep(pause);
            }
        }
        Ok(format!("{tried} addresses, {refused} refused, {open} open"))
    }
}
