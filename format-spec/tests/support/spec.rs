//! Compares SPEC.md with what the codec writes: chunks and a summary are made with every field at a
//! value of its own, and read back by the page's tables alone. `cargo xtask spec-check` and
//! `tests/spec.rs` both call [`compare`].
#![allow(dead_code, reason = "each test program uses its own part of this")]

use serde_json::{Value as Json, json};
use trace_format::{columns::*, limits, *};

use super::{
    forge::{Forge, Section},
    sample, spec_types,
};

/// A page of tables, and what was found wrong with them.
struct Page<'a> {
    text: &'a str,
    problems: Vec<String>,
    tables: std::collections::BTreeSet<String>,
}

/// What differs, one line each, and how many tables were compared.
pub fn compare(text: &str) -> (Vec<String>, usize) {
    let mut page = Page {
        text,
        problems: Vec::new(),
        tables: Default::default(),
    };
    page.columns();
    page.limits();
    page.constants();
    page.frame_header();
    page.parts();
    page.directory();
    page.encodings();
    page.context();
    page.declared_types();
    page.seek_table();
    page.signed_message();
    page.issues();
    (page.problems, page.tables.len())
}

impl Page<'_> {
    /// Rows of the table behind a comment, cells trimmed, header and ruler left out.
    fn table(&mut self, name: &str) -> Vec<Vec<String>> {
        let mark = format!("<!-- {name} -->");
        let Some((_, rest)) = self.text.split_once(&mark) else {
            self.problems.push(format!("there is no {mark}"));
            return Vec::new();
        };
        self.tables.insert(name.to_owned());
        rest.lines()
            .skip_while(|line| !line.starts_with('|'))
            .take_while(|line| line.starts_with('|'))
            .skip(2)
            .map(|line| {
                line.trim_matches('|')
                    .split('|')
                    .map(|cell| cell.trim().trim_matches('`').to_owned())
                    .collect()
            })
            .collect()
    }

    fn same(&mut self, what: &str, page: impl Into<Json>, code: impl Into<Json>) {
        let (page, code) = (page.into(), code.into());
        if page != code {
            self.problems
                .push(format!("{what}: SPEC.md says {page}, the code {code}"));
        }
    }

    /// The first `cells` cells of each row of a table.
    fn same_table(&mut self, name: &str, code: &[Vec<String>]) {
        let cells = code.first().map_or(0, Vec::len);
        let page = self.table(name);
        for row in 0..page.len().max(code.len()) {
            let page = page
                .get(row)
                .map(|row| row[..cells.min(row.len())].to_vec());
            let what = format!("row {} of {name}", row + 1);
            self.same(&what, json!(page), json!(code.get(row)));
        }
    }

    fn columns(&mut self) {
        self.same_table("columns: common", &described(&COMMON));
        for family in &FAMILIES {
            let name = format!("columns: {} {}", family.id, family.name);
            self.same_table(&name, &described(family.fields));
        }
        let tables = self.text.matches("<!-- columns: ").count();
        self.same("tables of columns", tables, FAMILIES.len() + 1);
    }

    fn limits(&mut self) {
        let code: Vec<Vec<String>> = limits::NAMED
            .iter()
            .map(|(name, value)| vec![(*name).to_owned(), value.to_string()])
            .collect();
        self.same_table("limits", &code);
    }

    fn constants(&mut self) {
        let marker = SYNC_MARKER.map(|byte| format!("{byte:02x}")).join(" ");
        for (what, text) in [
            ("the marker", format!("| 8 | 16 | marker | `{marker}`")),
            ("the major version", format!("| 24 | 2 | major | {MAJOR}.")),
            ("the minor version", format!("| 26 | 2 | minor | {MINOR}.")),
            (
                "the frame kinds",
                format!("kind | {KIND_CHUNK} chunk, {KIND_SUMMARY} summary"),
            ),
            ("the frame's magic", format!("`0x{FRAME_MAGIC:08X}`")),
        ] {
            if !self.text.contains(&text) {
                self.problems
                    .push(format!("{what}: SPEC.md does not hold {text:?}"));
            }
        }
    }

    /// The fixed fields of a chunk's frame, by the offsets and sizes of the page.
    fn frame_header(&mut self) {
        let made = Made::new();
        let (bytes, header) = (&made.chunk.bytes, &made.chunk.header);
        let meta_len = made.forge.meta().len();
        let mut end = 0;
        for row in self.table("frame header") {
            let (Ok(offset), Ok(size)) = (row[0].parse::<usize>(), row[1].parse::<usize>()) else {
                continue; // Behind the parts, whose length is in the header.
            };
            let name = row[2].as_str();
            self.same(&format!("offset of {name}"), offset, end);
            end = offset + size;
            let expected = match name {
                "magic" => json!(FRAME_MAGIC),
                "size" => json!(120 + meta_len + 32),
                "marker" => json!(hex(&SYNC_MARKER)),
                "major" => json!(MAJOR),
                "minor" => json!(MINOR),
                "kind" => json!(KIND_CHUNK),
                "–" => json!(0),
                "body_compressed_len" => json!(header.body_compressed_len),
                "body_len" => json!(header.body_len),
                "meta_len" => json!(meta_len),
                "rows" => json!(header.rows),
                "trace_uuid" => json!(hex(&header.trace_uuid)),
                "number" => json!(header.number),
                "first_ns" => json!(header.first_ns),
                "last_ns" => json!(header.last_ns),
                "watermark_ns" => json!(header.watermark_ns),
                "prev_hash" => json!(hex(&header.prev_hash)),
                _ => json!("nothing of that name"),
            };
            let mut field = &bytes[offset..end];
            let found = match size {
                0..=8 => json!(spec_types::number(size, &mut field).unwrap()),
                _ => json!(hex(field)),
            };
            self.same(&format!("{name} in a frame's header"), found, expected);
        }
        self.same("end of the fixed fields", end, 128);
        let hash = &bytes[128 + meta_len..128 + meta_len + 32];
        self.same("the hash in a frame's header", hex(hash), hex(&header.hash));
    }

    fn parts(&mut self) {
        let made = Made::new();
        let header = &made.chunk.header;
        let flags = u32::from(header.has_checkpoint);
        let code = [
            (
                "kinds",
                json!(header.kinds.iter().map(|count| json!({"family": count.kind, "rows": count.rows})).collect::<Vec<_>>()),
            ),
            ("cgroups", json!(header.cgroups)),
            (
                "sequences",
                json!(header.sequences.iter().map(|range| json!({"cpu": range.cpu, "probe": range.probe, "first": range.first, "last": range.last, "rows": range.rows})).collect::<Vec<_>>()),
            ),
            (
                "counts",
                json!({"seen": header.loss.seen, "dropped": header.loss.dropped, "late_rows": header.late_rows, "records": header.records, "texts_cut": header.texts_cut, "flags": flags}),
            ),
            ("processes", json!(header.processes)),
        ];
        self.parts_of("parts of a chunk", &made.forge.parts, &code);

        let summary = &made.summary;
        let index: Vec<Json> = summary
            .index
            .iter()
            .map(|entry| json!({"offset": entry.offset, "number": entry.number, "first_ns": entry.first_ns, "last_ns": entry.last_ns, "watermark_ns": entry.watermark_ns, "header_len": entry.header_len, "body_compressed_len": entry.body_compressed_len, "body_len": entry.body_len, "rows": entry.rows, "kinds": entry.kinds, "has_checkpoint": entry.has_checkpoint}))
            .collect();
        let code = [
            (
                "kinds",
                json!(
                    summary
                        .kinds
                        .iter()
                        .map(|total| json!({"family": total.kind, "rows": total.rows}))
                        .collect::<Vec<_>>()
                ),
            ),
            ("cgroups", json!(summary.cgroups)),
            (
                "totals",
                json!({"rows": summary.rows, "records": summary.records, "late_rows": summary.late_rows, "texts_cut": summary.texts_cut, "body_bytes": summary.body_bytes, "seen": summary.loss.seen, "dropped": summary.loss.dropped, "index_complete": summary.index_complete, "cgroups_complete": summary.cgroups_complete}),
            ),
            ("index", json!(index)),
        ];
        self.parts_of("parts of a summary", &made.summary_parts, &code);
    }

    fn parts_of(&mut self, name: &str, written: &[(u16, Vec<u8>)], code: &[(&str, Json)]) {
        let entry = format!("{{{}}}", self.cells("index entry", &[0, 1]).join(", "));
        let mut tags = Vec::new();
        for row in self.table(name) {
            let what = format!("{} of {name}", row[1]);
            let tag: u16 = row[0].parse().unwrap_or(0);
            tags.push(tag);
            let Some((_, payload)) = written.iter().find(|(written, _)| *written == tag) else {
                // Written on demand only: signatures.
                continue;
            };
            let expected = code.iter().find(|(name, _)| *name == row[1]);
            let ty = spec_types::parse(&row[2].replace("index entry", &entry));
            match (ty.and_then(|ty| ty.read(payload)), expected) {
                (Ok(found), Some((_, expected))) => self.same(&what, found, expected.clone()),
                (Ok(_), None) => self
                    .problems
                    .push(format!("{what}: the code has no such part")),
                (Err(error), _) => self.problems.push(format!("{what}: {error}")),
            }
        }
        for (tag, _) in written {
            if !tags.contains(tag) {
                self.problems
                    .push(format!("{name}: tag {tag} is written and not in SPEC.md"));
            }
        }
    }

    /// The bytes that a signature is over: each field at its offset, and nothing beside them.
    fn signed_message(&mut self) {
        let signed = Signed {
            frame_kind: 2,
            trace_uuid: *b"abcdefghijklmnop",
            chunks: 0x0102_0304_0506_0708,
            head: [0xee; 32],
        };
        let number = signed.chunks.to_le_bytes();
        let fields: [(&str, &[u8]); 5] = [
            ("trailcam-chain-v1` in ASCII", &SIGNED_DOMAIN),
            (
                "kind of the frame that carries it: 1 chunk, 2 summary",
                &[2],
            ),
            ("its trace_uuid", &signed.trace_uuid),
            ("its number", &number),
            ("its prev_hash", &signed.head),
        ];
        let mut message = Vec::new();
        let rows = fields.map(|(meaning, bytes)| {
            let row = [message.len().to_string(), bytes.len().to_string()];
            message.extend_from_slice(bytes);
            [&row[..], &[meaning.to_owned()]].concat()
        });
        self.same_table("signed message", &rows);
        self.same(
            "the signed message",
            json!(message),
            json!(signed.message().to_vec()),
        );
    }

    /// Chosen cells of each row, joined by blanks.
    fn cells(&mut self, name: &str, cells: &[usize]) -> Vec<String> {
        self.table(name)
            .iter()
            .map(|row| {
                cells
                    .iter()
                    .map(|cell| row[*cell].as_str())
                    .collect::<Vec<_>>()
                    .join(" ")
            })
            .collect()
    }

    /// The directory of a body, read by the page's offsets, and the numbers of the encodings in it.
    fn directory(&mut self) {
        let made = Made::new();
        let body = made.forge.body();
        let table = self.table("directory");
        let layout: Result<Vec<(usize, usize, String)>, std::num::ParseIntError> = table
            .iter()
            .map(|row| Ok((row[0].parse()?, row[1].parse()?, row[2].clone())))
            .collect();
        let Ok(layout) = layout else {
            self.problems
                .push(format!("directory: no offsets and sizes in {table:?}"));
            return;
        };
        let len = layout.iter().map(|(_, size, _)| size).sum::<usize>();
        for (index, section) in made.forge.sections.iter().enumerate() {
            let entry = &body[2 + len * index..2 + len * (index + 1)];
            for (offset, size, name) in &layout {
                let found = spec_types::number(*size, &mut &entry[*offset..]).unwrap();
                let expected = match name.as_str() {
                    "kind" => section.kind.into(),
                    "encoding" => section.encoding.into(),
                    "family" => section.family.into(),
                    "column" => section.column.into(),
                    "rows" => section.rows.into(),
                    "len" => section.payload.len() as u64,
                    _ => u64::MAX,
                };
                self.same(&format!("{name} of section {index}"), found, expected);
            }
        }
        self.same("bytes of a directory entry", len, 14);
    }

    fn encodings(&mut self) {
        let names = self.cells("encodings", &[0, 1]);
        let made = Made::new();
        let mut seen = std::collections::BTreeSet::new();
        for Section {
            kind,
            encoding,
            family,
            column,
            ..
        } in &made.forge.sections
        {
            let fields = match family {
                0 => &COMMON[..],
                id => trace_format::columns::family(*id).map_or(&[][..], |family| family.fields),
            };
            let Some(known) = fields
                .iter()
                .find(|known| known.id == *column && *kind != 2)
            else {
                continue;
            };
            let name = match known.encoding {
                Encoding::DeltaBy(_) => "delta by KEY".to_owned(),
                other => format!("{other:?}").to_lowercase(),
            };
            seen.insert(format!("{encoding} {name}"));
        }
        self.same("encodings", json!(names), json!(seen));
    }

    /// Every context record, its payload read by the types of the page.
    fn context(&mut self) {
        let made = Made::new();
        let payload = &made
            .forge
            .sections
            .iter()
            .find(|section| section.kind == 3)
            .unwrap()
            .payload;
        let table = self.table("context");
        let mut seen = vec![false; table.len()];
        let mut at = 0;
        for record in &made.records {
            let header = &payload[at..at + 14];
            let kind = u16::from_le_bytes([header[0], header[1]]);
            let len = u32::from_le_bytes([header[2], header[3], header[4], header[5]]) as usize;
            let bytes = &payload[at + 14..at + 14 + len];
            at += 14 + len;
            self.same("kind of a record", kind, record.body.kind());
            if matches!(record.body, Context::Unknown { .. }) {
                continue;
            }
            let Some(place) = table.iter().position(|row| row[0] == kind.to_string()) else {
                self.problems
                    .push(format!("context kind {kind} is not in SPEC.md"));
                continue;
            };
            seen[place] = true;
            let name = snake(&table[place][1]);
            self.same(
                &format!("name of context kind {kind}"),
                name.as_str(),
                record.body.name(),
            );
            let code = serde_json::to_value(Stored::Record(record)).unwrap();
            match spec_types::fields(&table[place][2]).and_then(|ty| ty.read(bytes)) {
                Ok(found) => self.same(&format!("fields of {name}"), found, code["fields"].clone()),
                Err(error) => self.problems.push(format!("fields of {name}: {error}")),
            }
        }
        for (row, seen) in table.iter().zip(seen) {
            if !seen {
                self.problems
                    .push(format!("context {}: no sample of it is compared", row[1]));
            }
        }
    }

    fn declared_types(&mut self) {
        let all = [
            Type::U8,
            Type::U16,
            Type::U32,
            Type::U64,
            Type::I32,
            Type::I64,
            Type::Bool,
            Type::Text,
        ];
        let fields = all.map(|ty| Field {
            name: format!("{ty:?}"),
            ty,
            encoding: Encoding::Plain,
        });
        let ty = EventType::new(DECLARED, "all", fields.to_vec()).expect("within the limits");
        let stored = serde_json::to_value(&ty).expect("it can be printed");
        let code: Vec<Vec<String>> = all
            .iter()
            .zip(0..)
            .map(|(ty, at): (_, usize)| {
                vec![
                    format!("{ty:?}").to_lowercase(),
                    stored["fields"][at]["type"].to_string(),
                ]
            })
            .collect();
        self.same_table("declared types", &code);
    }

    fn seek_table(&mut self) {
        let made = Made::new();
        let layout = self.cells("seek table", &[0, 1]);
        let expected = [
            "magic 4",
            "size 4",
            "entries 8 each",
            "frames 4",
            "descriptor 1",
            "magic 4",
        ];
        self.same("layout of the seek table", json!(layout), json!(expected));
        let frames = made.seek_table_frames();
        let magics = self.cells("seek table", &[2]);
        let bytes = &made.seek_table;
        let word = |at: usize| spec_types::number(4, &mut &bytes[at..]).unwrap();
        let end = bytes.len();
        self.same(
            "magic of the seek table",
            &*magics[0],
            format!("0x{:X}", word(0)),
        );
        self.same("size of the seek table", word(4), 8 * frames + 9);
        self.same("frames of the seek table", word(end - 9), frames);
        self.same("descriptor of the seek table", bytes[end - 5], 0);
        self.same(
            "end of the seek table",
            magics[5].split('`').next().unwrap(),
            format!("0x{:X}", word(end - 4)),
        );
    }

    fn issues(&mut self) {
        let reason = String::new;
        let code = [
            IssueKind::Damaged { reason: reason() },
            IssueKind::Truncated { reason: reason() },
            IssueKind::ChunksMissing,
            IssueKind::Repeated { number: 0 },
            IssueKind::OtherTrace { uuid: [0; 16] },
            IssueKind::ChainBroken { number: 0 },
            IssueKind::SummaryDisagrees { reason: reason() },
            IssueKind::NoSummary,
            IssueKind::NoSeekTable,
            IssueKind::NotSent { reason: reason() },
        ];
        let mut code: Vec<Vec<String>> = code
            .iter()
            .map(|kind| vec![kind.name().to_owned()])
            .collect();
        code.push(vec!["malformed".to_owned()]);
        self.same_table("issues", &code);
    }
}

