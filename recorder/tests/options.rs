//! Options of a recording, through the real `rec`: what is redacted is nowhere, a kernel without its own
//! type information records with a file, a configuration is checked line by line.

mod support;

use std::{
    fs,
    process::{Command, Output, Stdio},
    thread,
    time::Duration,
};

use support::{Recording, read, rec};
use trace_format::{ChunkSource, Context, EventData, TraceReader};

const SECRET: &str = "hunter2-0123456789";

/// The promise: whoever has the trace does not have the secret, wherever it stood.
#[test]
fn what_is_redacted_stands_nowhere_in_the_trace() {
    needs_kernel!();
    let directory = tempfile::tempdir().unwrap();
    // One process has it before the recording begins: it is in the snapshot.
    let mut before = Command::new("/bin/sleep")
        .args(["30"])
        .env("NOT_RECORDED", SECRET)
        .arg0_with(&format!("sleep --token={SECRET}"))
        .spawn()
        .unwrap();
    let recording = Recording::start(
        &directory.path().join("trace.zst"),
        &[
            "--redact",
            r"hunter2-\d+",
            "--redact",
            r"-p \S+",
            "--profile",
            "full",
        ],
    );
    let path = recording.trace.clone();
    for args in [vec!["--password", SECRET], vec!["-p", "swordfish"]] {
        assert!(
            Command::new("/bin/true")
                .args(args)
                .status()
                .unwrap()
                .success()
        );
    }
    thread::sleep(Duration::from_millis(1_500));
    recording.stop();
    before.kill().unwrap();
    before.wait().unwrap();
    let mut reader = TraceReader::open(&path).unwrap();
    let mut raw = Vec::new();
    while let Some(chunk) = reader.next_chunk().unwrap() {
        let body = Command::new("zstd")
            .args(["-dc"])
            .stdin(Stdio::from(written(
                &directory,
                chunk.body_frame().unwrap(),
            )))
            .output();
        match body {
            Ok(output) if output.status.success() => raw.extend(output.stdout),
            // Without the program: what the library makes of the body.
            _ => raw.extend(format!("{:?}", chunk.decode().unwrap()).into_bytes()),
        }
    }
    let holds = |text: &str| {
        raw.windows(text.len())
            .any(|window| window == text.as_bytes())
    };
    assert!(holds("[redacted]"));
    assert!(!holds(SECRET) && !holds("swordfish"));
    let trace = read(&path);
    let started: Vec<String> = trace
        .events
        .iter()
        .filter_map(|event| match &event.data {
            EventData::Exec(exec) => Some(exec.args.to_string_lossy().into_owned()),
            _ => None,
        })
        .collect();
    let kept = "/bin/true\0--password\0[redacted]";
    assert!(
        started.iter().any(|args| args.starts_with(kept)),
        "{started:?}"
    );
    let told = trace
        .context
        .iter()
        .rev()
        .find_map(|record| match &record.body {
            Context::Mark(mark) if mark.label == "redacted" => Some(mark.text.clone()),
            _ => None,
        });
    let told = told.expect("the trace says that something was taken out");
    let places: u64 = told.split(' ').next().unwrap().parse().unwrap();
    assert!(places >= 3, "{told}");
    assert!(told.ends_with("by 2 patterns"), "{told}");
}

/// A file with these bytes, open at its start.
fn written(directory: &tempfile::TempDir, bytes: &[u8]) -> fs::File {
    let path = directory.path().join("body.zst");
    fs::write(&path, bytes).unwrap();
    fs::File::open(path).unwrap()
}

/// A program's name for itself, which `ps` and the snapshot show.
trait Arg0 {
    fn arg0_with(&mut self, name: &str) -> &mut Self;
}

impl Arg0 for Command {
    fn arg0_with(&mut self, name: &str) -> &mut Self {
        std::os::unix::process::CommandExt::arg0(self, name)
    }
}

/// Where the kernel keeps its types for itself: with the file it records, without it says what to do.
#[test]
fn a_kernel_without_its_own_types_records_with_a_file_of_them() {
    needs_kernel!();
    let directory = tempfile::tempdir().unwrap();
    let types = directory.path().join("vmlinux.btf");
    fs::copy("/sys/kernel/btf/vmlinux", &types).unwrap();
    let trace = directory.path().join("trace.zst");
    let hidden = |args: &[&str]| -> Output {
        Command::new("unshare")
            .args(["--mount", "sh", "-c"])
            .arg("mount -t tmpfs none /sys/kernel/btf && exec \"$0\" \"$@\"")
            .arg(env!("CARGO_BIN_EXE_rec"))
            .args(args)
            .output()
            .unwrap()
    };
    let trace = trace.to_str().unwrap();
    let args = [
        "capture",
        "--duration",
        "1500ms",
        "--profile",
        "full",
        "-o",
        trace,
    ];
    let output = hidden(&args);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("/sys/kernel/btf/vmlinux") && said.contains("--btf"),
        "{said}"
    );
    let output = hidden(&[&args[..], &["--btf", types.to_str().unwrap()]].concat());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(matches!(output.status.code(), Some(0)), "{said}");
    let trace = read(trace.as_ref());
    assert!(trace.complete && trace.events.len() > 100, "{said}");
}

