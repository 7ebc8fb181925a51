//! The kinds of block by their number.

/// What a block holds. The number after a list is the version of its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Section,
    Machine,
    Processes(u8),
    Descriptors(u8),
    Interfaces(u8),
    Users(u8),
    Event(EventForm),
    Unknown(u32),
}

/// How an event block is laid out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventForm {
    /// The header counts the parameters (version 2 of the block).
    pub counted: bool,
    /// A word of flags stands before the event.
    pub flagged: bool,
    /// May be larger than 64 KiB.
    pub large: bool,
}

pub const SECTION: u32 = 0x0a0d_0d0a;

impl Kind {
    pub fn of(number: u32) -> Kind {
        let event = |counted, flagged, large| {
            Kind::Event(EventForm {
                counted,
                flagged,
                large,
            })
        };
        match number {
            SECTION => Kind::Section,
            0x201 | 0x8002_abcd => Kind::Machine,
            0x202 | 0x8000_abcd => Kind::Processes(1),
            0x207 | 0x8013_abcd => Kind::Processes(2),
            0x209 | 0x8014_abcd => Kind::Processes(3),
            0x210..=0x215 => Kind::Processes((number - 0x210 + 4) as u8),
            0x203 | 0x8001_abcd => Kind::Descriptors(1),
            0x218 => Kind::Descriptors(2),
            0x205 | 0x8011_abcd => Kind::Interfaces(1),
            0x219 => Kind::Interfaces(2),
            0x206 | 0x8012_abcd => Kind::Users(1),
            0x220 => Kind::Users(2),
            0x204 | 0x8010_abcd => event(false, false, false),
            0x208 => event(false, true, false),
            0x216 => event(true, false, false),
            0x217 => event(true, true, false),
            0x221 => event(true, false, true),
            0x222 => event(true, true, true),
            _ => Kind::Unknown(number),
        }
    }
}
