//! What a descriptor refers to, as far as the trace showed it being made.

use hashbrown::HashMap;
use std::{collections::VecDeque, sync::Arc};
use trace_format::{
    Text,
    event::{Endpoint, IoKind},
};

/// Descriptors remembered per process: the usual soft limit. A server with more keeps its first ones.
const PER_PROCESS_MAX: usize = 1024;

/// Descriptors remembered over all processes, about 200 bytes each.
const TOTAL_MAX: usize = 262_144;

/// TCP sockets whose beginning was seen and whose end was not.
const ROLES_MAX: usize = 65_536;

/// Which end of a connection the process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Client,
    Server,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DescriptorKind {
    File,
    Directory,
    Socket,
    /// Anything the kernel makes without a name: the letter rules know it by (`p` pipe, `e` event …).
    Other(u8),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    pub kind: DescriptorKind,
    /// Of a file: its path. Of a unix socket: its address.
    pub path: Text,
    /// `AF_*`, 0 if not a socket.
    pub family: u16,
    pub sock_type: u16,
    pub local: Endpoint,
    pub remote: Endpoint,
    pub role: Option<Role>,
}

impl Descriptor {
    /// As the recorder tells descriptors apart. One of a device, which is opened like a file, is a file here.
    pub fn io_kind(&self) -> IoKind {
        IoKind(match self.kind {
            DescriptorKind::File | DescriptorKind::Directory | DescriptorKind::Other(b'm') => {
                IoKind::FILE
            }
            DescriptorKind::Socket => IoKind::SOCKET,
            DescriptorKind::Other(b'p') => IoKind::PIPE,
            DescriptorKind::Other(_) => IoKind::OTHER,
        })
    }

    pub(super) fn file(path: &Text, directory: bool) -> Self {
        let kind = if directory {
            DescriptorKind::Directory
        } else {
            DescriptorKind::File
        };
        Descriptor {
            path: path.clone(),
            ..Descriptor::bare(kind)
        }
    }

    pub(crate) fn bare(kind: DescriptorKind) -> Self {
        Descriptor {
            kind,
            path: Text::default(),
            family: 0,
            sock_type: 0,
            local: Endpoint::default(),
            remote: Endpoint::default(),
            role: None,
        }
    }
}

/// The descriptors of one process. Shared with the parent until one of them changes its own.
#[derive(Clone, Debug, Default)]
pub(super) struct Descriptors(Option<Arc<HashMap<i32, Descriptor>>>);

impl Descriptors {
    pub(super) fn get(&self, fd: i32) -> Option<&Descriptor> {
        self.0.as_ref()?.get(&fd)
    }

    /// `total` counts the descriptors of all processes, shared tables once.
    pub(super) fn insert(&mut self, fd: i32, descriptor: Descriptor, total: &mut usize) {
        let table = self.0.get_or_insert_default();
        let full = table.len() >= PER_PROCESS_MAX && !table.contains_key(&fd);
        let copied = if Arc::strong_count(table) > 1 {
            table.len()
        } else {
            0
        };
        if full || *total + copied >= TOTAL_MAX {
            return;
        }
        *total += copied;
        if Arc::make_mut(table).insert(fd, descriptor).is_none() {
            *total += 1;
        }
    }

    pub(super) fn remove(&mut self, fd: i32, total: &mut usize) {
        let Some(table) = &mut self.0 else { return };
        if !table.contains_key(&fd) {
            return;
        }
        let copied = if Arc::strong_count(table) > 1 {
            table.len()
        } else {
            0
        };
        if *total + copied >= TOTAL_MAX {
            // No room for an own copy: better to know nothing than to keep a closed descriptor.
            return self.clear(total);
        }
        *total += copied;
        if Arc::make_mut(table).remove(&fd).is_some() {
            *total -= 1;
        }
    }

    pub(super) fn clear(&mut self, total: &mut usize) {
        if let Some(table) = self.0.take().and_then(Arc::into_inner) {
            *total -= table.len();
        }
    }
}

/// Which end of each TCP socket the traced host is: known from how it was established.
#[derive(Default)]
pub(super) struct SocketRoles {
    roles: HashMap<u64, Role>,
    order: VecDeque<u64>,
}

impl SocketRoles {
    pub(super) fn get(&self, sock: u64) -> Option<Role> {
        self.roles.get(&sock).copied()
    }

    pub(super) fn set(&mut self, sock: u64, role: Role) {
        if self.roles.insert(sock, role).is_some() {
            return;
        }
        self.order.push_back(sock);
        // The queue may also hold sockets that ended: skip those first.
        while self.order.len() > ROLES_MAX {
            if let Some(oldest) = self.order.pop_front() {
                self.roles.remove(&oldest);
            }
        }
    }

    pub(super) fn ended(&mut self, sock: u64) {
        self.roles.remove(&sock);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_changes_only_its_own_descriptors() {
        let mut total = 0;
        let mut parent = Descriptors::default();
        parent.insert(3, Descriptor::file(&"/a".into(), false), &mut total);
        let mut child = parent.clone();
        assert_eq!(total, 1, "shared");
        child.insert(3, Descriptor::file(&"/b".into(), false), &mut total);
        child.remove(4, &mut total);
        assert_eq!(parent.get(3).unwrap().path, Text::from("/a"));
        assert_eq!(child.get(3).unwrap().path, Text::from("/b"));
        assert_eq!(total, 2);
        child.clear(&mut total);
        parent.remove(3, &mut total);
        parent.clear(&mut total);
        assert_eq!(total, 0);
    }

    #[test]
    fn descriptors_and_socket_roles_are_bounded() {
        let mut total = 0;
        let mut table = Descriptors::default();
        for fd in 0..=PER_PROCESS_MAX as i32 {
            table.insert(fd, Descriptor::bare(DescriptorKind::Socket), &mut total);
        }
        assert!(table.get(0).is_some());
        assert!(table.get(PER_PROCESS_MAX as i32).is_none());
        assert_eq!(total, PER_PROCESS_MAX);

        let mut full = TOTAL_MAX;
        let mut other = table.clone();
        other.insert(1, Descriptor::bare(DescriptorKind::File), &mut full);
        assert_eq!(
            other.get(1).unwrap().kind,
            DescriptorKind::Socket,
            "no room for a copy"
        );
        other.remove(1, &mut full);
        assert!(other.get(1).is_none());
        assert!(table.get(1).is_some());

        let mut roles = SocketRoles::default();
        for sock in 0..=ROLES_MAX as u64 {
            roles.set(sock, Role::Client);
        }
        assert_eq!(roles.get(0), None);
        assert_eq!(roles.roles.len(), ROLES_MAX);
    }
}
