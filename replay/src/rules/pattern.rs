//! Matching of byte strings: substrings, globs, path prefixes.

/// Substring search. Needles are short and haystacks are paths: looking for the first
/// byte and comparing there is as fast as anything that needs preparation.
pub(super) fn contains(text: &[u8], needle: &[u8]) -> bool {
    let Some((&first, rest)) = needle.split_first() else {
        return true;
    };
    let mut from = 0;
    while let Some(found) = text[from..].iter().position(|&byte| byte == first) {
        from += found + 1;
        match text.get(from..from + rest.len()) {
            Some(candidate) if candidate == rest => return true,
            Some(_) => {}
            None => return false,
        }
    }
    false
}

/// The same, where `needle` is in lower case and ASCII case does not matter.
pub(super) fn contains_ignoring_case(text: &[u8], needle: &[u8]) -> bool {
    needle.is_empty()
        || text
            .windows(needle.len())
            .any(|window| window.eq_ignore_ascii_case(needle))
}

/// The whole text against `*`, `?`, `[set]` and `\`; `*` crosses `/`. Linear but for one star's
/// retries: only the last star is ever tried again.
pub(super) fn glob(pattern: &[u8], text: &[u8], ignore_case: bool) -> bool {
    let (mut at_pattern, mut at_text) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    loop {
        let step = match pattern.get(at_pattern) {
            Some(b'*') => {
                at_pattern += 1;
                star = Some((at_pattern, at_text));
                continue;
            }
            None if at_text == text.len() => return true,
            None => None,
            Some(_) => text
                .get(at_text)
                .and_then(|&byte| one(&pattern[at_pattern..], byte, ignore_case)),
        };
        match (step, star) {
            (Some(length), _) => {
                at_pattern += length;
                at_text += 1;
            }
            (None, Some((after, from))) if from < text.len() => {
                star = Some((after, from + 1));
                (at_pattern, at_text) = (after, from + 1);
            }
            (None, _) => return false,
        }
    }
}

/// Pairs of hex digits as bytes.
pub(super) fn hex(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| (byte as char).to_digit(16);
    let pairs = text.chunks(2).map(|pair| match *pair {
        [high, low] => Some((digit(high)? * 16 + digit(low)?) as u8),
        _ => None,
    });
    pairs.collect()
}

