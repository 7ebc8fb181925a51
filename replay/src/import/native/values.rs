//! Takes values out of a call's two blocks: by name, the exit's first, then the enter's.

use std::net::{Ipv4Addr, Ipv6Addr};

use trace_format::{Endpoint, Event, Text, Value};

use crate::import::scap::stored::{Parameter, StoredBlock};

/// A call: its exit, and how it was entered where that is known.
pub(super) struct Call<'a> {
    pub name: &'static str,
    pub event: &'a Event,
    pub exit: StoredBlock<'a>,
    pub entered: Option<StoredBlock<'a>>,
}

impl<'a> Call<'a> {
    fn value(&self, name: &str) -> Option<&'a Value> {
        [Some(&self.exit), self.entered.as_ref()]
            .into_iter()
            .flatten()
            .find_map(|block| match block.named(name) {
                Parameter::Value(value) => Some(value),
                _ => None,
            })
    }

    pub fn number(&self, name: &str) -> Option<i64> {
        number(self.value(name)?)
    }

    pub fn text(&self, name: &str) -> Option<&'a Text> {
        match self.value(name)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The first of these that the call has.
    pub fn one_text(&self, names: &[&str]) -> Option<&'a Text> {
        names.iter().find_map(|name| self.text(name))
    }

    pub fn one_number(&self, names: &[&str]) -> Option<i64> {
        names.iter().find_map(|name| self.number(name))
    }

    /// The result: an exit's first parameter, where that is one.
    pub fn result(&self) -> i64 {
        let first = self
            .exit
            .schema
            .and_then(|schema| schema.parameters.first());
        match (first.map(|first| first.name), self.exit.parameter(0)) {
            (Some("res" | "fd"), Parameter::Value(value)) => number(value).unwrap_or(0),
            _ => 0,
        }
    }

    /// The descriptor the call works on; not the one it makes.
    pub fn descriptor(&self) -> Option<i64> {
        let makes = |block: &StoredBlock<'_>| {
            let first = block.schema.and_then(|schema| schema.parameters.first());
            first.is_some_and(|first| first.name == "fd")
        };
        match makes(&self.exit) {
            false => self.number("fd"),
            // The exit's is the result; what it was called with stands at the enter.
            true => match self.entered.as_ref()?.named("fd") {
                Parameter::Value(value) => number(value),
                _ => None,
            },
        }
    }
}

pub(super) fn number(value: &Value) -> Option<i64> {
    match value {
        Value::Unsigned(number) => Some(*number as i64),
        Value::Signed(number) => Some(*number),
        Value::Bool(flag) => Some((*flag).into()),
        Value::Text(_) => None,
    }
}

/// Both ends of a socket, or one of them, and the path of a unix socket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ends {
    pub family: u16,
    pub source: Endpoint,
    pub destination: Endpoint,
    pub unix_path: Text,
}

const AF_UNIX: u8 = 1;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// `socktuple`: family, then source and destination. Addresses as on the wire, ports little endian.
pub(super) fn tuple(bytes: &[u8]) -> Option<Ends> {
    let (family, rest) = bytes.split_first()?;
    let mut ends = Ends {
        family: (*family).into(),
        ..Ends::default()
    };
    match *family {
        AF_INET => {
            ends.source = endpoint(rest.get(..6)?)?;
            ends.destination = endpoint(rest.get(6..12)?)?;
        }
        AF_INET6 => {
            ends.source = endpoint(rest.get(..18)?)?;
            ends.destination = endpoint(rest.get(18..36)?)?;
        }
        // Two kernel addresses stand before the path.
        AF_UNIX => ends.unix_path = Text::new(until_nul(rest.get(16..)?)),
        _ => {}
    }
    Some(ends)
}

/// `sockaddr`: family and one address, as the source.
pub(super) fn address(bytes: &[u8]) -> Option<Ends> {
    let (family, rest) = bytes.split_first()?;
    let mut ends = Ends {
        family: (*family).into(),
        ..Ends::default()
    };
    match *family {
        AF_INET => ends.source = endpoint(rest.get(..6)?)?,
        AF_INET6 => ends.source = endpoint(rest.get(..18)?)?,
        AF_UNIX => ends.unix_path = Text::new(until_nul(rest)),
        _ => {}
    }
    Some(ends)
}

