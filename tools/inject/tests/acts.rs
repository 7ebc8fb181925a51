//! Every act is seen in its own container, by the kernel's account and not by the act's, and in no
//! other; nothing else tells an injected container from a normal one. The same in both runtimes.

mod support;

use std::collections::BTreeMap;

use serde_json::Value;
use support::{Seen, inject, no_docker, no_sandbox, skip, watch};

#[test]
fn every_act_shows_in_its_container_only_in_the_sandbox() {
    match no_sandbox() {
        Some(reason) => skip(&reason),
        None => every_act_shows_in_its_container_only("--sandbox"),
    }
}

#[test]
fn every_act_shows_in_its_container_only_in_docker() {
    match no_docker() {
        Some(reason) => skip(&reason),
        None => every_act_shows_in_its_container_only("--docker"),
    }
}

/// How long the acts last, try by try. That an act shows is a matter of how often it is looked at and of
/// how much CPU it gets, both of which are little on a host that others keep busy: then the acts are
/// watched for longer. What must not show must not show in any try.
const TRIES_S: [u64; 3] = [4, 8, 16];

fn every_act_shows_in_its_container_only(runtime: &str) {
    let mut unseen = Vec::new();
    for seconds in TRIES_S {
        unseen.push(what_does_not_show(runtime, seconds));
        if unseen.last().is_some_and(Vec::is_empty) {
            return;
        }
    }
    panic!("what did not show, try by try: {unseen:#?}");
}

fn what_does_not_show(runtime: &str, seconds: u64) -> Vec<String> {
    let mut unseen = Vec::new();
    let mut must_show = |shows: bool, what: String| {
        if !shows {
            unseen.push(what);
        }
    };
    let duration = format!("{seconds}s");
    let classes = "noop,cpu_hog,port_scan,cred_read,drop_exec";
    let args = [
        "run",
        classes,
        runtime,
        "--together",
        "--intensity",
        "0.9",
        "--duration",
        &duration,
        "--warmup",
        "2s",
        "--background",
        "2",
        "--seed",
        "11",
        "--json",
    ];
    let (ended, seen) = watch(inject(&args).spawn().unwrap());
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let json = ended.json();
    let acts = json["acts"].as_array().unwrap();
    assert_eq!(acts.len(), 5);
    assert_eq!(json["containers"].as_array().unwrap().len(), 7);
    let of = |class: &str| {
        let act = acts.iter().find(|act| act["class"] == class).unwrap();
        let id = act["container_id"].as_str().unwrap();
        assert_eq!(id.len(), 64);
        (
            id,
            seen.get(id)
                .unwrap_or_else(|| panic!("{class}: no cgroup {id} was seen")),
        )
    };
    // Other tests and other people run containers too.
    let ours: Vec<&str> = json["containers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|ran| ran["id"].as_str().unwrap())
        .collect();
    let others = |class: &str| {
        let (own, _) = of(class);
        ours.iter()
            .filter(move |id| **id != own)
            .map(|id| (*id, &seen[*id]))
            .collect::<Vec<(&str, &Seen)>>()
    };

    let (_, hog) = of("cpu_hog");
    let normal_cpu = others("cpu_hog")
        .iter()
        .filter(|(id, _)| acts.iter().all(|act| act["container_id"] != *id))
        .map(|(_, seen)| seen.cpu_ns)
        .max()
        .unwrap();
    must_show(
        hog.cpu_ns > 3 * normal_cpu,
        format!("the hog's CPU time: {}, normal {normal_cpu}", hog.cpu_ns),
    );
    let noop = of("noop").1.cpu_ns;
    must_show(
        noop < hog.cpu_ns / 3,
        format!("the hog's CPU time: {}, noop {noop}", hog.cpu_ns),
    );

    // The client may ask before its server listens, so a few refusals are normal. Thousands are the
    // scanner's on a quiet machine; a hundred where containers, at their low weight, share its cores.
    let (_, scanner) = of("port_scan");
    must_show(
        scanner.refused > 50,
        format!("refused connects: {}", scanner.refused),
    );
    for (id, other) in others("port_scan") {
        must_show(
            other.refused < scanner.refused / 2,
            format!(
                "refused connects: {}, in {id} {}",
                scanner.refused, other.refused
            ),
        );
    }

    let (_, reader) = of("cred_read");
    assert!(reader.shadow_opens >= 1, "{}", reader.shadow_opens);
    for (id, other) in others("cred_read") {
        assert_eq!(other.shadow_opens, 0, "{id}");
    }

    let dropped = |seen: &Seen| {
        seen.programs
            .iter()
            .filter(|program| program.starts_with("/tmp/"))
            .count()
    };
    let programs = &of("drop_exec").1.programs;
    must_show(
        dropped(of("drop_exec").1) >= 1,
        format!("the dropped program: {programs:?}"),
    );
    for (id, other) in others("drop_exec") {
        assert_eq!(dropped(other), 0, "{id}: {:?}", other.programs);
        let programs: Vec<&String> = other.programs.iter().collect();
        assert_eq!(
            programs,
            ["/usr/bin/appd"],
            "{id}: all containers run one program"
        );
    }

    labels_are_true(acts, seconds);
    nothing_names_a_class(&ours, &seen);
    unseen
}

/// Windows on both clocks, pids and cgroups as the kernel has them.
fn labels_are_true(acts: &[Value], seconds: u64) {
    for act in acts {
        let number = |key: &str| act[key].as_u64().unwrap();
        for clock in ["boot", "wall"] {
            let length = number(&format!("end_{clock}_ns")) - number(&format!("start_{clock}_ns"));
            assert!(length >= seconds * 1_000_000_000, "{act}");
        }
        assert_eq!(act["outcome"], "done");
        assert!(!act["pids"].as_str().unwrap().is_empty(), "{act}");
        assert!(number("cgroup_id") > 1);
    }
}

fn nothing_names_a_class(ours: &[&str], seen: &BTreeMap<String, Seen>) {
    for id in ours {
        assert!(!seen[*id].texts.is_empty());
        for text in &seen[*id].texts {
            for info in inject::act::all() {
                assert!(
                    !text.contains(info.name),
                    "{id}: {text:?} names {}",
                    info.name
                );
            }
            assert!(!text.to_lowercase().contains("inject"), "{id}: {text:?}");
        }
    }
}
