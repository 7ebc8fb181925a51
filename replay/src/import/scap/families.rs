//! Captures as rows of a trace: one declared family per event type, one per state list.
//!
//! A block's parameters are the family's fields under their own names. What a column cannot say
//! stands in the field `more`, which is empty for an ordinary row: that a parameter is absent or
//! empty, a value of unusual width, the upper half of a thread id, a time that is not the row's.
//! [`super::stored::StoredBlock::of`] gives back what [`Families::event`] was given, byte by byte.

use std::{collections::HashMap, sync::Arc};

use trace_format::{
    Declared, EventType, Field, Text, Value,
    columns::{Encoding, Type},
};

use super::{
    bytes::unsigned,
    event::EventBlock,
    lists::{self, FieldType, List, Record},
    more::{More, RAW_BYTES_MAX, Shape},
    schema::{self, Form},
};

/// Ids: events stand at their number from here on, then the lists, then the two of our own.
pub(super) const EVENTS: u16 = 1_024;
pub(super) const LISTS: u16 = 1_984;
pub(super) const PART: u16 = 2_000;
pub(super) const OPAQUE: u16 = 2_001;

/// Every family's name begins with this.
pub const PREFIX: &str = "scap.";

/// Longest value in one row; longer ones are cut into rows of the family `scap.part` before theirs.
const TEXT_BYTES_MAX: usize = trace_format::limits::TEXT_BYTES_MAX;

/// Fields before the parameters of an event.
pub(super) const CPU: usize = 0;
pub(crate) const MORE: usize = 1;
pub(super) const PARAMETERS: usize = 2;

/// The declared types, made when they are first used.
#[derive(Default)]
pub struct Families {
    types: HashMap<u16, Arc<EventType>>,
}

/// A row without its place in time, and the rows that must stand right before it.
pub struct Row {
    pub data: Declared,
    pub parts: Vec<Declared>,
}

impl Families {
    /// The row of an event block; `ahead_ns` is by how much its time is ahead of the row's.
    pub fn event(&mut self, block: &EventBlock<'_>, ahead_ns: i64) -> Row {
        let mut more = More::new(block, ahead_ns);
        let mut parts = Vec::new();
        if block.parameters.is_opaque() {
            let bytes = block.parameters.iter().next().unwrap_or_default();
            let value = self.long(0, bytes, &mut parts);
            if !parts.is_empty() {
                more.shape(0, Shape::Parts);
            }
            let values = vec![
                Value::Unsigned(block.cpu.into()),
                Value::Text(more.finish()),
                Value::Unsigned(block.number.into()),
                Value::Text(value),
            ];
            let data = declared(self.ty(OPAQUE), values);
            return Row { data, parts };
        }
        let schema = &schema::types()[usize::from(block.number)];
        let mut given = block.parameters.iter();
        let mut values = vec![
            Value::Unsigned(block.cpu.into()),
            Value::Text(Text::default()),
        ];
        for (at, parameter) in schema.parameters.iter().enumerate() {
            values.push(match given.next() {
                None => {
                    more.shape(at, Shape::Absent);
                    zero(parameter.form)
                }
                Some(bytes) => match ordinary(parameter.form, bytes) {
                    Some(value) => value,
                    None if bytes.is_empty() => {
                        more.shape(at, Shape::Empty);
                        zero(parameter.form)
                    }
                    None => {
                        self.raw(at, bytes, &mut more, &mut parts);
                        zero(parameter.form)
                    }
                },
            });
            if let Some(Value::Text(text)) = values.last_mut()
                && text.len() > TEXT_BYTES_MAX
            {
                *text = self.long(at, text, &mut parts);
                more.shape(at, Shape::Parts);
            }
        }
        // A newer writer's.
        for (at, bytes) in (schema.parameters.len()..).zip(given) {
            self.raw(at, bytes, &mut more, &mut parts);
        }
        values[MORE] = Value::Text(more.finish());
        let data = declared(self.ty(EVENTS + block.number), values);
        Row { data, parts }
    }

    /// A value that its column cannot hold.
    fn raw(&mut self, at: usize, bytes: &[u8], more: &mut More, parts: &mut Vec<Declared>) {
        if more.raw.len() + bytes.len() <= RAW_BYTES_MAX {
            return more.raw(at, bytes);
        }
        more.shape(at, Shape::RawParts);
        self.cut(at, bytes, parts);
    }

    /// The row of a list's record.
    pub fn record(&mut self, record: &Record<'_>) -> Row {
        let mut shapes = Vec::new();
        let mut parts = Vec::new();
        let mut values = vec![Value::Text(Text::default())];
        let fields = record.list.fields();
        for (at, (value, (_, ty))) in record.values.iter().zip(fields).enumerate() {
            values.push(match (value, ty) {
                (lists::Value::Absent, _) => {
                    shapes.resize(at, Shape::Ordinary as u8);
                    shapes.push(Shape::Absent as u8);
                    match ty {
                        FieldType::Text => Value::Text(Text::default()),
                        FieldType::I64 => Value::Signed(0),
                        _ => Value::Unsigned(0),
                    }
                }
                (lists::Value::Number(number), FieldType::I64) => Value::Signed(*number as i64),
                (lists::Value::Number(number), _) => Value::Unsigned(*number),
                (lists::Value::Bytes(bytes), _) => Value::Text(self.long(at, bytes, &mut parts)),
            });
        }
        values[0] = Value::Text(Text::from(shapes));
        let family = List::ALL.iter().position(|list| *list == record.list);
        let family = LISTS + family.unwrap_or_default() as u16;
        let data = declared(self.ty(family), values);
        Row { data, parts }
    }

