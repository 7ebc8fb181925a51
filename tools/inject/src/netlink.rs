//! The few rtnetlink requests that a pair of virtual interfaces takes (rtnetlink(7)).
//!
//! A socket speaks for the network namespace in which its thread was when it was opened. Every request
//! is answered before the next one is sent, and nothing but the answer's error number is read.

use std::{
    io,
    net::Ipv4Addr,
    os::fd::{AsRawFd, BorrowedFd, OwnedFd},
};

use nix::{
    errno::Errno,
    sys::{
        socket::{
            AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto,
            setsockopt, socket, sockopt::ReceiveTimeout,
        },
        time::{TimeVal, TimeValLike},
    },
};

/// `struct nlmsghdr`.
const HEADER_BYTES: usize = 16;

/// A request is far shorter; an answer repeats the request's header.
const ANSWER_BYTES_MAX: usize = 4096;

/// The kernel answers within the call; this only bounds the unforeseen.
const ANSWER_MAX_S: i64 = 5;

/// `VETH_INFO_PEER` of include/uapi/linux/veth.h.
const VETH_INFO_PEER: u16 = 1;

#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    #[error("cannot {action}: {source}")]
    Call {
        action: &'static str,
        source: io::Error,
    },
    #[error("the kernel's answer to the request to {action} has {bytes} bytes and no result")]
    Answer { action: &'static str, bytes: usize },
}

fn call(action: &'static str) -> impl FnOnce(Errno) -> NetlinkError {
    move |errno| NetlinkError::Call {
        action,
        source: errno.into(),
    }
}

pub struct Netlink {
    socket: OwnedFd,
    sequence: u32,
}

impl Netlink {
    /// For the network namespace of the calling thread.
    pub fn open() -> Result<Netlink, NetlinkError> {
        let socket = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkRoute,
        )
        .map_err(call("open a netlink socket"))?;
        setsockopt(&socket, ReceiveTimeout, &TimeVal::seconds(ANSWER_MAX_S))
            .map_err(call("set a timeout on a netlink socket"))?;
        Ok(Netlink {
            socket,
            sequence: 0,
        })
    }

    /// Makes two connected interfaces: `near` here, `far` in the other network namespace.
    pub fn make_pair(
        &mut self,
        near: &str,
        far: &str,
        far_namespace: BorrowedFd,
    ) -> Result<(), NetlinkError> {
        let mut request = Request::new(
            libc::RTM_NEWLINK,
            libc::NLM_F_CREATE | libc::NLM_F_EXCL,
            &link(0, 0),
        );
        request.text(libc::IFLA_IFNAME, near);
        request.nested(libc::IFLA_LINKINFO, |info| {
            info.text(libc::IFLA_INFO_KIND, "veth");
            info.nested(libc::IFLA_INFO_DATA, |data| {
                data.nested(VETH_INFO_PEER, |peer| {
                    peer.0.extend_from_slice(&link(0, 0));
                    peer.text(libc::IFLA_IFNAME, far);
                    let namespace = far_namespace.as_raw_fd() as u32;
                    peer.attribute(libc::IFLA_NET_NS_FD, &namespace.to_ne_bytes());
                });
            });
        });
        self.ask("make a pair of virtual interfaces", request)
    }

    pub fn add_address(
        &mut self,
        interface: u32,
        address: Ipv4Addr,
        prefix: u8,
    ) -> Result<(), NetlinkError> {
        // `struct ifaddrmsg`: family, prefix length, flags, scope, interface.
        let mut body = vec![libc::AF_INET as u8, prefix, 0, 0];
        body.extend_from_slice(&interface.to_ne_bytes());
        let flags = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
        let mut request = Request::new(libc::RTM_NEWADDR, flags, &body);
        request.attribute(libc::IFA_LOCAL, &address.octets());
        request.attribute(libc::IFA_ADDRESS, &address.octets());
        self.ask("give a virtual interface its address", request)
    }

    pub fn bring_up(&mut self, interface: u32) -> Result<(), NetlinkError> {
        let up = libc::IFF_UP as u32;
        let request = Request::new(libc::RTM_NEWLINK, 0, &link(interface, up));
        self.ask("bring up a virtual interface", request)
    }

    fn ask(&mut self, action: &'static str, request: Request) -> Result<(), NetlinkError> {
        self.sequence += 1;
        let message = request.finish(self.sequence);
        let kernel = NetlinkAddr::new(0, 0);
        sendto(
            self.socket.as_raw_fd(),
            &message,
            &kernel,
            MsgFlags::empty(),
        )
        .map_err(call(action))?;
        let mut answer = [0; ANSWER_BYTES_MAX];
        let bytes =
            recv(self.socket.as_raw_fd(), &mut answer, MsgFlags::empty()).map_err(call(action))?;
        match result(&answer[..bytes]) {
            Some(0) => Ok(()),
            Some(error) => Err(call(action)(Errno::from_raw(error.saturating_neg()))),
            None => Err(NetlinkError::Answer { action, bytes }),
        }
    }
}

