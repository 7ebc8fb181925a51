//! A row group in the making: what the rows gave, column by column, until the group is full and its rows
//! are put into the order in which they are stored.
//!
//! Rows come in the order of time, from all threads of a host in turns. What one thread does resembles what
//! it did before: stored thread by thread, each in its order of time, most columns are long runs or short
//! cycles, and the file is half the size. A column holds only the values that there are; where there is
//! none, it takes a bit.

use arrow::{
    array::{
        Array, ArrayRef, BooleanArray, DictionaryArray, Int32Array, Int64Array, StringArray,
        TimestampNanosecondArray, UInt64Array, new_null_array,
    },
    buffer::{BooleanBuffer, NullBuffer},
    error::ArrowError,
};
use hashbrown::HashMap;
use std::sync::Arc;

use super::{
    Error, Row, Table,
    batches::data_type,
    table::{Actor, Head},
    texts::Texts,
};
use crate::{
    event_json::fields_text,
    event_view::{Cell, ColumnType},
};

/// Rows in a group, the unit that readers skip. Full of plain system calls, it takes 55 MB until it is
/// encoded.
pub const ROWS_MAX: usize = 262_144;
/// Different texts that a group holds: one with unusually many of them ends early.
const TEXT_BYTES_MAX: usize = 16 << 20;
/// The column whose equal values are kept together, in tables that have it.
const TOGETHER: &str = "tid";

/// The rows so far.
pub struct Group {
    heads: Vec<Head>,
    columns: Vec<Column>,
    together: Option<usize>,
    rows: usize,
    text_bytes: usize,
    /// Where an actor's pid leads: the last of those that lead there.
    known: Vec<Option<Known>>,
}

/// An actor's values, with the numbers of their columns.
struct Known {
    actor: Actor,
    values: Vec<(usize, u64)>,
}

/// Actors that are at hand: more than those that take turns on a host's CPUs.
const KNOWN: usize = 64;

/// A full group: its columns, and the order in which they are stored.
pub struct Full {
    pub columns: Vec<Column>,
    pub order: Arc<Order>,
}

/// The order in which rows are stored.
pub struct Order {
    rows: usize,
    /// The place of each of those that came. `None`: they stay as they came.
    places: Option<Vec<u32>>,
}

impl Group {
    pub fn new(table: &Table) -> Group {
        Group {
            columns: table.heads.iter().map(Column::new).collect(),
            together: table.heads.iter().position(|head| head.name == TOGETHER),
            heads: table.heads.clone(),
            rows: 0,
            text_bytes: 0,
            known: (0..KNOWN).map(|_| None).collect(),
        }
    }

    pub fn add(&mut self, row: &dyn Row) -> Result<(), Error> {
        let (columns, at, text_bytes) = (&mut self.columns, self.rows, &mut self.text_bytes);
        let mut put = |number: usize, cell: Cell<'_>| {
            *text_bytes += columns[number].put(at, cell);
            Ok(())
        };
        match row.actor() {
            None => row.cells(&mut put)?,
            Some(actor) => {
                row.own_cells(&mut put)?;
                self.add_actor(row, actor)?;
            }
        }
        self.rows += 1;
        Ok(())
    }

    fn add_actor(&mut self, row: &dyn Row, actor: Actor) -> Result<(), Error> {
        let (columns, at) = (&mut self.columns, self.rows);
        let place = &mut self.known[actor.pid as usize % KNOWN];
        if let Some(known) = place
            && known.actor == actor
        {
            for (number, value) in &known.values {
                columns[*number].put_value(at, *value);
            }
            return Ok(());
        }
        let mut values = Vec::new();
        row.actor_cells(&mut |number, cell| {
            let column = &mut columns[number];
            let before = column.values.len();
            self.text_bytes += column.put(at, cell);
            if column.values.len() > before {
                values.extend(column.values.last().map(|value| (number, *value)));
            }
            Ok(())
        })?;
        *place = Some(Known { actor, values });
        Ok(())
    }

    pub fn is_full(&self) -> bool {
        self.rows >= ROWS_MAX || self.text_bytes >= TEXT_BYTES_MAX
    }

    /// What is there, if anything; what comes next is another group's.
    pub fn take(&mut self) -> Option<Full> {
        let rows = std::mem::take(&mut self.rows);
        self.text_bytes = 0;
        // Texts are numbered anew.
        self.known.fill_with(|| None);
        if rows == 0 {
            return None;
        }
        let places = self
            .together
            .map(|column| self.columns[column].places(rows));
        let anew = self.heads.iter().map(Column::new).collect();
        Some(Full {
            columns: std::mem::replace(&mut self.columns, anew),
            order: Arc::new(Order { rows, places }),
        })
    }
}

/// A column of a group.
pub struct Column {
    head: Head,
    /// Of the rows that have one, in their order: a signed number's bits, a flag's 0 or 1, a text's number.
    values: Vec<u64>,
    /// Which rows have one: a bit for each, as far as there are any.
    present: Vec<u64>,
    texts: Option<Box<Texts>>,
}

impl Column {
    fn new(head: &Head) -> Column {
        Column {
            head: *head,
            values: Vec::new(),
            present: Vec::new(),
            texts: (head.ty == ColumnType::Text).then(Box::default),
        }
    }

