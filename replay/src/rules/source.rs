//! A condition's text with the place in a file that each part came from.
//!
//! Lists are put in as text, before parsing, as Falco does it; appended conditions and exceptions
//! join texts of several places. Errors still have to point at what somebody wrote.

use super::yaml::{File, Node, Place};
use hashbrown::HashMap;
use std::rc::Rc;

/// Where text came from.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    pub file: usize,
    pub node: Rc<Node>,
}

#[derive(Clone, Debug)]
struct Mark {
    /// From this byte of the text on …
    from: usize,
    origin: Origin,
    /// … it is this byte of the scalar; `None`: it was made from the whole value.
    offset: Option<usize>,
    /// The text behind it follows the scalar; otherwise all of it stands for that one place.
    moves: bool,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Source {
    pub text: String,
    marks: Vec<Mark>,
}

/// What stands between words in a condition.
fn delimits(character: char) -> bool {
    character.is_ascii_whitespace() || "(),=".contains(character)
}

impl Mark {
    /// The scalar's byte for a byte of the text.
    fn offset_of(&self, at: usize) -> Option<usize> {
        let moved = if self.moves {
            at.saturating_sub(self.from)
        } else {
            0
        };
        self.offset.map(|offset| offset + moved)
    }
}

impl Source {
    /// What says where a byte of the text came from; text that nobody wrote stands before the first.
    fn mark(&self, at: usize) -> Option<&Mark> {
        self.marks
            .iter()
            .rev()
            .find(|mark| mark.from <= at)
            .or(self.marks.first())
    }

    /// The text of a scalar.
    pub fn scalar(origin: &Origin) -> Source {
        let mut source = Source::default();
        source.push_part(
            origin.node.scalar().unwrap_or_default(),
            origin,
            Some(0),
            true,
        );
        source
    }

    /// Appends text that was made from a value.
    pub fn push(&mut self, text: &str, origin: &Origin) {
        self.push_part(text, origin, None, false);
    }

    fn push_part(&mut self, text: &str, origin: &Origin, offset: Option<usize>, moves: bool) {
        if !text.is_empty() {
            let from = self.text.len();
            self.marks.push(Mark {
                from,
                origin: origin.clone(),
                offset,
                moves,
            });
            self.text.push_str(text);
        }
    }

    /// Text that nobody wrote: it belongs to what stands before it.
    pub fn literal(text: &str) -> Source {
        Source {
            text: text.to_owned(),
            marks: Vec::new(),
        }
    }

    pub fn append(&mut self, other: &Source) {
        let shift = self.text.len();
        self.text.push_str(&other.text);
        self.marks.extend(other.marks.iter().map(|mark| Mark {
            from: mark.from + shift,
            ..mark.clone()
        }));
    }

    /// The file and the place of a byte of the text.
    pub fn locate(&self, at: usize, files: &[File<'_>]) -> Option<(usize, Place)> {
        let mark = self.mark(at)?;
        let file = files.get(mark.origin.file)?;
        let place = match mark.offset_of(at) {
            Some(offset) => file.place_in(&mark.origin.node, offset),
            None => mark.origin.node.at,
        };
        Some((mark.origin.file, place))
    }

    /// The byte of the scalar that a byte of the text came from.
    pub fn offset(&self, at: usize) -> usize {
        self.mark(at)
            .and_then(|mark| mark.offset_of(at))
            .unwrap_or_default()
    }

    /// Puts the items of lists where their names stand.
    pub fn with_lists(
        &self,
        lists: &HashMap<String, String>,
        used: &mut impl FnMut(&str),
    ) -> Source {
        let mut result = Source::default();
        let mut at = 0;
        while at < self.text.len() {
            let rest = &self.text[at..];
            let word_end = rest.find(delimits).unwrap_or(rest.len());
            let (word, items) = match lists.get(&rest[..word_end]) {
                _ if word_end == 0 => (rest.chars().next().map_or(1, char::len_utf8), None),
                items => (word_end, items),
            };
            let Some(items) = items else {
                result.copy(self, at, at + word);
                at += word;
                continue;
            };
            used(&rest[..word]);
            if items.is_empty() {
                at += word;
                // One comma next to it has nothing to separate any more.
                if result.text.trim_end().ends_with(',') {
                    let kept = result.text.trim_end().len() - 1;
                    result.text.truncate(kept);
                } else if self.text[at..].trim_start().starts_with(',') {
                    at += self.text[at..].find(',').map_or(0, |comma| comma + 1);
                }
            } else {
                result.put(items, self, at);
                at += word;
            }
        }
        result
    }

    /// Copies a part of another source, with its places.
    fn copy(&mut self, other: &Source, from: usize, to: usize) {
        if let Some(mark) = other.mark(from) {
            let offset = mark.offset_of(from);
            self.push_part(&other.text[from..to], &mark.origin, offset, mark.moves);
        }
    }

    /// Puts text that all stands for one place of another source.
    fn put(&mut self, text: &str, other: &Source, at: usize) {
        let Some(mark) = other.mark(at) else { return };
        let offset = mark.offset_of(at);
        self.push_part(text, &mark.origin, offset, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> (File<'_>, Source) {
        let file = File { name: "t", text };
        let node = file.parse().unwrap().remove(0);
        let source = Source::scalar(&Origin {
            file: 0,
            node: Rc::new(node),
        });
        (file, source)
    }

    fn expand(condition: &str, lists: &[(&str, &str)]) -> String {
        let lists = lists
            .iter()
            .map(|list| (list.0.to_owned(), list.1.to_owned()))
            .collect();
        let (_, source) = source(condition);
        source.with_lists(&lists, &mut |_| ()).text
    }

    #[test]
    fn lists_replace_whole_words_only() {
        let lists = [("shells", "sh, bash"), ("none", "")];
        assert_eq!(
            expand("proc.name in (shells)", &lists),
            "proc.name in (sh, bash)"
        );
        assert_eq!(
            expand("a in (shells,zsh) and x=shells", &lists),
            "a in (sh, bash,zsh) and x=sh, bash"
        );
        assert_eq!(
            expand("a in (my_shells, shells2)", &lists),
            "a in (my_shells, shells2)"
        );
        assert_eq!(expand("a in (b, none)", &lists), "a in (b)");
        assert_eq!(expand("a in (none, b)", &lists), "a in ( b)");
        assert_eq!(expand("a in (none)", &lists), "a in ()");
        assert_eq!(expand("a in (b, none, c)", &lists), "a in (b, c)");
    }

    #[test]
    fn places_survive_the_expansion() {
        let (file, source) = source("one in (shells) and two");
        let lists = [("shells".to_owned(), "sh, bash, zsh".to_owned())]
            .into_iter()
            .collect();
        let mut used = Vec::new();
        let expanded = source.with_lists(&lists, &mut |name| used.push(name.to_owned()));
        assert_eq!(used, ["shells"]);
        let column = |word: &str| {
            let at = expanded.text.find(word).unwrap();
            expanded
                .locate(at, std::slice::from_ref(&file))
                .unwrap()
                .1
                .column
        };
        assert_eq!(column("one"), 1);
        assert_eq!(column("sh"), 9);
        assert_eq!(
            column("zsh"),
            9,
            "every item stands where its list's name does"
        );
        assert_eq!(column("two"), 21);
    }
}
