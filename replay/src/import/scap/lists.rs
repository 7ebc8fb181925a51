//! The state lists that stand before the events: machine, processes, descriptors, interfaces, users.
//!
//! Every list is described by a table of fields ([`List::fields`]), and a record is one value per
//! field. A value that the writer's version did not have is [`Value::Absent`]: not zero, not empty.

use super::{
    Reason,
    block::Kind,
    bytes::Bytes,
    limits::{LIST_BYTES_MAX, PATH_BYTES_MAX},
};

/// What a record describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum List {
    Section,
    Machine,
    Process,
    Descriptor,
    Interface,
    User,
    Group,
}

/// The type of a list's field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldType {
    U8,
    U16,
    U32,
    U64,
    I64,
    Text,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    Absent,
    /// Signed ones sign-extended.
    Number(u64),
    Bytes(&'a [u8]),
}

/// One record of a list: a value for each of its [`List::fields`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    pub list: List,
    pub values: Vec<Value<'a>>,
}

use FieldType::*;

type Fields = &'static [(&'static str, FieldType)];

const SECTION: Fields = &[
    ("major", U16),
    ("minor", U16),
    ("length", U64),
    ("options", Text),
];

const MACHINE: Fields = &[
    ("num_cpus", U32),
    ("memory_bytes", U64),
    ("max_pid", U64),
    ("hostname", Text),
    ("boot_ts", U64),
    ("flags", U64),
    ("reserved1", U64),
    ("reserved2", U64),
];

/// From `pidns_init_start_ts` on: the tail of version 9, there as far as the record reaches.
const PROCESS: Fields = &[
    ("tid", U64),
    ("pid", U64),
    ("ptid", U64),
    ("sid", U64),
    ("vpgid", U64),
    ("comm", Text),
    ("exe", Text),
    ("exepath", Text),
    ("args", Text),
    ("cwd", Text),
    ("fdlimit", U64),
    ("flags", U32),
    ("uid", U32),
    ("gid", U32),
    ("vmsize_kb", U32),
    ("vmrss_kb", U32),
    ("vmswap_kb", U32),
    ("pfmajor", U64),
    ("pfminor", U64),
    ("env", Text),
    ("vtid", I64),
    ("vpid", I64),
    ("cgroups", Text),
    ("root", Text),
    ("pidns_init_start_ts", U64),
    ("tty", U32),
    ("loginuid", U32),
    ("exe_writable", U8),
    ("cap_inheritable", U64),
    ("cap_permitted", U64),
    ("cap_effective", U64),
    ("exe_upper_layer", U8),
    ("exe_ino", U64),
    ("exe_ino_ctime", U64),
    ("exe_ino_mtime", U64),
    ("exe_from_memfd", U8),
    ("exe_lower_layer", U8),
    ("pgid", I64),
];
/// Fields before the tail of version 9.
const PROCESS_FIXED: usize = 24;
/// Writers before the tail got its first two fields end their records within this many bytes behind `root`.
const OLD_TAIL_BYTES_MAX: usize = 29;

const DESCRIPTOR: Fields = &[
    ("tid", U64),
    ("fd", I64),
    ("ino", U64),
    ("type", U8),
    ("name", Text),
    ("open_flags", U32),
    ("dev", U32),
    ("sip", Text),
    ("dip", Text),
    ("sport", U16),
    ("dport", U16),
    ("l4proto", U8),
    ("source", U64),
    ("destination", U64),
];

const INTERFACE: Fields = &[
    ("type", U16),
    ("name", Text),
    ("addr", Text),
    ("netmask", Text),
    ("broadcast", Text),
    ("linkspeed", U64),
];

const USER: Fields = &[
    ("uid", U32),
    ("gid", U32),
    ("name", Text),
    ("home", Text),
    ("shell", Text),
];

const GROUP: Fields = &[("gid", U32), ("name", Text)];

impl List {
    pub const ALL: [List; 7] = [
        List::Section,
        List::Machine,
        List::Process,
        List::Descriptor,
        List::Interface,
        List::User,
        List::Group,
    ];

    pub fn name(self) -> &'static str {
        match self {
            List::Section => "section",
            List::Machine => "machine",
            List::Process => "process",
            List::Descriptor => "descriptor",
            List::Interface => "interface",
            List::User => "user",
            List::Group => "group",
        }
    }

    /// Names and types, in the order of a record's values.
    pub fn fields(self) -> &'static [(&'static str, FieldType)] {
        match self {
            List::Section => SECTION,
            List::Machine => MACHINE,
            List::Process => PROCESS,
            List::Descriptor => DESCRIPTOR,
            List::Interface => INTERFACE,
            List::User => USER,
            List::Group => GROUP,
        }
    }
}