    /// Takes a row's cell; bytes of a text that is new.
    #[inline]
    fn put(&mut self, row: usize, cell: Cell<'_>) -> usize {
        let value = match (self.head.ty, cell) {
            (_, Cell::Null) => return 0,
            // Times after 2262 do not fit a signed nanosecond count.
            (ColumnType::Time, Cell::Time(wall_ns)) => match i64::try_from(wall_ns) {
                Ok(_) => wall_ns,
                Err(_) => return 0,
            },
            (ColumnType::Unsigned, Cell::Unsigned(value)) => value,
            (ColumnType::Signed, Cell::Signed(value)) => value as u64,
            (ColumnType::Flag, Cell::Flag(value)) => value.into(),
            (ColumnType::Text, Cell::Text(text)) => return self.put_text(row, text),
            (ColumnType::Text, Cell::Made(text)) => return self.put_text(row, text.as_bytes()),
            (ColumnType::Text, Cell::Fields(declared)) => {
                return self.put_text(row, fields_text(declared).as_bytes());
            }
            (ty, cell) => unreachable!("column {} is {ty:?} and gave {cell:?}", self.head.name),
        };
        self.put_value(row, value);
        0
    }

    #[inline]
    fn put_text(&mut self, row: usize, text: &[u8]) -> usize {
        let Some(texts) = &mut self.texts else {
            unreachable!("column {} is of texts", self.head.name)
        };
        let before = texts.bytes();
        let number = texts.number(text);
        let new = texts.bytes() - before;
        self.put_value(row, number as u64);
        new
    }

    #[inline]
    fn put_value(&mut self, row: usize, value: u64) {
        let word = row / 64;
        if self.present.len() <= word {
            self.present.resize(word + 1, 0);
        }
        self.present[word] |= 1 << (row % 64);
        self.values.push(value);
    }

    /// The rows that have a value, and the values.
    fn each(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        let words = self.present.iter().enumerate();
        let rows = words.flat_map(|(at, word)| {
            let mut left = *word;
            std::iter::from_fn(move || {
                let bit = left.trailing_zeros() as usize;
                left &= left.checked_sub(1)?;
                Some(at * 64 + bit)
            })
        });
        rows.zip(self.values.iter().copied())
    }

    /// Where each row goes when equal values of this column are put together, the smaller ones first, and
    /// rows with the same value stay in their order. No value is 0.
    fn places(&self, rows: usize) -> Vec<u32> {
        let mut values = vec![0; rows];
        self.each().for_each(|(row, value)| values[row] = value);
        // How many there are of each, then where the next of each goes.
        let mut next: HashMap<u64, u32> = HashMap::new();
        for same in values.chunk_by(|a, b| a == b) {
            *next.entry(same[0]).or_default() += same.len() as u32;
        }
        let mut different: Vec<u64> = next.keys().copied().collect();
        different.sort_unstable();
        let mut from = 0;
        for value in different {
            if let Some(next) = next.get_mut(&value) {
                from += std::mem::replace(next, from);
            }
        }
        let mut places = Vec::with_capacity(rows);
        for same in values.chunk_by(|a, b| a == b) {
            let next = next.entry(same[0]).or_default();
            places.extend(*next..*next + same.len() as u32);
            *next += same.len() as u32;
        }
        places
    }

    /// The column in that order.
    pub fn array(mut self, order: &Order) -> Result<ArrayRef, ArrowError> {
        let ty = data_type(self.head.ty);
        if self.values.is_empty() {
            return Ok(new_null_array(&ty, order.rows));
        }
        let texts = self.texts.take().map(|mut texts| texts.take());
        Ok(match self.head.ty {
            ColumnType::Time => {
                let (values, nulls) = self.stored(order, |value| value as i64);
                let times = TimestampNanosecondArray::try_new(values.into(), nulls)?;
                Arc::new(times.with_data_type(ty))
            }
            ColumnType::Unsigned => {
                let (values, nulls) = self.stored(order, |value| value);
                Arc::new(UInt64Array::try_new(values.into(), nulls)?)
            }
            ColumnType::Signed => {
                let (values, nulls) = self.stored(order, |value| value as i64);
                Arc::new(Int64Array::try_new(values.into(), nulls)?)
            }
            ColumnType::Flag => {
                let (values, nulls) = self.stored(order, |value| value != 0);
                Arc::new(BooleanArray::new(BooleanBuffer::from(values), nulls))
            }
            ColumnType::Text => {
                let (keys, nulls) = self.stored(order, |value| value as i32);
                let keys = Int32Array::try_new(keys.into(), nulls)?;
                let texts = texts.unwrap_or_else(|| StringArray::new_null(0));
                Arc::new(DictionaryArray::try_new(
                    keys,
                    Arc::new(texts) as Arc<dyn Array>,
                )?)
            }
        })
    }

    /// Values at their places, and which places have one.
    fn stored<T: Clone + Default>(
        &self,
        order: &Order,
        of: impl Fn(u64) -> T,
    ) -> (Vec<T>, Option<NullBuffer>) {
        let place = |row: usize| {
            order
                .places
                .as_ref()
                .map_or(row, |places| places[row] as usize)
        };
        let mut values = vec![T::default(); order.rows];
        if self.values.len() == order.rows {
            for (row, value) in self.values.iter().enumerate() {
                values[place(row)] = of(*value);
            }
            return (values, None);
        }
        let mut present = vec![0u64; order.rows.div_ceil(64)];
        for (row, value) in self.each() {
            let place = place(row);
            values[place] = of(value);
            present[place / 64] |= 1 << (place % 64);
        }
        let present = BooleanBuffer::new(present.into(), 0, order.rows);
        (values, Some(NullBuffer::new(present)))
    }
}
