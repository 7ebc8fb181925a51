//! What runc and crun write down about a container that no engine above them is asked about: the state
//! directory of the runtime. There is no name but the id; the image is the bundle's, where its place tells.

use std::{fs, path::Path};

use super::metadata::Metadata;

/// Where runtimes keep `ID/state.json` (runc) or `ID/status` (crun), as root and without an engine.
const PLACES: &[&str] = &["/run/runc", "/run/crun"];
/// A state file: mounts and namespaces, some tens of KiB.
const BYTES_MAX: u64 = 4 << 20;

pub fn find(id: &str) -> Option<Metadata> {
    PLACES
        .iter()
        .find_map(|place| find_in(Path::new(place), id))
}

fn find_in(place: &Path, id: &str) -> Option<Metadata> {
    // An id is a file name here, and comes from a cgroup's path.
    if id.is_empty() || id.contains('/') || id.starts_with('.') {
        return None;
    }
    let directory = place.join(id);
    let text = ["state.json", "status"].into_iter().find_map(|name| {
        let path = directory.join(name);
        let small = fs::metadata(&path).is_ok_and(|meta| meta.len() <= BYTES_MAX);
        small.then(|| fs::read_to_string(path).ok()).flatten()
    })?;
    let state: serde_json::Value = serde_json::from_str(&text).ok()?;
    // runc: labels as "key=value" under config; crun: annotations and the bundle at the top.
    let mut labels: Vec<(String, String)> = Vec::new();
    for label in state["config"]["labels"].as_array().into_iter().flatten() {
        if let Some((key, value)) = label.as_str().and_then(|text| text.split_once('=')) {
            labels.push((key.to_owned(), value.to_owned()));
        }
    }
    if let Some(bundle) = state["bundle"].as_str() {
        labels.push(("bundle".to_owned(), bundle.to_owned()));
    }
    labels.sort();
    Some(Metadata {
        name: id.to_owned(),
        labels,
        ..Metadata::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_of_both_runtimes_are_read_and_nothing_outside_is() {
        let directory = tempfile::tempdir().unwrap();
        for (id, file, text) in [
            (
                "a",
                "state.json",
                r#"{"id":"a","config":{"labels":["bundle=/b","x=y"]}}"#,
            ),
            ("b", "status", r#"{"pid":1,"bundle":"/c"}"#),
            ("c", "status", "no json"),
        ] {
            fs::create_dir(directory.path().join(id)).unwrap();
            fs::write(directory.path().join(id).join(file), text).unwrap();
        }
        let found = |id: &str| find_in(directory.path(), id);
        let a = found("a").unwrap();
        assert_eq!(a.name, "a");
        assert_eq!(a.labels[0], ("bundle".into(), "/b".into()));
        assert_eq!(found("b").unwrap().labels, [("bundle".into(), "/c".into())]);
        for id in ["c", "d", "", "..", "a/../b"] {
            assert_eq!(found(id), None, "{id}");
        }
    }
}
