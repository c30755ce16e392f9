//! The time of day as people write it, and back: RFC 3339, unix seconds, Go's durations, Docker's "3 weeks".
//!
//! Everything is UTC: ctr has no time zone database, and none is read from a container. A date without a zone, which
//! Docker's client takes for local time, is UTC too.
//!
//! A [`Time`] lies in the years 0 to 9999, which is what RFC 3339 can write: it always has a text, and that text
//! always has 30 bytes. Arithmetic stops at these ends instead of overflowing.

use std::fmt;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::sys;

/// How long the text of a time is.
pub const TEXT: usize = 30;

/// 0000-01-01T00:00:00Z and 9999-12-31T23:59:59Z in seconds since 1970.
const FIRST: i64 = -62_167_219_200;
const LAST: i64 = 253_402_300_799;

const DAY: i64 = 86_400;

/// The days from 0000-03-01, where the count of leap days is simplest, to 1970-01-01.
const TO_1970: i64 = 719_468;

/// The days of a year that begins with March, before each of its months: the leap day, if any, is its last.
const BEFORE: [i64; 12] = [0, 31, 61, 92, 122, 153, 184, 214, 245, 275, 306, 337];

/// A moment, in UTC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Time {
    /// Since 1970.
    seconds: i64,
    /// Of the second: below a thousand million.
    nanoseconds: u32,
}

/// The time of day.
pub fn now() -> Time {
    let (seconds, nanoseconds) = sys::wall_clock();
    Time::clamped(i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds))
}

impl Time {
    /// So many seconds and nanoseconds after 1970; None outside of the years 0 to 9999.
    pub fn new(seconds: i64, nanoseconds: u32) -> Option<Time> {
        let sound = (FIRST..=LAST).contains(&seconds) && nanoseconds < 1_000_000_000;
        sound.then_some(Time { seconds, nanoseconds })
    }

    fn clamped(nanoseconds: i128) -> Time {
        let (seconds, rest) = (nanoseconds.div_euclid(1_000_000_000), nanoseconds.rem_euclid(1_000_000_000));
        match i64::try_from(seconds) {
            Ok(seconds) if seconds < FIRST => Time { seconds: FIRST, nanoseconds: 0 },
            Ok(seconds) if seconds <= LAST => Time { seconds, nanoseconds: rest as u32 },
            Err(_) if seconds < 0 => Time { seconds: FIRST, nanoseconds: 0 },
            _ => Time { seconds: LAST, nanoseconds: 999_999_999 },
        }
    }

    fn total(self) -> i128 {
        i128::from(self.seconds) * 1_000_000_000 + i128::from(self.nanoseconds)
    }

    /// So much earlier.
    #[must_use]
    pub fn before(self, duration: Duration) -> Time {
        Time::clamped(self.total() - duration.as_nanos() as i128)
    }

    /// The nanoseconds since an earlier moment; 0 if it is a later one, which happens when somebody sets the clock.
    pub fn since(self, earlier: Time) -> u64 {
        u64::try_from((self.total() - earlier.total()).max(0)).unwrap_or(u64::MAX)
    }

    /// RFC 3339, always with nine digits of the second and a `Z`: `2026-11-22T23:40:11.123456789Z`. ASCII.
    pub fn text(self) -> [u8; TEXT] {
        let (year, month, day) = date(self.seconds.div_euclid(DAY));
        let second = self.seconds.rem_euclid(DAY);
        let mut text = *b"0000-00-00T00:00:00.000000000Z";
        let mut put = |end: usize, digits: usize, mut number: i64| {
            for digit in text.iter_mut().take(end).rev().take(digits) {
                *digit = b'0' + (number % 10) as u8;
                number /= 10;
            }
        };
        put(4, 4, year);
        put(7, 2, month);
        put(10, 2, day);
        put(13, 2, second / 3600);
        put(16, 2, second / 60 % 60);
        put(19, 2, second % 60);
        put(29, 9, i64::from(self.nanoseconds));
        text
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.pad(std::str::from_utf8(&self.text()).unwrap_or_default())
    }
}