/// The records of one block, one after the other. After an error it goes on where the record's own
/// length says so, and ends where there is none.
pub struct Records<'a> {
    kind: Kind,
    left: Bytes<'a>,
    /// Of a descriptor list's process.
    tid: Option<u64>,
    started: bool,
}

impl<'a> Records<'a> {
    /// Of a section, machine or list block; nothing for others.
    pub fn new(kind: Kind, body: &'a [u8]) -> Records<'a> {
        Records {
            kind,
            left: Bytes(body),
            tid: None,
            started: false,
        }
    }

    fn read(&mut self) -> Result<Record<'a>, Reason> {
        match self.kind {
            Kind::Section => section(self.rest()),
            Kind::Machine => machine(self.rest()),
            Kind::Processes(version) => {
                // Version 9 begins with the record's length, itself included.
                let mut bytes = match version {
                    9.. => self.sized(true, "process")?,
                    _ => self.left,
                };
                let record = process(version, &mut bytes)?;
                if version < 9 {
                    self.left = bytes;
                }
                Ok(record)
            }
            Kind::Descriptors(version) => {
                let tid = match self.tid {
                    Some(tid) => tid,
                    None => *self.tid.insert(self.left.number(8, "descriptor list")?),
                };
                if self.left.len() < 4 {
                    self.left = Bytes(&[]);
                    return Err(NO_MORE);
                }
                let mut bytes = match version {
                    2.. => self.sized(true, "descriptor")?,
                    _ => self.left,
                };
                let record = descriptor(version, tid, &mut bytes)?;
                if version < 2 {
                    self.left = bytes;
                }
                Ok(record)
            }
            Kind::Interfaces(version) => {
                // The one length that does not count itself.
                let mut bytes = match version {
                    2.. => self.sized(false, "interface")?,
                    _ => self.left,
                };
                let record = interface(&mut bytes)?;
                if version < 2 {
                    self.left = bytes;
                }
                Ok(record)
            }
            Kind::Users(version) => {
                let mut bytes = match version {
                    2.. => self.sized(true, "user")?,
                    _ => self.left,
                };
                let record = user(&mut bytes)?;
                if version < 2 {
                    self.left = bytes;
                }
                Ok(record)
            }
            Kind::Event(_) | Kind::Unknown(_) => Err(NO_MORE),
        }
    }

    /// The bytes of the next record, which begins with its length.
    fn sized(&mut self, counts_itself: bool, what: &'static str) -> Result<Bytes<'a>, Reason> {
        let whole = self.left;
        let len = self.left.number(4, what)? as usize;
        let len = if counts_itself {
            len.checked_sub(4)
        } else {
            Some(len)
        };
        match len.and_then(|len| self.left.take(len, what).ok()) {
            Some(bytes) => Ok(Bytes(bytes)),
            None => {
                // Where the next record starts is not known.
                self.left = Bytes(&[]);
                Err(Reason::Wrong {
                    what,
                    expected: format!("a length up to {}", whole.len()),
                    found: Bytes(whole.0).number(4, what)?,
                })
            }
        }
    }

    fn rest(&mut self) -> Bytes<'a> {
        std::mem::replace(&mut self.left, Bytes(&[]))
    }

    fn sizes_its_records(&self) -> bool {
        matches!(
            self.kind,
            Kind::Processes(9..)
                | Kind::Descriptors(2..)
                | Kind::Interfaces(2..)
                | Kind::Users(2..)
        )
    }
}

/// Ends the iteration without being an error.
const NO_MORE: Reason = Reason::Skipped { bytes: 0 };

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, Reason>;

    fn next(&mut self) -> Option<Self::Item> {
        let first = !std::mem::replace(&mut self.started, true);
        let whole = matches!(self.kind, Kind::Section | Kind::Machine);
        // Up to three bytes are padding. A descriptor list without its thread is an error.
        if self.left.len() < 4 && !(first && (whole || matches!(self.kind, Kind::Descriptors(_)))) {
            return None;
        }
        match self.read() {
            Ok(record) => Some(Ok(record)),
            Err(NO_MORE) => None,
            Err(reason) => {
                if !self.sizes_its_records() {
                    self.left = Bytes(&[]);
                }
                Some(Err(reason))
            }
        }
    }
}

