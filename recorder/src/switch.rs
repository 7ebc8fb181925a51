//! What is recorded, changed while recording: profile and probes.
//!
//! Every probe that this kernel accepts is loaded at the start, so that switching one on later needs no
//! more than attaching it: nothing is compiled, verified or granted then. The capture loop does it
//! between two rounds of the rings and writes the new Probes record into the trace: what stands there
//! says from which moment on what was looked at.

use crossbeam_channel::Sender;
use serde::{Deserialize, Serialize};
use trace_format::context::Probes as ProbeTable;

use crate::{policy::Profile, probes::PROBES};

/// What attaching a probe again takes, besides its program being loaded since the start.
pub const NEEDS: &str =
    "its program, loaded at the start; CAP_BPF and CAP_PERFMON to attach it again";

/// The change that is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Switch {
    pub profile: Option<Profile>,
    /// Probes' ids.
    pub on: Vec<u8>,
    pub off: Vec<u8>,
}

impl Switch {
    /// From names: a profile, and families or single probes.
    pub fn named(profile: Option<&str>, on: &[String], off: &[String]) -> Result<Switch, String> {
        use clap::ValueEnum;
        let profile = profile
            .map(|name| {
                Profile::from_str(name, false).map_err(|_| {
                    let known: Vec<&str> = Profile::value_variants()
                        .iter()
                        .map(|profile| profile.name())
                        .collect();
                    format!(
                        "there is no profile {name:?}; there are {}",
                        known.join(", ")
                    )
                })
            })
            .transpose()?;
        let ids = |names: &[String]| -> Result<Vec<u8>, String> {
            let mut found = Vec::new();
            for name in names {
                let before = found.len();
                found.extend(
                    PROBES
                        .iter()
                        .filter(|probe| probe.family == name || probe.tracepoint == name)
                        .map(|probe| probe.id),
                );
                if found.len() == before {
                    let mut families: Vec<&str> = PROBES.iter().map(|probe| probe.family).collect();
                    families.dedup();
                    return Err(format!(
                        "there is no probe or family {name:?}; there are {}",
                        families.join(", ")
                    ));
                }
            }
            Ok(found)
        };
        Ok(Switch {
            profile,
            on: ids(on)?,
            off: ids(off)?,
        })
    }
}

/// A change on its way to the capture loop.
#[derive(Debug)]
pub struct Asked {
    pub switch: Switch,
    /// Takes what is in force then, once.
    pub done: Sender<Result<InForce, String>>,
}

/// What is recorded from a moment on: the fixed shape of `rec ctl probes --json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InForce {
    /// `CLOCK_BOOTTIME` of the trace's record about it.
    pub boot_ns: u64,
    pub profile: String,
    /// What alone is recorded, as the command line had it; empty: all.
    #[serde(default)]
    pub filter: String,
    pub probes: Vec<ProbeState>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeState {
    pub name: String,
    pub family: String,
    /// How it is attached; empty: it is not.
    pub attached: String,
    /// Why it is not.
    pub reason: String,
    /// What switching it on takes.
    pub needs: String,
}

impl InForce {
    pub fn of(table: &ProbeTable, boot_ns: u64) -> InForce {
        InForce {
            boot_ns,
            profile: table.profile.clone(),
            filter: String::new(),
            probes: table
                .probes
                .iter()
                .map(|probe| ProbeState {
                    name: probe.name.clone(),
                    family: PROBES
                        .iter()
                        .find(|spec| spec.id == probe.id)
                        .map_or_else(String::new, |spec| spec.family.to_owned()),
                    attached: probe.attached.clone(),
                    reason: probe.reason.clone(),
                    needs: NEEDS.to_owned(),
                })
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_families_and_probes_are_understood_and_others_are_named() {
        let named = |profile, on: &[&str]| {
            let on: Vec<String> = on.iter().map(|name| (*name).to_owned()).collect();
            Switch::named(profile, &on, &[])
        };
        let switch = named(Some("full"), &["network", "sys_exit"]).unwrap();
        assert_eq!(switch.profile, Some(Profile::Full));
        assert!(switch.on.len() >= 2);
        assert!(
            named(Some("most"), &[])
                .unwrap_err()
                .contains("light, standard, full")
        );
        assert!(named(None, &["nothing"]).unwrap_err().contains("process"));
    }
}
