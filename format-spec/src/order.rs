//! The two orders of a chunk: rows as stored (by thread, then time) and rows as handed out (by
//! time, then row).

use hashbrown::HashMap;

/// With more sorted runs than this, a radix sort is faster than merging them.
const RUNS_MERGED: usize = 4;
/// Fewer rows are not worth the counts of a radix sort.
const RADIX_ROWS_MIN: usize = 2_048;
/// Bits of a digit: its counts and the ends of its runs stay in the caches.
const DIGIT_BITS: u32 = 10;

/// Indices of `times` in ascending order of time, equal times by index.
pub fn by_time(times: &[u64]) -> Vec<u32> {
    let runs = 1 + times.windows(2).filter(|pair| pair[0] > pair[1]).count();
    if runs == 1 {
        return (0..times.len() as u32).collect();
    }
    let low = times.iter().copied().min().unwrap_or(0);
    let high = times.iter().copied().max().unwrap_or(0);
    let index_bits = u64::BITS - (times.len() as u64).leading_zeros();
    let time_bits = u64::BITS - (high - low).leading_zeros();
    if time_bits + index_bits <= u64::BITS {
        // Time and index in one word: several times faster to sort than pairs.
        let mut keys: Vec<u64> = times
            .iter()
            .enumerate()
            .map(|(index, time)| (time - low) << index_bits | index as u64)
            .collect();
        if runs > RUNS_MERGED && times.len() >= RADIX_ROWS_MIN {
            radix_sort(&mut keys, index_bits, time_bits);
        } else {
            // Not `sort_unstable`: stored rows are a few sorted runs, which the stable sort merges.
            keys.sort();
        }
        let mask = (1 << index_bits) - 1;
        keys.iter().map(|key| (key & mask) as u32).collect()
    } else {
        let mut keys: Vec<u32> = (0..times.len() as u32).collect();
        keys.sort_by_key(|index| times[*index as usize]);
        keys
    }
}

/// Sorts by the `bits` above the lowest `skip`, keeping the order of equal ones.
fn radix_sort(keys: &mut Vec<u64>, skip: u32, bits: u32) {
    const DIGITS: usize = 1 << DIGIT_BITS;
    let mut sorted = vec![0; keys.len()];
    for pass in 0..bits.div_ceil(DIGIT_BITS) {
        let shift = skip + pass * DIGIT_BITS;
        let digit = |key: u64| (key >> shift) as usize % DIGITS;
        let mut next = [0u32; DIGITS];
        for key in keys.iter() {
            next[digit(*key)] += 1;
        }
        let mut start = 0;
        for next in &mut next {
            start += std::mem::replace(next, start);
        }
        for key in keys.iter() {
            let place = &mut next[digit(*key)];
            sorted[*place as usize] = *key;
            *place += 1;
        }
        std::mem::swap(keys, &mut sorted);
    }
}

/// Both orders of the rows of an open chunk, by their index of arrival. Kept for its buffers.
#[derive(Default)]
pub struct Orders {
    /// Grouped by thread, groups in order of their first row in time, inside a group by time, equal
    /// times in order of arrival.
    pub stored: Vec<u32>,
    /// By time, equal times as stored.
    pub in_time: Vec<u32>,
    /// Where each of `in_time` is stored.
    places: Vec<u32>,
}

/// Groups of threads that are at hand without a search: those of a few threads alternate.
const CACHED: usize = 64;

impl Orders {
    pub fn find(&mut self, times: &[u64], tids: &[u32]) {
        self.in_time = by_time(times);
        let mut groups: HashMap<u32, u32> = HashMap::new();
        let mut sizes: Vec<u32> = Vec::new();
        let mut cached = [None; CACHED];
        self.places.clear();
        self.places.extend(self.in_time.iter().map(|row| {
            let tid = tids[*row as usize];
            let cached = &mut cached[tid as usize % CACHED];
            let group = match *cached {
                Some((known, group)) if known == tid => group,
                _ => *groups.entry(tid).or_insert_with(|| {
                    sizes.push(0);
                    sizes.len() as u32 - 1
                }),
            };
            *cached = Some((tid, group));
            sizes[group as usize] += 1;
            group
        }));
        let mut start = 0;
        for size in &mut sizes {
            start += std::mem::replace(size, start);
        }
        let mut next = sizes;
        self.stored.clear();
        self.stored.resize(times.len(), 0);
        for (row, place) in self.in_time.iter().zip(&mut self.places) {
            let next = &mut next[*place as usize];
            *place = *next;
            *next += 1;
            self.stored[*place as usize] = *row;
        }
        self.order_equal_times(times);
    }

    /// Rows with equal times stand in order of arrival so far.
    fn order_equal_times(&mut self, times: &[u64]) {
        let time = |row: u32| times[row as usize];
        let mut start = 0;
        while start + 1 < self.in_time.len() {
            let first = time(self.in_time[start]);
            let equal = self.in_time[start + 1..]
                .iter()
                .take_while(|row| time(**row) == first)
                .count();
            let end = start + 1 + equal;
            if !self.places[start..end].is_sorted() {
                self.places[start..end].sort_unstable();
                for at in start..end {
                    self.in_time[at] = self.stored[self.places[at] as usize];
                }
            }
            start = end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// xorshift64: the same every run.
    fn numbers(count: usize, below: u64) -> Vec<u64> {
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % below
        };
        (0..count).map(|_| next()).collect()
    }

    /// Few and many rows, narrow and wide ranges of time, many equal times: every way of sorting.
    #[test]
    fn both_orders_are_those_of_the_definition() {
        for (rows, range) in [
            (0, 1),
            (300, 50),
            (5_000, 700),
            (5_000, 1 << 40),
            (5_000, u64::MAX),
        ] {
            let times = numbers(rows, range);
            let mut by_definition: Vec<u32> = (0..rows as u32).collect();
            by_definition.sort_by_key(|row| times[*row as usize]);
            assert_eq!(by_time(&times), by_definition, "{rows} rows below {range}");

            let tids: Vec<u32> = numbers(rows, 300).iter().map(|tid| *tid as u32).collect();
            let first = |tid| {
                by_definition
                    .iter()
                    .position(|row| tids[*row as usize] == tid)
            };
            let firsts: HashMap<u32, _> = tids.iter().map(|tid| (*tid, first(*tid))).collect();
            let mut stored = by_definition.clone();
            stored.sort_by_key(|row| firsts[&tids[*row as usize]]);
            let mut orders = Orders::default();
            orders.find(&times, &tids);
            assert_eq!(orders.stored, stored, "{rows} rows below {range}");

            let stored_times: Vec<u64> = stored.iter().map(|row| times[*row as usize]).collect();
            let in_time: Vec<u32> = by_time(&stored_times)
                .iter()
                .map(|place| stored[*place as usize])
                .collect();
            assert_eq!(orders.in_time, in_time, "{rows} rows below {range}");
        }
    }
}
