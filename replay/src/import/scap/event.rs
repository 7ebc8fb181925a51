//! One event block: header and parameters, as byte slices of the block.

use super::{
    Reason,
    block::EventForm,
    bytes::{Bytes, unsigned},
    limits::PARAMETERS_MAX,
    schema,
};

/// Of an event's own header: time, thread, length, type; version 2 adds the number of parameters.
const HEADER_BYTES: usize = 22;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventBlock<'a> {
    pub cpu: u16,
    /// Bit 0: feeds state only, hidden from people.
    pub flags: u32,
    /// Since 1970; 0: unknown.
    pub wall_ns: u64,
    pub tid: u64,
    pub number: u16,
    pub parameters: Parameters<'a>,
}

/// The parameters' bytes in the order of the schema. Fewer than the schema has: an older writer;
/// more: a newer one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameters<'a> {
    lengths: &'a [u8],
    width: usize,
    values: &'a [u8],
}

impl<'a> Parameters<'a> {
    /// Of a type that the table does not have: the width of the lengths is unknown, so all bytes
    /// behind the header count as one parameter.
    pub fn is_opaque(&self) -> bool {
        self.width == 0
    }

    pub fn len(&self) -> usize {
        match self.width {
            0 => 1,
            width => self.lengths.len() / width,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let Parameters {
            mut lengths,
            width,
            mut values,
        } = *self;
        let mut opaque = (width == 0).then_some(values);
        std::iter::from_fn(move || {
            if width == 0 {
                return opaque.take();
            }
            let (len, rest) = lengths.split_at_checked(width)?;
            let (value, left) = values.split_at_checked(unsigned(len) as usize)?;
            (lengths, values) = (rest, left);
            Some(value)
        })
    }
}

/// Takes an event block apart; refuses one whose lengths contradict each other.
pub fn parse<'a>(form: EventForm, body: &'a [u8]) -> Result<EventBlock<'a>, Reason> {
    const WHAT: &str = "event";
    let mut bytes = Bytes(body);
    let cpu = bytes.number(2, WHAT)? as u16;
    let flags = match form.flagged {
        true => bytes.number(4, WHAT)? as u32,
        false => 0,
    };
    let event = bytes;
    let wall_ns = bytes.number(8, WHAT)?;
    let tid = bytes.number(8, WHAT)?;
    let len = bytes.number(4, WHAT)? as usize;
    let number = bytes.number(2, WHAT)? as u16;
    let header = HEADER_BYTES + 4 * usize::from(form.counted);
    if len < header || len > event.len() {
        return Err(Reason::Wrong {
            what: "length of an event",
            expected: format!("{header} to {}", event.len()),
            found: len as u64,
        });
    }
    let counted = match form.counted {
        true => Some(bytes.number(4, WHAT)? as u32),
        false => None,
    };
    let rest = &event.0[header..len];
    let parameters = match (schema::types().get(usize::from(number)), counted) {
        (None, _) => Parameters {
            lengths: &[],
            width: 0,
            values: rest,
        },
        (Some(ty), Some(count)) => split(count, if ty.long_lengths { 4 } else { 2 }, rest)?,
        (Some(ty), None) => guess(ty, rest)?,
    };
    Ok(EventBlock {
        cpu,
        flags,
        wall_ns,
        tid,
        number,
        parameters,
    })
}

fn split(count: u32, width: usize, rest: &[u8]) -> Result<Parameters<'_>, Reason> {
    if count > PARAMETERS_MAX {
        return Err(Reason::TooLong {
            what: "list of parameters",
            found: count.into(),
            max: PARAMETERS_MAX.into(),
        });
    }
    let mut bytes = Bytes(rest);
    let lengths = bytes.take(count as usize * width, "lengths of parameters")?;
    let total: u64 = lengths.chunks_exact(width).map(unsigned).sum();
    if total != bytes.len() as u64 {
        return Err(Reason::Wrong {
            what: "sum of the parameters' lengths",
            expected: bytes.len().to_string(),
            found: total,
        });
    }
    Ok(Parameters {
        lengths,
        width,
        values: bytes.0,
    })
}

