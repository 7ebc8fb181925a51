//! An event by the names of SPEC.md: for tools that print or export any event without knowing it.

use crate::{
    Event, Text,
    columns::{self, Column, Type},
    rows::{Dictionary, family_of, put_fields},
};

/// A column's value in its type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Unsigned(u64),
    Signed(i64),
    Bool(bool),
    Text(Text),
}

impl Event {
    /// The family's name, for example `open`.
    pub fn family_name(&self) -> &'static str {
        columns::family(family_of(&self.data))
            .expect("every variant has its family")
            .name
    }

    /// Every column with its value: the common ones, then the family's, in the table's order.
    pub fn columns(&self) -> Vec<(&'static Column, Value)> {
        let fields = columns::family(family_of(&self.data))
            .expect("every variant has its family")
            .fields;
        let mut texts = Dictionary::default();
        let mut numbers = vec![
            self.boot_ns,
            self.tid.into(),
            self.pid.into(),
            self.cgroup_id,
            self.cpu.into(),
            self.probe.into(),
            self.seq,
        ];
        put_fields(self.data.clone(), &mut texts, |number| numbers.push(number));
        let value = |(column, number): (&'static Column, u64)| {
            let value = match column.ty {
                Type::U8 | Type::U16 | Type::U32 | Type::U64 => Value::Unsigned(number),
                Type::I32 | Type::I64 => Value::Signed(number as i64),
                Type::Bool => Value::Bool(number != 0),
                Type::Text => Value::Text(texts.text(number)),
            };
            (column, value)
        };
        columns::COMMON
            .iter()
            .chain(fields)
            .zip(numbers)
            .map(value)
            .collect()
    }
}
