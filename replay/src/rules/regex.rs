//! Regular expressions of rules: RE2's POSIX syntax, over the whole value.
//!
//! The `regex` crate has RE2's guarantee (time linear in the text) and nearly its syntax. A pattern is
//! checked against POSIX syntax and rewritten where the two read a character differently, so that a
//! pattern never means something else here than where it comes from. What only Perl syntax has
//! (`\d`, `(?i)`, lazy repetition) is refused, as RE2 refuses it in POSIX mode.

use regex::{Regex, RegexBuilder};

/// A pattern longer than this is a mistake: stock rules have some 100 bytes.
const PATTERN_BYTES_MAX: usize = 64 << 10;
/// The compiled form of one pattern: room for every repetition count that RE2 allows on short texts.
const COMPILED_BYTES_MAX: usize = 4 << 20;
/// RE2's bound on `{n,m}`.
const REPEAT_MAX: u32 = 1000;

/// Compiles a pattern; the error says what is wrong with it.
pub(super) fn compile(pattern: &str) -> Result<Regex, String> {
    if pattern.len() > PATTERN_BYTES_MAX {
        return Err(format!("a pattern of at most {PATTERN_BYTES_MAX} bytes"));
    }
    let translated = translate(pattern)?;
    RegexBuilder::new(&format!(r"\A(?:{translated})\z"))
        .size_limit(COMPILED_BYTES_MAX)
        .nest_limit(200)
        .build()
        .map_err(|error| match error {
            regex::Error::CompiledTooBig(limit) => {
                format!("a pattern that compiles to at most {limit} bytes")
            }
            error => {
                let text = error.to_string();
                let reason = text.lines().last().unwrap_or_default();
                format!(
                    "a POSIX regular expression ({})",
                    reason.trim_start_matches("error: ")
                )
            }
        })
}

/// Whether a value is in the pattern's language; invalid UTF-8 is replaced first.
pub(super) fn matches(regex: &Regex, text: &[u8]) -> bool {
    regex.is_match(&String::from_utf8_lossy(text))
}

/// POSIX syntax in the words of the `regex` crate.
fn translate(pattern: &str) -> Result<String, String> {
    let mut out = String::with_capacity(pattern.len() + 16);
    let mut rest = pattern.chars().peekable();
    // A repetition may follow only what is not one itself: RE2 would repeat the repetition, the crate
    // would make it lazy.
    let mut repeated = false;
    while let Some(character) = rest.next() {
        let was_repeated = std::mem::take(&mut repeated);
        match character {
            '\\' => escape(&mut rest, &mut out)?,
            '[' => set(&mut rest, &mut out)?,
            '(' if rest.peek() == Some(&'?') => {
                return Err("a group without (?…): POSIX syntax has none".to_owned());
            }
            // Anchors are of lines in POSIX mode.
            '^' => out.push_str("(?m:^)"),
            '$' => out.push_str("(?m:$)"),
            '*' | '+' | '?' => {
                if was_repeated {
                    return Err("one repetition, not two in a row".to_owned());
                }
                out.push(character);
                repeated = true;
            }
            '{' => match repetition(rest.clone().collect::<String>().as_str())? {
                Some((text, length)) => {
                    if was_repeated {
                        return Err("one repetition, not two in a row".to_owned());
                    }
                    out.push_str(&text);
                    (0..length).for_each(|_| {
                        rest.next();
                    });
                    repeated = true;
                }
                None => out.push_str(r"\{"),
            },
            '}' => out.push_str(r"\}"),
            ']' => out.push_str(r"\]"),
            other => out.push(other),
        }
    }
    Ok(out)
}

