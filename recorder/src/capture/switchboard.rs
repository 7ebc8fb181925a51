//! What is recorded, switched while recording: the profile's policies, and which probes are attached.

use aya::maps::{Array, MapData, MapError};
use recorder_ebpf::{probe, switched};
use trace_format::{
    context::{Probe, Probes as ProbeTable},
    syscalls::Arch,
};

use super::Options;
use crate::{
    filter::{Filter, lists::Lists},
    policy::{self, Profile},
    probes::{Error, PROBES, Probes},
    switch::Switch,
};

/// Where the probes read what the profile wants.
pub struct Policy {
    /// By number of the call.
    calls: Array<MapData, u32>,
    /// [`switched`]
    others: Array<MapData, u64>,
    arch: Arch,
    http: Option<bool>,
    payload: Vec<&'static str>,
}

impl Policy {
    /// What else the options say of calls holds in every profile.
    pub fn take(probes: &mut Probes, arch: Arch, options: &Options) -> Result<Self, Error> {
        Ok(Policy {
            calls: probes.policy()?,
            others: probes.switched()?,
            arch,
            http: options.http,
            payload: options.payload.clone(),
        })
    }

    pub fn write(&mut self, profile: Profile) -> Result<(), MapError> {
        let http = self.http.unwrap_or(policy::http(profile));
        let table = policy::table(profile, self.arch, http, &self.payload);
        for (nr, action) in (0..).zip(table) {
            self.calls.set(nr, action, 0)?;
        }
        let foreign = policy::foreign(profile);
        self.others.set(switched::FOREIGN, u64::from(foreign), 0)?;
        let quiet = policy::quiet_signals(profile);
        self.others.set(switched::QUIET_SIGNALS, quiet, 0)
    }

    /// Ends of threads that began before `boot_ns` are not recorded.
    pub fn exits_from(&mut self, boot_ns: u64) -> Result<(), MapError> {
        self.others.set(switched::EXITS_FROM, boot_ns, 0)
    }
}

/// What switches what is recorded.
pub struct Switchboard<'a> {
    pub probes: &'a mut Probes,
    pub policy: Policy,
    pub profile: Profile,
    pub filter: &'a Filter,
    pub lists: Lists,
}

/// Ids of the probes to attach: those that were asked for, and what the filter needs.
pub fn wanted(options: &Options, needed: &[u8]) -> Vec<u8> {
    let mut wanted = options.probes.clone();
    wanted.retain(|id| options.durations || *id != probe::SYS_ENTER);
    wanted.extend(needed);
    wanted
}

impl Switchboard<'_> {
    pub fn switch(&mut self, switch: &Switch) -> Result<(), String> {
        let needs = self.filter.needs();
        if let Some(id) = switch.off.iter().find(|id| needs.contains(id)) {
            let name = PROBES
                .iter()
                .find(|spec| spec.id == *id)
                .map_or("", |spec| spec.tracepoint);
            return Err(format!(
                "{name} stays on: the filter of this recording needs it ({})",
                self.filter.text()
            ));
        }
        if let Some(profile) = switch.profile {
            self.policy
                .write(profile)
                .map_err(|error| format!("the probes' policy cannot be written: {error}"))?;
            self.profile = profile;
        }
        let on = switch.on.iter().map(|id| (*id, true));
        let off = switch.off.iter().map(|id| (*id, false));
        on.chain(off)
            .try_for_each(|(id, on)| self.probes.switch(id, on))
    }
}

/// The trace's table of probes, as they are attached now.
pub fn describe(probes: &Probes, profile: Profile) -> ProbeTable {
    ProbeTable {
        profile: profile.name().to_owned(),
        probes: probes
            .attached
            .iter()
            .map(|entry| Probe {
                id: entry.id,
                name: entry.tracepoint.to_owned(),
                attached: if entry.reason.is_none() {
                    format!("tp_btf/{}", entry.tracepoint)
                } else {
                    String::new()
                },
                reason: entry.reason.clone().unwrap_or_default(),
            })
            .collect(),
    }
}
