//! A directory of a test's own with a trace of an attack in it.

use crate::support::{self, Scenario, items, seal};
use std::{fs, path::PathBuf};
use tempfile::TempDir;

pub struct Place(pub TempDir);

impl Place {
    pub fn new() -> Place {
        let place = Place(tempfile::tempdir().unwrap());
        let trace = support::file(&seal(&items(Scenario::ATTACKED), |_| 2000));
        fs::write(place.path("trace.zst"), trace).unwrap();
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }
}