/// Version 1 does not count the parameters: as many as today's table has, or fewer, so that the
/// lengths add up.
fn guess<'a>(ty: &schema::EventType, rest: &'a [u8]) -> Result<Parameters<'a>, Reason> {
    let width = if ty.long_lengths { 4 } else { 2 };
    let most = ty.parameters.len() as u32;
    // Writers of notifications and infrastructure events counted three bytes too many.
    let shorter = match ty.number {
        280 | 286 => rest.len().checked_sub(3),
        _ => None,
    };
    let fits = |rest: &'a [u8]| {
        (0..=most)
            .rev()
            .find_map(|count| split(count, width, rest).ok())
    };
    fits(rest)
        .or_else(|| fits(&rest[..shorter?]))
        .ok_or_else(|| Reason::Wrong {
            what: "bytes of an event's parameters",
            expected: format!("up to {most} of them that fill it"),
            found: rest.len() as u64,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: EventForm = EventForm {
        counted: false,
        flagged: false,
        large: false,
    };
    const V2: EventForm = EventForm {
        counted: true,
        flagged: false,
        large: false,
    };

    /// An event block's body; `count` and `len` may lie.
    fn body(number: u16, count: Option<u32>, len: Option<u32>, rest: &[u8]) -> Vec<u8> {
        let header = 22 + 4 * u32::from(count.is_some());
        let len = len.unwrap_or(header + rest.len() as u32);
        let mut bytes = 3u16.to_le_bytes().to_vec();
        bytes.extend(77u64.to_le_bytes());
        bytes.extend(5u64.to_le_bytes());
        bytes.extend(len.to_le_bytes());
        bytes.extend(number.to_le_bytes());
        bytes.extend(count.into_iter().flat_map(u32::to_le_bytes));
        bytes.extend(rest);
        bytes
    }

    #[test]
    fn parameters_come_in_order_and_an_empty_one_is_there() {
        let bytes = body(7, Some(3), None, b"\x02\0\0\0\x01\0abc");
        let event = parse(V2, &bytes).unwrap();
        assert_eq!((event.cpu, event.wall_ns, event.tid), (3, 77, 5));
        let parameters: Vec<_> = event.parameters.iter().collect();
        assert_eq!(parameters, [&b"ab"[..], b"", b"c"]);
    }

    #[test]
    fn version_1_finds_how_many_parameters_an_old_writer_had() {
        // Type 3 (open) has six today; this writer knew four.
        let rest = [&[8u8, 0, 2, 0, 4, 0, 4, 0][..], &[1; 18]].concat();
        let bytes = body(3, None, None, &rest);
        let event = parse(V1, &bytes).unwrap();
        assert_eq!(event.parameters.len(), 4);
        let bytes = body(3, None, None, &rest[..rest.len() - 1]);
        assert!(parse(V1, &bytes).is_err());
    }

    #[test]
    fn a_type_of_a_newer_writer_keeps_its_bytes() {
        let bytes = body(60_000, Some(2), None, b"anything");
        let event = parse(V2, &bytes).unwrap();
        assert!(event.parameters.is_opaque());
        assert_eq!(event.parameters.iter().collect::<Vec<_>>(), [b"anything"]);
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let good = b"\x02\0\0\0\x01\0abc";
        for (count, len, rest) in [
            (Some(3), Some(25), &good[..]),          // shorter than its header
            (Some(3), Some(26 + 10), good),          // past the body
            (Some(3), Some(u32::MAX), good),         // absurd
            (Some(5), None, good),                   // lengths past the end
            (Some(PARAMETERS_MAX + 1), None, good),  // more than any event has
            (Some(u32::MAX), None, good),            // count times width overflows
            (Some(3), None, b"\x02\0\0\0\x02\0abc"), // values past the end
            (Some(3), None, b"\x02\0\0\0\0\0abc"),   // bytes nobody owns
        ] {
            let bytes = body(7, count, len, rest);
            assert!(parse(V2, &bytes).is_err(), "{count:?} {len:?} {rest:?}");
        }
        let bytes = body(7, Some(3), None, good);
        for cut in 0..bytes.len() {
            assert!(parse(V2, &bytes[..cut]).is_err(), "cut at {cut}");
        }
        let most = body(
            7,
            Some(PARAMETERS_MAX),
            None,
            &[0; 2 * PARAMETERS_MAX as usize],
        );
        assert_eq!(parse(V2, &most).unwrap().parameters.len(), 256);
    }
}
