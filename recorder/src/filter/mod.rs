//! The filter: what the user wants of who, what and where, and the lists that the probes look it up in.
//!
//! [`value`] reads what the command line gives, this file puts it together and checks it against the
//! host, [`lists`] hands it to the kernel. Values of one option are alternatives, all options hold
//! together; only a kind or a call, and a path or an address, are alternatives too, as no event has
//! both. What is left out wins over what is wanted, but for a path below another.

pub mod lists;
mod tree;
pub mod value;

use std::{path::Path, time::Duration};

use anyhow::bail;
use recorder_ebpf::{
    FILTER_CGROUPS_MAX, FILTER_VALUES_MAX, filter as option, kind, listing, probe,
};

use crate::{filter::value::Value, target};

/// As the user gave it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    pub wanted: Vec<Value>,
    pub left_out: Vec<Value>,
    pub min_duration: Option<Duration>,
}

/// The filter of one capture on this host: nothing in it can be refused any more.
#[derive(Clone, Debug, Default)]
pub struct Resolved {
    pub filter: Filter,
    /// Cgroups of containers, each with its [`listing`].
    pub cgroups: Vec<(u64, u8)>,
}

impl Filter {
    pub fn is_empty(&self) -> bool {
        *self == Filter::default()
    }

    /// Looks for what it names, and refuses what cannot be found or is too much.
    pub fn resolve(self) -> anyhow::Result<Resolved> {
        for name in value::OPTIONS {
            let count = self
                .all()
                .filter(|(value, _)| value.option() == *name)
                .count();
            if !matches!(*name, "syscall" | "kind" | "container")
                && count > FILTER_VALUES_MAX as usize
            {
                bail!(
                    "--{name} has {count} values, at most {FILTER_VALUES_MAX} are looked for (--exclude counts too); give fewer"
                );
            }
        }
        let mut cgroups = Vec::new();
        for (value, listing) in self.all() {
            match value {
                Value::Container(name) => cgroups.extend(
                    target::cgroups_of(name)?
                        .into_iter()
                        .map(|id| (id, listing)),
                ),
                Value::Tree(pid) if !Path::new(&format!("/proc/{pid}")).exists() => bail!(
                    "--tree {pid}: there is no such process; give the id that `ps` shows on the host"
                ),
                _ => {}
            }
        }
        if cgroups.len() > FILTER_CGROUPS_MAX as usize {
            bail!(
                "the containers of the filter have {} cgroups, at most {FILTER_CGROUPS_MAX} are looked for; name fewer",
                cgroups.len()
            );
        }
        Ok(Resolved {
            filter: self,
            cgroups,
        })
    }

    /// Every value with its [`listing`].
    fn all(&self) -> impl Iterator<Item = (&Value, u8)> {
        let wanted = self.wanted.iter().map(|value| (value, listing::WANTED));
        let left_out = self.left_out.iter().map(|value| (value, listing::LEFT_OUT));
        wanted.chain(left_out)
    }

    /// In one line, as the command line has it; empty: there is none.
    pub fn text(&self) -> String {
        let mut words = Vec::new();
        words.extend(
            self.wanted
                .iter()
                .map(|value| format!("--{} {value}", value.option())),
        );
        if let Some(least) = self.min_duration {
            words.push(format!("--min-duration {}us", least.as_micros()));
        }
        words.extend(
            self.left_out
                .iter()
                .map(|value| format!("--exclude {}={value}", value.option())),
        );
        words.join(" ")
    }

    /// Bits of the options that are given: all of them, and those that name what is wanted.
    pub fn options(&self) -> (u32, u32) {
        let bits = |values: &[Value]| values.iter().fold(0, |bits, value| bits | value.bit());
        let duration = match self.min_duration {
            Some(_) => option::DURATION,
            None => 0,
        };
        let must = bits(&self.wanted) | duration;
        (must | bits(&self.left_out), must)
    }

