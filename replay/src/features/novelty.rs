//! What a container never did before: child programs, directories, ports, system calls and pairs of them.
//!
//! An item is a 64-bit hash with its kind in the top bits. The hash is FNV-1a, fixed for ever: items are
//! stored in models. Names that a program makes up (process ids, temporary files) must not look new
//! each time: digits are collapsed, and of a path only the directory counts, except in the small trees
//! where each file matters.

use hashbrown::{HashMap, HashSet};
use std::sync::Arc;
use trace_format::Text;

use crate::order::EventRef;

/// Items remembered per container and kind. A container that shows more has no habits of that kind:
/// from then on nothing of it counts as new.
pub const KNOWN_MAX: usize = 2048;

/// Windows for which an item stays new after it was first seen: an attack that goes on for a minute
/// does not become a habit with its second window.
pub const NEW_WINDOWS: u32 = 6;

/// Items of one window that are told apart, of all kinds.
pub const WINDOW_ITEMS_MAX: usize = 4096;

/// Components of a directory that count.
const PATH_DEPTH: usize = 4;

/// Trees of few files, each with a meaning of its own: here the whole path counts.
const WHOLE: [&[u8]; 8] = [
    b"/etc/",
    b"/root/",
    b"/home/",
    b"/run/secrets/",
    b"/var/run/secrets/",
    b"/proc/",
    b"/dev/",
    b"/boot/",
];

/// The kinds, which are also the order of their features from `NEW_EDGES` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Edge,
    Path,
    Port,
    Call,
}
pub const KINDS: usize = 4;
const KIND_SHIFT: u32 = 62;

/// FNV-1a with 64 bits (Fowler, Noll, Vo).
pub struct Hash(u64);

impl Default for Hash {
    fn default() -> Hash {
        Hash(0xcbf2_9ce4_8422_2325)
    }
}

impl Hash {
    #[inline]
    pub fn byte(&mut self, byte: u8) {
        self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    pub fn bytes(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.byte(*byte));
    }
    pub fn number(&mut self, number: u32) {
        self.bytes(&number.to_le_bytes());
    }
    pub fn value(&self) -> u64 {
        self.0
    }
    /// With every run of digits as one `#`.
    fn name(&mut self, name: &[u8]) {
        let mut digits = false;
        for byte in name {
            if !byte.is_ascii_digit() {
                self.byte(*byte);
            } else if !digits {
                self.byte(b'#');
            }
            digits = byte.is_ascii_digit();
        }
    }
    fn item(&self, kind: Kind) -> u64 {
        (self.0 >> 2) | (kind as u64) << KIND_SHIFT
    }
}

fn kind_of(item: u64) -> usize {
    (item >> KIND_SHIFT) as usize
}

/// A program started by another.
pub fn edge(parent: &[u8], child: &Text) -> u64 {
    let mut hash = Hash::default();
    hash.name(parent);
    hash.byte(0);
    hash.name(child);
    hash.item(Kind::Edge)
}

/// Where a path lies.
pub fn path(path: &[u8]) -> u64 {
    let whole = WHOLE.iter().any(|tree| path.starts_with(tree));
    let end = if whole {
        path.len()
    } else {
        let directory = path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        let deepest = path
            .iter()
            .enumerate()
            .filter(|(_, byte)| **byte == b'/')
            .nth(PATH_DEPTH)
            .map(|(at, _)| at);
        deepest.map_or(directory, |deepest| deepest.min(directory))
    };
    let mut hash = Hash::default();
    hash.name(&path[..end]);
    hash.item(Kind::Path)
}

/// A port that was connected to, or listened on.
pub fn port(port: u16, listening: bool) -> u64 {
    let mut hash = Hash::default();
    hash.number(u32::from(port) | u32::from(listening) << 16);
    hash.item(Kind::Port)
}

/// A system call after another of the same thread; `None`: the call itself.
pub fn call(before: Option<u32>, nr: u32) -> u64 {
    let mut hash = Hash::default();
    hash.number(before.map_or(u32::MAX, |before| before));
    hash.number(nr);
    hash.item(Kind::Call)
}

/// Who did something first, and where that is recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Witness {
    pub pid: u32,
    pub at: EventRef,
}

/// The items of the open window.
#[derive(Default)]
pub struct Seen(HashMap<u64, Witness>);

impl Seen {
    pub fn add(&mut self, item: u64, pid: u32, at: EventRef) {
        if self.0.len() < WINDOW_ITEMS_MAX {
            self.0.entry(item).or_insert(Witness { pid, at });
        }
    }
    pub fn clear(&mut self) {
        self.0.clear();
    }
    pub fn items(&self) -> impl Iterator<Item = u64> + '_ {
        self.0.keys().copied()
    }
}

/// What an image is known to do, from training.
pub type KnownItems = Arc<HashSet<u64>>;

/// What one container did so far.
pub struct Known {
    /// Item to the number of the window that showed it first.
    first: HashMap<u64, u32>,
    counts: [usize; KINDS],
}

/// New items of one kind in a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct New {
    pub count: u32,
    /// Of the first of them.
    pub witness: Option<Witness>,
}

impl Default for Known {
    fn default() -> Self {
        Known {
            first: HashMap::new(),
            counts: [0; KINDS],
        }
    }
}