/// What follows `{`, if it is a count: its text with the brace, and how many characters it takes.
fn repetition(rest: &str) -> Result<Option<(String, usize)>, String> {
    let Some(end) = rest.find('}') else {
        return Ok(None);
    };
    let inner = &rest[..end];
    let (least, most) = match inner.split_once(',') {
        Some((least, most)) => (least, Some(most)),
        None => (inner, None),
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(least) || most.is_some_and(|most| !most.is_empty() && !digits(most)) {
        return Ok(None);
    }
    for count in [Some(least), most].into_iter().flatten() {
        if !count.is_empty()
            && count
                .parse::<u32>()
                .map_or(true, |count| count > REPEAT_MAX)
        {
            return Err(format!("a repetition of at most {REPEAT_MAX}"));
        }
    }
    Ok(Some((format!("{{{inner}}}"), end + 1)))
}

type Characters<'p> = std::iter::Peekable<std::str::Chars<'p>>;

/// One escape, behind its backslash.
fn escape(rest: &mut Characters<'_>, out: &mut String) -> Result<(), String> {
    match rest.next() {
        None => Err("something behind the backslash".to_owned()),
        Some(character @ ('n' | 'r' | 't' | 'f' | 'v' | 'a')) => {
            out.push('\\');
            out.push(character);
            Ok(())
        }
        Some('x') => {
            let braced = rest.peek() == Some(&'{');
            let digits: String = if braced {
                rest.next();
                rest.by_ref().take_while(|&next| next != '}').collect()
            } else {
                rest.by_ref().take(2).collect()
            };
            let code = u32::from_str_radix(&digits, 16).ok();
            let complete = braced || digits.len() == 2;
            match code.filter(|_| complete).and_then(char::from_u32) {
                Some(character) => {
                    out.push_str(&regex::escape(character.encode_utf8(&mut [0; 4])));
                    Ok(())
                }
                None => Err(r"\xHH or \x{HHHH}".to_owned()),
            }
        }
        Some(character) if character.is_ascii_alphanumeric() || character == '_' => Err(format!(
            r"a class in brackets, such as [[:digit:]]: POSIX syntax has no \{character}"
        )),
        Some(character) => {
            out.push_str(&regex::escape(character.encode_utf8(&mut [0; 4])));
            Ok(())
        }
    }
}

/// A set, behind its `[`.
fn set(rest: &mut Characters<'_>, out: &mut String) -> Result<(), String> {
    out.push('[');
    if rest.peek() == Some(&'^') {
        rest.next();
        out.push('^');
    }
    let mut first = true;
    loop {
        match rest.next() {
            None => return Err("a closing ]".to_owned()),
            Some(']') if !first => {
                out.push(']');
                return Ok(());
            }
            Some('[') if rest.peek() == Some(&':') => {
                rest.next();
                let name: String = rest.by_ref().take_while(|&next| next != ':').collect();
                let known = name.trim_start_matches('^');
                let classes = [
                    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower",
                    "print", "punct", "space", "upper", "word", "xdigit",
                ];
                if !classes.contains(&known) || rest.next() != Some(']') {
                    return Err(format!("a class such as [:digit:], not [:{name}:]"));
                }
                out.push_str(&format!("[:{name}:]"));
            }
            Some('\\') => escape(rest, out)?,
            // A range, or a hyphen at either end.
            Some('-') if first || rest.peek() == Some(&']') => out.push_str(r"\-"),
            Some('-') => out.push('-'),
            Some(other) => out.push_str(&regex::escape(other.encode_utf8(&mut [0; 4]))),
        }
        first = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fits(pattern: &str, text: &str) -> bool {
        let regex = compile(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
        matches(&regex, text.as_bytes())
    }

    #[test]
    fn the_whole_value_has_to_fit() {
        for (pattern, text, expected) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("a|b", "b", true),
            ("a|b", "bx", false),
            ("a|ab", "ab", true),
            (".*cat.*", "/bin/cat x", true),
            ("", "", true),
            ("", "x", false),
            (".", "\n", false),
            ("^a$", "a", true),
            // Anchors are of lines, the whole value is the whole text.
            ("a\n^b", "a\nb", true),
            ("[0-9]{3}", "123", true),
            ("[0-9]{3}", "12", false),
            ("a{,2}", "a{,2}", true),
            ("x{", "x{", true),
            ("a]}", "a]}", true),
            ("[]a]+", "]a", true),
            ("[^]a]", "]", false),
            ("[a-]", "-", true),
            ("[-a]", "-", true),
            ("[[:digit:]]+", "42", true),
            ("[[:^digit:]]+", "42", false),
            // What the crate reads as set operations and nested sets is plain here.
            ("[a&&b]", "&", true),
            ("[a~~b]", "~", true),
            ("[a[b]+", "[[a", true),
            (r"\.", ".", true),
            (r"\.", "x", false),
            (r"\<", "<", true),
            (r"\/\-\x41\x{e9}", "/-A\u{e9}", true),
            (r"[\]\\]+", r"]\", true),
            (r"a\tb", "a\tb", true),
            ("(a(b|c))*", "abac", true),
        ] {
            assert_eq!(fits(pattern, text), expected, "{pattern} on {text:?}");
        }
        assert!(matches(&compile("a.b").unwrap(), b"a\xffb"), "replaced");
    }

    #[test]
    fn what_only_perl_has_is_refused() {
        for (pattern, expected) in [
            (r"\d+", "[[:digit:]]"),
            (r"\bx", "POSIX syntax has no"),
            ("(?i)x", "POSIX syntax has none"),
            ("a*?", "one repetition"),
            ("a{2}{3}", "one repetition"),
            ("a{1001}", "at most 1000"),
            ("*a", "POSIX regular expression"),
            ("(a", "POSIX regular expression"),
            ("a)", "POSIX regular expression"),
            ("[a", "a closing ]"),
            ("[[:nope:]]", "[:digit:]"),
            ("a\\", "behind the backslash"),
            (r"\xg1", r"\xHH"),
            ("[b-a]", "POSIX regular expression"),
        ] {
            let error = compile(pattern).expect_err(pattern);
            assert!(error.contains(expected), "{pattern}: {error}");
        }
        let large = format!("({}){{1000}}", "[a-z]{1000}");
        assert!(compile(&large).unwrap_err().contains("compiles to at most"));
        assert!(compile(&"a".repeat(PATTERN_BYTES_MAX + 1)).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_a_pattern_or_an_error(pattern in "\\PC{0,30}", text in "\\PC{0,10}") {
            if let Ok(regex) = compile(&pattern) {
                matches(&regex, text.as_bytes());
            }
        }

        #[test]
        fn an_escaped_text_fits_itself_only(text in "[ -~]{0,10}", other in "[ -~]{0,10}") {
            let escaped: String = text.chars().map(|character| match character.is_alphanumeric() || character == '_' {
                true => character.to_string(),
                false => format!("\\{character}"),
            }).collect();
            let regex = compile(&escaped).unwrap();
            prop_assert!(matches(&regex, text.as_bytes()));
            prop_assert_eq!(matches(&regex, other.as_bytes()), text == other);
        }
    }
}
