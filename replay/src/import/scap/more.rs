//! The field `more` of an event's row: what the columns cannot say of the block. Empty for an ordinary one.

use trace_format::Text;

use super::{bytes::Bytes, event::EventBlock};

/// Bytes of raw values that `more` takes; further ones become parts.
pub const RAW_BYTES_MAX: usize = 16 << 10;

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
pub enum Shape {
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
    pub fn of(number: u8) -> Option<Shape> {
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

/// Writes the field `more`.
pub struct More {
    head: Vec<u8>,
    shapes: Vec<u8>,
    pub raw: Vec<u8>,
}

impl More {
    pub fn new(block: &EventBlock<'_>, ahead_ns: i64) -> More {
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

    pub fn shape(&mut self, at: usize, shape: Shape) {
        if self.shapes.len() <= at {
            self.shapes.resize(at + 1, Shape::Ordinary as u8);
        }
        self.shapes[at] = shape as u8;
    }

    pub fn raw(&mut self, at: usize, bytes: &[u8]) {
        self.shape(at, Shape::Raw);
        self.raw.push(tag::RAW);
        self.raw.extend((bytes.len() as u32).to_le_bytes());
        self.raw.extend_from_slice(bytes);
    }

    pub fn finish(self) -> Text {
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
pub struct MoreRead<'a> {
    pub high: u32,
    pub ahead_ns: i64,
    pub flags: u32,
    pub shapes: &'a [u8],
    pub raw: Vec<&'a [u8]>,
}

impl<'a> MoreRead<'a> {
    pub fn of(bytes: &'a [u8]) -> MoreRead<'a> {
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

    pub fn shape(&self, at: usize) -> Shape {
        let number = self.shapes.get(at).copied().unwrap_or(0);
        Shape::of(number).unwrap_or(Shape::Absent)
    }
}