#[test]
fn a_configuration_is_checked_and_the_command_line_wins() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("rec.toml");
    let check = |text: &str| {
        fs::write(&path, text).unwrap();
        let output = rec()
            .args(["check", "--config"])
            .arg(&path)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), said)
    };
    assert_eq!(
        check("profile = \"full\"\n[flight]\nkeep = \"5m\"\n"),
        (Some(0), String::new())
    );
    let (code, said) = check("\n[flight]\nkeep = \"soon\"\n");
    assert_eq!(code, Some(1));
    assert!(said.contains("rec.toml:3: keep = \"soon\": "), "{said}");
    // The same mistake ends a recording before it begins, as a mistake on the command line does.
    let output = rec()
        .args(["flight", "--config"])
        .arg(&path)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    needs_kernel!();
    let trace = directory.path().join("trace.zst");
    fs::write(
        &path,
        format!(
            "duration = \"1h\"\n[capture]\noutput = {:?}\n",
            trace.to_str().unwrap()
        ),
    )
    .unwrap();
    let output = rec()
        .args(["capture", "--duration", "500ms", "--config"])
        .arg(&path)
        .output()
        .unwrap();
    assert!(matches!(output.status.code(), Some(0 | 3)), "{output:?}");
    assert!(read(&trace).complete);
}

/// The columns are an interface; the rows must show what a program did.
#[test]
fn top_shows_who_read_and_wrote_which_file() {
    needs_kernel!();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("busy-file");
    fs::write(&file, b"x").unwrap();
    let child = rec()
        .args([
            "top",
            "file",
            "--json",
            "--interval",
            "1s",
            "--count",
            "4",
            "--rows",
            "5000",
        ])
        .spawn()
        .unwrap();
    let path = file.clone();
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let load = thread::spawn(move || {
        while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
            fs::write(&path, vec![1; 3000]).unwrap();
            assert_eq!(fs::read(&path).unwrap().len(), 3000);
            thread::sleep(Duration::from_millis(20));
        }
    });
    let output = child.wait_with_output().unwrap();
    drop(stop);
    load.join().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(matches!(output.status.code(), Some(0 | 3)), "{said}");
    let tables: Vec<serde_json::Value> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(tables.len(), 4);
    let row = tables
        .iter()
        .flat_map(|table| table["rows"].as_array().unwrap())
        .find(|row| {
            row["filename"] == file.to_str().unwrap()
                && row["writes"].as_u64() > Some(0)
                && row["reads"].as_u64() > Some(0)
        })
        .unwrap_or_else(|| panic!("{said}{tables:?}"));
    let writes = row["writes"].as_u64().unwrap();
    assert_eq!(row["write_bytes"], writes * 3000);
    assert_eq!(row["pid"], std::process::id());
    assert_eq!(
        (&row["type"], &row["container_name"]),
        (&"file".into(), &"host".into())
    );
    let mut columns: Vec<&String> = row.as_object().unwrap().keys().collect();
    columns.sort();
    let mut wanted = vec![
        "pid",
        "container_name",
        "reads",
        "writes",
        "read_bytes",
        "write_bytes",
        "type",
        "comm",
        "filename",
    ];
    wanted.sort();
    assert_eq!(columns, wanted);
}

#[test]
fn top_shows_what_recording_itself_costs() {
    needs_kernel!();
    let output = rec()
        .args([
            "top",
            "--self",
            "--json",
            "--interval",
            "1s",
            "--count",
            "3",
        ])
        .output()
        .unwrap();
    assert!(matches!(output.status.code(), Some(0 | 3)), "{output:?}");
    let last: serde_json::Value = String::from_utf8_lossy(&output.stdout)
        .lines()
        .last()
        .map(|line| serde_json::from_str(line).unwrap())
        .unwrap();
    assert!(last["memory_bytes"].as_u64() > Some(1 << 20));
    assert!(
        last["rings"]
            .as_array()
            .is_some_and(|rings| !rings.is_empty())
    );
    let probes = last["probes"].as_array().unwrap();
    let exit = probes
        .iter()
        .find(|probe| probe["name"] == "sys_exit")
        .unwrap();
    assert!(
        exit["runs"].as_u64() > Some(0) && exit["run_ns"].as_u64() > Some(0),
        "{exit}"
    );
}
