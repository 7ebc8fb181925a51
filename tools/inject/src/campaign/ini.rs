//! Sections of `key = value` lines, with their line numbers; `;` and `#` begin comments.

use std::collections::BTreeMap;

/// A configuration is a page of text.
pub const BYTES_MAX: usize = 1 << 20;

/// By section, then by key: the value and the line it is on.
pub type Sections = BTreeMap<String, BTreeMap<String, (String, usize)>>;

/// What is wrong, and on which line.
pub fn parse(text: &str) -> Result<Sections, (usize, String)> {
    let mut sections = Sections::new();
    let mut current: Option<String> = None;
    if text.len() > BYTES_MAX {
        return Err((1, format!("more than {BYTES_MAX} bytes")));
    }
    for (place, line) in text.lines().enumerate() {
        let number = place + 1;
        let line = line.trim();
        if line.is_empty() || line.starts_with([';', '#']) {
            continue;
        }
        if let Some(rest) = line.strip_prefix('[') {
            let Some(name) = rest.strip_suffix(']') else {
                return Err((number, format!("{line:?} has no closing bracket")));
            };
            let name = name.trim().to_owned();
            if sections.insert(name.clone(), BTreeMap::new()).is_some() {
                return Err((number, format!("section [{name}] is there twice")));
            }
            current = Some(name);
            continue;
        }
        let Some((key, value)) = line.split_once('=') else {
            return Err((
                number,
                format!("{line:?} is neither [section] nor key = value"),
            ));
        };
        let Some(section) = current.as_ref().and_then(|name| sections.get_mut(name)) else {
            return Err((number, format!("{line:?} is in no section")));
        };
        let key = key.trim().to_owned();
        let value = (value.trim().to_owned(), number);
        if section.insert(key.clone(), value).is_some() {
            return Err((number, format!("{key} is there twice")));
        }
    }
    Ok(sections)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_keys_and_comments() {
        let sections = parse("; c\n[a]\nx = 1\n # c\n[b c]\ny=2 = 3\n").unwrap();
        assert_eq!(sections["a"]["x"], ("1".to_owned(), 3));
        assert_eq!(sections["b c"]["y"], ("2 = 3".to_owned(), 6));
    }

    #[test]
    fn mistakes_name_their_line() {
        for (text, line) in [
            ("x = 1", 1),
            ("[a\n", 1),
            ("[a]\nx\n", 2),
            ("[a]\nx=1\nx=2\n", 3),
            ("[a]\n[a]\n", 2),
        ] {
            assert_eq!(parse(text).unwrap_err().0, line, "{text:?}");
        }
        assert!(parse(&" ".repeat(BYTES_MAX + 1)).is_err());
    }
}
