//! The section directory at the front of a body; SPEC.md §Body.
//!
//! Sections in order: time, family, dictionary, context, the other common columns, the families'
//! columns, sequences. A scan by time alone stops decompressing after the first of these.

use std::collections::BTreeMap;

use crate::{
    Error,
    columns::{self, Column},
    encoding::{Encoder, Encoding},
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

/// Where a section's payload is in the body.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    pub section: Section,
    pub at: usize,
}

/// The directory, taken apart: every section at its place, none twice.
#[derive(Debug, Default)]
pub struct Directory {
    pub dictionary: Option<Entry>,
    pub context: Option<Entry>,
    pub sequences: Option<Entry>,
    /// By family and column.
    pub columns: BTreeMap<(u16, u16), Entry>,
    /// Of the whole body.
    pub len: usize,
}

impl Directory {
    /// Bytes of the directory in a body that starts with `bytes`, at least two.
    pub fn bytes(bytes: [u8; 2]) -> Result<usize, Error> {
        let count = u16::from_le_bytes(bytes);
        Error::limit("sections of a body", count.into(), SECTIONS_MAX.into())?;
        Ok(2 + usize::from(count) * ENTRY_LEN)
    }

    /// Reads the directory at the front of `body`.
    pub fn read(front: &[u8]) -> Result<Self, Error> {
        const WHAT: &str = "body directory";
        let mut directory = Cursor::new(WHAT, front);
        let count = directory.u16()?;
        let mut at = Self::bytes(count.to_le_bytes())?;
        let mut body = Directory::default();
        for _ in 0..count {
            let section = Section {
                kind: directory.u8()?,
                encoding: directory.u8()?,
                family: directory.u16()?,
                column: directory.u16()?,
                rows: directory.u32()?,
                len: directory.u32()?,
            };
            let entry = Entry { section, at };
            at += section.len as usize;
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
        body.len = at;
        Ok(body)
    }
}

/// Collects sections for a body. Keeps its buffers from body to body.
#[derive(Default)]
pub struct Writer {
    directory: Vec<Section>,
    payloads: Vec<u8>,
    /// Ends of planes and sections in `payloads`.
    cuts: Vec<usize>,
}

impl Writer {
    pub fn clear(&mut self) {
        self.directory.clear();
        self.payloads.clear();
        self.cuts.clear();
    }

    /// A column; absent when every value is 0, unless it is the time column, which says how many
    /// rows there are.
    pub fn column(&mut self, family: u16, column: &Column, rows: u32, values: &Encoder) {
        let timed = column.id == columns::TIME && rows > 0;
        self.section(
            (COLUMN, column.encoding.number(), family, column.id, rows),
            |out| {
                let any = values.write(out);
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
        let end = self.payloads.len();
        if matches!(kind, COLUMN | SEQUENCES) {
            // What is in front of the planes goes with the section before.
            let planes = (end - start) / (rows as usize).max(1);
            self.cuts
                .extend((1..=planes).rev().map(|plane| end - plane * rows as usize));
        }
        self.cuts.push(end);
        self.directory.push(Section {
            kind,
            encoding,
            family,
            column,
            rows,
            len: (end - start) as u32,
        });
    }

    /// What stands in front of the payloads.
    pub fn directory(&self, out: &mut Vec<u8>) {
        out.clear();
        out.extend_from_slice(&(self.directory.len() as u16).to_le_bytes());
        for section in &self.directory {
            section.write(out);
        }
    }

    pub fn payloads(&self) -> &[u8] {
        &self.payloads
    }

    /// Where planes and sections end in the payloads, ascending.
    pub fn cuts(&self) -> &[usize] {
        &self.cuts
    }
}