impl Known {
    /// Judges the items of a window and remembers them. While `learning`, nothing is new: what a container
    /// does in its first window is its habit.
    pub fn take(
        &mut self,
        seen: &Seen,
        window: u32,
        learning: bool,
        trained: Option<&KnownItems>,
    ) -> [New; KINDS] {
        let mut new = [New::default(); KINDS];
        // In the order of the trace, not of the map: at the bound, what is learned depends on it.
        let mut items: Vec<_> = seen.0.iter().collect();
        items.sort_unstable_by_key(|(item, witness)| (place(witness.at), **item));
        for (&item, &witness) in items {
            let kind = kind_of(item);
            let first = match self.first.get(&item) {
                Some(first) => *first,
                None if self.counts[kind] >= KNOWN_MAX => continue,
                None => {
                    self.counts[kind] += 1;
                    let first = if learning { HABIT } else { window };
                    self.first.insert(item, first);
                    first
                }
            };
            let known = first == HABIT
                || window.saturating_sub(first) >= NEW_WINDOWS
                || trained.is_some_and(|trained| trained.contains(&item));
            if !known {
                let new = &mut new[kind];
                new.count += 1;
                // The map has no order; the earliest place in the trace is the same every time.
                if new
                    .witness
                    .is_none_or(|before| place(witness.at) < place(before.at))
                {
                    new.witness = Some(witness);
                }
            }
        }
        new
    }
}

/// Never new.
const HABIT: u32 = u32::MAX;

fn place(at: EventRef) -> (u32, u64, u16, u32) {
    (at.part, at.chunk, at.family, at.row)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(items: &[u64]) -> Seen {
        let mut seen = Seen::default();
        for (row, item) in items.iter().enumerate() {
            seen.add(
                *item,
                7,
                EventRef {
                    part: 0,
                    chunk: 1,
                    family: 1,
                    row: row as u32,
                },
            );
        }
        seen
    }

    #[test]
    fn made_up_names_are_not_new_but_other_places_are() {
        assert_eq!(path(b"/tmp/tmp8213/a"), path(b"/tmp/tmp19/b"));
        assert_eq!(
            path(b"/usr/lib/x/y/z/deep/file"),
            path(b"/usr/lib/x/y/other/file")
        );
        assert_ne!(path(b"/usr/lib/x"), path(b"/usr/bin/x"));
        assert_ne!(
            path(b"/etc/shadow"),
            path(b"/etc/passwd"),
            "each file in /etc matters"
        );
        assert_eq!(path(b"/proc/12/stat"), path(b"/proc/3456/stat"));
        assert_ne!(path(b"/proc/12/stat"), path(b"/proc/12/mem"));
        assert_eq!(
            path(b"relative"),
            path(b"other"),
            "no directory is known of either"
        );
        let _ = path(b"");
    }

    #[test]
    fn items_of_different_kinds_differ() {
        let kinds = [
            edge(b"sh", &"/bin/ls".into()),
            path(b"/etc/passwd"),
            port(80, false),
            call(None, 1),
        ]
        .map(kind_of);
        assert_eq!(kinds, [0, 1, 2, 3]);
        assert_ne!(port(80, false), port(80, true));
        assert_ne!(call(None, 1), call(Some(1), 1));
    }

    #[test]
    fn an_item_is_new_for_some_windows_and_then_a_habit() {
        let mut known = Known::default();
        let (habit, late) = (port(80, false), port(4444, false));
        assert_eq!(
            known.take(&seen(&[habit]), 0, true, None)[Kind::Port as usize].count,
            0
        );
        let judged = known.take(&seen(&[habit, late]), 1, false, None)[Kind::Port as usize];
        assert_eq!(judged.count, 1);
        assert_eq!(judged.witness.unwrap().at.row, 1);
        for window in 2..1 + NEW_WINDOWS {
            assert_eq!(
                known.take(&seen(&[late]), window, false, None)[Kind::Port as usize].count,
                1,
                "window {window}"
            );
        }
        assert_eq!(
            known.take(&seen(&[late]), 1 + NEW_WINDOWS, false, None)[Kind::Port as usize].count,
            0
        );
    }

    #[test]
    fn what_training_saw_is_not_new() {
        let item = port(4444, false);
        let trained: KnownItems = Arc::new([item].into_iter().collect());
        let mut known = Known::default();
        assert_eq!(
            known.take(&seen(&[item, port(5555, false)]), 3, false, Some(&trained))
                [Kind::Port as usize]
                .count,
            1
        );
    }

    #[test]
    fn a_container_without_habits_is_not_judged_by_them() {
        let mut known = Known::default();
        for window in 0..4u32 {
            let ports: Vec<u64> = (0..1024u32)
                .map(|i| port((window * 1024 + i) as u16, false))
                .collect();
            let new = known.take(&seen(&ports), window, false, None)[Kind::Port as usize].count;
            assert_eq!(new, if window < 2 { 1024 } else { 0 }, "window {window}");
        }
        assert_eq!(known.first.len(), KNOWN_MAX);
    }

    #[test]
    fn a_window_tells_a_bounded_number_of_items_apart() {
        let mut seen = Seen::default();
        for i in 0..WINDOW_ITEMS_MAX as u32 + 10 {
            seen.add(call(Some(i), 1), 1, EventRef::default());
        }
        assert_eq!(seen.items().count(), WINDOW_ITEMS_MAX);
    }
}
