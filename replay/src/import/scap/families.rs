//! Captures as rows of a trace: one declared family per event type, one per state list.
//!
//! A block's parameters are the family's fields under their own names. What a column cannot say
//! stands in the field `more`, which is empty for an ordinary row: that a parameter is absent or
//! empty, a value of unusual width, the upper half of a thread id, a time that is not the row's.
//! [`StoredBlock::of`] gives back what [`Families::event`] was given, byte by byte.

use std::{collections::HashMap, sync::Arc};

use trace_format::{
    Declared, EventType, Field, Text, Value,
    columns::{Encoding, Type},
};

use super::{
    bytes::{Bytes, unsigned},
    event::EventBlock,
    lists::{self, FieldType, List, Record},
    schema::{self, Form},
};

/// Ids: events stand at their number from here on, then the lists, then the two of our own.
const EVENTS: u16 = 1_024;
const LISTS: u16 = 1_984;
const PART: u16 = 2_000;
const OPAQUE: u16 = 2_001;

/// Every family's name begins with this.
pub const PREFIX: &str = "scap.";

/// Longest value in one row; longer ones are cut into rows of the family `scap.part` before theirs.
const TEXT_BYTES_MAX: usize = trace_format::limits::TEXT_BYTES_MAX;

/// Bytes of raw values that `more` takes; further ones become parts.
const RAW_BYTES_MAX: usize = 16 << 10;

/// Fields before the parameters of an event.
const CPU: usize = 0;
const MORE: usize = 1;
pub(super) const PARAMETERS: usize = 2;

/// What `more` is made of: a tag, then its value.
mod tag {
    /// u32: the upper half of the thread id.
    pub const HIGH: u8 = 1;
    /// i64: how much the block's time is ahead of the row's.
    pub const AHEAD: u8 = 2;
    /// u32: the block's flags.
    pub const FLAGS: u8 = 3;
    /// u16 count, then a [`super::Shape`] for each parameter.
    pub const SHAPES: u8 = 4;
    /// u32 length and the bytes: the value of the next parameter of shape raw.
    pub const RAW: u8 = 5;
}

/// How a parameter is stored. Those that `more` does not mention are ordinary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Shape {
    Ordinary = 0,
    /// Zero bytes where the type has some.
    Empty = 1,
    Absent = 2,
    /// In `more`.
    Raw = 3,
    /// In rows of `scap.part`, without the NUL that ends a text.
    Parts = 4,
    /// In rows of `scap.part`, as it is.
    RawParts = 5,
}

impl Shape {
    fn of(number: u8) -> Option<Shape> {
        [
            Shape::Ordinary,
            Shape::Empty,
            Shape::Absent,
            Shape::Raw,
            Shape::Parts,
            Shape::RawParts,
        ]
        .into_iter()
        .find(|shape| *shape as u8 == number)
    }
}

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

/// Writes the field `more`.
struct More {
    head: Vec<u8>,
    shapes: Vec<u8>,
    raw: Vec<u8>,
}

impl More {
    fn new(block: &EventBlock<'_>, ahead_ns: i64) -> More {
        let mut head = Vec::new();
        let high = (block.tid >> 32) as u32;
        if high != 0 {
            head.push(tag::HIGH);
            head.extend(high.to_le_bytes());
        }
        if ahead_ns != 0 {
            head.push(tag::AHEAD);
            head.extend(ahead_ns.to_le_bytes());
        }
        if block.flags != 0 {
            head.push(tag::FLAGS);
            head.extend(block.flags.to_le_bytes());
        }
        More {
            head,
            shapes: Vec::new(),
            raw: Vec::new(),
        }
    }

    fn shape(&mut self, at: usize, shape: Shape) {
        if self.shapes.len() <= at {
            self.shapes.resize(at + 1, Shape::Ordinary as u8);
        }
        self.shapes[at] = shape as u8;
    }

    fn raw(&mut self, at: usize, bytes: &[u8]) {
        self.shape(at, Shape::Raw);
        self.raw.push(tag::RAW);
        self.raw.extend((bytes.len() as u32).to_le_bytes());
        self.raw.extend_from_slice(bytes);
    }

    fn finish(self) -> Text {
        let mut bytes = self.head;
        if !self.shapes.is_empty() {
            bytes.push(tag::SHAPES);
            bytes.extend((self.shapes.len() as u16).to_le_bytes());
            bytes.extend(self.shapes);
        }
        bytes.extend(self.raw);
        Text::from(bytes)
    }
}

/// What `more` says. A field that was not written by [`More`] says as much as can be read.
#[derive(Default)]
struct MoreRead<'a> {
    high: u32,
    ahead_ns: i64,
    flags: u32,
    shapes: &'a [u8],
    raw: Vec<&'a [u8]>,
}

impl<'a> MoreRead<'a> {
    fn of(bytes: &'a [u8]) -> MoreRead<'a> {
        let mut read = MoreRead::default();
        if bytes.is_empty() {
            return read;
        }
        let mut bytes = Bytes(bytes);
        while let Ok(tag) = bytes.number(1, "more")
            && let Some(()) = read.item(tag as u8, &mut bytes)
        {}
        read
    }

    fn item(&mut self, tag: u8, bytes: &mut Bytes<'a>) -> Option<()> {
        const WHAT: &str = "more";
        match tag {
            tag::HIGH => self.high = bytes.number(4, WHAT).ok()? as u32,
            tag::AHEAD => self.ahead_ns = bytes.number(8, WHAT).ok()? as i64,
            tag::FLAGS => self.flags = bytes.number(4, WHAT).ok()? as u32,
            tag::SHAPES => {
                let count = bytes.number(2, WHAT).ok()? as usize;
                self.shapes = bytes.take(count, WHAT).ok()?;
            }
            tag::RAW => {
                let len = bytes.number(4, WHAT).ok()? as usize;
                self.raw.push(bytes.take(len, WHAT).ok()?);
            }
            _ => return None,
        }
        Some(())
    }

    fn shape(&self, at: usize) -> Shape {
        let number = self.shapes.get(at).copied().unwrap_or(0);
        Shape::of(number).unwrap_or(Shape::Absent)
    }
}

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
