//! Network namespaces, looked into from inside by a thread of its own.

use std::{fs, fs::File, path::Path, thread};

use nix::sched::{CloneFlags, setns};

/// Holds the namespace: what was in it can be told to be gone.
pub struct Network(File);

impl Network {
    pub fn of(pid: u32) -> Option<Network> {
        File::open(format!("/proc/{pid}/ns/net")).ok().map(Network)
    }

    /// Those that a process holds open.
    pub fn held_by(pid: u32) -> Vec<Network> {
        let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else {
            return Vec::new();
        };
        descriptors
            .flatten()
            .filter(|fd| {
                fs::read_link(fd.path())
                    .is_ok_and(|link| link.to_string_lossy().starts_with("net:["))
            })
            .filter_map(|fd| File::open(fd.path()).ok())
            .map(Network)
            .collect()
    }

    fn read(&self, file: &str) -> String {
        let namespace = self.0.try_clone().unwrap();
        let path = Path::new("/proc/thread-self/net").join(file);
        thread::spawn(move || {
            setns(namespace, CloneFlags::CLONE_NEWNET).unwrap();
            fs::read_to_string(path).unwrap()
        })
        .join()
        .unwrap()
    }

    /// Names of its interfaces, sorted.
    pub fn interfaces(&self) -> Vec<String> {
        let table = self.read("dev");
        let mut names: Vec<String> = table
            .lines()
            .skip(2)
            .filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned()))
            .collect();
        names.sort();
        names
    }

    /// Packets that an interface has received and sent.
    pub fn packets(&self, interface: &str) -> (u64, u64) {
        let table = self.read("dev");
        let line = table
            .lines()
            .find_map(|line| line.trim().strip_prefix(&format!("{interface}:")))
            .unwrap_or_else(|| panic!("no {interface} in {table}"));
        let numbers: Vec<u64> = line
            .split_whitespace()
            .map(|number| number.parse().unwrap())
            .collect();
        (numbers[1], numbers[9])
    }

    /// Interface, gateway and mask of each route, as the kernel writes them.
    pub fn routes(&self) -> Vec<(String, String, String)> {
        let table = self.read("route");
        let field = |line: &str, place| line.split_whitespace().nth(place).unwrap().to_owned();
        table
            .lines()
            .skip(1)
            .map(|line| (field(line, 0), field(line, 2), field(line, 7)))
            .collect()
    }

    /// Routes of IPv6 that lead to some other host, by their gateway.
    pub fn gateways_6(&self) -> usize {
        const NONE: &str = "00000000000000000000000000000000";
        self.read("ipv6_route")
            .lines()
            .filter(|line| line.split_whitespace().nth(4) != Some(NONE))
            .count()
    }
}
