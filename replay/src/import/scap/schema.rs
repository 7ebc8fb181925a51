//! The event types: numbers, names and parameters, from the table in `events.txt`.

use std::{collections::HashMap, sync::LazyLock};

/// How a parameter's bytes are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Little-endian, this many bytes.
    Unsigned(u8),
    Signed(u8),
    /// Ends with NUL.
    Text,
    /// As they are.
    Bytes,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    pub name: &'static str,
    /// As the table calls it, such as `flags32` or `socktuple`.
    pub ty: &'static str,
    pub form: Form,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventType {
    pub number: u16,
    /// `NA` for a number that never carries anything.
    pub name: &'static str,
    /// Unique: versions of an event share their name.
    pub symbol: &'static str,
    pub enter: bool,
    /// Its parameter lengths have 32 bits instead of 16.
    pub long_lengths: bool,
    pub parameters: Vec<Parameter>,
}

impl EventType {
    /// An exit follows: not for exits, nor for what is reported once.
    pub fn has_exit(&self) -> bool {
        let exit = types().get(usize::from(self.number) + 1);
        self.enter && exit.is_some_and(|exit| exit.name != "NA")
    }
}

static TYPES: LazyLock<Vec<EventType>> = LazyLock::new(|| {
    let lines = include_str!("events.txt").lines();
    lines
        .filter(|line| !line.starts_with('#'))
        .map(|line| parse(line).expect("events.txt is checked by its tests"))
        .collect()
});

/// Every type, at its number.
pub fn types() -> &'static [EventType] {
    &TYPES
}

/// The type of that symbol.
pub fn by_symbol(symbol: &str) -> Option<&'static EventType> {
    static SYMBOLS: LazyLock<HashMap<&str, u16>> = LazyLock::new(|| {
        let symbols = types().iter().map(|ty| (ty.symbol, ty.number));
        symbols.collect()
    });
    types().get(usize::from(*SYMBOLS.get(symbol)?))
}

fn parse(line: &'static str) -> Option<EventType> {
    let mut words = line.split(' ');
    let number = words.next()?.parse().ok()?;
    let (name, symbol, marks) = (words.next()?, words.next()?, words.next()?);
    let parameters = words
        .map(|word| {
            let (name, ty) = word.split_once(':')?;
            let form = form(ty)?;
            Some(Parameter { name, ty, form })
        })
        .collect::<Option<_>>()?;
    Some(EventType {
        number,
        name,
        symbol,
        enter: marks.contains('E'),
        long_lengths: marks.contains('L'),
        parameters,
    })
}

fn form(ty: &str) -> Option<Form> {
    Some(match ty {
        "uint8" | "sigtype" | "l4proto" | "sockfamily" | "flags8" | "enumflags8" => {
            Form::Unsigned(1)
        }
        "uint16" | "syscallid" | "port" | "flags16" | "enumflags16" => Form::Unsigned(2),
        "uint32" | "bool" | "flags32" | "enumflags32" | "uid" | "gid" | "mode" | "sigset"
        | "ipv4addr" => Form::Unsigned(4),
        "uint64" | "reltime" | "abstime" | "double" => Form::Unsigned(8),
        "int8" => Form::Signed(1),
        "int16" => Form::Signed(2),
        "int32" | "fd32" | "pid32" => Form::Signed(4),
        "int64" | "errno" | "fd" | "pid" => Form::Signed(8),
        "charbuf" | "fspath" | "fsrelpath" => Form::Text,
        "bytebuf" | "sockaddr" | "socktuple" | "fdlist" | "dyn" | "charbufarray"
        | "charbuf_pair_array" | "ipv6addr" | "ipv4net" | "ipv6net" | "ipaddr" | "ipnet" => {
            Form::Bytes
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_line_of_the_table_parses_and_stands_at_its_number() {
        for (line, number) in include_str!("events.txt").lines().skip(2).zip(0u16..) {
            let ty = parse(line).unwrap_or_else(|| panic!("{line}"));
            assert_eq!(ty.number, number);
            // Enter events are even, exit events odd.
            assert_eq!(ty.enter, number % 2 == 0, "{line}");
        }
        let symbols: HashSet<_> = types().iter().map(|ty| ty.symbol).collect();
        assert_eq!(symbols.len(), types().len());
        assert_eq!(types()[293].symbol, "syscall_execve_19_x");
        assert_eq!(types()[293].parameters.len(), 31);
    }
}
