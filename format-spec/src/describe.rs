//! An event by the names of SPEC.md: for tools that print or export any event without knowing it.

use crate::{
    Event, Text,
    columns::{self, Column, Type},
    event::EventData,
    rows::{Dictionary, family_of, put_common, put_fields},
};

/// A column's value in its type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Unsigned(u64),
    Signed(i64),
    Bool(bool),
    Text(Text),
}

impl Value {
    /// From its 64 bits in a column; `text` reads the dictionary.
    pub(crate) fn of(ty: Type, number: u64, text: impl FnOnce(u64) -> Text) -> Value {
        match ty {
            Type::U8 | Type::U16 | Type::U32 | Type::U64 => Value::Unsigned(number),
            Type::I32 | Type::I64 => Value::Signed(number as i64),
            Type::Bool => Value::Bool(number != 0),
            Type::Text => Value::Text(text(number)),
        }
    }

    /// Its 64 bits in a column.
    pub(crate) fn number(&self, dictionary: &mut Dictionary) -> u64 {
        match self {
            Value::Unsigned(number) => *number,
            Value::Signed(number) => *number as u64,
            Value::Bool(flag) => (*flag).into(),
            Value::Text(text) => dictionary.id(text),
        }
    }

    pub(crate) fn fits(&self, ty: Type) -> bool {
        match (self, ty) {
            (Value::Unsigned(number), Type::U8) => u8::try_from(*number).is_ok(),
            (Value::Unsigned(number), Type::U16) => u16::try_from(*number).is_ok(),
            (Value::Unsigned(number), Type::U32) => u32::try_from(*number).is_ok(),
            (Value::Signed(number), Type::I32) => i32::try_from(*number).is_ok(),
            (Value::Unsigned(_), Type::U64)
            | (Value::Signed(_), Type::I64)
            | (Value::Bool(_), Type::Bool)
            | (Value::Text(_), Type::Text) => true,
            _ => false,
        }
    }
}

impl Event {
    /// The family's name, for example `open`.
    pub fn family_name(&self) -> &str {
        match &self.data {
            EventData::Declared(declared) => declared.ty().name(),
            data => native(data).name,
        }
    }

    /// Every column with its value: the common ones, then the family's, in the table's order. The
    /// family is [`Event::family_name`].
    pub fn columns(&self) -> Vec<(&str, Value)> {
        let mut numbers = Vec::with_capacity(columns::COMMON.len());
        put_common(self, &mut numbers);
        let mut all: Vec<(&str, Value)> = columns::COMMON
            .iter()
            .zip(numbers)
            .filter(|(column, _)| column.id != columns::FAMILY)
            .map(|(column, number)| {
                (
                    column.name,
                    Value::of(column.ty, number, |_| Text::default()),
                )
            })
            .collect();
        if let EventData::Declared(declared) = &self.data {
            all.extend(declared.iter().map(|(name, value)| (name, value.clone())));
            return all;
        }
        let mut texts = Dictionary::default();
        let mut numbers = Vec::new();
        put_fields(&self.data, &mut texts, &mut numbers);
        let value = |(column, number): (&'static Column, u64)| {
            (
                column.name,
                Value::of(column.ty, number, |id| texts.text(id)),
            )
        };
        all.extend(native(&self.data).fields.iter().zip(numbers).map(value));
        all
    }
}

fn native(data: &EventData) -> &'static columns::Family {
    columns::family(family_of(data)).expect("every variant of the table has its family")
}
