//! Findings as alerts of Prometheus Alertmanager, API v2 (`POST /api/v2/alerts`).
//!
//! The labels say which alert it is: the same rule in the same container is one alert, which the next
//! finding prolongs. What differs from time to time is in the annotations. An alert ends `hold` after it
//! was sent: a finding is a moment, and nobody reports its end.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use super::{
    Error, Report, Sink, Spec,
    delivery::{Delivery, Failure, Transport},
    http::Http,
};
use crate::{
    findings::{Finding, hex_id, short_id, uuid_text},
    time,
};

/// Alerts in one request: some 100 KB.
const ALERTS: usize = 100;

pub(super) fn open(spec: &Spec) -> Result<Box<dyn Sink>, Error> {
    let url = match spec.target.trim_end_matches('/') {
        url if url.ends_with("/api/v2/alerts") => url.to_owned(),
        url => format!("{url}/api/v2/alerts"),
    };
    let http = Http::new("alertmanager", &url, spec.ca.as_deref(), "application/json")?;
    let alerts = Alerts {
        http,
        hold: spec.hold,
    };
    Ok(Box::new(Alertmanager(Delivery::start(
        spec,
        Box::new(alerts),
    )?)))
}

struct Alertmanager(Delivery);

impl Sink for Alertmanager {
    fn finding(&mut self, finding: &Finding) -> Result<(), Error> {
        self.0.push(alert(finding).to_string().into_bytes());
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Report, Error> {
        Ok(self.0.finish())
    }
}

/// Without its end, which is known when it is sent.
fn alert(finding: &Finding) -> Value {
    let mut labels = Map::new();
    let mut label = |name: &str, value: &str| {
        // Alertmanager takes an empty label for a missing one.
        if !value.is_empty() {
            labels.insert(name.to_owned(), Value::from(value));
        }
    };
    let container = &finding.container;
    label("alertname", &finding.rule);
    label("severity", finding.severity.name());
    label("engine", finding.engine.name());
    label(
        "container",
        match (container.name.as_str(), finding.cgroup_id) {
            ("", 0) => "host",
            ("", _) => short_id(&container.id),
            (name, _) => name,
        },
    );
    label("container_id", short_id(&container.id));
    label("image", &container.image);
    let mut annotations = Map::new();
    let mut annotation = |name: &str, value: String| {
        if !value.is_empty() {
            annotations.insert(name.to_owned(), Value::from(value));
        }
    };
    annotation("summary", finding.message.clone());
    let lineage: Vec<String> = finding
        .lineage
        .iter()
        .map(|process| format!("{}({})", process.comm, process.pid))
        .collect();
    annotation("lineage", lineage.join(" ← "));
    annotation("tags", finding.tags.join(" "));
    annotation("incident", hex_id(finding.incident));
    annotation("trace", uuid_text(finding.trace_uuid));
    if let Some(at) = finding.evidence {
        let family = crate::event_view::family_name(at.family);
        annotation(
            "evidence",
            format!("chunk {} {family} row {}", at.chunk, at.row),
        );
    }
    annotation("degraded", finding.degraded.clone().unwrap_or_default());
    let mut alert = json!({ "labels": labels, "annotations": annotations });
    if let Some(wall_ns) = finding.wall_ns {
        alert["startsAt"] = Value::from(time::rfc3339(wall_ns));
    }
    alert
}

struct Alerts {
    http: Http,
    hold: Duration,
}

impl Transport for Alerts {
    fn most(&self) -> usize {
        ALERTS
    }

    fn send(&mut self, messages: &[Vec<u8>]) -> Result<(), Failure> {
        let now = SystemTime::now() + self.hold;
        let ends_ns = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let ends = time::rfc3339(u64::try_from(ends_ns.as_nanos()).unwrap_or(u64::MAX));
        let mut alerts: Vec<Value> = Vec::new();
        for message in messages {
            // What an older version left in a spool and nobody can read helps nobody.
            let Ok(mut alert) = serde_json::from_slice::<Value>(message) else {
                continue;
            };
            alert["endsAt"] = Value::from(ends.clone());
            alerts.push(alert);
        }
        self.http.post(Value::from(alerts).to_string().into_bytes())
    }
}
