//! No packet leaves a container's own networks, and these networks are gone when the injector is, however
//! it ends. The same in both runtimes.

mod support;

use std::process::Child;

use inject::neighbours;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use support::{
    await_some, cgroups, docker_container, dry_run_names, end, finish, first_container, inject,
    members, network::Network, no_docker, no_sandbox, skip,
};

fn in_both(promise: impl Fn(&str)) {
    for (runtime, missing) in [("--sandbox", no_sandbox()), ("--docker", no_docker())] {
        match missing {
            Some(reason) => skip(&format!("{runtime}: {reason}")),
            None => promise(runtime),
        }
    }
}

/// A run in one container, and the container's network.
fn start(classes: &str, runtime: &str, more: &[&str]) -> (Child, Network) {
    // The name of a container comes from the seed; other tests of this kind may run elsewhere.
    let seed = format!("{}", std::process::id());
    let args = [
        &["run", classes, runtime, "--seed", &seed][..],
        &["--one-container", "--background", "0", "--intensity", "1"],
        more,
    ]
    .concat();
    let child = inject(&args).spawn().unwrap();
    let name = dry_run_names(&args).remove(0);
    let pid = await_some("a container", || match runtime {
        "--sandbox" => first_container(child.id()).map(|(pid, _)| pid),
        _ => {
            let cgroup = cgroups().remove(&docker_container(&name)?)?;
            let members = members(&cgroup);
            (members.len() >= 3).then(|| members[0])
        }
    });
    (child, Network::of(pid).unwrap())
}

/// All that send.
const SENDERS: &str =
    "port_scan,host_sweep,conn_flood,dns_tunnel,exfil,beacon,miner_like,reverse_shell,sniff";

/// By construction: there is no interface and no route by which one could. And by count: what one end
/// of the pair has sent is what the other has received.
#[test]
fn never_sends_a_packet_outside() {
    in_both(|runtime| {
        let quick = ["--duration", "700ms", "--gap", "0s", "--warmup", "1s"];
        let (child, near) = start(SENDERS, runtime, &quick);
        let injector = child.id();
        assert_eq!(near.interfaces(), ["eth0", "lo"], "{runtime}");
        let only = |network: &Network, interface: &str| {
            for (through, gateway, mask) in network.routes() {
                let route = (through.as_str(), gateway.as_str(), mask.as_str());
                assert_eq!(route, (interface, "00000000", "00FFFFFF"), "{runtime}");
            }
            assert_eq!(network.gateways_6(), 0, "{runtime}");
        };
        only(&near, "eth0");
        let far = await_some("the far side", || Network::held_by(injector).pop());
        assert_eq!(far.interfaces(), ["far", "lo"], "{runtime}");
        only(&far, "far");
        let host = Network::of(std::process::id()).unwrap();
        assert!(!host.interfaces().contains(&"far".to_owned()));
        let mut last = (0, 0);
        let mut child = child;
        while child.try_wait().unwrap().is_none() {
            if near.interfaces().len() == 2 {
                last = near.packets("eth0").max(last);
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        let ended = end(child);
        assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
        assert!(last.1 > 300, "a scan and a sweep went through it: {last:?}");
        // The namespace is held here, and so is the pair: what came in through either end came from the
        // other.
        let (far_received, far_sent) = far.packets("far");
        let (near_received, near_sent) = near.packets("eth0");
        assert_eq!((near_sent, near_received), (far_received, far_sent));
    });
}

#[test]
fn the_pair_is_gone_however_the_injector_ends() {
    let gone = |near: &Network, how: &str| {
        await_some(&format!("the end of the pair after {how}"), || {
            (near.interfaces() == ["lo"]).then_some(())
        });
    };
    in_both(|runtime| {
        let short = ["--duration", "500ms", "--warmup", "1s", "--gap", "0s"];
        for class in ["noop", "crash_loop,oom_kill"] {
            let (child, near) = start(class, runtime, &short);
            let ended = end(child);
            assert_eq!(ended.code, Some(0), "{class}: {}", ended.stderr);
            gone(&near, class);
        }
        let long = ["--warmup", "60s"];
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGKILL] {
            let (child, near) = start("host_sweep", runtime, &long);
            assert_eq!(near.interfaces(), ["eth0", "lo"]);
            kill(Pid::from_raw(child.id() as i32), signal).unwrap();
            end(child);
            gone(&near, signal.as_str());
        }
    });
}

/// The hosts of the network that are there answer, and no others: a sweep is refused by some and waits
/// for the rest in vain.
#[test]
fn absent_hosts_stay_silent() {
    in_both(|runtime| {
        let args = [
            "run",
            "host_sweep",
            runtime,
            "--background",
            "0",
            "--intensity",
            "1",
            "--duration",
            "3s",
            "--warmup",
            "0s",
            "--json",
        ];
        let ended = finish(&args);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let json = ended.json();
        let detail = json["acts"][0]["detail"].as_str().unwrap().to_owned();
        let number = |word: &str| -> u64 {
            let part = detail.split(", ").find(|part| part.ends_with(word));
            let number = part.and_then(|part| part.split(' ').next()?.parse().ok());
            number.unwrap_or_else(|| panic!("no {word} in {detail}"))
        };
        let (tried, refused, silent) = (number("addresses"), number("refused"), number("silent"));
        assert_eq!((tried, number("open")), (refused + silent, 0), "{detail}");
        assert!(refused > 0 && tried > 254, "{detail}");
        // Round by round the same share, the last round cut off somewhere.
        let rounds = tried.div_ceil(253);
        assert!(
            refused <= rounds * neighbours::HOSTS.len() as u64,
            "{detail}"
        );
    });
}
