//! Times as people and programs write them: RFC 3339 in UTC with nanoseconds, and the points that
//! `--from` and `--to` take. No time zones and no clock: replay only knows the trace's times.

use std::fmt;
use trace_format::civil::{DAY_SECONDS, civil_of_days, days_of_civil};

pub(crate) const SECOND_NS: u64 = 1_000_000_000;

/// `2026-11-22T17:08:34.123456789Z`.
pub fn rfc3339(wall_ns: u64) -> String {
    let seconds = (wall_ns / SECOND_NS) as i64;
    let (year, month, day) = civil_of_days(seconds.div_euclid(DAY_SECONDS));
    let second_of_day = seconds.rem_euclid(DAY_SECONDS);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:09}Z",
        second_of_day / 3600,
        second_of_day / 60 % 60,
        second_of_day % 60,
        wall_ns % SECOND_NS
    )
}

/// Wall time where the trace knows it, else seconds since boot.
pub fn show(wall_ns: Option<u64>, boot_ns: u64) -> String {
    match wall_ns {
        Some(wall_ns) => rfc3339(wall_ns),
        None => format!("boot+{}.{:09}s", boot_ns / SECOND_NS, boot_ns % SECOND_NS),
    }
}

/// `1h 02m 03.4s`, for summaries.
pub fn duration(ns: u64) -> String {
    let seconds = ns / SECOND_NS;
    let tenths = ns % SECOND_NS / (SECOND_NS / 10);
    match seconds {
        0..60 => format!("{seconds}.{tenths}s"),
        60..3600 => format!("{}m {:02}.{tenths}s", seconds / 60, seconds % 60),
        _ => format!(
            "{}h {:02}m {:02}.{tenths}s",
            seconds / 3600,
            seconds / 60 % 60,
            seconds % 60
        ),
    }
}

/// A point in a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// Nanoseconds since the Unix epoch.
    Wall(u64),
    /// Nanoseconds of the recording host's boot clock.
    Boot(u64),
    /// Nanoseconds after the trace's first record.
    Offset(u64),
}

impl Point {
    /// Whether a time is at or after the point. Where its wall time is not known, no wall time is reached.
    pub fn is_reached(
        self,
        boot_ns: u64,
        wall_ns: impl FnOnce() -> Option<u64>,
        start_ns: u64,
    ) -> bool {
        match self {
            Point::Boot(ns) => boot_ns >= ns,
            Point::Offset(ns) => boot_ns >= start_ns.saturating_add(ns),
            Point::Wall(ns) => wall_ns().is_some_and(|wall_ns| wall_ns >= ns),
        }
    }
}

/// A text that names no point in time.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a time; expected 2026-11-22T17:08:34.5Z, boot+1234.5 (seconds since boot), or 10s, 500ms, 2m, 1h after the trace's start"
)]
pub struct BadPoint(pub String);

impl std::str::FromStr for Point {
    type Err = BadPoint;
    fn from_str(text: &str) -> Result<Point, BadPoint> {
        let bad = || BadPoint(text.to_owned());
        if let Some(seconds) = text.strip_prefix("boot+") {
            return scaled(seconds.strip_suffix('s').unwrap_or(seconds), SECOND_NS)
                .map(Point::Boot)
                .ok_or_else(bad);
        }
        if text.contains('T') {
            return parse_rfc3339(text).map(Point::Wall).ok_or_else(bad);
        }
        let number = text.strip_prefix('+').unwrap_or(text);
        // The longer suffix first: "ms" also ends in "s".
        for (suffix, unit_ns) in [
            ("ms", 1_000_000),
            ("us", 1_000),
            ("ns", 1),
            ("s", SECOND_NS),
            ("m", 60 * SECOND_NS),
            ("h", 3600 * SECOND_NS),
        ] {
            if let Some(digits) = number.strip_suffix(suffix) {
                return scaled(digits, unit_ns).map(Point::Offset).ok_or_else(bad);
            }
        }
        Err(bad())
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Point::Wall(ns) => f.write_str(&rfc3339(*ns)),
            Point::Boot(ns) => f.write_str(&show(None, *ns)),
            Point::Offset(ns) => write!(f, "{} after the start", duration(*ns)),
        }
    }
}

/// A decimal number times a unit, exactly: floats would lose nanoseconds.
fn scaled(number: &str, unit_ns: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty()
        || !digits(whole)
        || !digits(fraction)
        || fraction.len() > 9
        || number.ends_with('.')
    {
        return None;
    }
    let whole: u64 = whole.parse().ok()?;
    let mut part_ns = 0;
    if !fraction.is_empty() {
        let value: u64 = fraction.parse().ok()?;
        let scale = 10u128.pow(fraction.len() as u32);
        part_ns = (u128::from(value) * u128::from(unit_ns) / scale) as u64;
    }
    whole.checked_mul(unit_ns)?.checked_add(part_ns)
}

/// UTC only (`Z`): a trace's times are UTC, and a silent conversion has cost many an analyst an hour.
fn parse_rfc3339(text: &str) -> Option<u64> {
    let body = text.strip_suffix('Z')?;
    let (date, clock) = body.split_once('T')?;
    let mut date = date.splitn(3, '-').map(number::<i64>);
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let mut clock = clock.splitn(3, ':');
    let (hour, minute) = (number::<u64>(clock.next()?)?, number::<u64>(clock.next()?)?);
    let second_ns = match clock.next() {
        Some(seconds) => scaled(seconds, SECOND_NS)?,
        None => 0,
    };
    let valid = (1970..2554).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second_ns < 60 * SECOND_NS;
    let days = valid.then(|| days_of_civil(year, month, day))?;
    // The 31st of June would silently become the 1st of July.
    if civil_of_days(days) != (year, month, day) {
        return None;
    }
    ((days * DAY_SECONDS) as u64 + hour * 3600 + minute * 60)
        .checked_mul(SECOND_NS)?
        .checked_add(second_ns)
}

fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_agree_with_the_calendar() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(
            rfc3339(951_782_400 * SECOND_NS),
            "2000-02-29T00:00:00.000000000Z"
        );
        assert_eq!(rfc3339(u64::MAX), "2554-07-21T23:34:33.709551615Z");
    }

    #[test]
    fn what_is_printed_is_read_back() {
        for ns in [0, 1, 999_999_999, 1_700_000_000_123_456_789] {
            assert_eq!(rfc3339(ns).parse(), Ok(Point::Wall(ns)));
            assert_eq!(show(None, ns).parse(), Ok(Point::Boot(ns)));
        }
        assert_eq!("1.5s".parse(), Ok(Point::Offset(1_500_000_000)));
        assert_eq!("+500ms".parse(), Ok(Point::Offset(500_000_000)));
        assert_eq!("2m".parse(), Ok(Point::Offset(120 * SECOND_NS)));
    }

    #[test]
    fn nonsense_is_refused_and_quoted() {
        for text in [
            "",
            "soon",
            "5",
            "-5s",
            "1.s",
            ".5s",
            "2026-02-30T00:00:00Z",
            "2026-11-22T17:08:34",
            "2026-11-22T25:00:00Z",
            "99999999999999999999s",
            "boot+",
        ] {
            assert_eq!(text.parse::<Point>(), Err(BadPoint(text.to_owned())));
        }
    }
}
