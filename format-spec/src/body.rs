//! The section directory at the front of a body; SPEC.md §Body.
//!
//! Sections in order: the time column of every family, dictionary, context, the other columns,
//! sequences. A scan by time alone stops decompressing after the first of these.

use crate::{Error, limits::SECTIONS_MAX, wire::Cursor};

pub const COLUMN: u8 = 1;
pub const DICTIONARY: u8 = 2;
pub const CONTEXT: u8 = 3;
pub const SEQUENCES: u8 = 4;

/// Bytes of one directory entry.
pub const ENTRY_LEN: usize = 14;

/// A directory entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Section {
    pub kind: u8,
    pub encoding: u8,
    pub family: u16,
    pub column: u16,
    pub rows: u32,
    pub len: u32,
}

impl Section {
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[self.kind, self.encoding]);
        out.extend_from_slice(&self.family.to_le_bytes());
        out.extend_from_slice(&self.column.to_le_bytes());
        out.extend_from_slice(&self.rows.to_le_bytes());
        out.extend_from_slice(&self.len.to_le_bytes());
    }
}

/// The directory of `body`, each entry with its payload. The payloads fill the body exactly.
pub fn sections(body: &[u8]) -> Result<Vec<(Section, &[u8])>, Error> {
    const WHAT: &str = "body directory";
    let mut cursor = Cursor::new(WHAT, body);
    let count = cursor.u16()?;
    Error::limit("sections of a body", count.into(), SECTIONS_MAX.into())?;
    let mut directory = Cursor::new(WHAT, cursor.take(usize::from(count) * ENTRY_LEN)?);
    let mut sections = Vec::with_capacity(count.into());
    for _ in 0..count {
        let section = Section {
            kind: directory.u8()?,
            encoding: directory.u8()?,
            family: directory.u16()?,
            column: directory.u16()?,
            rows: directory.u32()?,
            len: directory.u32()?,
        };
        sections.push((section, cursor.take(section.len as usize)?));
    }
    if cursor.left() > 0 {
        return Err(Error::malformed(
            "body",
            cursor.at(),
            "its end",
            format_args!("{} more bytes", cursor.left()),
        ));
    }
    Ok(sections)
}
