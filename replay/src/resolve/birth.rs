//! Which files a container made or opened for writing during the trace: a program among them was
//! not part of the image.

use hashbrown::HashSet;
use std::collections::VecDeque;
use trace_format::Text;

/// Files remembered, over all containers. A busy build writes more: then the oldest are forgotten,
/// and a program that waits that long before it runs its file is missed.
const FILES_MAX: usize = 65_536;

/// A file as seen from one container (the first number): by inode where the kernel told it, and by
/// path, because a file system may give out no stable inode numbers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Inode(u64, u64, u64),
    Path(u64, Text),
}

#[derive(Default)]
pub(super) struct Births {
    files: HashSet<Key>,
    /// Oldest first.
    order: VecDeque<Key>,
}

impl Births {
    pub(super) fn written(&mut self, container: u64, path: &Text, dev: u64, ino: u64) {
        if ino != 0 {
            self.insert(Key::Inode(container, dev, ino));
        }
        if !path.is_empty() {
            self.insert(Key::Path(container, path.clone()));
        }
    }

    pub(super) fn renamed(&mut self, container: u64, from: &Text, to: &Text) {
        if self.files.contains(&Key::Path(container, from.clone())) && !to.is_empty() {
            self.insert(Key::Path(container, to.clone()));
        }
    }

    pub(super) fn is_born(&self, container: u64, path: &Text, dev: u64, ino: u64) -> bool {
        if self.files.is_empty() {
            return false;
        }
        (ino != 0 && self.files.contains(&Key::Inode(container, dev, ino)))
            || (!path.is_empty() && self.files.contains(&Key::Path(container, path.clone())))
    }

    fn insert(&mut self, key: Key) {
        if self.files.contains(&key) {
            return;
        }
        if self.order.len() >= FILES_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.files.remove(&oldest);
        }
        self.order.push_back(key.clone());
        self.files.insert(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_known_by_inode_and_by_path_but_only_to_its_container() {
        let mut births = Births::default();
        births.written(7, &"/tmp/x".into(), 1, 99);
        assert!(births.is_born(7, &"/tmp/x".into(), 0, 0));
        assert!(
            births.is_born(7, &"/elsewhere".into(), 1, 99),
            "renamed unseen"
        );
        assert!(!births.is_born(8, &"/tmp/x".into(), 1, 99));
        births.renamed(7, &"/tmp/x".into(), &"/tmp/y".into());
        assert!(births.is_born(7, &"/tmp/y".into(), 0, 0));
    }

    #[test]
    fn the_oldest_file_is_forgotten_at_the_bound() {
        let mut births = Births::default();
        for at in 0..=FILES_MAX as u64 {
            births.written(1, &Text::default(), 1, at + 1);
        }
        assert_eq!(births.files.len(), FILES_MAX);
        assert!(!births.is_born(1, &Text::default(), 1, 1));
        assert!(births.is_born(1, &Text::default(), 1, FILES_MAX as u64 + 1));
    }
}
