//! Asks a web server for a page as fast as is wanted: the container's own, or one made for it.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::Duration,
};

use crate::{
    act::{
        Act, ActError, Ctx, Info, Kind, Signal,
        peer::{Peer, answer},
    },
    inside::web,
};

pub struct LoadTest;

static INFO: Info = Info {
    name: "load_test",
    kind: Kind::HardNegative,
    attack_id: "",
    about: "50 to 400 requests a second to the container's web server, or to one of its own",
    needs: "nothing",
    signals: &[Signal::ConnectRate],
};

const IO_TIMEOUT: Duration = Duration::from_secs(2);

impl Act for LoadTest {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn run(&self, ctx: &mut Ctx) -> Result<String, ActError> {
        let pause = ctx.pause(50.0, 400.0);
        let mut address = SocketAddr::from((Ipv4Addr::LOCALHOST, web::PORT));
        let own = match TcpStream::connect(address) {
            Ok(_) => None,
            Err(_) => Some(Peer::start(0, answer)?),
        };
        if let Some(peer) = &own {
            address = peer.address;
        }
        let (mut good, mut bad) = (0u64, 0u64);
        while !ctx.over() {
            match request(address) {
                Ok(()) => good += 1,
                Err(_) => bad += 1,
            }
            ctx.sleep(pause);
        }
        Ok(format!("{good} pages, {bad} failed"))
    }
}

fn request(address: SocketAddr) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(IO_TIMEOUT))?;
    stream.write_all(b"GET /page0.html HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
    stream.read_to_end(&mut Vec::new()).map(drop)
}
