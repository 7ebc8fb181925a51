//! Durations as people write them: `500ms`, `30s`, `10m`, `1h`, and a bare number of seconds.

use std::time::Duration;

/// Longer is a slip of the pen.
const MAX: Duration = Duration::from_secs(24 * 3600);

pub fn parse(text: &str) -> Result<Duration, String> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let scale = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => {
            return Err(format!(
                "unknown unit {unit:?}: expected ms, s, m or h, as in 30s"
            ));
        }
    };
    let number: f64 = number
        .parse()
        .map_err(|_| format!("{text:?} is not a duration such as 30s"))?;
    let duration = Duration::try_from_secs_f64(number * scale)
        .map_err(|error| format!("{text:?}: {error}"))?;
    match duration <= MAX {
        true => Ok(duration),
        false => Err(format!("{text:?} is longer than a day")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        let ms = |text| parse(text).map(|duration| duration.as_millis());
        assert_eq!(ms("500ms"), Ok(500));
        assert_eq!(ms("30s"), Ok(30_000));
        assert_eq!(ms("1.5m"), Ok(90_000));
        assert_eq!(ms("24h"), Ok(86_400_000));
        assert_eq!(ms("7"), Ok(7000));
        for bad in ["", "s", "3d", "-1s", "25h", "1..2s", "inf"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
