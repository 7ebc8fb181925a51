//! Edges of images: to whom the containers of an image connect, and on which ports they listen.
//!
//! [`Learner`] collects those of traces into a [`Baseline`]; [`Judge`] tells of another trace each edge
//! that is not in it. Both see a trace through the same [`watch`], so that what was learned from a trace
//! is never told of the same trace. Neither depends on anything but the records.
//!
//! What counts as the same edge is decided here: tags of images, client ports and the ports that a kernel
//! chooses for a listener do not matter; the peer is a container's image where a local container has the
//! address, and else the address: alone if it is private, by its network (/24, /64) if it is public.

mod baseline;
mod judge;
mod watch;

pub use baseline::{Baseline, EDGES_PER_IMAGE_MAX, IMAGES_MAX, Learner};
pub use judge::{EDGE_RULE, IMAGE_RULE, Judge, OVER_LIMIT_RULE, TOLD_MAX};
pub use watch::{ADDRESSES_MAX, OBSERVED_MAX, SETTLE_NS};

use std::{fmt, net::IpAddr};

use crate::resolve::Container;

/// What containers of one image have in common when nobody says more of them.
pub const UNNAMED: &str = "(unnamed)";

/// The ports that Linux gives to those that ask for any (`ip_local_port_range`).
const CHOSEN_PORTS: std::ops::RangeInclusive<u16> = 32_768..=60_999;

/// Something that containers of an image do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Edge {
    Connects {
        protocol: Protocol,
        peer: Peer,
        port: Port,
    },
    Listens(Port),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    Tcp,
    Udp,
    /// Another kind of socket, or one whose kind the trace does not say.
    Ip,
}

/// At the other end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Peer {
    /// The container itself.
    Loopback,
    /// A container of this image, on the same host.
    Image(String),
    Address(IpAddr),
    /// A public network: its first address and the length of its prefix.
    Network(IpAddr, u8),
}

/// Of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Port {
    Fixed(u16),
    /// Any of those that the kernel chooses.
    Chosen,
}

impl Port {
    /// Of a server in the container itself, which may have let the kernel choose.
    fn own(port: u16) -> Port {
        match CHOSEN_PORTS.contains(&port) {
            true => Port::Chosen,
            false => Port::Fixed(port),
        }
    }
}

impl Peer {
    /// What stands for an address that no local container has. Neighbours in a private network are other
    /// machines; a public service answers from many addresses of its network.
    fn elsewhere(address: IpAddr) -> Peer {
        match address {
            _ if address.is_loopback() => Peer::Loopback,
            IpAddr::V4(four) => {
                let [a, b, c, _] = four.octets();
                let shared = a == 100 && (64..128).contains(&b);
                match four.is_private() || four.is_link_local() || shared || a >= 224 {
                    true => Peer::Address(address),
                    false => Peer::Network([a, b, c, 0].into(), 24),
                }
            }
            IpAddr::V6(six) => {
                let [a, b, c, d, ..] = six.segments();
                match six.is_unique_local() || six.is_unicast_link_local() || six.is_multicast() {
                    true => Peer::Address(address),
                    false => Peer::Network([a, b, c, d, 0, 0, 0, 0].into(), 64),
                }
            }
        }
    }
}

/// What an edge of this container is an edge of: its image without tag and digest, without one its name.
pub fn image_of(container: &Container) -> &str {
    match container.image_repository.as_str() {
        // An image without a name: the digest is all there is.
        "sha256" => &container.image,
        "" if container.name.is_empty() => UNNAMED,
        "" => &container.name,
        repository => repository,
    }
}

impl Protocol {
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Ip => "ip",
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Loopback => f.write_str("loopback"),
            Peer::Image(image) => write!(f, "image {image}"),
            Peer::Address(address) => write!(f, "{address}"),
            Peer::Network(first, length) => write!(f, "{first}/{length}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_address_stands_alone_and_a_public_one_for_its_network() {
        let peer = |address: &str| Peer::elsewhere(address.parse().unwrap()).to_string();
        for (address, said) in [
            ("127.0.0.53", "loopback"),
            ("::1", "loopback"),
            ("10.1.2.3", "10.1.2.3"),
            ("172.17.0.4", "172.17.0.4"),
            ("192.168.7.9", "192.168.7.9"),
            ("100.64.1.1", "100.64.1.1"),
            ("169.254.169.254", "169.254.169.254"),
            ("8.8.8.8", "8.8.8.0/24"),
            ("100.128.1.1", "100.128.1.0/24"),
            ("fd00::1", "fd00::1"),
            ("fe80::1", "fe80::1"),
            ("2600:1:2:3::4", "2600:1:2:3::/64"),
        ] {
            assert_eq!(peer(address), said, "{address}");
        }
    }

    #[test]
    fn tags_do_not_matter_and_names_stand_in_for_images() {
        let container = |image: &str, repository: &str, name: &str| Container {
            image: image.into(),
            image_repository: repository.into(),
            name: name.into(),
            ..Container::default()
        };
        let said = [
            container("shop/web:3", "shop/web", "web-1"),
            container("sha256:00ff", "sha256", "web-1"),
            container("", "", "web-1"),
            container("", "", ""),
        ];
        let said: Vec<&str> = said.iter().map(image_of).collect();
        assert_eq!(said, ["shop/web", "sha256:00ff", "web-1", UNNAMED]);
    }
}
