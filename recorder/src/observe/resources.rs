//! Resources, read once a second: of each container the files of its cgroup, of v2 or of v1's controllers
//! ([`cgroup`]), and the network of one of its processes ([`network`]); of the host /proc ([`host`]).
//!
//! Opening a file of a cgroup costs ten times what reading it does. So files stay open, as far as
//! [`KEPT_FILES_MAX`] and the limit of descriptors let them; of cgroups beyond that they are opened each
//! time, and their network is left out.

mod cgroup;
mod host;
mod network;
mod reading;

use hashbrown::HashMap;
use trace_format::event::{Sample, SampleKnown};

use self::{cgroup::Plan, host::Host, network::Network, reading::Text};
use super::cgroups::Cgroups;

/// Files of cgroups that stay open: those of some 170 containers. The kernel keeps 5 KiB for each.
const KEPT_FILES_MAX: usize = 2_048;

/// Reads resources; keeps files open between the rounds.
pub struct Resources {
    plan: Plan,
    host: Host,
    text: Text,
    kept: HashMap<u64, Kept>,
    /// Cgroups whose files may stay open at once.
    kept_max: usize,
    round: u64,
}

/// A cgroup whose files stay open.
struct Kept {
    files: cgroup::Files,
    network: Network,
    /// In which it was last asked for.
    round: u64,
}

impl Resources {
    pub fn new(cgroups: &Cgroups) -> Self {
        let plan = Plan::of(cgroups);
        // One for the process whose network is read.
        let files_each = plan.len() + 1;
        Resources {
            kept_max: reading::descriptors(KEPT_FILES_MAX) / files_each,
            plan,
            host: Host::default(),
            text: Text::default(),
            kept: HashMap::new(),
            round: 0,
        }
    }

    /// The host, then each of these cgroups (id, path) that is still there. Of the host the id is 0.
    pub fn round(
        &mut self,
        cgroups: &Cgroups,
        sampled: &[(u64, String)],
        mut take: impl FnMut(u64, Sample),
    ) {
        self.round += 1;
        if let Some(sample) = self.host.sample(&mut self.text) {
            take(0, sample);
        }
        for (id, path) in sampled {
            if let Some(sample) = self.sample(cgroups, *id, path) {
                take(*id, sample);
            }
        }
        let round = self.round;
        self.kept.retain(|_, kept| kept.round == round);
    }

    fn sample(&mut self, cgroups: &Cgroups, id: u64, path: &str) -> Option<Sample> {
        if !self.kept.contains_key(&id) && self.kept.len() < self.kept_max {
            self.kept.insert(
                id,
                Kept {
                    files: self.plan.files(),
                    network: Network::default(),
                    round: self.round,
                },
            );
        }
        let Some(kept) = self.kept.get_mut(&id) else {
            return self.plan.sample(path, None, &mut self.text);
        };
        kept.round = self.round;
        let mut sample = self
            .plan
            .sample(path, Some(&mut kept.files), &mut self.text)?;
        let host = self.host.network_namespace();
        if let Some(counts) = kept.network.read(cgroups, id, path, host, &mut self.text) {
            counts.put(&mut sample);
            sample.known.0 |= SampleKnown::NETWORK;
        }
        Some(sample)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cgroup_that_is_gone_gives_nothing_and_is_forgotten() {
        let cgroups = Cgroups::open();
        let mut resources = Resources::new(&cgroups);
        let gone = [(u64::MAX, "/no/such/cgroup".to_owned())];
        let mut ids = Vec::new();
        resources.round(&cgroups, &gone, |id, _| ids.push(id));
        assert_eq!(ids, [0], "the host's alone");
        resources.round(&cgroups, &[], |_, _| {});
        assert!(resources.kept.is_empty());
    }
}
