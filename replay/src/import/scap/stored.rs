//! Rows of an imported trace as what they stand for: blocks, records of lists, parts of long values.

use trace_format::{Declared, EventType, Text, Value};

use super::{
    families::{CPU, EVENTS, LISTS, MORE, OPAQUE, PARAMETERS, PART, PREFIX},
    lists::List,
    more::{MoreRead, Shape},
    schema::{self, Form},
};

/// The rows of `scap.part` that stand before a thread's next block.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parts(Vec<(u64, Text)>);

impl Parts {
    /// Takes a row; false where it is no part.
    pub fn take(&mut self, data: &Declared) -> bool {
        match data.values() {
            [Value::Unsigned(parameter), Value::Text(bytes)]
                if Kind::of(data.ty()) == Some(Kind::Part) =>
            {
                self.0.push((*parameter, bytes.clone()));
                true
            }
            _ => false,
        }
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }

    fn of(&self, at: usize) -> Vec<u8> {
        let parts = self.0.iter().filter(|part| part.0 == at as u64);
        parts.flat_map(|part| part.1.to_vec()).collect()
    }
}

/// One parameter of a stored block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parameter<'a> {
    /// The writer did not know it.
    Absent,
    /// Of zero length: no value.
    Empty,
    Value(&'a Value),
    /// Of unusual width, or of a writer newer than the table.
    Raw(&'a [u8]),
    /// In the rows of `scap.part` before it.
    Parts,
}

/// What a family of a trace stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Event(&'static schema::EventType),
    Opaque,
    List(List),
    Part,
}

impl Kind {
    /// What an import of ours stores under this number.
    pub fn of_number(family: u16) -> Option<Kind> {
        match family {
            PART => Some(Kind::Part),
            OPAQUE => Some(Kind::Opaque),
            LISTS.. => List::ALL
                .get(usize::from(family - LISTS))
                .copied()
                .map(Kind::List),
            EVENTS.. => schema::types()
                .get(usize::from(family - EVENTS))
                .map(Kind::Event),
            _ => None,
        }
    }

    /// Without [`PREFIX`].
    pub fn name(self) -> &'static str {
        match self {
            Kind::Event(schema) => schema.symbol,
            Kind::List(list) => list.name(),
            Kind::Part => "part",
            Kind::Opaque => "opaque",
        }
    }

    /// By the family's name, which is what counts; `None` for families of something else.
    pub fn of(ty: &EventType) -> Option<Kind> {
        let name = ty.name().strip_prefix(PREFIX)?;
        // Our own numbers save the search.
        if let Some(kind) = Kind::of_number(ty.family())
            && kind.name() == name
        {
            return Some(kind);
        }
        match name {
            "part" => return Some(Kind::Part),
            "opaque" => return Some(Kind::Opaque),
            _ => {}
        }
        if let Some(list) = List::ALL.iter().find(|list| list.name() == name) {
            return Some(Kind::List(*list));
        }
        schema::by_symbol(name).map(Kind::Event)
    }
}

/// How many rows of an import are what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counted {
    /// Event blocks of the capture.
    pub blocks: u64,
    /// Events after folding enter into exit: exits, and what has no exit.
    pub events: u64,
    pub state_records: u64,
}

impl Counted {
    pub fn add(&mut self, kind: Kind, rows: u64) {
        match kind {
            Kind::Event(schema) => {
                self.blocks += rows;
                self.events += if schema.has_exit() { 0 } else { rows };
            }
            Kind::Opaque => {
                self.blocks += rows;
                self.events += rows;
            }
            Kind::List(_) => self.state_records += rows,
            Kind::Part => {}
        }
    }
}

/// An event block as it stands in a trace.
pub struct StoredBlock<'a> {
    pub number: u16,
    /// `None`: of a type the table does not have.
    pub schema: Option<&'static schema::EventType>,
    pub cpu: u16,
    pub high: u32,
    pub flags: u32,
    pub ahead_ns: i64,
    values: &'a [Value],
    more: MoreRead<'a>,
}

