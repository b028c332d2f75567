//! Moments as people and programs write them.
use crate::calendar::{days_of_month, days_of_year};

/// Nanoseconds since 1970 of a moment: RFC 3339, or a number of seconds, milliseconds, microseconds or nanoseconds since 1970,
/// which its size tells apart.
pub(super) fn parse(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    match whole.parse::<u64>() {
        Ok(whole) if fraction.bytes().all(|byte| byte.is_ascii_digit()) => since_1970(whole, fraction),
        _ => rfc3339(text),
    }
}

fn since_1970(whole: u64, fraction: &str) -> Option<i64> {
    // Moments between 1973 and 5138 in each unit.
    let units: [(u64, i64); 3] = [
        (100_000_000_000, 1_000_000_000),
        (100_000_000_000_000, 1_000_000),
        (100_000_000_000_000_000, 1_000),
    ];
    let unit = units.into_iter().find_map(|(end, unit)| (whole < end).then_some(unit));
    let unit = unit.unwrap_or(1);
    // Floating point would round what it is added to.
    let fraction = format!("0.{fraction}").parse::<f64>().ok()? * unit as f64;
    i64::try_from(whole)
        .ok()?
        .checked_mul(unit)?
        .checked_add(fraction as i64)
}

/// `2026-01-31T12:00:00.5Z`, with `+01:00` instead of `Z`, or up to any of its parts.
fn rfc3339(text: &str) -> Option<i64> {
    let (date, time) = text.split_once(['T', 't', ' ']).unwrap_or((text, ""));
    let mut fields = date.split('-').map(digits);
    let (year, month, day) = (fields.next()??, fields.next()??, fields.next()??);
    if fields.next().is_some() || !(1970..=2262).contains(&year) || !(1..=12).contains(&month) {
        return None;
    }
    if !(1..=days_of_month(year, month)).contains(&day) {
        return None;
    }
    let (time, offset_s) = zone(time)?;
    let (clock, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let mut parts = [0, 0, 0];
    let mut given = clock.split(':').filter(|part| !part.is_empty());
    for (part, limit) in parts.iter_mut().zip([23, 59, 60]) {
        if let Some(text) = given.next() {
            *part = digits(text).filter(|value| *value <= limit)?;
        }
    }
    if given.next().is_some() || fraction.len() > 9 {
        return None;
    }
    let nanoseconds = digits(fraction)? * 10_i64.pow(9 - u32::try_from(fraction.len()).ok()?);
    let [hours, minutes, seconds] = parts;
    let seconds = (days(year, month, day) * 24 + hours) * 3600 + minutes * 60 + seconds - offset_s;
    seconds.checked_mul(1_000_000_000)?.checked_add(nanoseconds)
}

/// A time without its zone, and the zone's offset in seconds.
fn zone(time: &str) -> Option<(&str, i64)> {
    if let Some(time) = time.strip_suffix(['Z', 'z']) {
        return Some((time, 0));
    }
    let Some(at) = time.rfind(['+', '-']) else {
        return Some((time, 0));
    };
    let (time, offset) = time.split_at(at);
    let (hours, minutes) = offset.get(1..)?.split_once(':')?;
    let seconds = digits(hours).filter(|hours| *hours < 24)? * 3600 + digits(minutes).filter(|it| *it < 60)? * 60;
    Some((time, if offset.starts_with('-') { -seconds } else { seconds }))
}

fn digits(text: &str) -> Option<i64> {
    let all = !text.is_empty() && text.len() <= 9 && text.bytes().all(|byte| byte.is_ascii_digit());
    all.then(|| text.parse().ok()).flatten()
}

/// Days from 1970 to a date.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let years: i64 = (1970..year).map(days_of_year).sum();
    let months: i64 = (1..month).map(|month| days_of_month(year, month)).sum();
    years + months + day - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments() {
        const SECOND: i64 = 1_000_000_000;
        for (text, want) in [
            ("1700000000", Some(1_700_000_000 * SECOND)),
            ("1700000000.5", Some(1_700_000_000 * SECOND + SECOND / 2)),
            ("1700000000123", Some(1_700_000_000_123_000_000)),
            ("1700000000123456", Some(1_700_000_000_123_456_000)),
            ("1700000000123456789", Some(1_700_000_000_123_456_789)),
            ("2023-11-14T22:13:20Z", Some(1_700_000_000 * SECOND)),
            (
                "2023-11-14T23:13:20.25+01:00",
                Some(1_700_000_000 * SECOND + SECOND / 4),
            ),
            ("2023-11-14 21:43:20-00:30", Some(1_700_000_000 * SECOND)),
            ("2024-02-29", Some(1_709_164_800 * SECOND)),
            ("2024-02-29T12:30", Some((1_709_164_800 + 45_000) * SECOND)),
            ("2023-02-29", None),
            ("2023-13-01", None),
            ("2023-11-14T25:00:00Z", None),
            ("2023-11-14T22:13:20+x", None),
            ("noon", None),
            ("-1", None),
            ("NaN", None),
            ("1e300", None),
        ] {
            assert_eq!(parse(text), want, "{text}");
        }
    }
}
