//! Connects to port after port of a neighbour behind the container's virtual pair; of loopback, where
//! there is none.

use std::{
    io::ErrorKind,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::Duration,
};

use rand::seq::SliceRandom;

use super::{Act, ActError, Ctx, Info, Kind, Signal};
use crate::neighbours;

pub struct PortScan;

static INFO: Info = Info {
    name: "port_scan",
    kind: Kind::Anomaly,
    attack_id: "T1046",
    about: "connects to ports 1 to 1024 of its peer in random order, 50 to 1000 a second",
    needs: "nothing",
    signals: &[
        Signal::DistinctPorts,
        Signal::ConnectRefused,
        Signal::ConnectRate,
    ],
};

/// The peer answers at once: more means that a listener's queue is full.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(100);

impl Act for PortScan {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn run(&self, ctx: &mut Ctx) -> Result<String, ActError> {
        let target = match ctx.surroundings.network {
            Some(network) => neighbours::host(network, neighbours::HOSTS[0]),
            None => Ipv4Addr::LOCALHOST,
        };
        let mut ports: Vec<u16> = (1..=1024).chain([crate::inside::web::PORT]).collect();
        let pause = Duration::from_secs_f64(1.0 / ctx.scale(50.0, 1000.0));
        let (mut tried, mut refused, mut open) = (0u64, 0u64, 0u64);
        while !ctx.over() {
            ports.shuffle(&mut ctx.rng);
            for &port in &ports {
                if ctx.over() {
                    break;
                }
                let peer = SocketAddr::from((target, port));
                tried += 1;
                match TcpStream::connect_timeout(&peer, CONNECT_TIMEOUT) {
                    Ok(_) => open += 1,
                    Err(error) if error.kind() == ErrorKind::ConnectionRefused => refused += 1,
                    Err(_) => {}
                }
                ctx.sleep(pause);
            }
        }
        Ok(format!("{tried} connects, {refused} refused, {open} open"))
    }
}
