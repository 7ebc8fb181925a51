//! What is exported is what the trace has, read back by other programs: row counts, types and sums, in every
//! format; and readers of today read files with a column more.

mod place;
mod program;
mod support;

use place::Place;
use program::replay;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    process::{Command, Output},
};

impl Place {
    fn export(&self, table: &str, format: &str) -> String {
        let file = self.text(&format!("{table}.{format}"));
        let output = replay(
            &[
                "export",
                "--force",
                "--table",
                table,
                "--format",
                format,
                "-o",
                &file,
                &self.text("trace.zst"),
            ],
            b"",
        );
        assert!(output.status.success(), "{output:?}");
        file
    }

    fn lines(&self, table: &str) -> Vec<Value> {
        let text = fs::read_to_string(self.export(table, "jsonl")).unwrap();
        let line = |line| serde_json::from_str(line).unwrap();
        text.lines().map(line).collect()
    }

    fn info(&self) -> Value {
        let output = replay(&["info", "--json", &self.text("trace.zst")], b"");
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

const TABLES: [&str; 6] = [
    "events",
    "processes",
    "containers",
    "connections",
    "samples",
    "findings",
];

/// A Python with this module, or `None`: the test says that it is skipped.
fn python(module: &str) -> Option<String> {
    let named = std::env::var("PYTHON").ok();
    let python = named.unwrap_or_else(|| "python3".to_owned());
    let imports = Command::new(&python)
        .args(["-c", &format!("import {module}")])
        .output();
    if imports.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    assert!(
        std::env::var_os("TRAILCAM_NO_SKIP").is_none(),
        "{python} has no {module}; PYTHON names another"
    );
    eprintln!("skipped: {python} has no {module}; PYTHON names another");
    None
}

fn run(python: &str, script: &str, arguments: &[&str]) -> Value {
    let output: Output = Command::new(python)
        .args(["-c", script])
        .args(arguments)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Rows, and the sum of every unsigned and signed column, as the JSON lines have it.
fn sums(lines: &[Value]) -> BTreeMap<String, i128> {
    let mut sums = BTreeMap::from([("rows".to_owned(), lines.len() as i128)]);
    for line in lines {
        for (name, value) in line.as_object().unwrap() {
            let number = value
                .as_u64()
                .map(i128::from)
                .or(value.as_i64().map(i128::from));
            if let Some(number) = number {
                *sums.entry(name.clone()).or_default() += number;
            }
        }
    }
    sums
}

fn told(value: Value) -> BTreeMap<String, i128> {
    let object = value.as_object().unwrap();
    object
        .iter()
        .map(|(name, sum)| (name.clone(), sum.as_str().unwrap().parse().unwrap()))
        .filter(|(name, sum)| name == "rows" || *sum != 0)
        .collect()
}

fn without_zeros(mut sums: BTreeMap<String, i128>) -> BTreeMap<String, i128> {
    sums.retain(|name, sum| name == "rows" || *sum != 0);
    sums
}

#[test]
fn rows_are_what_info_counts() {
    let place = Place::new();
    let (info, events) = (place.info(), place.lines("events"));
    assert_eq!(info["events"], events.len());
    for family in info["families"].as_array().unwrap() {
        let rows = events
            .iter()
            .filter(|row| row["event"] == family["family"])
            .count();
        assert_eq!(family["events"], rows, "{family}");
    }
    let of = |name: &'static str| events.iter().filter(move |row| row["event"] == name);
    let samples = place.lines("samples");
    assert_eq!(samples.len(), of("sample").count());
    let sum = |rows: &mut dyn Iterator<Item = &Value>| -> u64 {
        rows.filter_map(|row| row["cpu_ns"].as_u64()).sum()
    };
    assert_eq!(sum(&mut samples.iter()), sum(&mut of("sample")));
    let containers = place.lines("containers");
    assert_eq!(
        containers.len(),
        info["containers_at_start"].as_array().unwrap().len()
    );
    let detected = replay(&["detect", "--json", &place.text("trace.zst")], b"");
    let detected: Vec<Value> = String::from_utf8(detected.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let rules = |rows: &[Value]| {
        rows.iter()
            .map(|row| row["rule"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(rules(&place.lines("findings")), rules(&detected));
    let processes = place.lines("processes");
    let exits = of("exit").filter(|row| row["last_thread"] == true).count();
    assert_eq!(
        processes
            .iter()
            .filter(|row| !row["exit_ns"].is_null())
            .count(),
        exits
    );
    assert!(processes.len() > 2);
}

#[test]
fn pyarrow_reads_parquet_and_arrow_alike() {
    let Some(python) = python("pyarrow") else {
        return;
    };
    let place = Place::new();
    let script = r#"
import sys, json, pyarrow as pa, pyarrow.parquet as pq, pyarrow.feather as pf, pyarrow.compute as pc
path = sys.argv[1]
table = pq.read_table(path) if path.endswith('parquet') else pf.read_table(path)
sums = {'rows': str(table.num_rows)}
for field in table.schema:
    if field.name == 'time': assert field.type == pa.timestamp('ns', tz='UTC'), field
    if pa.types.is_integer(field.type):
        sums[field.name] = str(sum(v for v in table[field.name].to_pylist() if v is not None))
    elif field.name != 'time' and not pa.types.is_boolean(field.type):
        kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        assert pa.types.is_string(kind), field
        assert pa.types.is_dictionary(field.type) == path.endswith('parquet'), field
print(json.dumps(sums))
"#;
    for table in TABLES {
        let expected = without_zeros(sums(&place.lines(table)));
        for format in ["parquet", "arrow"] {
            let read = run(&python, script, &[&place.export(table, format)]);
            assert_eq!(told(read), expected, "{table}.{format}");
        }
    }
}

#[test]
fn duckdb_reads_parquet_csv_and_json() {
    let Some(python) = python("duckdb") else {
        return;
    };
    let place = Place::new();
    let script = r#"
import sys, json, duckdb
path = sys.argv[1]
reader = {'parquet': 'read_parquet', 'csv': 'read_csv', 'jsonl': 'read_json'}[path.rsplit('.', 1)[1]]
rows, boot = duckdb.sql(f"SELECT count(*), sum(boot_ns::HUGEINT) FROM {reader}('{path}')").fetchall()[0]
print(json.dumps({'rows': str(rows), 'boot_ns': str(boot)}))
"#;
    for table in ["events", "processes", "connections", "samples", "findings"] {
        let mut expected = sums(&place.lines(table));
        expected.retain(|name, _| name == "rows" || name == "boot_ns");
        if expected.len() < 2 {
            continue;
        }
        for format in ["parquet", "csv", "jsonl"] {
            let read = run(&python, script, &[&place.export(table, format)]);
            assert_eq!(told(read), expected, "{table}.{format}");
        }
    }
}

#[test]
fn sqlite_has_all_tables_in_one_database() {
    let place = Place::new();
    let file = place.text("all.db");
    let mut arguments = vec!["export", "--format", "sqlite", "-o", &file];
    for table in TABLES {
        arguments.extend(["--table", table]);
    }
    let trace = place.text("trace.zst");
    arguments.push(&trace);
    let output = replay(&arguments, b"");
    assert!(output.status.success(), "{output:?}");
    let database = rusqlite::Connection::open(&file).unwrap();
    for table in TABLES {
        let expected = sums(&place.lines(table));
        let rows: i64 = database
            .query_row(&format!("SELECT count(*) FROM {table}"), [], |row| {
                row.get(0)
            })
            .unwrap();
        assert_eq!(i128::from(rows), expected["rows"], "{table}");
        if let Some(expected) = expected.get("boot_ns") {
            let sum: i64 = database
                .query_row(&format!("SELECT sum(boot_ns) FROM {table}"), [], |row| {
                    row.get(0)
                })
                .unwrap();
            assert_eq!(i128::from(sum), *expected, "{table}");
        }
    }
    // By name, as a reader of today asks, in a table with a column more.
    database
        .execute_batch("ALTER TABLE events ADD COLUMN of_tomorrow TEXT")
        .unwrap();
    let paths: i64 = database
        .query_row(
            "SELECT count(path) FROM events WHERE event = 'open'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert!(paths > 0);
}

/// A reader names its columns. A file of today (more columns) beside one of yesterday reads as one table.
#[test]
fn a_column_added_later_breaks_no_reader() {
    let Some(python) = python("duckdb, pyarrow") else {
        return;
    };
    let place = Place::new();
    let today = place.export("events", "parquet");
    let script = r#"
import sys, json, duckdb, pyarrow.parquet as pq, pyarrow.dataset as ds
today, yesterday = sys.argv[1], sys.argv[1] + '.yesterday.parquet'
table = pq.read_table(today)
pq.write_table(table.select(table.column_names[:-3]), yesterday)
one = duckdb.sql(f"SELECT count(path) FROM read_parquet(['{yesterday}', '{today}'], union_by_name=true)").fetchall()[0][0]
two = ds.dataset([yesterday, today], schema=table.schema).to_table(columns=['path'])
print(json.dumps({'duckdb': str(one), 'pyarrow': str(len(two) - two['path'].null_count)}))
"#;
    let paths = place
        .lines("events")
        .iter()
        .filter(|row| !row["path"].is_null())
        .count() as i128;
    let read = told(run(&python, script, &[&today]));
    assert_eq!(
        read,
        BTreeMap::from([("duckdb".into(), 2 * paths), ("pyarrow".into(), 2 * paths)])
    );
}

#[test]
fn a_tree_has_every_process_once_under_its_parent() {
    let place = Place::new();
    let trace = place.text("trace.zst");
    let tree = |more: &[&str]| -> Vec<Value> {
        let output = replay(&[&["tree", "--json", &trace], more].concat(), b"");
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    let all = tree(&[]);
    assert_eq!(all.len(), place.lines("processes").len());
    let mut above: Vec<u64> = Vec::new();
    for process in &all {
        let depth = process["depth"].as_u64().unwrap() as usize;
        above.truncate(depth);
        assert_eq!(above.len(), depth);
        if let Some(parent) = above.last() {
            assert_eq!(process["ppid"], *parent);
        }
        above.push(process["pid"].as_u64().unwrap());
    }
    let web = tree(&["--container", "web"]);
    assert!(!web.is_empty() && web.len() < all.len());
    let deepest = web
        .iter()
        .max_by_key(|process| process["depth"].as_u64())
        .unwrap();
    assert_eq!(deepest["container_name"], "web");
    let pid = deepest["pid"].to_string();
    let one = tree(&["--pid", &pid]);
    assert_eq!(one.last().unwrap()["pid"], deepest["pid"]);
    let text = replay(&["tree", &trace, "--pid", &pid], b"");
    assert!(String::from_utf8(text.stdout).unwrap().contains("[web]"));
}

#[test]
fn stats_count_what_the_trace_has() {
    let place = Place::new();
    let events = place.lines("events");
    let output = replay(
        &["stats", "--json", "--top", "1000", &place.text("trace.zst")],
        b"",
    );
    assert!(output.status.success(), "{output:?}");
    let told: Vec<Value> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let sum = |name: &str| told.iter().filter_map(|it| it[name].as_u64()).sum::<u64>();
    assert_eq!(sum("events"), events.len() as u64);
    let failed = |row: &&Value| row["ret"].as_i64().is_some_and(|ret| ret < 0);
    assert_eq!(sum("errors"), events.iter().filter(failed).count() as u64);
    let web = told.iter().find(|it| it["container"] == "web").unwrap();
    let calls: u64 = web["syscalls"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|it| it["calls"].as_u64())
        .sum();
    assert_eq!(web["calls"], calls);
    let samples: Vec<&Value> = events
        .iter()
        .filter(|row| row["event"] == "sample" && row["container_name"] == "web")
        .collect();
    let cpu_ns = |row: &Value| row["cpu_ns"].as_u64().unwrap();
    let used = cpu_ns(samples[samples.len() - 1]) - cpu_ns(samples[0]);
    assert_eq!(web["resources"]["cpu_ns"], used);
    let of = |row: &Value, name: &str| row[name].as_u64().unwrap();
    let [first, last] = [samples[0], samples[samples.len() - 1]];
    for (told, column) in [
        ("minor_faults", "minor_faults"),
        ("cpu_stall_ns", "cpu_stall_ns"),
        ("io_writes", "io_writes"),
    ] {
        let used = of(last, column) - of(first, column);
        assert_eq!(web["resources"][told], used, "{column}");
    }
    assert_eq!(
        web["resources"]["memory_peak_bytes"],
        of(last, "memory_peak_bytes")
    );
    // What nobody could read is not nothing.
    assert!(last["net_sent_bytes"].is_null() && web["resources"]["net_sent_bytes"].is_null());
    let text = replay(
        &["stats", "--container", "web", &place.text("trace.zst")],
        b"",
    );
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(
        text.starts_with("web") && text.contains("cores on average"),
        "{text}"
    );
}

#[test]
fn arguments_that_do_not_go_together_are_refused() {
    let place = Place::new();
    let trace = place.text("trace.zst");
    for (more, word) in [
        (
            &["--table", "processes", "--kind", "exec", "--format", "csv"][..],
            "select events",
        ),
        (
            &["--table", "events", "--table", "samples", "--format", "csv"],
            "sqlite",
        ),
        (&["--format", "sqlite"], "needs a file"),
    ] {
        let output = replay(&[&["export", "-o", "-", &trace], more].concat(), b"");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(word), "{said}");
    }
}
