//! What a rule comes to: its condition with macros and lists put in, the event types it can match, the
//! fields it uses, and whether and in which profile the recorder supplies them.

use super::{
    LoadError, Rule,
    fields::Field,
    load::Compiled,
    supply::{Profile, recorded_from},
    syntax::{Argument, Check, Expression, FieldName, Right, Term},
    types::{FINDING, TYPES, Type, TypeSet},
};

/// Everything about one rule.
#[derive(Clone, Debug)]
pub struct Explanation {
    pub rule: Rule,
    /// Label (`condition`, `step 1`, `absent`) and text.
    pub conditions: Vec<(String, String)>,
    /// What it counts or follows, for windows and sequences.
    pub over: Option<String>,
    /// Names of the event types it can match; empty: no event can.
    pub types: Vec<&'static str>,
    /// It can match all types of events.
    pub any_type: bool,
    /// By least profile, the types that are recorded from there on.
    pub profiles: Vec<(Profile, Vec<&'static str>)>,
    /// In order of appearance.
    pub fields: Vec<FieldUse>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldUse {
    pub name: String,
    /// Some trace can have it.
    pub supplied: bool,
    /// Only the output uses it.
    pub output_only: bool,
}

pub(super) fn of(
    compiled: &Compiled,
    expressions: &[(String, Expression)],
    over: Option<String>,
    output: &str,
) -> Result<Explanation, LoadError> {
    let mut fields = Vec::new();
    let mut note = |name: &FieldName, output_only: bool| {
        let shown = name.to_string().replace('\'', "");
        let known = fields.iter().any(|known: &FieldUse| known.name == shown);
        if !known && let Ok(field) = Field::resolve(name) {
            fields.push(FieldUse {
                name: shown,
                supplied: !field.types.is_empty(),
                output_only,
            });
        }
    };
    for (_, expression) in expressions {
        visit(expression, &mut |name| note(name, false));
    }
    for name in super::output::fields(output) {
        note(&name, true);
    }
    let all: Vec<Type> = (0..TYPES as u16)
        .map(Type)
        .filter(|&kind| compiled.types.contains(kind))
        .collect();
    let mut profiles: Vec<(Profile, Vec<&'static str>)> = Vec::new();
    for profile in [Profile::Light, Profile::Standard, Profile::Full] {
        let of_profile = all
            .iter()
            .filter(|kind| **kind != FINDING)
            .map(|kind| kind.name());
        let names: Vec<_> = of_profile
            .filter(|name| recorded_from(name) == profile)
            .collect();
        if !names.is_empty() {
            profiles.push((profile, names));
        }
    }
    let mut findings = TypeSet::NONE;
    findings.insert(FINDING);
    Ok(Explanation {
        rule: compiled.rule.clone(),
        conditions: expressions
            .iter()
            .map(|(label, expression)| (label.clone(), expression.to_string()))
            .collect(),
        over,
        any_type: compiled.types.union(&findings) == TypeSet::all(),
        types: all.into_iter().map(Type::name).collect(),
        profiles,
        fields,
    })
}

/// Every field of a condition.
fn visit(expression: &Expression, each: &mut impl FnMut(&FieldName)) {
    match expression {
        Expression::And(parts) | Expression::Or(parts) => {
            parts.iter().for_each(|part| visit(part, each));
        }
        Expression::Not(inner) => visit(inner, each),
        Expression::Macro { .. } => {}
        Expression::Check(Check { left, right, .. }) => {
            term(left, each);
            if let Right::Term(right) = right {
                term(right, each);
            }
        }
    }
}

fn term(one: &Term, each: &mut impl FnMut(&FieldName)) {
    fn argument(one: &Argument, each: &mut impl FnMut(&FieldName)) {
        match one {
            Argument::Term(one) => term(one, each),
            Argument::Value(_) => {}
            Argument::List(list) => list.iter().for_each(|one| argument(one, each)),
        }
    }
    match one {
        Term::Field(name) => each(name),
        Term::Call(call) => call.arguments.iter().for_each(|one| argument(one, each)),
    }
}
