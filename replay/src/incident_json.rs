//! An incident as one JSON object. `docs/findings.md` describes it.

use serde::ser::{Serialize, SerializeStruct, Serializer};

use crate::{
    event_view::family_name,
    findings::{FoundContainer, SCHEMA, hex_id, uuid_text},
    incidents::{Incident, Step},
    time,
};

/// The object.
pub(crate) struct IncidentJson<'a>(pub &'a Incident);

impl Serialize for IncidentJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let incident = self.0;
        let mut object = serializer.serialize_struct("Incident", 20)?;
        object.serialize_field("schema", &SCHEMA)?;
        object.serialize_field("incident", &hex_id(incident.id))?;
        object.serialize_field("trace", &uuid_text(incident.trace_uuid))?;
        object.serialize_field("start", &incident.start_wall_ns.map(time::rfc3339))?;
        object.serialize_field("start_boot_ns", &incident.start_ns)?;
        object.serialize_field("end", &incident.end_wall_ns.map(time::rfc3339))?;
        object.serialize_field("end_boot_ns", &incident.end_ns)?;
        object.serialize_field("ended", incident.ended.name())?;
        object.serialize_field("severity", incident.severity.name())?;
        object.serialize_field("title", &incident.title())?;
        let containers: Vec<ContainerJson> =
            incident.containers.iter().map(ContainerJson).collect();
        object.serialize_field("containers", &containers)?;
        object.serialize_field("findings", &incident.findings)?;
        object.serialize_field("left_out", &incident.left_out)?;
        object.serialize_field("by_severity", &BySeverity(incident))?;
        object.serialize_field("tags", &incident.tags)?;
        let steps: Vec<StepJson> = incident.steps.iter().map(StepJson).collect();
        object.serialize_field("steps", &steps)?;
        object.serialize_field("steps_left_out", &incident.steps_left_out)?;
        let related: Vec<String> = incident.related.iter().map(|id| hex_id(*id)).collect();
        object.serialize_field("related", &related)?;
        object.serialize_field("degraded", &incident.degraded)?;
        object.end()
    }
}

struct BySeverity<'a>(&'a Incident);
impl Serialize for BySeverity<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let counts = self.0.by_severity.iter();
        serializer.collect_map(counts.map(|(severity, count)| (severity.name(), *count)))
    }
}

struct ContainerJson<'a>(&'a FoundContainer);
impl Serialize for ContainerJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("Container", 5)?;
        object.serialize_field("id", &self.0.id)?;
        object.serialize_field("name", &self.0.name)?;
        object.serialize_field("image", &self.0.image)?;
        object.serialize_field("runtime", &self.0.runtime)?;
        object.serialize_field("cgroup_id", &self.0.cgroup_id)?;
        object.end()
    }
}

struct StepJson<'a>(&'a Step);
impl Serialize for StepJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let step = self.0;
        let mut object = serializer.serialize_struct("Step", 13)?;
        object.serialize_field("time", &step.wall_ns.map(time::rfc3339))?;
        object.serialize_field("boot_ns", &step.boot_ns)?;
        object.serialize_field("last_boot_ns", &step.last_ns)?;
        object.serialize_field("findings", &step.findings)?;
        object.serialize_field("severity", step.severity.name())?;
        object.serialize_field("engine", step.engine.name())?;
        object.serialize_field("rule", &*step.rule)?;
        object.serialize_field("message", &step.message)?;
        object.serialize_field("container", &step.container)?;
        let process = step.process.as_ref();
        object.serialize_field("pid", &process.map(|process| process.pid))?;
        object.serialize_field("comm", &process.map(|process| &process.comm))?;
        object.serialize_field("chunk", &step.evidence.map(|at| at.chunk))?;
        object.serialize_field("family", &step.evidence.map(|at| family_name(at.family)))?;
        object.serialize_field("row", &step.evidence.map(|at| at.row))?;
        object.end()
    }
}
