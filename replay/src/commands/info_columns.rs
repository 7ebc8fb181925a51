//! What the columns of a trace weigh: `replay info --columns`.

use replay::event_view::family_name;
use serde::Serialize;
use std::collections::BTreeMap;
use trace_format::{
    Context, ContextRecord, EventType, SealedChunk, Weighed,
    columns::{COMMON, DECLARED, FIELDS, family},
};

use crate::output::Output;

/// Columns that are told apart: an imported capture has some thousand. Further ones are one line.
const COLUMNS_MAX: usize = 16_384;
const OTHERS: (&str, &str) = ("other", "columns");

/// All of it, the heaviest first.
#[derive(Debug, Serialize)]
pub struct Columns {
    /// Everything that is weighed: the chunks, without summary and seek table.
    stored_bytes: u64,
    families: Vec<Family>,
    columns: Vec<Column>,
}

/// A family's own columns together.
#[derive(Debug, Serialize)]
struct Family {
    /// `common`: columns that all events have. `chunk`: what is no column.
    family: String,
    events: u64,
    stored_bytes: u64,
    /// Of everything weighed, 0 to 1.
    share: f64,
    /// Of this family's events; of all, for `common` and `chunk`.
    bytes_per_event: f64,
}

#[derive(Debug, Serialize)]
struct Column {
    family: String,
    column: String,
    /// Events of the chunks that have the column: it is absent where all its values are 0.
    rows: u64,
    /// Before compression.
    body_bytes: u64,
    stored_bytes: u64,
    share: f64,
    bytes_per_event: f64,
}

#[derive(Default)]
struct Sums {
    rows: u64,
    body_bytes: u64,
    stored_bytes: u64,
}

/// Adds chunk to chunk.
#[derive(Default)]
pub struct Weighing {
    sums: BTreeMap<(String, String), Sums>,
    /// Events by family's name.
    events: BTreeMap<String, u64>,
    /// Chunks that cannot be weighed.
    pub failed: u64,
}

impl Weighing {
    pub fn add(&mut self, chunk: &SealedChunk) {
        let context = chunk.columns().and_then(|columns| columns.context());
        let (Ok(weights), Ok(context)) = (chunk.weights(), context) else {
            self.failed += 1;
            return;
        };
        let names = Names(&context);
        for kinds in &chunk.header.kinds {
            let name = names.family(kinds.kind);
            if self.events.len() < COLUMNS_MAX || self.events.contains_key(&name) {
                *self.events.entry(name).or_default() += u64::from(kinds.rows);
            }
        }
        let of_chunk = |what: &str| ("chunk".to_owned(), what.to_owned());
        let header_bytes = chunk.bytes.len() as u64 - u64::from(chunk.header.body_compressed_len);
        let sums = self.sum(of_chunk("header"));
        sums.stored_bytes += header_bytes;
        for weight in weights {
            let key = match weight.of {
                Weighed::Frame => of_chunk("frame"),
                Weighed::Dictionary => of_chunk("dictionary"),
                Weighed::Context => of_chunk("context"),
                Weighed::Sequences => ("common".to_owned(), "seq".to_owned()),
                Weighed::Column { family, column } => {
                    (names.family(family), names.column(family, column))
                }
            };
            let sums = self.sum(key);
            sums.rows += u64::from(weight.rows);
            sums.body_bytes += weight.raw_bytes;
            sums.stored_bytes += weight.stored_bytes;
        }
    }

    fn sum(&mut self, key: (String, String)) -> &mut Sums {
        let key = match self.sums.len() < COLUMNS_MAX || self.sums.contains_key(&key) {
            true => key,
            false => (OTHERS.0.to_owned(), OTHERS.1.to_owned()),
        };
        self.sums.entry(key).or_default()
    }

    pub fn finish(self) -> Columns {
        let all = self.sums.values().map(|sums| sums.stored_bytes).sum();
        let every_event: u64 = self.events.values().sum();
        let events = |family: &str| self.events.get(family).copied().unwrap_or(every_event);
        let mut families: BTreeMap<&str, u64> = BTreeMap::new();
        for ((family, _), sums) in &self.sums {
            *families.entry(family).or_default() += sums.stored_bytes;
        }
        let mut families: Vec<Family> = families
            .into_iter()
            .map(|(family, stored_bytes)| Family {
                family: family.to_owned(),
                events: events(family),
                stored_bytes,
                share: ratio(stored_bytes, all),
                bytes_per_event: ratio(stored_bytes, events(family)),
            })
            .collect();
        families.sort_by_key(|family| std::cmp::Reverse(family.stored_bytes));
        let mut columns: Vec<Column> = self
            .sums
            .iter()
            .map(|((family, column), sums)| Column {
                family: family.clone(),
                column: column.clone(),
                rows: sums.rows,
                body_bytes: sums.body_bytes,
                stored_bytes: sums.stored_bytes,
                share: ratio(sums.stored_bytes, all),
                bytes_per_event: ratio(sums.stored_bytes, events(family)),
            })
            .collect();
        columns.sort_by_key(|column| std::cmp::Reverse(column.stored_bytes));
        Columns {
            stored_bytes: all,
            families,
            columns,
        }
    }
}

/// Four decimals: a share of a hundredth of a percent.
fn ratio(part: u64, of: u64) -> f64 {
    if of == 0 {
        return 0.0;
    }
    (part as f64 / of as f64 * 1e4).round() / 1e4
}

/// Names of the families and columns in a chunk.
struct Names<'a>(&'a [ContextRecord]);

impl Names<'_> {
    fn declared(&self, id: u16) -> Option<&EventType> {
        self.0.iter().find_map(|record| match &record.body {
            Context::EventType(ty) if ty.family() == id => Some(&**ty),
            _ => None,
        })
    }

    fn family(&self, id: u16) -> String {
        match id {
            0 => "common".to_owned(),
            DECLARED.. => match self.declared(id) {
                Some(ty) => ty.name().to_owned(),
                None => format!("family {id}"),
            },
            _ => family_name(id).to_owned(),
        }
    }

    fn column(&self, id: u16, column: u16) -> String {
        let field = usize::from(column).checked_sub(usize::from(FIELDS));
        let native = match id {
            0 => COMMON.iter().find(|known| known.id == column),
            _ => family(id).and_then(|family| {
                let mut fields = family.fields.iter();
                fields.find(|known| known.id == column)
            }),
        };
        let declared = || {
            let field = self.declared(id)?.fields().get(field?)?;
            Some(field.name.clone())
        };
        match native {
            Some(native) => native.name.to_owned(),
            None => declared().unwrap_or_else(|| format!("column {column}")),
        }
    }
}

/// As a table, behind the rest of `info`.
pub fn print(columns: &Columns, out: &mut Output) -> anyhow::Result<()> {
    out.line("")?;
    out.line(&format!(
        "{:<34} {:>12} {:>6} {:>9}",
        "columns", "bytes", "%", "per event"
    ))?;
    let mut line = |of: &str, bytes: u64, share: f64, each: f64| {
        let share = share * 100.0;
        out.line(&format!("{of:<34} {bytes:>12} {share:>6.2} {each:>9.4}"))
    };
    for family in &columns.families {
        let (bytes, share, each) = (family.stored_bytes, family.share, family.bytes_per_event);
        line(&family.family, bytes, share, each)?;
    }
    for column in &columns.columns {
        let name = format!("{}.{}", column.family, column.column);
        let (bytes, share, each) = (column.stored_bytes, column.share, column.bytes_per_event);
        line(&name, bytes, share, each)?;
    }
    Ok(())
}
