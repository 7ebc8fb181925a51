//! Processes that are there already below those that a filter names.
//!
//! The probe at fork goes on from what it finds on the list. So a process goes on the list first, and
//! then its children are looked for; what a walk through /proc finds new is reason for another one.

use std::fs;

use hashbrown::HashMap;

/// A fork bomb is not caught by looking again and again.
const WALKS_MAX: usize = 16;

/// Parent of every process that has not ended.
fn parents() -> Vec<(u32, u32)> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, parent(pid)?)))
        .collect()
}

/// None: it has ended, also where nobody has waited for it yet.
fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The name is in parentheses and may contain anything: the last one ends it (proc_pid_stat(5)).
    let close = stat.iter().rposition(|&byte| byte == b')')?;
    let rest = std::str::from_utf8(stat.get(close + 1..)?).ok()?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    (!matches!(state, "Z" | "X")).then_some(parent)
}

/// Puts `roots` and all that descends from them on a list, each with its root's value. `put` may fail,
/// `take` takes one off again that ended meanwhile, when the probe at exit had not seen it on the list.
pub fn put_on_list(
    roots: &[(u32, u8)],
    mut put: impl FnMut(u32, u8) -> bool,
    mut take: impl FnMut(u32),
) -> usize {
    let mut known: HashMap<u32, u8> = HashMap::new();
    let mut no_room = 0;
    let mut add = |pid: u32, value: u8, known: &mut HashMap<u32, u8>| {
        no_room += usize::from(!put(pid, value));
        known.insert(pid, value);
        if parent(pid).is_none() {
            take(pid);
        }
    };
    for (pid, value) in roots {
        add(*pid, *value, &mut known);
    }
    for _ in 0..WALKS_MAX {
        let new: Vec<_> = parents()
            .into_iter()
            .filter(|(pid, _)| !known.contains_key(pid))
            .filter_map(|(pid, parent)| Some((pid, *known.get(&parent)?)))
            .collect();
        if new.is_empty() {
            break;
        }
        for (pid, value) in new {
            add(pid, value, &mut known);
        }
    }
    no_room
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_and_their_children_are_found_and_others_are_not() {
        let mut child = std::process::Command::new("/bin/sh")
            .args(["-c", "sleep 100 & wait"])
            .spawn()
            .unwrap();
        let own = std::process::id();
        // The shell starts its child in its own time.
        let grandchild = loop {
            let found = parents()
                .into_iter()
                .find(|(_, parent)| *parent == child.id());
            if let Some((pid, _)) = found {
                break pid;
            }
            std::thread::yield_now();
        };
        let mut listed = Vec::new();
        let roots = [(child.id(), 1)];
        put_on_list(
            &roots,
            |pid, value| {
                listed.push((pid, value));
                true
            },
            |_| {},
        );
        assert_eq!(listed, [(child.id(), 1), (grandchild, 1)]);
        assert!(listed.iter().all(|(pid, _)| *pid != own));
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(grandchild as i32),
            nix::sys::signal::Signal::SIGKILL,
        )
        .unwrap();
        child.wait().unwrap();
        // Whoever has ended is taken off again, and what does not fit is counted.
        let mut taken = Vec::new();
        let no_room = put_on_list(&roots, |_, _| false, |pid| taken.push(pid));
        assert_eq!((no_room, taken), (1, vec![child.id()]));
    }
}