/// The year, month and day of a day since 1970. The days are counted off by spans of 400, 100, 4 years and one: a
/// span's last century, and a last year of four, is a day longer, hence the `min(3)`.
fn date(day: i64) -> (i64, i64, i64) {
    let day = day + TO_1970;
    let (age, day) = (day.div_euclid(146_097), day.rem_euclid(146_097));
    let century = (day / 36_524).min(3);
    let day = day - century * 36_524;
    let (four, day) = (day / 1461, day % 1461);
    let year = (day / 365).min(3);
    let day = day - year * 365;
    let month = BEFORE.iter().rposition(|before| *before <= day).unwrap_or_default();
    let day = day - BEFORE.get(month).copied().unwrap_or_default() + 1;
    let year = age * 400 + century * 100 + four * 4 + year;
    // March is month 0 here; January and February belong to the next year.
    let month = month as i64;
    if month < 10 { (year, month + 3, day) } else { (year + 1, month - 9, day) }
}

/// The days since 1970 of a date; None for one that no calendar has.
fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    let before = *BEFORE.get(usize::try_from((month + 9) % 12).ok()?)?;
    let of = if month <= 2 { year - 1 } else { year };
    let leap_days = of.div_euclid(4) - of.div_euclid(100) + of.div_euclid(400);
    let days = of * 365 + leap_days + before + day - 1 - TO_1970;
    // The 31st of April is a day, but of another month.
    (date(days) == (year, month, day)).then_some(days)
}

/// What is left of a text.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn next_if(&mut self, wanted: impl Fn(u8) -> bool) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        wanted(*first).then(|| {
            self.0 = rest;
            *first
        })
    }

    fn skip(&mut self, byte: u8) -> Option<()> {
        self.next_if(|b| b == byte).map(drop)
    }

    fn digit(&mut self) -> Option<i64> {
        self.next_if(|b| b.is_ascii_digit()).map(|b| i64::from(b - b'0'))
    }

    /// A number of exactly so many digits.
    fn number(&mut self, digits: usize) -> Option<i64> {
        (0..digits).try_fold(0, |number, _| Some(number * 10 + self.digit()?))
    }

    /// What follows a decimal point, in nanoseconds: any number of digits, of which the tenth and later ones are cut
    /// off. 0 without a point, None without a digit after it.
    fn fraction(&mut self) -> Option<u32> {
        if self.skip(b'.').is_none() {
            return Some(0);
        }
        let mut nanoseconds = self.digit()? * 100_000_000;
        let mut unit = 10_000_000;
        while let Some(digit) = self.digit() {
            nanoseconds += digit * unit;
            unit /= 10;
        }
        u32::try_from(nanoseconds).ok()
    }
}

/// Reads RFC 3339, whatever its zone: `2026-11-22T23:40:11.5+01:00`; `t`, `z` and a blank for the `T` are fine. The
/// second 60 is the next minute's first, as on every unix clock.
pub fn parse(text: &[u8]) -> Option<Time> {
    moment(text, true)
}

/// The same; if not `exact`, the zone, the seconds and the time may be left out.
fn moment(text: &[u8], exact: bool) -> Option<Time> {
    let mut rest = Rest(text);
    let year = rest.number(4)?;
    rest.skip(b'-')?;
    let month = rest.number(2)?;
    rest.skip(b'-')?;
    let day = rest.number(2)?;
    let (mut seconds, mut nanoseconds) = (days(year, month, day)? * DAY, 0);
    if exact || !rest.0.is_empty() {
        rest.next_if(|b| matches!(b, b'T' | b't' | b' '))?;
        let hour = rest.number(2)?;
        rest.skip(b':')?;
        let minute = rest.number(2)?;
        let mut second = 0;
        if rest.skip(b':').is_some() {
            second = rest.number(2)?;
            nanoseconds = rest.fraction()?;
        } else if exact {
            return None;
        }
        if hour > 23 || minute > 59 || second > 60 {
            return None;
        }
        seconds += hour * 3600 + minute * 60 + second;
        match rest.next_if(|b| matches!(b, b'Z' | b'z' | b'+' | b'-')) {
            Some(sign @ (b'+' | b'-')) => {
                let hours = rest.number(2)?;
                rest.skip(b':')?;
                let minutes = rest.number(2)?;
                if hours > 23 || minutes > 59 {
                    return None;
                }
                let east = hours * 3600 + minutes * 60;
                seconds += if sign == b'+' { -east } else { east };
            }
            None if exact => return None,
            _ => {}
        }
    }
    if rest.0.is_empty() { Time::new(seconds, nanoseconds) } else { None }
}

/// `1764000000` or `1764000000.5`: seconds and nanoseconds.
fn seconds(text: &str) -> Option<(u64, u32)> {
    let (whole, _) = text.split_once('.').unwrap_or((text, ""));
    // str::parse would take a sign.
    if !whole.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let mut rest = Rest(text.as_bytes().get(whole.len()..)?);
    let nanoseconds = rest.fraction()?;
    if rest.0.is_empty() { Some((whole.parse().ok()?, nanoseconds)) } else { None }
}