/// Address, then port.
fn endpoint(bytes: &[u8]) -> Option<Endpoint> {
    let (addr, port) = bytes.split_last_chunk::<2>()?;
    Some(Endpoint {
        addr: Text::new(addr),
        port: u16::from_le_bytes(*port),
    })
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().position(|byte| *byte == 0);
    &bytes[..end.unwrap_or(bytes.len())]
}

/// A socket's ends as people write them, for `replay cat`.
pub(crate) fn tuple_text(bytes: &[u8]) -> Option<String> {
    let ends = tuple(bytes)?;
    match (end_text(&ends.source), end_text(&ends.destination)) {
        (Some(source), Some(destination)) => Some(format!("{source}->{destination}")),
        _ if !ends.unix_path.is_empty() => Some(ends.unix_path.to_string()),
        _ => None,
    }
}

fn end_text(end: &Endpoint) -> Option<String> {
    let port = end.port;
    if let Ok(four) = <[u8; 4]>::try_from(&end.addr[..]) {
        return Some(format!("{}:{port}", Ipv4Addr::from(four)));
    }
    let sixteen = <[u8; 16]>::try_from(&end.addr[..]).ok()?;
    Some(format!("[{}]:{port}", Ipv6Addr::from(sixteen)))
}

/// Pairs of scap's portable bit and the kernel's.
type Bits = &'static [(u32, u32)];

/// `O_*`, without the access mode. Kernel values of x86-64, octal as in its headers.
const OPEN: Bits = &[
    (4, 0o100),
    (8, 0o2000),
    (16, 0o10000),
    (32, 0o200),
    (64, 0o4000),
    (128, 0o4010000),
    (256, 0o1000),
    (512, 0o40000),
    (1024, 0o200000),
    (2048, 0o100000),
    (4096, 0o2000000),
    (8192, 0o20200000),
];

/// `CLONE_*`.
const CLONE: Bits = &[
    (1, 0x400),
    (2, 0x200),
    (4, 0x8000_0000),
    (8, 0x0800_0000),
    (16, 0x4000_0000),
    (32, 0x0002_0000),
    (64, 0x2000_0000),
    (128, 0x0400_0000),
    (256, 0x8000),
    (1024, 0x2000),
    (2048, 0x800),
    (8192, 0x0001_0000),
    (0x4000, 0x0080_0000),
    (0x8000, 0x100),
    (0x0010_0000, 0x1000_0000),
    (0x1000_0000, 0x0200_0000),
];

fn kernel(bits: Bits, portable: u32) -> u32 {
    let set = bits.iter().filter(|bit| portable & bit.0 == bit.0);
    set.fold(0, |flags, bit| flags | bit.1)
}

/// The kernel's flags of an open.
pub(super) fn open_flags(portable: u32) -> u32 {
    let access = match portable & 3 {
        2 => 1,
        3 => 2,
        _ => 0,
    };
    access | kernel(OPEN, portable)
}

/// The open made the file.
pub(super) const OPEN_CREATED: u32 = 1 << 14;
/// The child is a thread of the caller.
pub(super) const CLONE_THREAD: u32 = 8192;

pub(super) fn clone_flags(portable: u32) -> u32 {
    kernel(CLONE, portable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_on_the_wire_and_ports_little_endian() {
        let bytes = [2, 172, 17, 0, 3, 0x21, 0x82, 172, 31, 0, 2, 53, 0];
        assert_eq!(
            tuple_text(&bytes).unwrap(),
            "172.17.0.3:33313->172.31.0.2:53"
        );
        for cut in 0..bytes.len() {
            assert_eq!(tuple(&bytes[..cut]), None, "cut at {cut}");
        }
        let unix = [&[1][..], &[0; 16], b"/run/x\0"].concat();
        assert_eq!(tuple(&unix).unwrap().unix_path, Text::from("/run/x"));
        assert_eq!(
            address(b"\x01/run/y\0").unwrap().unix_path,
            Text::from("/run/y")
        );
    }

    #[test]
    fn portable_flags_become_the_kernels() {
        assert_eq!(open_flags(1), 0);
        assert_eq!(open_flags(2 | 4 | 256), 0o1 | 0o100 | 0o1000);
        assert_eq!(clone_flags(0x0010_0000 | 64), 0x3000_0000);
    }
}
