//! The section directory at the front of a body; SPEC.md §Body.
//!
//! Sections in order: time, family, dictionary, context, the other common columns, the families'
//! columns, sequences. A scan by time alone stops decompressing after the first of these.

use std::collections::BTreeMap;

use crate::{
    Error,
    columns::{self, Column},
    encoding::{self, Encoding},
    limits::SECTIONS_MAX,
    wire::Cursor,
};

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

/// A section with its payload.
pub type Entry<'a> = (Section, &'a [u8]);

/// A body taken apart: every section at its place, none twice.
#[derive(Default)]
pub struct Body<'a> {
    pub dictionary: Option<Entry<'a>>,
    pub context: Option<Entry<'a>>,
    pub sequences: Option<Entry<'a>>,
    /// By family and column.
    pub columns: BTreeMap<(u16, u16), Entry<'a>>,
}

impl<'a> Body<'a> {
    /// Reads the directory. The payloads must fill the body exactly.
    pub fn open(body: &'a [u8]) -> Result<Self, Error> {
        const WHAT: &str = "body directory";
        let mut cursor = Cursor::new(WHAT, body);
        let count = cursor.u16()?;
        Error::limit("sections of a body", count.into(), SECTIONS_MAX.into())?;
        let mut directory = Cursor::new(WHAT, cursor.take(usize::from(count) * ENTRY_LEN)?);
        let mut body = Body::default();
        for _ in 0..count {
            let section = Section {
                kind: directory.u8()?,
                encoding: directory.u8()?,
                family: directory.u16()?,
                column: directory.u16()?,
                rows: directory.u32()?,
                len: directory.u32()?,
            };
            let entry = (section, cursor.take(section.len as usize)?);
            let before = match section.kind {
                COLUMN => body.columns.insert((section.family, section.column), entry),
                DICTIONARY => body.dictionary.replace(entry),
                CONTEXT => body.context.replace(entry),
                SEQUENCES => body.sequences.replace(entry),
                _ => continue,
            };
            if before.is_some() {
                return Err(Error::malformed(
                    WHAT,
                    directory.at(),
                    format_args!(
                        "one section of kind {}, family {}, column {}",
                        section.kind, section.family, section.column
                    ),
                    "several",
                ));
            }
        }
        if cursor.left() > 0 {
            return Err(Error::malformed(
                "body",
                cursor.at(),
                "its end",
                format_args!("{} more bytes", cursor.left()),
            ));
        }
        Ok(body)
    }
}

/// Collects sections for a body. Keeps its buffers from body to body.
#[derive(Default)]
pub struct Writer {
    directory: Vec<Section>,
    payloads: Vec<u8>,
}

impl Writer {
    pub fn clear(&mut self) {
        self.directory.clear();
        self.payloads.clear();
    }

    /// A column, its values turned into their transform in place; absent when every value is 0,
    /// unless it is the time column, which says how many rows there are.
    pub fn column(&mut self, family: u16, column: &Column, values: &mut [u64], keys: &[u64]) {
        let rows = values.len() as u32;
        let timed = column.id == columns::TIME && rows > 0;
        self.section(
            (COLUMN, column.encoding.number(), family, column.id, rows),
            |out| {
                let any = encoding::encode(column.encoding, values, keys, out);
                if timed && !any {
                    // Value 0, no planes.
                    out.extend_from_slice(&[0; 9]);
                }
                any || timed
            },
        );
    }

    /// The dictionary or context section.
    pub fn plain(&mut self, kind: u8, rows: u32, fill: impl FnOnce(&mut Vec<u8>)) {
        self.section((kind, 0, 0, 0, rows), |out| {
            fill(out);
            rows > 0
        });
    }

    /// The sequence section.
    pub fn sequences(&mut self, column: u16, rows: u32, fill: impl FnOnce(&mut Vec<u8>) -> bool) {
        let encoding = Encoding::Sequence.number();
        self.section((SEQUENCES, encoding, 0, column, rows), fill);
    }

    /// `fill` says whether the section is to be kept.
    fn section(
        &mut self,
        (kind, encoding, family, column, rows): (u8, u8, u16, u16, u32),
        fill: impl FnOnce(&mut Vec<u8>) -> bool,
    ) {
        let start = self.payloads.len();
        if !fill(&mut self.payloads) {
            self.payloads.truncate(start);
            return;
        }
        self.directory.push(Section {
            kind,
            encoding,
            family,
            column,
            rows,
            len: (self.payloads.len() - start) as u32,
        });
    }

    /// The whole body.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&(self.directory.len() as u16).to_le_bytes());
        for section in &self.directory {
            section.write(out);
        }
        out.extend_from_slice(&self.payloads);
    }
}
