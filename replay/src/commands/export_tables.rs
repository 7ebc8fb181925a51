//! `replay export --table`: the tables beside the events.

use replay::{
    export::{self, FINDING_COLUMNS, RowOf, RowWriter, tables},
    lives::{Life, Lives},
    pipeline::{Pipeline, Settings},
    rules::RuleSet,
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use super::{
    export::{TableName, write_failed},
    fold::fold,
};
use crate::{
    Global,
    trace::{Condition, TraceArguments},
};

/// Writes the rows of a table that is not made of events; how many.
pub fn write(
    table: TableName,
    traces: &TraceArguments,
    writer: &mut dyn RowWriter,
    results_too: bool,
    global: Global,
) -> anyhow::Result<(u64, Condition)> {
    let mut rows = 0u64;
    let ended: Arc<Mutex<Vec<Life>>> = Arc::default();
    let for_detector = Arc::clone(&ended);
    let settings = || match table {
        TableName::Findings => Settings {
            rules: Some(RuleSet::shipped()),
            statistics: true,
            detectors: Vec::new(),
        },
        TableName::Processes | TableName::Connections => {
            let ended = Arc::clone(&for_detector);
            let processes = table == TableName::Processes;
            let lives = Lives::new(processes, !processes, move |life| {
                let mut ended = ended.lock().unwrap_or_else(|error| error.into_inner());
                ended.push(life);
            });
            Settings {
                detectors: vec![Box::new(lives)],
                ..Settings::default()
            }
        }
        _ => Settings::default(),
    };
    let mut drain = |pipeline: &mut Pipeline, last: bool| -> anyhow::Result<()> {
        let mut row = |row: &dyn export::Row| -> anyhow::Result<()> {
            rows += 1;
            writer.row(row).map_err(write_failed)
        };
        for finding in pipeline.findings() {
            row(&RowOf(&finding, FINDING_COLUMNS))?;
        }
        let mut ended = ended.lock().unwrap_or_else(|error| error.into_inner());
        for life in ended.drain(..) {
            match &life {
                Life::Process(process) => row(&RowOf(&**process, tables::PROCESS_COLUMNS))?,
                Life::Connection(connection) => {
                    row(&RowOf(&**connection, tables::CONNECTION_COLUMNS))?;
                }
                // The connect call is the connection.
                Life::Listener(_) => {}
            }
        }
        if last && table == TableName::Containers {
            let containers: BTreeMap<_, _> = pipeline.state().containers().collect();
            for (cgroup_id, container) in containers {
                let container = tables::ContainerRow {
                    cgroup_id,
                    container: container.clone(),
                };
                row(&RowOf(&container, tables::CONTAINER_COLUMNS))?;
            }
        }
        // Incidents are no table; they are not kept.
        pipeline.incidents().for_each(drop);
        Ok(())
    };
    let (condition, _) = fold(traces, results_too, global, settings, &mut drain)?;
    Ok((rows, condition))
}
