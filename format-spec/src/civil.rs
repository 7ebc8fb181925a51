//! Days since 1970 and dates of the proleptic Gregorian calendar, one from the other: what names of files
//! and times in texts are written with.
//!
//! Days are counted in 400-year eras that begin on 1 March, so that the leap day is the last day of a year
//! ("chrono-Compatible Low-Level Date Algorithms", H. Hinnant).

pub const DAY_SECONDS: i64 = 86_400;

/// Days from 1970-01-01 to a date. A day that the month does not have counts on into the next.
pub fn days_of_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Year, month (1 to 12) and day (1 to 31), so many days after 1970-01-01.
pub fn civil_of_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_dates_are_each_others_inverse() {
        assert_eq!(civil_of_days(0), (1970, 1, 1));
        assert_eq!(civil_of_days(11_016), (2000, 2, 29));
        assert_eq!(civil_of_days(-1), (1969, 12, 31));
        for days in -200_000..200_000 {
            let (year, month, day) = civil_of_days(days);
            assert_eq!(days_of_civil(year, month, day), days);
        }
    }
}