    /// A text, or an empty one and its parts where it is too long for a row.
    fn long(&mut self, parameter: usize, bytes: &[u8], parts: &mut Vec<Declared>) -> Text {
        if bytes.len() <= TEXT_BYTES_MAX {
            return Text::new(bytes);
        }
        self.cut(parameter, bytes, parts);
        Text::default()
    }

    fn cut(&mut self, parameter: usize, bytes: &[u8], parts: &mut Vec<Declared>) {
        for piece in bytes.chunks(TEXT_BYTES_MAX) {
            let values = vec![
                Value::Unsigned(parameter as u64),
                Value::Text(Text::new(piece)),
            ];
            parts.push(declared(self.ty(PART), values));
        }
    }

    fn ty(&mut self, family: u16) -> Arc<EventType> {
        let ty = self.types.entry(family);
        Arc::clone(ty.or_insert_with(|| Arc::new(describe(family))))
    }
}

fn declared(ty: Arc<EventType>, values: Vec<Value>) -> Declared {
    Declared::new(ty, values).expect("values are made by the type's own table")
}

/// The declaration of a family.
fn describe(family: u16) -> EventType {
    let cpu = field("cpu", Type::U16, Encoding::Plain);
    let more = field("more", Type::Text, Encoding::Plain);
    let text = |name| field(name, Type::Text, Encoding::Plain);
    let (name, fields) = match family {
        PART => (
            "part",
            vec![
                field("parameter", Type::U16, Encoding::Plain),
                text("bytes"),
            ],
        ),
        OPAQUE => (
            "opaque",
            vec![
                cpu,
                more,
                field("number", Type::U16, Encoding::Plain),
                text("bytes"),
            ],
        ),
        LISTS.. => {
            let list = List::ALL[usize::from(family - LISTS)];
            let fields = list.fields().iter().map(|(name, ty)| match ty {
                FieldType::U8 => field(name, Type::U8, Encoding::Plain),
                FieldType::U16 => field(name, Type::U16, Encoding::Plain),
                FieldType::U32 => field(name, Type::U32, Encoding::Plain),
                FieldType::U64 => field(name, Type::U64, Encoding::Delta),
                FieldType::I64 => field(name, Type::I64, Encoding::Delta),
                FieldType::Text => text(name),
            });
            (list.name(), std::iter::once(more).chain(fields).collect())
        }
        _ => {
            let schema = &schema::types()[usize::from(family - EVENTS)];
            let mut fields = vec![cpu, more];
            for parameter in &schema.parameters {
                let (ty, encoding) = column(parameter.form, parameter.ty);
                let mut name = parameter.name.to_owned();
                while fields.iter().any(|field: &Field| field.name == name) {
                    name.push('_');
                }
                fields.push(field(&name, ty, encoding));
            }
            (schema.symbol, fields)
        }
    };
    EventType::new(family, format!("{PREFIX}{name}"), fields)
        .expect("the tables keep the format's limits")
}

fn field(name: &str, ty: Type, encoding: Encoding) -> Field {
    Field {
        name: name.to_owned(),
        ty,
        encoding,
    }
}

fn column(form: Form, ty: &str) -> (Type, Encoding) {
    match (form, ty) {
        (Form::Unsigned(1), _) => (Type::U8, Encoding::Plain),
        (Form::Unsigned(2), _) => (Type::U16, Encoding::Plain),
        (Form::Unsigned(3..=4), _) => (Type::U32, Encoding::Plain),
        // Addresses, inodes, times, counters.
        (Form::Unsigned(_), _) => (Type::U64, Encoding::Delta),
        (Form::Signed(_), "pid") => (Type::I64, Encoding::Delta),
        (Form::Signed(8), _) => (Type::I64, Encoding::Zigzag),
        (Form::Signed(_), _) => (Type::I32, Encoding::Zigzag),
        (Form::Text | Form::Bytes, _) => (Type::Text, Encoding::Plain),
    }
}

/// The value of a parameter with the bytes its type asks for.
fn ordinary(form: Form, bytes: &[u8]) -> Option<Value> {
    match form {
        Form::Unsigned(width) if bytes.len() == usize::from(width) => {
            Some(Value::Unsigned(unsigned(bytes)))
        }
        Form::Signed(width) if bytes.len() == usize::from(width) => {
            let unused = 64 - 8 * u32::from(width);
            Some(Value::Signed((unsigned(bytes) << unused) as i64 >> unused))
        }
        Form::Text => Some(Value::Text(Text::new(bytes.strip_suffix(&[0])?))),
        Form::Bytes => Some(Value::Text(Text::new(bytes))),
        Form::Unsigned(_) | Form::Signed(_) => None,
    }
}

fn zero(form: Form) -> Value {
    match form {
        Form::Unsigned(_) => Value::Unsigned(0),
        Form::Signed(_) => Value::Signed(0),
        Form::Text | Form::Bytes => Value::Text(Text::default()),
    }
}