fn described(columns: &[Column]) -> Vec<Vec<String>> {
    let all: Vec<Column> = COMMON.iter().chain(columns).copied().collect();
    columns
        .iter()
        .map(|column| {
            let encoding = match column.encoding {
                Encoding::DeltaBy(key) => {
                    let key = all.iter().find(|column| column.id == key);
                    format!("delta by {}", key.map_or("nothing", |key| key.name))
                }
                other => format!("{other:?}").to_lowercase(),
            };
            vec![
                column.id.to_string(),
                column.name.to_owned(),
                format!("{:?}", column.ty).to_lowercase(),
                encoding,
            ]
        })
        .collect()
}

/// `CheckpointBegin` → `checkpoint_begin`.
fn snake(name: &str) -> String {
    let mut snake = String::new();
    for char in name.chars() {
        if char.is_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.extend(char.to_lowercase());
    }
    snake
}

/// A trace of two chunks; the second holds one of everything, and no two fields the same value.
struct Made {
    chunk: SealedChunk,
    forge: Forge,
    records: Vec<ContextRecord>,
    summary: Summary,
    summary_parts: Vec<(u16, Vec<u8>)>,
    seek_table: Vec<u8>,
}

impl Made {
    fn new() -> Made {
        let mut builder = ChunkBuilder::new(*b"spec-of-trailcam", Limits::default());
        let event = |boot_ns: u64, data: EventData| Event {
            boot_ns,
            cpu: 3,
            probe: 2,
            seq: boot_ns * 7,
            tid: 71,
            pid: 70,
            cgroup_id: 8_811,
            data,
        };
        let count = SyscallCount { nr: 5, calls: 6 };
        builder.push(event(90, EventData::SyscallCount(count)));
        let first = builder.seal(2_000);
        for ty in sample::event_types() {
            builder.declare(&ty).expect("a sample fits");
        }
        for record in sample::one_of_each_context() {
            builder.context(record).expect("a sample fits");
        }
        for (row, data) in (0..).zip(sample::one_of_each()) {
            builder.push(event(2_001 + row, data));
        }
        let long = "x".repeat(limits::TEXT_BYTES_MAX + 1);
        let cut = CgroupChange {
            id: 9,
            path: Text::from(long),
            removed: true,
        };
        builder.push(event(1_000, EventData::Cgroup(cut)));
        let chunk = builder.seal(3_000);
        let mut writer = TraceWriter::new(Vec::new());
        writer.write(&first).expect("memory takes it");
        writer.write(&chunk).expect("memory takes it");
        let bytes = writer.finish().expect("memory takes it");
        let end = &bytes[first.bytes.len() + chunk.bytes.len()..];
        let len = u32::from_le_bytes(end[4..8].try_into().expect("4 bytes")) as usize;
        Made {
            forge: Forge::open(&chunk.bytes),
            summary: Summary::read(&end[8..8 + len]).expect("what was just written"),
            summary_parts: super::forge::parts(&end[128..8 + len - 32]),
            seek_table: end[8 + len..].to_vec(),
            records: chunk.decode().expect("what was just sealed").context,
            chunk,
        }
    }

    /// Two for each chunk, one for the summary.
    fn seek_table_frames(&self) -> u64 {
        2 * self.summary.chunks + 1
    }
}