/// Takes values in the order of the fields.
struct Taking<'a, 'b> {
    bytes: &'b mut Bytes<'a>,
    fields: Fields,
    values: Vec<Value<'a>>,
}

impl<'a, 'b> Taking<'a, 'b> {
    fn new(list: List, bytes: &'b mut Bytes<'a>) -> Self {
        let fields = list.fields();
        Taking {
            bytes,
            fields,
            values: Vec::with_capacity(fields.len()),
        }
    }

    /// The next field, from the bytes.
    fn take(&mut self) -> Result<(), Reason> {
        let (name, ty) = self.fields[self.values.len()];
        let width = match ty {
            U8 => 1,
            U16 => 2,
            U32 => 4,
            U64 | I64 => 8,
            Text => {
                let max = match name {
                    "args" | "env" | "cgroups" => LIST_BYTES_MAX,
                    _ => PATH_BYTES_MAX,
                };
                let text = self.bytes.string(max, name)?;
                self.values.push(Value::Bytes(text));
                return Ok(());
            }
        };
        let number = self.bytes.number(width, name)?;
        self.values.push(Value::Number(number));
        Ok(())
    }

    fn take_many(&mut self, count: usize) -> Result<(), Reason> {
        (0..count).try_for_each(|_| self.take())
    }

    /// The next fields, where this version has them.
    fn take_if(&mut self, there: bool, count: usize) -> Result<(), Reason> {
        match there {
            true => self.take_many(count),
            false => {
                self.absent(count);
                Ok(())
            }
        }
    }

    fn fixed(&mut self, count: usize) -> Result<(), Reason> {
        let name = self.fields[self.values.len()].0;
        let bytes = self.bytes.take(count, name)?;
        self.values.push(Value::Bytes(bytes));
        Ok(())
    }

    fn absent(&mut self, count: usize) {
        self.values
            .extend(std::iter::repeat_n(Value::Absent, count));
    }

    fn finish(mut self, list: List) -> Record<'a> {
        self.absent(self.fields.len() - self.values.len());
        Record {
            list,
            values: self.values,
        }
    }
}

fn section(mut bytes: Bytes<'_>) -> Result<Record<'_>, Reason> {
    bytes.take(4, "section header")?;
    let mut taking = Taking::new(List::Section, &mut bytes);
    taking.take_many(3)?;
    match taking.bytes.len() {
        0 => {}
        options => taking.fixed(options)?,
    }
    Ok(taking.finish(List::Section))
}

fn machine(mut bytes: Bytes<'_>) -> Result<Record<'_>, Reason> {
    let mut taking = Taking::new(List::Machine, &mut bytes);
    taking.take_many(3)?;
    let hostname = taking.bytes.take(128, "hostname")?;
    let len = hostname
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(hostname.len());
    taking.values.push(Value::Bytes(&hostname[..len]));
    while taking.values.len() < MACHINE.len() && taking.bytes.len() >= 8 {
        taking.take()?;
    }
    Ok(taking.finish(List::Machine))
}

fn process<'a>(version: u8, bytes: &mut Bytes<'a>) -> Result<Record<'a>, Reason> {
    let mut taking = Taking::new(List::Process, bytes);
    taking.take_many(3)?;
    taking.take_if(version >= 6, 1)?; // sid
    taking.take_if(version >= 8, 1)?; // vpgid
    taking.take_many(2)?; // comm, exe
    taking.take_if(version >= 7, 1)?; // exepath
    taking.take_many(6)?; // args to gid
    taking.take_if(version >= 2, 5)?; // memory, faults
    taking.take_if(version >= 3, 1)?; // env
    taking.take_if(version >= 4, 3)?; // vtid, vpid, cgroups
    taking.take_if(version >= 5, 1)?; // root
    if version >= 9 {
        debug_assert_eq!(taking.values.len(), PROCESS_FIXED);
        if taking.bytes.len() <= OLD_TAIL_BYTES_MAX {
            taking.absent(2);
        }
        while taking.values.len() < PROCESS.len() && taking.bytes.len() > 0 {
            taking.take()?;
        }
    }
    Ok(taking.finish(List::Process))
}

