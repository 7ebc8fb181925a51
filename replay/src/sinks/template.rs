//! The body of a webhook: text with `{{…}}` where values of a finding go.
//!
//! `{{rule}}` or `{{container.name}}` is the value as it stands inside of a JSON string (escaped, without
//! quotes), or as JSON where it is no text; `{{raw rule}}` is the text as it is; `{{json}}` is the whole
//! finding as a JSON object, `{{json fields}}` a part of it.

use serde_json::Value;

/// A template that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Value { form: Form, path: Vec<String> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Inside of a JSON string.
    Escaped,
    Raw,
    Json,
}

/// A mistake in a template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    #[error("line {line}: {{{{ without }}}}")]
    Open { line: usize },
    #[error("line {line}: {name:?} is nothing that a finding has; expected one of: {}", FIELDS.join(", "))]
    Name { line: usize, name: String },
}

/// Of a finding's JSON object.
const FIELDS: [&str; 17] = [
    "schema",
    "time",
    "boot_ns",
    "severity",
    "engine",
    "rule",
    "message",
    "container",
    "lineage",
    "fields",
    "tags",
    "evidence",
    "degraded",
    "degraded_reason",
    "suppressed",
    "rate_limited",
    "incident",
];

impl Template {
    pub fn parse(text: &str) -> Result<Template, TemplateError> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(start) = rest.find("{{") {
            let line = text[..text.len() - rest.len() + start]
                .matches('\n')
                .count()
                + 1;
            let end = rest[start..]
                .find("}}")
                .ok_or(TemplateError::Open { line })?;
            pieces.push(Piece::Text(rest[..start].to_owned()));
            let words: Vec<&str> = rest[start + 2..start + end].split_whitespace().collect();
            let (form, path) = match words.as_slice() {
                ["json"] => (Form::Json, ""),
                ["json", path] => (Form::Json, *path),
                ["raw", path] => (Form::Raw, *path),
                [path] => (Form::Escaped, *path),
                words => {
                    return Err(TemplateError::Name {
                        line,
                        name: words.join(" "),
                    });
                }
            };
            // Names of a rule's fields have dots in them: what follows `fields.` is one name.
            let path: Vec<String> = match path.split_once('.') {
                _ if path.is_empty() => Vec::new(),
                Some(("fields", name)) => vec!["fields".into(), name.into()],
                _ => path.split('.').map(str::to_owned).collect(),
            };
            if let Some(first) = path.first()
                && !FIELDS.contains(&first.as_str())
            {
                return Err(TemplateError::Name {
                    line,
                    name: first.clone(),
                });
            }
            pieces.push(Piece::Value { form, path });
            rest = &rest[start + end + 2..];
        }
        pieces.push(Piece::Text(rest.to_owned()));
        Ok(Template(pieces))
    }

    /// The body for a finding's JSON object.
    pub fn fill(&self, finding: &Value) -> String {
        let mut body = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => body.push_str(text),
                Piece::Value { form, path } => {
                    let value = path.iter().try_fold(finding, |value, name| match value {
                        Value::Array(list) => list.get(name.parse::<usize>().ok()?),
                        value => value.get(name),
                    });
                    let value = value.unwrap_or(&Value::Null);
                    match (form, value) {
                        (Form::Raw, Value::String(text)) => body.push_str(text),
                        (Form::Escaped, Value::String(_)) => {
                            let quoted = value.to_string();
                            body.push_str(&quoted[1..quoted.len() - 1]);
                        }
                        _ => body.push_str(&value.to_string()),
                    }
                }
            }
        }
        body
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_go_where_they_are_named() {
        let finding = serde_json::json!({
            "rule": "say \"hi\"",
            "container": {"name": "web"},
            "fields": {"proc.name": "sh"},
            "tags": ["T1", "T2"],
            "suppressed": 3,
        });
        let fill = |text: &str| Template::parse(text).unwrap().fill(&finding);
        assert_eq!(
            fill(r#"{"text":"{{rule}} in {{ container.name }}"}"#),
            r#"{"text":"say \"hi\" in web"}"#
        );
        assert_eq!(
            fill("{{raw rule}}|{{json rule}}"),
            "say \"hi\"|\"say \\\"hi\\\"\""
        );
        assert_eq!(
            fill("{{fields.proc.name}} {{tags.1}} {{suppressed}}"),
            "sh T2 3"
        );
        assert_eq!(fill("{{json tags}} {{message}}"), r#"["T1","T2"] null"#);
        assert_eq!(fill("{{json}}"), finding.to_string());
    }

    #[test]
    fn a_mistake_names_its_line() {
        assert_eq!(
            Template::parse("a\n{{rule"),
            Err(TemplateError::Open { line: 2 })
        );
        let error = Template::parse("a\nb\n{{rul}}").unwrap_err().to_string();
        assert!(
            error.contains("line 3") && error.contains("rule"),
            "{error}"
        );
    }
}