/// A Go duration without a sign, in nanoseconds: `1h30m`, `1.5s`, and `d` for 24 hours. None if it is none, or longer
/// than 584 years.
fn go_duration(text: &str) -> Option<u64> {
    match text {
        "" => return None,
        "0" => return Some(0),
        _ => {}
    }
    let (mut rest, mut total) = (text, 0u64);
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at_checked(end)?;
        let (unit, left) = unit(tail)?;
        total = total.checked_add(scaled(number, unit)?)?;
        rest = left;
    }
    Some(total)
}

/// A unit at the front of a text, in nanoseconds, and what follows.
fn unit(text: &str) -> Option<(u64, &str)> {
    // Longer names first: ms is not m. Go takes both of the signs that look like µ.
    const UNITS: [(&str, u64); 9] = [
        ("ns", 1),
        ("us", 1000),
        ("\u{b5}s", 1000),
        ("\u{3bc}s", 1000),
        ("ms", 1_000_000),
        ("s", 1_000_000_000),
        ("m", 60_000_000_000),
        ("h", 3_600_000_000_000),
        ("d", 86_400_000_000_000),
    ];
    UNITS.iter().find_map(|(name, unit)| text.strip_prefix(name).map(|left| (*unit, left)))
}

/// `1.5` of a unit: `1.` and `.5` are numbers too, a lone point is none.
fn scaled(number: &str, unit: u64) -> Option<u64> {
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && part.is_empty() || part.contains('.') {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let (mut total, mut digit_is) = (u128::from(whole) * u128::from(unit), u128::from(unit) * 1_000_000_000);
    // In thousand-millionths of a nanosecond, so that nothing is lost by dividing; later digits are below that.
    let mut below = 0;
    for digit in part.bytes().take(24) {
        digit_is /= 10;
        below += u128::from(digit.wrapping_sub(b'0')) * digit_is;
    }
    total += below / 1_000_000_000;
    u64::try_from(total).ok()
}

/// The moment that `--since` or `--until` names:
///
/// - RFC 3339, with less where less will do: `2026-11-22T23:40:11.5+01:00`, `2026-11-22T23:40`, `2026-11-22`. Without
///   a zone it is UTC (Docker: the client's zone);
/// - unix seconds: `1764000000`, `1764000000.5`;
/// - a Go duration, counted back from `now`: `10m`, `1h30m`, `500ms`, `2d`.
pub fn parse_when(text: &str, option: &str, now: Time) -> Result<Time> {
    let unix = || seconds(text).and_then(|(whole, rest)| Time::new(i64::try_from(whole).ok()?, rest));
    // In this order 0 is the year 1970, as for Docker, and not now.
    unix()
        .or_else(|| moment(text.as_bytes(), false))
        .or_else(|| go_duration(text).map(|ago| now.before(Duration::from_nanos(ago))))
        .ok_or_else(|| {
            Error::usage(format_args!(
                "bad {option} {text:?}: it is a time (2026-11-22T23:40:11Z, 2026-11-22), unix seconds \
                 (1764000000.5), or how long ago (10m, 1h30m, 2d)"
            ))
        })
}

/// A Go duration, for an option: `30s`, `1m30s`, `500ms`, `2d`, `0`.
pub fn duration(text: &str, option: &str) -> Result<Duration> {
    go_duration(text).map(Duration::from_nanos).ok_or_else(|| {
        Error::usage(format_args!("bad {option} {text:?}: it is a duration, such as 30s, 1m30s or 500ms"))
    })
}

/// How long so many nanoseconds are, in `docker ps`'s words: `About an hour`, `3 weeks`.
pub fn ago(nanoseconds: u64) -> String {
    let seconds = nanoseconds / 1_000_000_000;
    let minutes = seconds / 60;
    // Hours alone are rounded, not cut: 89 minutes are about an hour, 91 are two.
    let hours = (seconds + 1800) / 3600;
    match (seconds, minutes, hours) {
        (0, ..) => "Less than a second".to_owned(),
        (1, ..) => "1 second".to_owned(),
        (..60, ..) => format!("{seconds} seconds"),
        (_, 1, _) => "About a minute".to_owned(),
        (_, ..60, _) => format!("{minutes} minutes"),
        (_, _, 1) => "About an hour".to_owned(),
        (_, _, ..48) => format!("{hours} hours"),
        (_, _, ..336) => format!("{} days", hours / 24),
        (_, _, ..1440) => format!("{} weeks", hours / 24 / 7),
        (_, _, ..17520) => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", seconds / 3600 / 24 / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Option<Time> {
        parse(text.as_bytes())
    }

    #[test]
    fn times_are_written_and_read_back() {
        for (seconds, nanoseconds, text) in [
            (0, 0, "1970-01-01T00:00:00.000000000Z"),
            (-1, 999_999_999, "1969-12-31T23:59:59.999999999Z"),
            (951_782_400, 1, "2000-02-29T00:00:00.000000001Z"),
            (1_709_164_800, 0, "2024-02-29T00:00:00.000000000Z"),
            (4_107_542_400, 0, "2100-03-01T00:00:00.000000000Z"),
            (1_764_000_000, 500_000_000, "2025-11-24T16:00:00.500000000Z"),
            (FIRST, 0, "0000-01-01T00:00:00.000000000Z"),
            (LAST, 999_999_999, "9999-12-31T23:59:59.999999999Z"),
        ] {
            let time = Time::new(seconds, nanoseconds).unwrap();
            assert_eq!(time.to_string(), text);
            assert_eq!(at(text), Some(time));
        }
        assert_eq!(Time::new(LAST + 1, 0), None);
        assert_eq!(Time::new(FIRST - 1, 0), None);
        assert_eq!(Time::new(0, 1_000_000_000), None);
        assert!(now() > at("2020-01-01T00:00:00Z").unwrap());
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let (mut year, mut month, mut day) = (1600, 1, 1);
        for n in days(1600, 1, 1).unwrap()..days(2401, 1, 1).unwrap() {
            assert_eq!((date(n), days(year, month, day)), ((year, month, day), Some(n)));
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let length = match month {
                2 => 28 + i64::from(leap),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            assert_eq!(days(year, month, length + 1), None);
            day += 1;
            if day > length {
                (month, day) = (month + 1, 1);
            }
            if month > 12 {
                (year, month) = (year + 1, 1);
            }
        }
        assert_eq!((year, month, day), (2401, 1, 1));
    }

    #[test]
    fn rfc_3339_in_all_its_forms() {
        let noon = Time::new(1_709_208_000, 0);
        for text in [
            "2024-02-29T12:00:00Z",
            "2024-02-29t12:00:00z",
            "2024-02-29 12:00:00Z",
            "2024-02-29T12:00:00.000Z",
            "2024-02-29T12:00:00.00000000099999Z",
            "2024-02-29T13:30:00+01:30",
            "2024-02-28T23:00:00-13:00",
            "2024-02-29T11:59:60Z",
        ] {
            assert_eq!(at(text), noon, "{text}");
        }
        assert_eq!(at("2024-02-29T12:00:00.5Z"), Time::new(1_709_208_000, 500_000_000));
        for garbage in [
            "",
            "2024",
            "2024-02-29",
            "2024-02-29T12:00Z",
            "2024-02-29T12:00:00",
            "2024-02-29T12:00:00.Z",
            "2024-02-29T12:00:00Z ",
            "2023-02-29T12:00:00Z",
            "2024-13-01T12:00:00Z",
            "2024-00-01T12:00:00Z",
            "2024-01-00T12:00:00Z",
            "2024-01-01T24:00:00Z",
            "2024-01-01T00:60:00Z",
            "2024-01-01T00:00:61Z",
            "2024-01-01T00:00:00+24:00",
            "2024-01-01T00:00:00+01",
            "-024-01-01T00:00:00Z",
            "20240-01-01T00:00:00Z",
            "9999-12-31T23:59:59-00:01",
            "0000-01-01T00:00:00+00:01",
            "2024-01-01X00:00:00Z",
            "２０２４-01-01T00:00:00Z",
        ] {
            assert_eq!(at(garbage), None, "{garbage}");
        }
    }

    #[test]
    fn when_is_a_time_or_seconds_or_how_long_ago() {
        let now = at("2026-11-22T12:00:00Z").unwrap();
        for (text, time) in [
            ("2026-11-22T11:00:00.25+01:00", "2026-11-22T10:00:00.250000000Z"),
            ("2026-11-22T11:00:00", "2026-11-22T11:00:00.000000000Z"),
            ("2026-11-22 11:00", "2026-11-22T11:00:00.000000000Z"),
            ("2026-11-22T11:00Z", "2026-11-22T11:00:00.000000000Z"),
            ("2026-11-21", "2026-11-21T00:00:00.000000000Z"),
            ("1764000000.5", "2025-11-24T16:00:00.500000000Z"),
            ("0", "1970-01-01T00:00:00.000000000Z"),
            ("10m", "2026-11-22T11:50:00.000000000Z"),
            ("1h30m", "2026-11-22T10:30:00.000000000Z"),
            ("90s", "2026-11-22T11:58:30.000000000Z"),
            ("500ms", "2026-11-22T11:59:59.500000000Z"),
            ("2d", "2026-11-20T12:00:00.000000000Z"),
            ("5124095h", "1442-05-04T13:00:00.000000000Z"),
        ] {
            assert_eq!(parse_when(text, "--since", now).unwrap().to_string(), time, "{text}");
        }
        for garbage in [
            "",
            "yesterday",
            "-5",
            "+5",
            "1.",
            "1.5.5",
            "1e3",
            "-10m",
            "99999999999999999999",
            "999999999999",
            "10 m",
            "2026-02-30",
            "2026-11-22T",
            "2026-11-22T25:00",
            "m",
            "1x",
            "9999999999999999h",
            "\0",
            "1h30",
            "..s",
        ] {
            let error = parse_when(garbage, "--since", now).unwrap_err().to_string();
            assert!(error.starts_with("bad --since \"") && error.contains("1h30m"), "{error}");
        }
        let start = Time::new(FIRST, 0).unwrap();
        assert_eq!(parse_when("1d", "--since", start).unwrap(), start);
    }

    #[test]
    fn durations() {
        let ns = |text: &str| duration(text, "--health-interval").ok().map(|d| d.as_nanos());
        for (text, nanoseconds) in [
            ("0", 0),
            ("0s", 0),
            ("30s", 30_000_000_000),
            ("1m30s", 90_000_000_000),
            ("500ms", 500_000_000),
            ("1.5h", 5_400_000_000_000),
            (".5s", 500_000_000),
            ("1.s", 1_000_000_000),
            ("0.000000001s", 1),
            ("0.0000000019s", 1),
            ("0.3333333333333333333333333333333333h", 1_200_000_000_000 - 1),
            ("7us", 7000),
            ("7\u{b5}s7\u{3bc}s", 14000),
            ("3ns", 3),
            ("1d1d", 172_800_000_000_000),
            ("18446744073709551615ns", u128::from(u64::MAX)),
        ] {
            assert_eq!(ns(text), Some(nanoseconds), "{text}");
        }
        for garbage in ["", "30", "s", ".s", "1..5s", "-1s", "1 s", "1S", "1w", "18446744073709551616ns", "1s1"] {
            assert_eq!(ns(garbage), None, "{garbage}");
        }
        let error = duration("soon", "--health-interval").unwrap_err().to_string();
        assert_eq!(error, "bad --health-interval \"soon\": it is a duration, such as 30s, 1m30s or 500ms");
    }

    #[test]
    fn how_long_ago_in_dockers_words() {
        const SECOND: u64 = 1_000_000_000;
        const HOUR: u64 = 3600 * SECOND;
        for (time, words) in [
            (0, "Less than a second"),
            (SECOND - 1, "Less than a second"),
            (SECOND, "1 second"),
            (5 * SECOND, "5 seconds"),
            (60 * SECOND, "About a minute"),
            (119 * SECOND, "About a minute"),
            (12 * 60 * SECOND, "12 minutes"),
            (HOUR, "About an hour"),
            (HOUR + HOUR / 2 - 1, "About an hour"),
            (HOUR + HOUR / 2, "2 hours"),
            (47 * HOUR, "47 hours"),
            (48 * HOUR, "2 days"),
            (13 * 24 * HOUR, "13 days"),
            (22 * 24 * HOUR, "3 weeks"),
            (150 * 24 * HOUR, "5 months"),
            (800 * 24 * HOUR, "2 years"),
            (u64::MAX, "584 years"),
        ] {
            assert_eq!(ago(time), words);
        }
    }

    #[test]
    fn the_span_between_two_times() {
        let (early, late) = (Time::new(FIRST, 0).unwrap(), Time::new(LAST, 0).unwrap());
        assert_eq!(late.since(early), u64::MAX);
        assert_eq!(early.since(late), 0);
        assert_eq!(Time::new(10, 5).unwrap().since(Time::new(9, 6).unwrap()), 999_999_999);
        assert_eq!(late.before(Duration::MAX), early);
    }
}
