//! The two orders of a chunk: rows as stored (by family, then thread, then time) and rows as handed
//! out (by time, family, row).

use hashbrown::HashMap;

/// Indices of `times` in ascending order of time, equal times by index.
pub fn by_time(times: &[u64]) -> Vec<u32> {
    if times.is_sorted() {
        return (0..times.len() as u32).collect();
    }
    let low = times.iter().copied().min().unwrap_or(0);
    let high = times.iter().copied().max().unwrap_or(0);
    let index_bits = u64::BITS - (times.len() as u64).leading_zeros();
    if (high - low).leading_zeros() >= index_bits {
        // Time and index in one word: several times faster to sort than pairs.
        let mut keys: Vec<u64> = times
            .iter()
            .enumerate()
            .map(|(index, time)| (time - low) << index_bits | index as u64)
            .collect();
        // Not `sort_unstable`: stored rows are a few sorted runs, which the stable sort merges.
        keys.sort();
        let mask = (1 << index_bits) - 1;
        keys.iter().map(|key| (key & mask) as u32).collect()
    } else {
        let mut keys: Vec<u32> = (0..times.len() as u32).collect();
        keys.sort_by_key(|index| times[*index as usize]);
        keys
    }
}

/// Indices of rows in stored order: grouped by thread, groups in order of their first row in time,
/// inside a group by time, equal times in order of arrival.
pub fn by_thread(times: &[u64], tids: &[u64]) -> Vec<u32> {
    let in_time = by_time(times);
    let mut groups: HashMap<u64, u32> = HashMap::new();
    let mut sizes: Vec<u32> = Vec::new();
    let mut last = None;
    let group_of: Vec<u32> = in_time
        .iter()
        .map(|row| {
            let tid = tids[*row as usize];
            let group = match last {
                Some((last_tid, group)) if last_tid == tid => group,
                _ => *groups.entry(tid).or_insert_with(|| {
                    sizes.push(0);
                    sizes.len() as u32 - 1
                }),
            };
            last = Some((tid, group));
            sizes[group as usize] += 1;
            group
        })
        .collect();
    if sizes.len() <= 1 {
        return in_time;
    }
    let mut next: Vec<u32> = sizes
        .iter()
        .scan(0, |start, size| {
            let this = *start;
            *start += size;
            Some(this)
        })
        .collect();
    let mut stored = vec![0; in_time.len()];
    for (row, group) in in_time.iter().zip(group_of) {
        let place = &mut next[group as usize];
        stored[*place as usize] = *row;
        *place += 1;
    }
    stored
}
