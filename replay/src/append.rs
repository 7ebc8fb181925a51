//! Text appended to a line without the formatter: what is printed for every event, a million times a
//! second. Each function appends exactly what `write!` would.

use std::fmt::Write;

use crate::{findings::one_line as escaped, time};

/// `{value}`.
pub fn decimal(mut value: u64, out: &mut String) {
    // u64::MAX has 20 digits.
    let mut digits = [0; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    ascii(&digits[start..], out);
}

/// `{value}`.
pub fn signed(value: i64, out: &mut String) {
    if value < 0 {
        out.push('-');
    }
    decimal(value.unsigned_abs(), out);
}

/// `{value:#x}`.
pub fn hexadecimal(mut value: u64, out: &mut String) {
    let mut digits = [0; 16];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b"0123456789abcdef"[(value & 0xf) as usize];
        value >>= 4;
        if value == 0 {
            break;
        }
    }
    out.push_str("0x");
    ascii(&digits[start..], out);
}

/// Bytes from a trace as part of one line: what is no text replaced, what would break the line escaped.
pub fn one_line(bytes: &[u8], out: &mut String) {
    if bytes.iter().all(|byte| matches!(byte, b' '..=b'~')) {
        ascii(bytes, out);
    } else {
        out.push_str(&escaped(&String::from_utf8_lossy(bytes)));
    }
}

/// `{text:<width$}`, on one line.
pub fn one_line_padded(text: &str, width: usize, out: &mut String) {
    let start = out.len();
    one_line(text.as_bytes(), out);
    let written = out[start..].chars().count();
    out.extend(std::iter::repeat_n(' ', width.saturating_sub(written)));
}

/// [`time::show`]; `of_second` remembers the last second's text.
pub fn time(wall_ns: Option<u64>, boot_ns: u64, of_second: &mut OfSecond, out: &mut String) {
    let Some(wall_ns) = wall_ns else {
        // Writing into a String cannot fail.
        let _ = write!(out, "{}", time::show(None, boot_ns));
        return;
    };
    let second = wall_ns / time::SECOND_NS;
    if of_second.second != Some(second) {
        // Up to the point before the nanoseconds.
        let text = time::rfc3339(second * time::SECOND_NS);
        of_second.text.clear();
        of_second
            .text
            .push_str(&text[..text.len() - NANOSECONDS - 1]);
        of_second.second = Some(second);
    }
    out.push_str(&of_second.text);
    let mut digits = [0; NANOSECONDS];
    let mut rest = wall_ns % time::SECOND_NS;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    ascii(&digits, out);
    out.push('Z');
}

/// Digits of a second's fraction.
const NANOSECONDS: usize = 9;

/// The text of a second: most events share it with the one before.
#[derive(Default)]
pub struct OfSecond {
    second: Option<u64>,
    text: String,
}

fn ascii(bytes: &[u8], out: &mut String) {
    out.push_str(std::str::from_utf8(bytes).expect("ASCII is UTF-8"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn appended(append: impl Fn(&mut String)) -> String {
        let mut out = "before ".to_owned();
        append(&mut out);
        out.split_off("before ".len())
    }

    #[test]
    fn numbers_are_what_the_formatter_writes() {
        let edges = (0..64).flat_map(|bit| [(1u64 << bit) - 1, 1 << bit, !(1 << bit)]);
        for value in edges.chain([9, 10, 99, 100, 12_345_678_901]) {
            assert_eq!(appended(|out| decimal(value, out)), value.to_string());
            assert_eq!(
                appended(|out| signed(value as i64, out)),
                (value as i64).to_string()
            );
            assert_eq!(
                appended(|out| hexadecimal(value, out)),
                format!("{value:#x}")
            );
        }
    }

    #[test]
    fn times_are_what_show_writes() {
        let mut of_second = OfSecond::default();
        for wall_ns in [
            0,
            1,
            999_999_999,
            1_000_000_000,
            1_700_000_000_123_456_789,
            1_700_000_000_123_456_790,
            1_700_000_001_000_000_000,
            5,
            u64::MAX,
        ] {
            let mut text = String::new();
            time(Some(wall_ns), 7, &mut of_second, &mut text);
            assert_eq!(text, time::show(Some(wall_ns), 7));
        }
        let mut text = String::new();
        time(None, 7, &mut of_second, &mut text);
        assert_eq!(text, time::show(None, 7));
    }

    #[test]
    fn names_stay_on_one_line_and_in_their_column() {
        let names: [&[u8]; 6] = [
            b"",
            b"nginx",
            b"a\nb",
            "größe".as_bytes(),
            b"\xff\x7f",
            b"0123456789abcdef",
        ];
        for name in names {
            let text = String::from_utf8_lossy(name);
            assert_eq!(appended(|out| one_line(name, out)), escaped(&text));
            assert_eq!(
                appended(|out| one_line_padded(&text, 12, out)),
                format!("{:<12}", escaped(&text))
            );
        }
    }
}
