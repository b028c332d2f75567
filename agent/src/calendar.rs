//! The Gregorian calendar, as far as moments are written and read with it.

/// Days of a year.
pub(crate) const fn days_of_year(year: i64) -> i64 {
    if (year % 4 == 0 && year % 100 != 0) || year % 400 == 0 {
        366
    } else {
        365
    }
}

/// Days of a month, which is one of 1 to 12.
pub(crate) const fn days_of_month(year: i64, month: i64) -> i64 {
    match month {
        2 => days_of_year(year) - 337,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}