    /// Bits of the kinds that are wanted whatever call they are of.
    pub fn kinds(&self) -> u64 {
        let bits = |values: &[Value]| {
            values.iter().fold(0, |bits, value| match value {
                Value::Kind(kind) => bits | 1 << kind.id,
                _ => bits,
            })
        };
        let names_some = self
            .wanted
            .iter()
            .any(|value| value.bit() & (option::CALL | option::KIND) != 0);
        let all = match names_some {
            true => bits(&self.wanted),
            false => u64::MAX,
        };
        let kinds = all & !bits(&self.left_out);
        // A request of io_uring is a system call in the trace.
        match kinds >> kind::SYSCALL & 1 {
            1 => kinds | 1 << kind::URING,
            _ => kinds & !(1 << kind::URING),
        }
    }

    /// Probes that keep its lists: without them it would miss what is made while recording.
    pub fn needs(&self) -> Vec<u8> {
        let (given, _) = self.options();
        let mut needs = Vec::new();
        if given & option::TREE != 0 {
            needs.extend([probe::FORK, probe::EXIT]);
        }
        if given & option::CONTAINER != 0 {
            needs.extend([probe::CGROUP_MKDIR, probe::CGROUP_RMDIR]);
        }
        needs
    }
}

impl Resolved {
    /// Are a container's resources sampled?
    pub fn wants_sample(&self, cgroup_id: u64) -> bool {
        let listed = self.cgroups.iter().find(|(id, _)| *id == cgroup_id);
        match listed {
            Some((_, listing)) => *listing == listing::WANTED,
            None => !self
                .cgroups
                .iter()
                .any(|(_, list)| *list == listing::WANTED),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(wanted: &[(&str, &str)], left_out: &[&str]) -> Filter {
        Filter {
            wanted: wanted
                .iter()
                .map(|(option, text)| Value::parse(option, text).unwrap())
                .collect(),
            left_out: left_out
                .iter()
                .map(|text| Value::excluded(text).unwrap())
                .collect(),
            min_duration: None,
        }
    }

    #[test]
    fn nothing_given_is_no_filter() {
        let none = Filter::default();
        assert_eq!(
            (none.options(), none.kinds(), none.text().as_str()),
            ((0, 0), u64::MAX, "")
        );
        assert!(none.is_empty() && none.needs().is_empty());
    }

    #[test]
    fn what_is_wanted_and_what_is_left_out_are_told_apart() {
        let both = filter(
            &[("uid", "0"), ("path", "/etc")],
            &["comm=sshd", "path=/etc/ssl"],
        );
        let (given, must) = both.options();
        assert_eq!(given, option::UID | option::PATH | option::COMM);
        assert_eq!(must, option::UID | option::PATH);
        assert_eq!(
            both.text(),
            "--uid 0 --path /etc --exclude comm=sshd --exclude path=/etc/ssl"
        );
    }

    #[test]
    fn a_call_or_a_kind_is_enough_and_what_is_left_out_is_not_there() {
        let open = 1u64 << recorder_ebpf::kind::OPEN;
        assert_eq!(filter(&[("kind", "open")], &[]).kinds(), open);
        assert_eq!(filter(&[("syscall", "openat")], &[]).kinds(), 0);
        assert_eq!(filter(&[], &["kind=open"]).kinds(), !open);
    }

    #[test]
    fn too_many_values_and_processes_that_are_not_there_are_refused_by_name() {
        let many: Vec<String> = (0..=FILTER_VALUES_MAX).map(|uid| uid.to_string()).collect();
        let given: Vec<_> = many.iter().map(|uid| ("uid", uid.as_str())).collect();
        let error = filter(&given, &[]).resolve().unwrap_err().to_string();
        assert!(error.contains("--uid has 65 values, at most 64"), "{error}");
        assert!(filter(&given[1..], &[]).resolve().is_ok());
        let gone = u32::MAX.to_string();
        let error = filter(&[("tree", &gone)], &[])
            .resolve()
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("--tree 4294967295: there is no such process"),
            "{error}"
        );
    }
}
