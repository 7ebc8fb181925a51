//! Text appended to a line without the formatter: what is printed for every event, a million times a
//! second. Each function appends exactly what `write!` would.

use std::io::Write;

use crate::{findings::one_line as escaped, time};

/// `{value}`.
#[inline]
pub fn decimal(mut value: u64, out: &mut Vec<u8>) {
    if value < 10 {
        return out.push(b'0' + value as u8);
    }
    // u64::MAX has 20 digits.
    let mut digits = [0; 20];
    let mut start = digits.len();
    while value >= 10 {
        start -= 2;
        digits[start..start + 2].copy_from_slice(&PAIRS[(value % 100) as usize]);
        value /= 100;
    }
    if value > 0 {
        start -= 1;
        digits[start] = b'0' + value as u8;
    }
    out.extend_from_slice(&digits[start..]);
}

/// 00 to 99.
const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[0; 2]; 100];
    let mut number = 0;
    while number < pairs.len() {
        pairs[number] = [b'0' + (number / 10) as u8, b'0' + (number % 10) as u8];
        number += 1;
    }
    pairs
};

/// `{value}`.
pub fn signed(value: i64, out: &mut Vec<u8>) {
    if value < 0 {
        out.push(b'-');
    }
    decimal(value.unsigned_abs(), out);
}

/// `{value}`.
pub fn flag(value: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(match value {
        true => &b"true"[..],
        false => b"false",
    });
}

/// `{value:#x}`.
pub fn hexadecimal(mut value: u64, out: &mut Vec<u8>) {
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
    out.extend_from_slice(b"0x");
    out.extend_from_slice(&digits[start..]);
}

/// Bytes from a trace as part of one line: what is no text replaced, what would break the line escaped.
pub fn one_line(bytes: &[u8], out: &mut Vec<u8>) {
    if bytes.iter().all(|byte| matches!(byte, b' '..=b'~')) {
        out.extend_from_slice(bytes);
    } else {
        out.extend_from_slice(escaped(&String::from_utf8_lossy(bytes)).as_bytes());
    }
}

/// `{text:<width$}`, on one line.
pub fn one_line_padded(text: &str, width: usize, out: &mut Vec<u8>) {
    let start = out.len();
    one_line(text.as_bytes(), out);
    let written = String::from_utf8_lossy(&out[start..]).chars().count();
    out.extend(std::iter::repeat_n(b' ', width.saturating_sub(written)));
}

/// [`time::show`]; `of_second` remembers the last second's text.
pub fn time(wall_ns: Option<u64>, boot_ns: u64, of_second: &mut OfSecond, out: &mut Vec<u8>) {
    let Some(wall_ns) = wall_ns else {
        // Writing into memory cannot fail.
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
    out.extend_from_slice(of_second.text.as_bytes());
    let rest = (wall_ns % time::SECOND_NS) as u32;
    let pair = |at: u32| PAIRS[(rest / at % 100) as usize];
    let mut digits = [b'0' + (rest / 100_000_000) as u8; NANOSECONDS + 1];
    digits[1..3].copy_from_slice(&pair(1_000_000));
    digits[3..5].copy_from_slice(&pair(10_000));
    digits[5..7].copy_from_slice(&pair(100));
    digits[7..9].copy_from_slice(&pair(1));
    digits[NANOSECONDS] = b'Z';
    out.extend_from_slice(&digits);
}

/// Digits of a second's fraction.
const NANOSECONDS: usize = 9;

/// The text of a second: most events share it with the one before.
#[derive(Default)]
pub struct OfSecond {
    second: Option<u64>,
    text: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn appended(append: impl Fn(&mut Vec<u8>)) -> String {
        let mut out = b"before ".to_vec();
        append(&mut out);
        String::from_utf8(out.split_off("before ".len())).unwrap()
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
            let mut text = Vec::new();
            time(Some(wall_ns), 7, &mut of_second, &mut text);
            assert_eq!(text, time::show(Some(wall_ns), 7).into_bytes());
        }
        let mut text = Vec::new();
        time(None, 7, &mut of_second, &mut text);
        assert_eq!(text, time::show(None, 7).into_bytes());
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
