//! A byte string, shared: what the kernel calls a path, a name or an argument list.

use std::{
    borrow::Borrow,
    fmt,
    hash::{Hash, Hasher},
    ops::Deref,
    sync::Arc,
};

/// Immutable bytes, cheap to clone. Usually UTF-8, but the kernel does not promise it; `Display` replaces what is not.
///
/// The empty string, which most fields of most events hold, is nothing to allocate or count references of.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Text(Option<Arc<[u8]>>);

impl Text {
    pub fn new(bytes: &[u8]) -> Self {
        Text((!bytes.is_empty()).then(|| Arc::from(bytes)))
    }
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }
    /// Whether both are one string in memory. Equal ones need not be.
    pub fn is_same(&self, other: &Text) -> bool {
        match (&self.0, &other.0) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (one, other) => one.is_none() && other.is_none(),
        }
    }
    pub fn to_string_lossy(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(self)
    }
}

/// As its bytes: they are looked up by it.
impl Hash for Text {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Text::new(text.as_bytes())
    }
}
impl From<&[u8]> for Text {
    fn from(bytes: &[u8]) -> Self {
        Text::new(bytes)
    }
}
impl From<Vec<u8>> for Text {
    fn from(bytes: Vec<u8>) -> Self {
        Text((!bytes.is_empty()).then(|| Arc::from(bytes)))
    }
}
impl From<String> for Text {
    fn from(text: String) -> Self {
        Text::from(text.into_bytes())
    }
}
impl Deref for Text {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        self.as_bytes()
    }
}
impl Borrow<[u8]> for Text {
    fn borrow(&self) -> &[u8] {
        self.as_bytes()
    }
}
impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_string_lossy())
    }
}
impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string_lossy())
    }
}

/// For JSON: text as it is; a backslash, and a byte that is not part of valid UTF-8, as `\xNN`.
pub fn escaped(bytes: &[u8]) -> String {
    use fmt::Write;
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for (place, part) in chunk.valid().split('\\').enumerate() {
            text.push_str(if place > 0 { "\\x5c" } else { "" });
            text.push_str(part);
        }
        for byte in chunk.invalid() {
            write!(text, "\\x{byte:02x}").expect("writing into a String cannot fail");
        }
    }
    text
}

impl serde::Serialize for Text {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&escaped(self))
    }
}
pub(crate) fn as_text<S: serde::Serializer>(
    bytes: &[u8],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&escaped(bytes))
}
pub(crate) fn as_hex<S: serde::Serializer, const N: usize>(
    bytes: &[u8; N],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&crate::error::hex(bytes))
}

#[cfg(test)]
mod tests {
    use super::{Text, escaped};
    use std::collections::HashMap;

    #[test]
    fn a_text_is_looked_up_and_sorted_by_its_bytes() {
        let texts = ["", "a", "ab", "b"].map(Text::from);
        assert!(texts.is_sorted());
        let places: HashMap<Text, usize> = texts.into_iter().zip(0..).collect();
        for (bytes, place) in [&b""[..], b"a", b"ab", b"b"].into_iter().zip(0..) {
            assert_eq!(places[bytes], place);
            assert_eq!(&*Text::from(bytes.to_vec()), bytes);
        }
        assert_eq!(Text::from(Vec::new()), Text::default());
        assert!(
            Text::from("").is_same(&Text::default()) && !Text::from("a").is_same(&Text::from("a"))
        );
    }

    #[test]
    fn escapes_are_reversible_and_valid_text_is_left_alone() {
        assert_eq!(escaped("/tmp/größe".as_bytes()), "/tmp/größe");
        assert_eq!(escaped(b"a\\b\xff\0"), "a\\x5cb\\xff\0");
    }
}
