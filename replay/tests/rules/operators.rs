//! Every operator on texts against the plainest way to say what it means.

use crate::world::*;
use proptest::prelude::*;

/// A regular expression with its meaning.
#[derive(Clone, Debug)]
enum Pattern {
    Letter(char),
    Any,
    Set(Vec<char>, bool),
    Both(Box<Pattern>, Box<Pattern>),
    Either(Box<Pattern>, Box<Pattern>),
    Many(Box<Pattern>, usize, Option<usize>),
}

impl Pattern {
    fn text(&self) -> String {
        match self {
            Pattern::Letter(letter) if letter.is_alphanumeric() => letter.to_string(),
            Pattern::Letter(other) => format!("\\{other}"),
            Pattern::Any => ".".to_owned(),
            Pattern::Set(members, negated) => {
                let members: String = members.iter().collect();
                format!("[{}{members}]", if *negated { "^" } else { "" })
            }
            Pattern::Both(a, b) => format!("{}{}", a.text(), b.text()),
            Pattern::Either(a, b) => format!("({}|{})", a.text(), b.text()),
            Pattern::Many(inner, 0, None) => format!("({})*", inner.text()),
            Pattern::Many(inner, 1, None) => format!("({})+", inner.text()),
            Pattern::Many(inner, 0, Some(1)) => format!("({})?", inner.text()),
            Pattern::Many(inner, least, most) => {
                let most = most.map_or_else(String::new, |most| most.to_string());
                format!("({}){{{least},{most}}}", inner.text())
            }
        }
    }

    /// Where a match that begins at `from` can end.
    fn ends(&self, text: &[char], from: usize) -> Vec<usize> {
        let one = |fits: &dyn Fn(char) -> bool| match text.get(from) {
            Some(&letter) if fits(letter) => vec![from + 1],
            _ => Vec::new(),
        };
        match self {
            Pattern::Letter(wanted) => one(&|letter| letter == *wanted),
            Pattern::Any => one(&|letter| letter != '\n'),
            Pattern::Set(members, negated) => one(&|letter| members.contains(&letter) != *negated),
            Pattern::Both(a, b) => {
                let first = a.ends(text, from);
                first.into_iter().flat_map(|at| b.ends(text, at)).collect()
            }
            Pattern::Either(a, b) => [a.ends(text, from), b.ends(text, from)].concat(),
            Pattern::Many(inner, least, most) => {
                let (mut now, mut all) = (vec![from], Vec::new());
                for round in 0..=most.unwrap_or(text.len() + least) {
                    if round >= *least {
                        all.extend(&now);
                    }
                    now = now.iter().flat_map(|&at| inner.ends(text, at)).collect();
                    now.sort_unstable();
                    now.dedup();
                }
                all
            }
        }
    }
}

fn pattern() -> impl Strategy<Value = Pattern> {
    let letter = prop::sample::select(vec!['a', 'b', 'c', '/', '.', '*']);
    let leaf = prop_oneof![
        4 => letter.prop_map(Pattern::Letter),
        1 => Just(Pattern::Any),
        1 => (prop::collection::vec(prop::sample::select(vec!['a', 'b', '/']), 1..3), any::<bool>())
            .prop_map(|(members, negated)| Pattern::Set(members, negated)),
    ];
    leaf.prop_recursive(3, 12, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| Pattern::Both(a.into(), b.into())),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| Pattern::Either(a.into(), b.into())),
            (inner, 0usize..3, prop::option::of(0usize..3)).prop_map(|(inner, least, more)| {
                Pattern::Many(inner.into(), least, more.map(|more| least + more))
            }),
        ]
    })
}

/// `*` any text, `?` any character, everything else itself.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some((b'*', rest)) => (0..=text.len()).any(|at| glob(rest, &text[at..])),
        Some((b'?', rest)) => !text.is_empty() && glob(rest, &text[1..]),
        Some((letter, rest)) => text.first() == Some(letter) && glob(rest, &text[1..]),
    }
}

fn below(path: &str, text: &str) -> bool {
    let parts = |text: &str| -> Vec<String> {
        let parts = text.split('/').filter(|part| !part.is_empty());
        parts.map(str::to_owned).collect()
    };
    let (path, text) = (parts(path), parts(text));
    path.len() <= text.len()
        && path
            .iter()
            .zip(&text)
            .all(|(part, other)| glob(part.as_bytes(), other.as_bytes()))
}

