//! Promise: every rule of Falco's stable stock file fires on a trace of the act that it is about, recorded
//! from a real container, and stays quiet on a trace of a similar act that it is not about. The file is used as
//! it comes.
//!
//! Two containers of the same image run one after the other's acts under one recording: one does what the
//! table calls `fires`, the other what it calls `quiet`. Rules that no recording here can fulfil are listed with
//! the reason; one that fires all the same has to leave that list. A rule that is in neither list fails.

#[path = "../support/mod.rs"]
mod support;

mod acts;

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use acts::{ACTS, CANNOT, HELPER, PRIVILEGED};
use serde_json::Value;
use support::Recording;

/// The stock file, where the checkout has its data beside it.
fn stock() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/falco-rules/falco_rules.yaml")
}

/// What `docker` prints; an error: what it said.
fn docker(args: &[&str]) -> Result<String, String> {
    let output = Command::new("docker")
        .args(args)
        .stdin(Stdio::null())
        .output();
    let output = output.map_err(|error| format!("docker: {error}"))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
        false => Err(format!(
            "docker {args:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        )),
    }
}

/// An image of our own; gone when dropped, with its containers.
struct Image {
    name: String,
    containers: Vec<String>,
}

impl Drop for Image {
    fn drop(&mut self) {
        for container in &self.containers {
            let _ = docker(&["rm", "-f", container]);
        }
        let _ = docker(&["rmi", "-f", &self.name]);
    }
}

/// Writes a script that the container runs under its own name.
fn script(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    fs::write(path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// The image's files: busybox under all its names, the helper, and both sides' scripts.
fn lay_out(root: &Path, busybox: &Path) -> Result<(), String> {
    for directory in [
        "bin",
        "etc",
        "srv/fires",
        "srv/quiet",
        "var/log",
        "tmp",
        "root/.aws",
    ] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    fs::copy(busybox, root.join("bin/busybox")).unwrap();
    let applets = Command::new(busybox).arg("--list").output().unwrap();
    for applet in String::from_utf8_lossy(&applets.stdout).lines() {
        let _ = symlink("busybox", root.join("bin").join(applet));
    }
    let source = root.join("helper.c");
    fs::write(&source, HELPER).unwrap();
    let built = Command::new("cc")
        .args(["-static", "-O1", "-o"])
        .arg(root.join("bin/helper"))
        .arg(&source)
        .output();
    fs::remove_file(&source).unwrap();
    match built {
        Ok(output) if output.status.success() => {}
        Ok(output) => return Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        Err(error) => return Err(format!("no C compiler: {error}")),
    }
    symlink("helper", root.join("bin/ssh")).unwrap();
    fs::write(
        root.join("etc/passwd"),
        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n",
    )
    .unwrap();
    fs::write(root.join("etc/group"), "root:x:0:\nnogroup:x:65534:\n").unwrap();
    fs::write(root.join("etc/shadow"), "root:*:19000:0:99999:7:::\n").unwrap();
    fs::write(root.join("var/log/syslog"), "a line\n").unwrap();
    for (side, pick) in [
        ("fires", (|act| act.fires) as fn(&acts::Act) -> &'static str),
        ("quiet", |act| act.quiet),
    ] {
        let directory = root.join("srv").join(side);
        let mut all = String::new();
        for (number, act) in ACTS.iter().enumerate() {
            // `NAME: LINES` is a script of that name, because rules go by names.
            let text = pick(act);
            match text.split_once(": ") {
                Some((name, lines)) if !name.is_empty() && !name.contains(['/', ' ', '\n']) => {
                    let place = directory.join(number.to_string());
                    fs::create_dir(&place).unwrap();
                    script(&place.join(name), lines);
                    all += &format!("/srv/{side}/{number}/{name} &\n");
                }
                _ => all += &format!("{text}\n"),
            }
        }
        if side == "quiet" {
            script(&directory.join(PRIVILEGED.1), "true");
            all += &format!("/srv/quiet/{} &\n", PRIVILEGED.1);
        }
        script(&directory.join("all"), &format!("{all}wait"));
    }
    let directory = root.join("srv/privileged");
    fs::create_dir_all(&directory).unwrap();
    script(&directory.join(PRIVILEGED.1), "true");
    script(
        &directory.join("all"),
        &format!("/srv/privileged/{} &\nwait", PRIVILEGED.1),
    );
    Ok(())
}

fn import(root: &Path) -> Result<Image, String> {
    let image = Image {
        name: format!("trailcam-test-stock-rules-{}:1", std::process::id()),
        containers: Vec::new(),
    };
    let packed = tempfile::NamedTempFile::new().unwrap();
    let status = Command::new("tar")
        .arg("-C")
        .arg(root)
        .arg("-cf")
        .arg(packed.path())
        .arg(".")
        .status();
    assert!(status.unwrap().success());
    docker(&["import", &packed.path().display().to_string(), &image.name])?;
    Ok(image)
}

impl Image {
    /// Runs one side to its end; an error: the container did not start.
    fn run(&mut self, side: &str, options: &[&str]) -> Result<String, String> {
        let name = format!("tc-stock-rules-{}-{side}", std::process::id());
        let command = format!("/srv/{side}/all");
        let fixed = ["run", "-d", "--network", "none", "--name", &name];
        let args = [&fixed[..], options, &[&self.name, "/bin/sh", &command]].concat();
        self.containers.push(name.clone());
        docker(&args)?;
        let code = docker(&["wait", &name]).expect("the container ends");
        let said = docker(&["logs", &name]).unwrap_or_default();
        assert_eq!(code, "0", "{side}: {said}");
        Ok(name)
    }
}

/// Findings of the stock file, by container: the rules.
fn rules_of(findings: &[Value], container: &str) -> BTreeSet<String> {
    let here = findings
        .iter()
        .filter(|finding| finding["container"]["name"] == container);
    here.map(|finding| finding["rule"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn every_stable_stock_rule_fires_on_its_act_and_not_on_another() {
    needs_kernel!();
    let Ok(stock_text) = fs::read_to_string(stock()) else {
        return support::skip(&format!("no {}", stock().display()));
    };
    let replay = PathBuf::from(env!("CARGO_BIN_EXE_rec")).with_file_name("replay");
    if !replay.exists() {
        return support::skip("no replay beside rec: build the workspace");
    }
    if let Err(reason) = docker(&["version", "--format", "{{.Server.Version}}"]) {
        return support::skip(&reason);
    }
    let busybox = ["/bin/busybox", "/usr/bin/busybox"]
        .into_iter()
        .find(|path| Path::new(path).exists());
    let Some(busybox) = busybox else {
        return support::skip("no busybox to make an image of");
    };

    // The lists are complete.
    let defined: BTreeSet<&str> = stock_text
        .lines()
        .filter_map(|line| line.strip_prefix("- rule: "))
        .map(str::trim)
        .collect();
    let named = ACTS.iter().flat_map(|act| act.rules.iter().copied());
    let named = named.chain(CANNOT.iter().map(|one| one.0));
    let named: Vec<&str> = named.chain([PRIVILEGED.0]).collect();
    assert_eq!(named.iter().copied().collect::<BTreeSet<_>>(), defined);
    assert_eq!(named.len(), defined.len(), "each rule stands in one place");

    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("root");
    if let Err(reason) = lay_out(&root, Path::new(busybox)) {
        return support::skip(&reason);
    }
    let mut image = import(&root).expect("the image is imported");
    let trace = directory.path().join("trace.zst");
    let recording = Recording::start(&trace, &[]);
    // Some acts need capabilities, and one rule is about terminals.
    let rights = ["--cap-add", "SYS_ADMIN", "--cap-add", "SYS_MODULE"];
    let rights = [&rights[..], &["--cap-add", "NET_ADMIN", "--tty"]].concat();
    let fires = image.run("fires", &rights).expect("the container starts");
    let quiet = image.run("quiet", &[]).expect("the container starts");
    let privileged = image.run("privileged", &["--privileged"]);
    assert!(recording.stop().0.success());

    let output = Command::new(replay)
        .args([
            "detect",
            "--json",
            "--no-default-rules",
            "--no-statistics",
            "--rules",
        ])
        .arg(stock())
        .arg(&trace)
        .output()
        .unwrap();
    let lines = String::from_utf8(output.stdout).unwrap();
    let findings: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let fired = rules_of(&findings, &fires);
    for (rule, why) in CANNOT {
        eprintln!("not recorded here: {rule}: {why}");
        assert!(!fired.contains(*rule), "{rule} fires: the reason has gone");
    }
    let mut missing = Vec::new();
    match privileged {
        Ok(name) if !rules_of(&findings, &name).contains(PRIVILEGED.0) => {
            missing.push(PRIVILEGED.0.to_owned());
        }
        Ok(_) => {}
        Err(reason) => eprintln!("not recorded here: {}: {reason}", PRIVILEGED.0),
    }
    let expected: BTreeSet<String> = ACTS
        .iter()
        .flat_map(|act| act.rules)
        .map(|rule| (*rule).to_owned())
        .collect();
    missing.extend(expected.difference(&fired).cloned());
    let wrong: Vec<&Value> = findings
        .iter()
        .filter(|finding| finding["container"]["name"] == quiet.as_str())
        .collect();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(missing.is_empty(), "did not fire: {missing:?}; {said}");
    assert!(wrong.is_empty(), "fired on another act: {wrong:?}");
    // The quiet side did what it was to do: each of its programs is in the trace.
    let execs = support::read(&trace)
        .events
        .into_iter()
        .filter_map(|event| match event.data {
            trace_format::EventData::Exec(exec) => Some(exec.comm.to_string()),
            _ => None,
        });
    let execs: Vec<String> = execs.collect();
    for act in ACTS {
        for program in act.programs {
            let times = execs.iter().filter(|name| name == program).count();
            assert!(times >= 2, "{program} ran {times} times, on one side only");
        }
    }
}
