//! Findings to a webhook: one POST each, the finding's JSON object or a template's text.

use std::fs;

use super::{
    Error, Report, Sink, Spec,
    delivery::Delivery,
    http::{Bodies, Http},
    template::Template,
};
use crate::findings::Finding;

/// A template is a message, not a program.
const TEMPLATE_BYTES_MAX: u64 = 1 << 20;

pub(super) fn open(spec: &Spec) -> Result<Box<dyn Sink>, Error> {
    let template = match &spec.template {
        None => None,
        Some(path) => {
            let failed = |source| Error::File {
                path: path.clone(),
                source,
            };
            if fs::metadata(path).map_err(failed)?.len() > TEMPLATE_BYTES_MAX {
                return Err(Error::Setup {
                    what: path.display().to_string(),
                    reason: format!("a template has at most {TEMPLATE_BYTES_MAX} bytes"),
                });
            }
            let text = fs::read_to_string(path).map_err(failed)?;
            let template = Template::parse(&text).map_err(|source| Error::Template {
                path: path.clone(),
                source,
            })?;
            Some(template)
        }
    };
    let content_type = spec.content_type.as_deref().unwrap_or("application/json");
    let http = Http::new("webhook", &spec.target, spec.ca.as_deref(), content_type)?;
    Ok(Box::new(Webhook {
        template,
        delivery: Delivery::start(spec, Box::new(Bodies(http)))?,
    }))
}

struct Webhook {
    template: Option<Template>,
    delivery: Delivery,
}

impl Sink for Webhook {
    fn finding(&mut self, finding: &Finding) -> Result<(), Error> {
        let body = match &self.template {
            None => finding.to_json(),
            Some(template) => match serde_json::to_value(finding) {
                Ok(value) => template.fill(&value),
                Err(error) => unreachable!("a finding is JSON: {error}"),
            },
        };
        self.delivery.push(body.into_bytes());
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Report, Error> {
        Ok(self.delivery.finish())
    }
}