fn descriptor<'a>(version: u8, tid: u64, bytes: &mut Bytes<'a>) -> Result<Record<'a>, Reason> {
    let mut taking = Taking::new(List::Descriptor, bytes);
    taking.values.push(Value::Number(tid));
    taking.take_many(3)?;
    let Some(Value::Number(ty)) = taking.values.last().copied() else {
        return Err(NO_MORE);
    };
    // Fields in the order of the table: name, open_flags, dev, addresses, ports, protocol, kernel addresses.
    match ty {
        3..=6 => {
            taking.absent(3);
            let width = if matches!(ty, 3 | 5) { 4 } else { 16 };
            let listens = matches!(ty, 5 | 6);
            taking.fixed(width)?;
            if listens {
                taking.absent(1)
            } else {
                taking.fixed(width)?
            }
            taking.take()?;
            taking.take_if(!listens, 1)?;
            taking.take()?;
        }
        8 => {
            // The path stands last in the record and first in the table.
            let source = taking.bytes.number(8, "source")?;
            let destination = taking.bytes.number(8, "destination")?;
            taking.take()?;
            taking.absent(7);
            taking.values.push(Value::Number(source));
            taking.values.push(Value::Number(destination));
        }
        16 => {
            let open_flags = taking.bytes.number(4, "open_flags")?;
            taking.take()?;
            taking.values.push(Value::Number(open_flags));
            // Version 1 has no length that would say whether there is a device.
            taking.take_if(version >= 2 && taking.bytes.len() >= 4, 1)?;
        }
        1 | 2 | 7 | 9..=15 | 17..=21 => taking.take()?,
        // Of a newer writer: its length leads past it.
        _ if version >= 2 => {}
        _ => {
            return Err(Reason::Wrong {
                what: "type of a descriptor",
                expected: "1 to 21".to_owned(),
                found: ty,
            });
        }
    }
    Ok(taking.finish(List::Descriptor))
}

fn interface<'a>(bytes: &mut Bytes<'a>) -> Result<Record<'a>, Reason> {
    const WHAT: &str = "interface";
    let ty = bytes.number(2, WHAT)?;
    let name_len = bytes.number(2, WHAT)? as usize;
    let width = match ty {
        1 | 3 => 4,
        2 | 4 => 16,
        _ => {
            return Err(Reason::Wrong {
                what: "type of an interface",
                expected: "1 to 4".to_owned(),
                found: ty,
            });
        }
    };
    let mut addresses = [&[][..]; 3];
    for address in &mut addresses {
        *address = bytes.take(width, WHAT)?;
    }
    let linkspeed = match ty {
        1 | 2 => Value::Number(bytes.number(8, WHAT)?),
        _ => Value::Absent,
    };
    let name = bytes.take(name_len, WHAT)?;
    let [addr, netmask, broadcast] = addresses.map(Value::Bytes);
    Ok(Record {
        list: List::Interface,
        values: vec![
            Value::Number(ty),
            Value::Bytes(name),
            addr,
            netmask,
            broadcast,
            linkspeed,
        ],
    })
}

fn user<'a>(bytes: &mut Bytes<'a>) -> Result<Record<'a>, Reason> {
    let list = match bytes.number(1, "user")? {
        0 => List::User,
        1 => List::Group,
        found => {
            return Err(Reason::Wrong {
                what: "kind of a user record",
                expected: "0 or 1".to_owned(),
                found,
            });
        }
    };
    let mut taking = Taking::new(list, bytes);
    taking.take_many(list.fields().len())?;
    Ok(taking.finish(list))
}

/// Checks a section header: whether this is scap, and of a version that can be read.
pub fn check_section(body: &[u8]) -> Result<(), super::Error> {
    let magic = body.get(..4).unwrap_or_default();
    if magic == [0x1a, 0x2b, 0x3c, 0x4d] {
        return Err(super::Error::BigEndian);
    }
    let record = Records::new(Kind::Section, body).next();
    match record {
        Some(Ok(Record { values, .. })) if magic == [0x4d, 0x3c, 0x2b, 0x1a] => {
            let number = |at: usize| match values.get(at) {
                Some(Value::Number(number)) => *number as u16,
                _ => 0,
            };
            match (number(0), number(1)) {
                (1, _) => Ok(()),
                (major, minor) => Err(super::Error::Version { major, minor }),
            }
        }
        _ => Err(super::Error::NotScap {
            found: format!("a section header of {:02x?}", &body[..body.len().min(8)]),
        }),
    }
}