impl<'a> StoredBlock<'a> {
    /// `None`: the row is no event block, or its family has other fields than that.
    pub fn of(data: &'a Declared) -> Option<StoredBlock<'a>> {
        StoredBlock::of_kind(data, Kind::of(data.ty())?)
    }

    /// The same for a row whose family stands for `kind`.
    pub(crate) fn of_kind(data: &'a Declared, kind: Kind) -> Option<StoredBlock<'a>> {
        let schema = match kind {
            Kind::Event(schema) => Some(schema),
            Kind::Opaque => None,
            Kind::List(_) | Kind::Part => return None,
        };
        let values = data.values();
        let (Value::Unsigned(cpu), Value::Text(more)) = (values.get(CPU)?, values.get(MORE)?)
        else {
            return None;
        };
        let number = match (schema, values.get(PARAMETERS)) {
            (Some(schema), _) => schema.number,
            (None, Some(Value::Unsigned(number))) => *number as u16,
            (None, _) => return None,
        };
        let values = &values[PARAMETERS + usize::from(schema.is_none())..];
        let more = MoreRead::of(more);
        Some(StoredBlock {
            number,
            schema,
            cpu: *cpu as u16,
            high: more.high,
            flags: more.flags,
            ahead_ns: more.ahead_ns,
            values,
            more,
        })
    }

    /// Parameters that the block had or the table has.
    pub fn len(&self) -> usize {
        self.values.len().max(self.more.shapes.len())
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn parameter(&self, at: usize) -> Parameter<'a> {
        match (self.more.shape(at), self.values.get(at)) {
            (Shape::Ordinary, Some(value)) => Parameter::Value(value),
            (Shape::Empty, _) => Parameter::Empty,
            (Shape::Parts | Shape::RawParts, _) => Parameter::Parts,
            (Shape::Raw, _) => {
                let before = self.more.shapes[..at].iter();
                let before = before.filter(|shape| **shape == Shape::Raw as u8).count();
                let raw = self.more.raw.get(before);
                raw.map_or(Parameter::Absent, |raw| Parameter::Raw(raw))
            }
            (Shape::Absent, _) | (Shape::Ordinary, None) => Parameter::Absent,
        }
    }

    /// By its name in the table.
    pub fn named(&self, name: &str) -> Parameter<'a> {
        let parameters = self.schema.map_or(&[][..], |schema| &schema.parameters);
        match parameters.iter().position(|known| known.name == name) {
            Some(at) => self.parameter(at),
            None => Parameter::Absent,
        }
    }

    /// The parameter's bytes as they were in the capture; `parts` are those of the rows before.
    pub fn bytes(&self, at: usize, parts: &Parts) -> Option<Vec<u8>> {
        let form = self
            .schema
            .and_then(|schema| schema.parameters.get(at))
            .map_or(Form::Bytes, |parameter| parameter.form);
        match self.parameter(at) {
            Parameter::Absent => None,
            Parameter::Empty => Some(Vec::new()),
            Parameter::Raw(bytes) => Some(bytes.to_vec()),
            Parameter::Parts | Parameter::Value(Value::Text(_)) => {
                let mut bytes = match self.parameter(at) {
                    Parameter::Value(Value::Text(text)) => text.to_vec(),
                    _ => parts.of(at),
                };
                let ends = form == Form::Text && self.more.shape(at) != Shape::RawParts;
                bytes.extend(ends.then_some(0));
                Some(bytes)
            }
            Parameter::Value(value) => {
                let number = match value {
                    Value::Unsigned(number) => *number,
                    Value::Signed(number) => *number as u64,
                    Value::Bool(flag) => u64::from(*flag),
                    Value::Text(_) => return None,
                };
                let width = match form {
                    Form::Unsigned(width) | Form::Signed(width) => usize::from(width),
                    Form::Text | Form::Bytes => return None,
                };
                Some(number.to_le_bytes()[..width].to_vec())
            }
        }
    }
}

/// A record of a state list as it stands in a trace.
pub struct StoredRecord<'a> {
    pub list: List,
    shapes: &'a [u8],
    values: &'a [Value],
}

impl<'a> StoredRecord<'a> {
    pub fn of(data: &'a Declared) -> Option<StoredRecord<'a>> {
        let Some(Kind::List(list)) = Kind::of(data.ty()) else {
            return None;
        };
        let (Value::Text(shapes), values) = data.values().split_first()? else {
            return None;
        };
        (values.len() == list.fields().len()).then_some(StoredRecord {
            list,
            shapes,
            values,
        })
    }

    /// A field's value; `None`: absent.
    pub fn get(&self, name: &str) -> Option<&'a Value> {
        let fields = self.list.fields();
        let at = fields.iter().position(|field| field.0 == name)?;
        self.values.get(at).filter(|_| !self.is_absent(at))
    }

    fn is_absent(&self, at: usize) -> bool {
        self.shapes.get(at) == Some(&(Shape::Absent as u8))
    }

    pub fn number(&self, name: &str) -> Option<u64> {
        match self.get(name)? {
            Value::Unsigned(number) => Some(*number),
            Value::Signed(number) => Some(*number as u64),
            Value::Bool(flag) => Some((*flag).into()),
            Value::Text(_) => None,
        }
    }

    pub fn text(&self, name: &str) -> Option<&'a Text> {
        match self.get(name)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// What a field of a declared event holds.
pub enum Stored<'a> {
    /// The value in its column.
    Value,
    /// The block or record did not have it.
    Absent,
    /// Zero bytes, or in the rows of `scap.part` before it: there is no value here.
    Empty,
    /// Bytes that its column cannot hold.
    Bytes(&'a [u8]),
}

/// Of any declared event, a capture's or not.
pub enum Fields<'a> {
    Block(StoredBlock<'a>),
    Record(StoredRecord<'a>),
    Plain,
}

impl<'a> Fields<'a> {
    pub fn of(data: &'a Declared) -> Fields<'a> {
        match (StoredBlock::of(data), StoredRecord::of(data)) {
            (Some(block), _) => Fields::Block(block),
            (None, Some(record)) => Fields::Record(record),
            (None, None) => Fields::Plain,
        }
    }

    /// Of the field at this place.
    pub fn at(&self, at: usize) -> Stored<'a> {
        match self {
            Fields::Plain => Stored::Value,
            Fields::Record(record) => match at.checked_sub(1) {
                Some(at) if record.is_absent(at) => Stored::Absent,
                _ => Stored::Value,
            },
            Fields::Block(block) => {
                let before = PARAMETERS + usize::from(block.schema.is_none());
                match at.checked_sub(before).map(|at| block.parameter(at)) {
                    None | Some(Parameter::Value(_)) => Stored::Value,
                    Some(Parameter::Absent) => Stored::Absent,
                    Some(Parameter::Empty | Parameter::Parts) => Stored::Empty,
                    Some(Parameter::Raw(bytes)) => Stored::Bytes(bytes),
                }
            }
        }
    }
}