/// The number in an `NLMSG_ERROR`: 0, or the negated errno.
fn result(answer: &[u8]) -> Option<i32> {
    let kind = u16::from_ne_bytes(answer.get(4..6)?.try_into().ok()?);
    if i32::from(kind) != libc::NLMSG_ERROR {
        return None;
    }
    let error = answer.get(HEADER_BYTES..HEADER_BYTES + 4)?;
    Some(i32::from_ne_bytes(error.try_into().ok()?))
}

/// `struct ifinfomsg`: family and padding, type, index, flags, which of them are meant.
fn link(interface: u32, flags: u32) -> [u8; 16] {
    let mut body = [0; 16];
    body[4..8].copy_from_slice(&interface.to_ne_bytes());
    body[8..12].copy_from_slice(&flags.to_ne_bytes());
    body[12..16].copy_from_slice(&flags.to_ne_bytes());
    body
}

/// A message in the making: header, body, attributes.
struct Request(Vec<u8>);

impl Request {
    fn new(kind: u16, flags: i32, body: &[u8]) -> Request {
        let mut bytes = vec![0; HEADER_BYTES];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        let flags = (flags | libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16;
        bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        bytes.extend_from_slice(body);
        Request(bytes)
    }

    /// `struct rtattr`: its length without padding, its type, its payload.
    fn attribute(&mut self, kind: u16, payload: &[u8]) {
        self.nested(kind, |inside| inside.0.extend_from_slice(payload));
    }

    fn text(&mut self, kind: u16, text: &str) {
        self.attribute(kind, &[text.as_bytes(), &[0]].concat());
    }

    fn nested(&mut self, kind: u16, fill: impl FnOnce(&mut Request)) {
        let start = self.0.len();
        self.0.extend_from_slice(&[0, 0]);
        self.0.extend_from_slice(&kind.to_ne_bytes());
        fill(self);
        let length = (self.0.len() - start) as u16;
        self.0[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    fn finish(mut self, sequence: u32) -> Vec<u8> {
        let length = self.0.len() as u32;
        self.0[..4].copy_from_slice(&length.to_ne_bytes());
        self.0[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_state_their_length_and_are_padded() {
        let mut request = Request::new(libc::RTM_NEWLINK, 0, &link(7, 1));
        request.nested(libc::IFLA_LINKINFO, |info| {
            info.text(libc::IFLA_INFO_KIND, "veth");
        });
        let bytes = request.finish(3);
        assert_eq!(bytes.len(), 48);
        assert_eq!(bytes[..4], 48u32.to_ne_bytes());
        assert_eq!(bytes[8..12], 3u32.to_ne_bytes());
        assert_eq!(bytes[20..24], 7u32.to_ne_bytes());
        // The outer one is as long as the inner one with its padding; the inner one without.
        assert_eq!(bytes[32..34], 16u16.to_ne_bytes());
        assert_eq!(bytes[36..38], 9u16.to_ne_bytes());
        assert_eq!(bytes[40..48], *b"veth\0\0\0\0");
    }

    #[test]
    fn what_is_no_result_is_not_taken_for_success() {
        let mut answer = vec![0; 20];
        answer[4..6].copy_from_slice(&(libc::NLMSG_ERROR as u16).to_ne_bytes());
        answer[16..20].copy_from_slice(&(-libc::EPERM).to_ne_bytes());
        assert_eq!(result(&answer), Some(-libc::EPERM));
        for short in 0..20 {
            assert_eq!(result(&answer[..short]), None);
        }
        answer[4] = 0xff;
        assert_eq!(result(&answer), None);
    }
}
