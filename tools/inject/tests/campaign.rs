//! A campaign, shortened: the plan is the one that was shown, every act is labelled, everything is
//! away afterwards, also when the injector is killed in the middle.

mod support;

use std::{fs, path::Path};

use support::{await_some, cgroups, finish, inject, no_docker, no_sandbox, skip};

/// Six containers, one second of acts.
const CONFIG: &str = "[general]
containers = 6
anomaly_ratio = 0.34
noop_ratio = 0.17
hard_negative_ratio = 0.34
duration = 1500ms
warmup = 300ms
cooldown = 200ms
seed = 12
[class]
duration = 500ms..1s
[hard_negatives]
duration = 500ms..1s
";

fn config(directory: &Path) -> String {
    let path = directory.join("injection_config.ini");
    fs::write(&path, CONFIG).unwrap();
    path.to_string_lossy().into_owned()
}

fn a_short_campaign_does_what_was_planned(runtime: &str) {
    let directory = tempfile::tempdir().unwrap();
    let config = config(directory.path());
    let args = ["campaign", "--config", &config, runtime];
    let plan = finish(&[&args[..], &["--dry-run"]].concat()).json();
    let again = finish(&[&args[..], &["--dry-run"]].concat()).json();
    assert_eq!(plan, again, "same seed, same plan");
    let planned = plan["containers"].as_array().unwrap();
    assert_eq!(planned.len(), 6);
    let mut expected: Vec<String> = planned
        .iter()
        .flat_map(|container| container["acts"].as_array().unwrap())
        .map(|act| act["class"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(expected.len(), 5, "{expected:?}");

    let ended = finish(&[&args[..], &["--json"]].concat());
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    let json = ended.json();
    assert_eq!(json["containers"].as_array().unwrap().len(), 6);
    let acts = json["acts"].as_array().unwrap();
    let mut done: Vec<String> = acts
        .iter()
        .map(|act| act["class"].as_str().unwrap().to_owned())
        .collect();
    expected.sort();
    done.sort();
    assert_eq!(done, expected);
    for act in acts {
        assert_eq!(act["outcome"], "done", "{act}");
        let kind = act["kind"].as_str().unwrap();
        assert_eq!(
            kind == "anomaly",
            !act["attack_id"].as_str().unwrap().is_empty()
        );
    }
    for container in json["containers"].as_array().unwrap() {
        let id = container["id"].as_str().unwrap();
        assert!(!cgroups().contains_key(id), "{id} is still there");
    }
}

#[test]
fn a_short_campaign_does_what_was_planned_in_the_sandbox() {
    match no_sandbox() {
        Some(reason) => skip(&reason),
        None => a_short_campaign_does_what_was_planned("--sandbox"),
    }
}

#[test]
fn a_short_campaign_does_what_was_planned_in_docker() {
    match no_docker() {
        Some(reason) => skip(&reason),
        None => a_short_campaign_does_what_was_planned("--docker"),
    }
}

#[test]
fn a_container_is_restarted_and_replaced_under_its_name() {
    if let Some(reason) = no_sandbox() {
        return skip(&reason);
    }
    let ended = finish(&[
        "run",
        "container_restart,image_deploy,noop",
        "--sandbox",
        "--one-container",
        "--background",
        "0",
        "--duration",
        "300ms",
        "--warmup",
        "200ms",
        "--gap",
        "100ms",
        "--json",
    ]);
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    let json = ended.json();
    let acts = json["acts"].as_array().unwrap();
    let text = |act: usize, key: &str| acts[act][key].as_str().unwrap().to_owned();
    assert_eq!(text(0, "container_name"), text(1, "container_name"));
    assert_ne!(text(0, "container_id"), text(1, "container_id"));
    assert_eq!(text(1, "image"), format!("{}-2", text(0, "image")));
    // What is ordered afterwards acts in the new one.
    assert_eq!(text(2, "container_id"), text(1, "container_id"));
}

#[test]
fn a_crashing_act_ends_alone() {
    if let Some(reason) = no_sandbox() {
        return skip(&reason);
    }
    // Children that abort and children that are killed for want of memory, beside one that does nothing.
    let ended = finish(&[
        "run",
        "crash_loop,oom_kill,noop",
        "--sandbox",
        "--one-container",
        "--background",
        "0",
        "--duration",
        "700ms",
        "--warmup",
        "100ms",
        "--intensity",
        "1",
        "--json",
    ]);
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    for act in ended.json()["acts"].as_array().unwrap() {
        assert_eq!(act["outcome"], "done", "{act}");
    }
}

/// As many of something as an act said that it had, before this word.
fn said(act: &serde_json::Value, word: &str) -> u64 {
    let detail = act["detail"].as_str().unwrap();
    let words: Vec<&str> = detail.split([' ', ',']).collect();
    let place = words.iter().position(|known| *known == word);
    place
        .and_then(|place| words[place - 1].parse().ok())
        .unwrap_or_else(|| panic!("no {word:?} in {detail:?}"))
}

#[test]
fn limits_hold_against_acts_that_try_to_exceed_them() {
    for (runtime, missing) in [("--sandbox", no_sandbox()), ("--docker", no_docker())] {
        match missing {
            Some(reason) => skip(&format!("{runtime}: {reason}")),
            None => limits_hold(runtime),
        }
    }
}

fn limits_hold(runtime: &str) {
    let ended = finish(&[
        "run",
        "disk_fill,fork_storm,fd_leak,kernel_tamper,ns_escape",
        runtime,
        "--one-container",
        "--background",
        "0",
        "--duration",
        "3s",
        "--warmup",
        "100ms",
        "--gap",
        "0s",
        "--intensity",
        "1",
        "--pids",
        "40",
        "--memory",
        "64",
        "--cpus",
        "1",
        "--json",
    ]);
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    let json = ended.json();
    let act = |place: usize| &json["acts"][place];
    let megabytes = said(act(0), "bytes") >> 20;
    assert!(
        megabytes <= u64::from(inject::image::SCRATCH_MIB),
        "{}",
        act(0)
    );
    assert!(said(act(1), "refused") > 0, "{}", act(1));
    assert!(said(act(2), "refused") > 0, "{}", act(2));
    assert_eq!(said(act(3), "granted"), 0, "{}", act(3));
}

#[test]
fn a_killed_campaign_leaves_no_process() {
    if let Some(reason) = no_sandbox() {
        return skip(&reason);
    }
    let directory = tempfile::tempdir().unwrap();
    let config = config(directory.path());
    let before = cgroups();
    let mut child = inject(&[
        "campaign",
        "--config",
        &config,
        "--sandbox",
        "--duration",
        "60s",
    ])
    .spawn()
    .unwrap();
    let injector = format!("PPid:\t{}", child.id());
    let ours = await_some("six containers", || {
        let ours: Vec<_> = cgroups()
            .into_iter()
            .filter(|(id, _)| !before.contains_key(id))
            .filter(|(_, path)| {
                support::members(path).iter().any(|pid| {
                    fs::read_to_string(format!("/proc/{pid}/status"))
                        .is_ok_and(|status| status.contains(&injector))
                })
            })
            .collect();
        (ours.len() == 6).then_some(ours)
    });
    child.kill().unwrap();
    child.wait().unwrap();
    for (id, path) in ours {
        await_some(&format!("the end of {id}"), || {
            support::members(&path).is_empty().then_some(())
        });
    }
}

#[test]
fn mistakes_are_usage_or_named() {
    for bad in [
        &["campaign", "--containers", "0"][..],
        &["campaign", "--anomaly-ratio", "1.5"],
        &["campaign", "--duration", "forever"],
        &["run", "noop", "--workload", "none"],
    ] {
        assert_eq!(finish(bad).code, Some(2), "{bad:?}");
    }
    let missing = finish(&["campaign", "--config", "/nonexistent.ini", "--dry-run"]);
    assert_eq!(missing.code, Some(1));
    assert!(
        missing.stderr.contains("/nonexistent.ini"),
        "{}",
        missing.stderr
    );
    let nothing = finish(&["verify", "/nonexistent"]);
    assert_eq!(nothing.code, Some(1));
    assert!(
        nothing.stderr.contains("/nonexistent/labels.jsonl"),
        "{}",
        nothing.stderr
    );
}
