//! A table by key with a bound: what windows and sequences remember of each key.
//!
//! Keys come from traced programs, which can make as many as they like. Past [`KEYS_MAX`] the key that
//! was used longest ago makes room; whoever owns the table says so when that key still mattered.

use hashbrown::HashMap;
use std::{collections::BTreeMap, sync::Arc};

/// Keys of one rule: some hundred containers with some ten processes or addresses each at a time.
pub(super) const KEYS_MAX: usize = 4_096;

/// What is remembered of a key.
pub(super) trait Remembered {
    /// Nothing of it counts any more: forgetting it changes nothing.
    fn is_over(&self, now_ns: u64) -> bool;
}

pub(super) struct Keyed<V> {
    entries: HashMap<Arc<[u8]>, (u64, V)>,
    /// By last use.
    order: BTreeMap<u64, Arc<[u8]>>,
    uses: u64,
}

impl<V> Default for Keyed<V> {
    fn default() -> Self {
        Keyed {
            entries: HashMap::new(),
            order: BTreeMap::new(),
            uses: 0,
        }
    }
}

impl<V: Remembered + Default> Keyed<V> {
    /// The key's entry, made if there is none; and whether another that mattered was forgotten for it.
    pub fn entry(&mut self, key: &[u8], now_ns: u64) -> (&mut V, bool) {
        self.uses += 1;
        let mut lost = false;
        let key: Arc<[u8]> = match self.entries.get_key_value(key) {
            Some((known, (used, _))) => {
                self.order.remove(used);
                known.clone()
            }
            None => {
                if self.entries.len() >= KEYS_MAX
                    && let Some((_, oldest)) = self.order.pop_first()
                    && let Some((_, value)) = self.entries.remove(&oldest)
                {
                    lost = !value.is_over(now_ns);
                }
                let key: Arc<[u8]> = key.into();
                self.entries.insert(key.clone(), (self.uses, V::default()));
                key
            }
        };
        self.order.insert(self.uses, key.clone());
        match self.entries.get_mut(&key) {
            Some(entry) => {
                entry.0 = self.uses;
                (&mut entry.1, lost)
            }
            None => unreachable!("the key was there or has just been inserted"),
        }
    }

    /// The key's entry, if there is one. This is no use of it.
    pub fn get(&mut self, key: &[u8]) -> Option<&mut V> {
        self.entries.get_mut(key).map(|entry| &mut entry.1)
    }

    pub fn remove(&mut self, key: &[u8]) {
        if let Some((used, _)) = self.entries.remove(key) {
            self.order.remove(&used);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Until(u64);
    impl Remembered for Until {
        fn is_over(&self, now_ns: u64) -> bool {
            self.0 <= now_ns
        }
    }

    #[test]
    fn the_key_used_longest_ago_makes_room() {
        let mut table = Keyed::<Until>::default();
        for key in 0..KEYS_MAX as u32 {
            let (entry, lost) = table.entry(&key.to_le_bytes(), 0);
            entry.0 = 10;
            assert!(!lost);
        }
        table.entry(&0u32.to_le_bytes(), 0);
        assert!(table.entry(b"new", 5).1, "key 1 still mattered");
        assert!(table.get(&0u32.to_le_bytes()).is_some());
        assert!(table.get(&1u32.to_le_bytes()).is_none());
        assert!(!table.entry(b"newer", 10).1, "key 2 was over");
        assert_eq!(
            (table.entries.len(), table.order.len()),
            (KEYS_MAX, KEYS_MAX)
        );
        table.remove(b"newer");
        assert_eq!(table.entries.len(), table.order.len());
    }
}