/// The whole text against a pattern in which only `*` is special.
pub(super) fn glob_star(pattern: &[u8], text: &[u8]) -> bool {
    let mut parts = pattern.split(|&byte| byte == b'*');
    let Some(mut rest) = text.strip_prefix(parts.next().unwrap_or_default()) else {
        return false;
    };
    let mut parts: Vec<&[u8]> = parts.collect();
    let Some(last) = parts.pop() else {
        return rest.is_empty();
    };
    for part in parts {
        match (0..=rest.len()).find(|&at| rest[at..].starts_with(part)) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// Whether the pattern's first element takes the byte; its length in the pattern if so.
fn one(pattern: &[u8], byte: u8, ignore_case: bool) -> Option<usize> {
    let same = |a: u8, b: u8| {
        if ignore_case {
            a.eq_ignore_ascii_case(&b)
        } else {
            a == b
        }
    };
    match pattern[0] {
        b'?' => Some(1),
        b'[' => match set(pattern) {
            Some((members, length)) => set_has(members, byte, same).then_some(length),
            None => (byte == b'[').then_some(1),
        },
        b'\\' if pattern.len() > 1 => same(pattern[1], byte).then_some(2),
        literal => same(literal, byte).then_some(1),
    }
}

/// The members of a `[set]` and its length; `None` when it is not closed.
fn set(pattern: &[u8]) -> Option<(&[u8], usize)> {
    let negation = usize::from(matches!(pattern.get(1), Some(b'!' | b'^')));
    // A `]` that comes first is a member.
    let from = 2 + negation;
    let end = from + pattern.get(from..)?.iter().position(|&byte| byte == b']')?;
    Some((&pattern[1..end], end + 1))
}

fn set_has(members: &[u8], byte: u8, same: impl Fn(u8, u8) -> bool) -> bool {
    let (negated, mut members) = match members.split_first() {
        Some((b'!' | b'^', rest)) => (true, rest),
        _ => (false, members),
    };
    let mut found = false;
    while let Some((&first, rest)) = members.split_first() {
        match rest {
            [b'-', last, rest @ ..] => {
                found |= (first..=*last).any(|member| same(member, byte));
                members = rest;
            }
            _ => {
                found |= same(first, byte);
                members = rest;
            }
        }
    }
    found != negated
}

/// A path of `pmatch`: its components, some of them globs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PathPrefix(Vec<Component>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Component {
    Plain(Vec<u8>),
    Glob(Vec<u8>),
}

impl PathPrefix {
    pub fn new(path: &[u8]) -> PathPrefix {
        let component = |part: &[u8]| match part.iter().any(|byte| b"*?[".contains(byte)) {
            true => Component::Glob(part.to_vec()),
            false => Component::Plain(part.to_vec()),
        };
        PathPrefix(components(path).map(component).collect())
    }

    /// Whether the path is this one or below it.
    pub fn covers(&self, path: &[u8]) -> bool {
        let mut parts = components(path);
        self.0
            .iter()
            .all(|component| match (component, parts.next()) {
                (Component::Plain(name), Some(part)) => name == part,
                (Component::Glob(pattern), Some(part)) => glob(pattern, part, false),
                (_, None) => false,
            })
    }
}

fn components(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|&byte| byte == b'/')
        .filter(|part| !part.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn globs(pattern: &str, text: &str) -> bool {
        glob(pattern.as_bytes(), text.as_bytes(), false)
    }

    #[test]
    fn globs_match_the_whole_text() {
        for (pattern, text, expected) in [
            ("/home/*/.ssh/*", "/home/a/b/.ssh/id", true),
            ("/home/*/.ssh/*", "/home/.ssh/id", false),
            ("*../*../*", "/a/../../b", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("", "", true),
            ("*", "", true),
            ("a", "ab", false),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[]]", "]", true),
            ("[ab", "[ab", true),
            ("\\*", "*", true),
            ("\\*", "x", false),
            ("*a*a*b", "aaaaaaaaaaab", true),
        ] {
            assert_eq!(globs(pattern, text), expected, "{pattern} on {text}");
        }
        assert!(glob(b"ABC*", b"abcd", true));
    }

    #[test]
    fn rule_names_know_only_the_star() {
        for (pattern, name, expected) in [
            ("Shell*", "Shell in a container", true),
            ("*container", "Shell in a container", true),
            ("*in*cont*", "Shell in a container", true),
            ("Shell", "Shell in a container", false),
            ("*", "", true),
            ("a*a", "a", false),
            ("[x]", "x", false),
            ("[x]", "[x]", true),
        ] {
            assert_eq!(
                glob_star(pattern.as_bytes(), name.as_bytes()),
                expected,
                "{pattern} on {name}"
            );
        }
    }

    #[test]
    fn path_prefixes_end_at_components() {
        let etc = PathPrefix::new(b"/etc");
        assert!(etc.covers(b"/etc") && etc.covers(b"/etc/passwd") && etc.covers(b"//etc//x"));
        assert!(!etc.covers(b"/etcetera") && !etc.covers(b"/") && !etc.covers(b"/var/etc"));
        assert!(PathPrefix::new(b"/").covers(b"/anything"));
        let tokens = PathPrefix::new(b"/run/*/token");
        assert!(tokens.covers(b"/run/a/token/x") && !tokens.covers(b"/run/a/b/token"));
    }

    proptest! {
        #[test]
        fn contains_agrees_with_the_plain_definition(text: Vec<u8>, needle in prop::collection::vec(0u8..3, 0..4)) {
            let plain = needle.is_empty() || text.windows(needle.len().max(1)).any(|window| window == needle);
            prop_assert_eq!(contains(&text, &needle), plain);
        }

        #[test]
        fn a_glob_without_wildcards_is_equality(a in "[a-z/]{0,8}", b in "[a-z/]{0,8}") {
            prop_assert_eq!(globs(&a, &b), a == b);
            let (around, text) = (format!("*{a}*"), format!("{b}{a}{b}"));
            prop_assert!(globs(&around, &text), "{} on {}", around, text);
        }
    }
}
