//! Families that a trace describes itself: what an importer keeps under the names of its source.
//!
//! A chunk with rows of such a family holds its [`EventType`] as a context record, so that a chunk
//! decodes alone. SPEC.md §Declared families.

use std::sync::Arc;

use bincode::{Decode, Encode};
use serde::{Serialize, Serializer};

use crate::{
    Error, Value,
    columns::{self, Column, Encoding, Type},
    limits::{FIELDS_MAX, NAME_BYTES_MAX},
};

/// A field of a declared family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    pub name: String,
    pub ty: Type,
    /// Plain, Zigzag or Delta.
    pub encoding: Encoding,
}

/// A family's name and fields, within the format's limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventType {
    family: u16,
    name: String,
    fields: Vec<Field>,
    /// The fields as the codec stores them.
    columns: Vec<Column>,
}

/// As it is in the record.
#[derive(Encode, Decode, Serialize)]
struct Stored {
    family: u16,
    name: String,
    fields: Vec<StoredField>,
}

#[derive(Encode, Decode, Serialize)]
struct StoredField {
    name: String,
    #[serde(rename = "type")]
    ty: u8,
    encoding: u8,
}

const WHAT: &str = "event type record";

impl EventType {
    /// Refuses a family below [`columns::DECLARED`], names and lists beyond their limits, two fields of
    /// one name, and an encoding that needs another column.
    pub fn new(family: u16, name: impl Into<String>, fields: Vec<Field>) -> Result<Self, Error> {
        let name = name.into();
        if family < columns::DECLARED {
            return Err(Error::malformed(
                WHAT,
                0,
                format_args!("a family from {} on", columns::DECLARED),
                family,
            ));
        }
        Error::limit(
            "fields of an event type",
            fields.len() as u64,
            FIELDS_MAX as u64,
        )?;
        for name in fields.iter().map(|field| &field.name).chain([&name]) {
            Error::limit(
                "a name in an event type",
                name.len() as u64,
                NAME_BYTES_MAX as u64,
            )?;
        }
        for (at, field) in fields.iter().enumerate() {
            if fields[..at].iter().any(|before| before.name == field.name) {
                return Err(Error::malformed(
                    WHAT,
                    at,
                    "fields with names of their own",
                    format_args!("two {:?}", field.name),
                ));
            }
        }
        let columns = (columns::FIELDS..)
            .zip(&fields)
            .map(|(id, field)| match field.encoding {
                Encoding::Plain | Encoding::Zigzag | Encoding::Delta => Ok(Column {
                    id,
                    name: "field of a declared family",
                    ty: field.ty,
                    encoding: field.encoding,
                }),
                other => Err(Error::malformed(
                    WHAT,
                    id.into(),
                    "plain, zigzag or delta",
                    format_args!("{other:?}"),
                )),
            })
            .collect::<Result<_, _>>()?;
        Ok(EventType {
            family,
            name,
            fields,
            columns,
        })
    }

    pub fn family(&self) -> u16 {
        self.family
    }
    pub fn name(&self) -> &str {
        &self.name
    }
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }
    pub(crate) fn columns(&self) -> &[Column] {
        &self.columns
    }

    fn stored(&self) -> Stored {
        Stored {
            family: self.family,
            name: self.name.clone(),
            fields: self
                .fields
                .iter()
                .map(|field| StoredField {
                    name: field.name.clone(),
                    ty: field.ty.number(),
                    encoding: field.encoding.number(),
                })
                .collect(),
        }
    }

    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        crate::wire::put(&self.stored(), out);
    }

    /// `None`: a type or encoding that a newer version has.
    pub(crate) fn get(payload: &[u8]) -> Result<Option<EventType>, Error> {
        let stored: Stored = crate::wire::get(WHAT, payload)?;
        let fields: Option<Vec<Field>> = stored
            .fields
            .into_iter()
            .map(|field| {
                Some(Field {
                    name: field.name,
                    ty: Type::of(field.ty)?,
                    encoding: Encoding::of_declared(field.encoding)?,
                })
            })
            .collect();
        fields
            .map(|fields| EventType::new(stored.family, stored.name, fields))
            .transpose()
    }
}

impl Serialize for EventType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.stored().serialize(serializer)
    }
}

/// An event of a declared family: a value for each field, in its field's type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declared {
    ty: Arc<EventType>,
    values: Box<[Value]>,
}

impl Declared {
    /// Refuses another number of values than fields, and a value outside its field's type.
    pub fn new(ty: Arc<EventType>, values: impl Into<Box<[Value]>>) -> Result<Self, Error> {
        let values = values.into();
        if values.len() != ty.fields.len() {
            return Err(Error::malformed(
                "declared event",
                values.len(),
                format_args!("{} values of {}", ty.fields.len(), ty.name),
                values.len(),
            ));
        }
        for (at, (value, field)) in values.iter().zip(&ty.fields).enumerate() {
            if !value.fits(field.ty) {
                return Err(Error::malformed(
                    "declared event",
                    at,
                    format_args!("{:?} in {}.{}", field.ty, ty.name, field.name),
                    format_args!("{value:?}"),
                ));
            }
        }
        Ok(Declared { ty, values })
    }

    /// Values that a column check has already found to be in their types.
    pub(crate) fn of_columns(ty: Arc<EventType>, values: Box<[Value]>) -> Self {
        Declared { ty, values }
    }

    /// Whoever changes values keeps them in their types.
    pub(crate) fn parts_mut(&mut self) -> (&EventType, &mut [Value]) {
        (&self.ty, &mut self.values)
    }

    pub fn ty(&self) -> &Arc<EventType> {
        &self.ty
    }
    /// In the order of the type's fields.
    pub fn values(&self) -> &[Value] {
        &self.values
    }
    pub fn into_values(self) -> Box<[Value]> {
        self.values
    }
    /// The value of the field of that name.
    pub fn get(&self, name: &str) -> Option<&Value> {
        let at = self.ty.fields.iter().position(|field| field.name == name)?;
        Some(&self.values[at])
    }
    /// Every field with its name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.ty
            .fields
            .iter()
            .map(|field| field.name.as_str())
            .zip(&self.values)
    }
}
