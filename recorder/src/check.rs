//! `rec check`: what this kernel offers, per probe, tried rather than assumed.

use std::fmt::Write as _;

use recorder_ebpf::Settings;
use serde::Serialize;

use crate::{
    btf,
    calls::RingSizes,
    observe::cgroups::{self, Cgroups},
    probes::{self, PROBES, Probes},
};

/// Everything that was tried, with its outcome.
#[derive(Debug, Serialize)]
pub struct Findings {
    pub kernel: String,
    pub arch: String,
    pub features: Vec<Feature>,
    pub probes: Vec<ProbeFinding>,
    /// Every probe can record.
    pub ok: bool,
}

#[derive(Debug, Serialize)]
pub struct Feature {
    pub name: &'static str,
    pub ok: bool,
    pub detail: String,
}

#[derive(Debug, Serialize)]
pub struct ProbeFinding {
    pub name: &'static str,
    pub family: &'static str,
    pub records: &'static str,
    /// How it attaches; empty when it does not.
    pub attached: String,
    pub reason: Option<String>,
}

/// Small: what is recorded here is thrown away.
const RINGS: RingSizes = RingSizes {
    cpus: 1,
    call_pages: 1,
    bulk_bytes: 1 << 16,
    urgent_bytes: 1 << 16,
};

/// What an exec event says of its process, and what it cannot.
fn details_feature(left_out: &[String]) -> Feature {
    Feature {
        name: "details",
        ok: left_out.is_empty(),
        detail: match left_out {
            [] => "all".to_owned(),
            reasons => format!("all but {}", reasons.join("; ")),
        },
    }
}

/// Loads and attaches everything as a capture does, keeps nothing, and detaches again.
pub fn check(btf_file: Option<&std::path::Path>) -> Findings {
    let uname = nix::sys::utsname::uname().ok();
    let kernel = uname
        .map(|uname| uname.release().to_string_lossy().into_owned())
        .unwrap_or_default();
    let mut features = vec![btf_feature(btf_file), cgroup_feature(), docker_feature()];
    features.extend(cri_features());
    let loaded = Probes::load(&probes::Options {
        btf: btf_file.map(Into::into),
        object: None,
        // As in a capture: an empty program would be accepted where the real one is not.
        settings: Settings {
            self_tgid: std::process::id(),
            call_pages: RINGS.call_pages,
            ..Settings::default()
        },
        rings: RINGS,
        wanted: PROBES.iter().map(|probe| probe.id).collect(),
    });
    let probes: Vec<ProbeFinding> = match loaded {
        Ok(mut loaded) => {
            features.push(Feature {
                name: "load",
                ok: true,
                detail: "maps and programs are accepted".into(),
            });
            features.push(details_feature(&loaded.details_left_out));
            // Nothing attached at all is said probe by probe.
            let _ = loaded.attach();
            loaded
                .attached
                .iter()
                .map(|entry| ProbeFinding {
                    name: entry.tracepoint,
                    family: entry.family,
                    records: entry.what,
                    attached: if entry.reason.is_none() {
                        format!("tp_btf/{}", entry.tracepoint)
                    } else {
                        String::new()
                    },
                    reason: entry.reason.clone(),
                })
                .collect()
        }
        Err(error) => {
            let reason = error.to_string();
            features.push(Feature {
                name: "load",
                ok: false,
                detail: reason.clone(),
            });
            PROBES
                .iter()
                .map(|probe| ProbeFinding {
                    name: probe.tracepoint,
                    family: probe.family,
                    records: probe.what,
                    attached: String::new(),
                    reason: Some(reason.clone()),
                })
                .collect()
        }
    };
    let ok = probes.iter().all(|probe| probe.reason.is_none());
    Findings {
        kernel,
        arch: std::env::consts::ARCH.to_owned(),
        features,
        probes,
        ok,
    }
}

impl Findings {
    /// The findings as text for a person.
    pub fn text(&self) -> String {
        let mut text = format!("kernel {} {}\n\n", self.kernel, self.arch);
        let sign = |ok: bool| if ok { "yes" } else { "no " };
        // Writing to a String cannot fail.
        for feature in &self.features {
            let _ = writeln!(
                text,
                "{}  {:<8} {}",
                sign(feature.ok),
                feature.name,
                feature.detail
            );
        }
        text.push('\n');
        for probe in &self.probes {
            let how = match &probe.reason {
                None => format!("{} ({})", probe.attached, probe.records),
                Some(reason) => format!("{}: {reason}", probe.name),
            };
            let _ = writeln!(
                text,
                "{}  {:<10} {how}",
                sign(probe.reason.is_none()),
                probe.family
            );
        }
        text
    }
}

fn btf_feature(file: Option<&std::path::Path>) -> Feature {
    let path = file.unwrap_or(std::path::Path::new(btf::KERNEL_BTF));
    match btf::Btf::load(path) {
        Ok(btf) => Feature {
            name: "btf",
            ok: true,
            detail: format!("{} types in {}", btf.types(), path.display()),
        },
        Err(error) => Feature {
            name: "btf",
            ok: false,
            detail: format!(
                "{error}; a kernel built with CONFIG_DEBUG_INFO_BTF has it, or pass --btf FILE"
            ),
        },
    }
}

fn cgroup_feature() -> Feature {
    let cgroups = Cgroups::open();
    let ok = cgroups::handles_work(&cgroups);
    let detail = match (&cgroups.told, ok) {
        (None, _) => "no cgroup hierarchy is mounted: containers cannot be told apart".to_owned(),
        (Some(path), false) => format!(
            "{} is mounted, but cgroups cannot be opened by id (not root?)",
            path.display()
        ),
        (Some(path), true) => {
            let containers = cgroups
                .walk()
                .iter()
                .filter(|(_, path)| cgroups::identify(path).is_some())
                .count();
            let which = match cgroups.v1_hierarchy() {
                Some(v1) => format!("v1 only, by the controller {}, ", v1.controller),
                None => String::new(),
            };
            format!("{} ({which}{containers} containers)", path.display())
        }
    };
    Feature {
        name: "cgroups",
        ok,
        detail,
    }
}

#[cfg(not(feature = "runtimes"))]
fn cri_features() -> Vec<Feature> {
    Vec::new()
}

#[cfg(not(feature = "runtimes"))]
fn docker_feature() -> Feature {
    Feature {
        name: "docker",
        ok: false,
        detail: "this rec was built without container runtimes: containers are named by their ids"
            .to_owned(),
    }
}

/// Each CRI socket that is there.
#[cfg(feature = "runtimes")]
fn cri_features() -> Vec<Feature> {
    crate::observe::runtimes::cri_versions()
        .into_iter()
        .map(|said| Feature {
            name: "cri",
            ok: said.is_ok(),
            detail: said.unwrap_or_else(|error| error),
        })
        .collect()
}

#[cfg(feature = "runtimes")]
fn docker_feature() -> Feature {
    // Any answer will do, "no such container" too.
    match crate::observe::docker::version() {
        Ok(version) => Feature {
            name: "docker",
            ok: true,
            detail: format!("engine {version} answers"),
        },
        Err(error) => Feature {
            name: "docker",
            ok: false,
            detail: format!(
                "no engine answers ({error}): containers are named by their ids; set DOCKER_HOST if yours listens elsewhere"
            ),
        },
    }
}