/// What an operator means, in the plainest words.
fn plain(operator: &str, text: &str, value: &str) -> bool {
    let found = |text: &str, value: &str| {
        (0..=text.len()).any(|at| text.as_bytes()[at..].starts_with(value.as_bytes()))
    };
    let hex = |text: &str| -> String { text.bytes().map(|byte| format!("{byte:02x}")).collect() };
    match operator {
        "=" | "==" | "in" | "intersects" => text == value,
        "!=" => text != value,
        "<" => text.as_bytes() < value.as_bytes(),
        "<=" => text.as_bytes() <= value.as_bytes(),
        ">" => text.as_bytes() > value.as_bytes(),
        ">=" => text.as_bytes() >= value.as_bytes(),
        "contains" | "bcontains" => found(text, value),
        "icontains" => found(&text.to_lowercase(), &value.to_lowercase()),
        "startswith" | "bstartswith" => hex(text).starts_with(&hex(value)),
        "endswith" => hex(text).ends_with(&hex(value)),
        "glob" => glob(value.as_bytes(), text.as_bytes()),
        "iglob" => glob(
            value.to_lowercase().as_bytes(),
            text.to_lowercase().as_bytes(),
        ),
        "pmatch" => below(value, text),
        other => panic!("{other}?"),
    }
}

const OPERATORS: [&str; 17] = [
    "=",
    "==",
    "!=",
    "<",
    "<=",
    ">",
    ">=",
    "in",
    "intersects",
    "contains",
    "bcontains",
    "icontains",
    "startswith",
    "bstartswith",
    "endswith",
    "glob",
    "iglob",
];

/// As a condition writes it.
fn written(operator: &str, value: &str) -> String {
    match operator {
        "bcontains" | "bstartswith" => {
            let hex: String = value.bytes().map(|byte| format!("{byte:02x}")).collect();
            format!("\"{hex}\"")
        }
        _ => format!("\"{value}\""),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// The file's name is the text: letters of both cases, slashes, what globs know.
    #[test]
    fn operators_agree_with_their_plain_meaning(
        text in "[aAb/.*?]{0,6}",
        values in prop::collection::vec("[aAb/.*?]{0,4}", 1..4),
        at in 0..values_max(),
    ) {
        let text = format!("/{text}");
        let value = if at % 2 == 0 { text[..text.len().min(at)].to_owned() } else { values[0].clone() };
        let mut world = World::new();
        let name = open(&text, 3, 0);
        for operator in OPERATORS.into_iter().chain(["pmatch"]) {
            let right = written(operator, &value);
            let right = if ["in", "intersects", "pmatch"].contains(&operator) { format!("({right})") } else { right };
            let expected = plain(operator, &text, &value);
            for (condition, expected) in [
                (format!("fs.path.name {operator} {right}"), expected),
                (format!("not fs.path.name {operator} {right}"), !expected),
                // The same through a transformer that changes nothing.
                (format!("concat(fs.path.name, '') {operator} {right}"), expected),
                // No such field in this event: nothing holds.
                (format!("fs.path.source {operator} {right}"), false),
            ] {
                prop_assert_eq!(world.holds(&condition, 60, name.clone()), expected, "{} on {}", condition, text);
            }
            let each: Vec<String> = values.iter().map(|value| written(operator, value)).collect();
            let hits = values.iter().filter(|value| plain(operator, &text, value)).count();
            for (modifier, expected) in [
                ("anyof", hits > 0),
                ("allof", hits == values.len()),
                ("oneof", hits == 1),
            ] {
                let condition = format!("fs.path.name {operator} {modifier} ({})", each.join(", "));
                prop_assert_eq!(world.holds(&condition, 60, name.clone()), expected, "{} on {}", condition, text);
            }
        }
    }

    #[test]
    fn regular_expressions_agree_with_their_plain_meaning(pattern in pattern(), text in "[abc/.*]{0,6}") {
        let text = format!("/{text}");
        let letters: Vec<char> = text.chars().collect();
        let expected = pattern.ends(&letters, 0).contains(&letters.len());
        let written = pattern.text().replace('\\', "\\\\");
        let mut world = World::new();
        for (condition, expected) in [
            (format!("fs.path.name regex \"{written}\""), expected),
            (format!("fs.path.name regex \"/({written})*\""), {
                let many = Pattern::Many(Box::new(pattern.clone()), 0, None);
                many.ends(&letters, 1).contains(&letters.len())
            }),
        ] {
            prop_assert_eq!(world.holds(&condition, 60, open(&text, 3, 0)), expected, "{} on {}", condition, text);
        }
    }
}

const fn values_max() -> usize {
    8
}
