//! Points and lengths of time, in the ranges and forms of Go's `time` package that CEL promises.

use std::{cmp::Ordering, fmt};

use jiff::{
    civil,
    tz::{Offset, TimeZone},
};

/// Seconds of year 1's beginning and of year 9999's end.
const FIRST: i64 = -62_135_596_800;
const LAST: i64 = 253_402_300_799;

/// A point in time, with the offset it was written with.
#[derive(Clone, Copy, Debug)]
pub struct Timestamp {
    /// Seconds since 1970.
    pub seconds: i64,
    /// Billionths within the second.
    pub nanos: u32,
    /// Seconds east of Greenwich it is written with.
    pub offset: i32,
}

/// A length of time in billionths of a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duration(pub i64);

impl Timestamp {
    /// A point in time; none outside of the years 1 to 9999.
    pub fn new(seconds: i64, nanos: u32) -> Option<Self> {
        (FIRST..=LAST).contains(&seconds).then_some(Self {
            seconds,
            nanos,
            offset: 0,
        })
    }

    fn total(self) -> i128 {
        i128::from(self.seconds) * 1_000_000_000 + i128::from(self.nanos)
    }

    fn from_total(total: i128, offset: i32) -> Option<Self> {
        let seconds = i64::try_from(total.div_euclid(1_000_000_000)).ok()?;
        let nanos = total.rem_euclid(1_000_000_000) as u32;
        Self::new(seconds, nanos).map(|t| Self { offset, ..t })
    }

    /// Later (or earlier) by this.
    pub(crate) fn shifted(self, by: i128) -> Option<Self> {
        Self::from_total(self.total() + by, self.offset)
    }

    /// How long since the other; none where no duration holds it.
    pub(crate) fn since(self, other: Self) -> Option<Duration> {
        i64::try_from(self.total() - other.total())
            .ok()
            .map(Duration)
    }

    pub(crate) fn is_zero(self) -> bool {
        self.seconds == FIRST && self.nanos == 0
    }

    /// The date and time in a zone: a name of the time zone database, or `+01:30`, or empty for UTC.
    pub(crate) fn in_zone(self, zone: &str) -> Result<civil::DateTime, String> {
        let instant = jiff::Timestamp::new(self.seconds, self.nanos as i32)
            .map_err(|error| error.to_string())?;
        let zone = match zone.split_once(':') {
            None if matches!(zone, "" | "UTC") => TimeZone::UTC,
            None => TimeZone::get(zone).map_err(|_| format!("unknown time zone {zone}"))?,
            Some((hours, minutes)) => {
                let bad = |text: &str| format!("strconv.Atoi: parsing {text:?}: invalid syntax");
                let h: i32 = hours.parse().map_err(|_| bad(hours))?;
                let m: i32 = minutes.parse().map_err(|_| bad(minutes))?;
                let m = if hours.starts_with('-') { -m } else { m };
                let seconds = h
                    .checked_mul(3600)
                    .and_then(|h| m.checked_mul(60).and_then(|m| h.checked_add(m)))
                    .and_then(|seconds| Offset::from_seconds(seconds).ok())
                    .ok_or_else(|| format!("time zone offset {hours}:{minutes} out of range"))?;
                TimeZone::fixed(seconds)
            }
        };
        Ok(zone.to_datetime(instant))
    }
}

impl PartialEq for Timestamp {
    fn eq(&self, other: &Self) -> bool {
        self.total() == other.total()
    }
}

impl Eq for Timestamp {}

impl Ord for Timestamp {
    fn cmp(&self, other: &Self) -> Ordering {
        self.total().cmp(&other.total())
    }
}

impl PartialOrd for Timestamp {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 with as many digits as there are.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let local = self.seconds + i64::from(self.offset);
        let days = local.div_euclid(86_400);
        let second = local.rem_euclid(86_400);
        let (year, month, day) = civil_of(days);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}",
            second / 3600,
            second / 60 % 60,
            second % 60
        )?;
        write_fraction(f, self.nanos)?;
        if self.offset == 0 {
            return f.write_str("Z");
        }
        let sign = if self.offset < 0 { '-' } else { '+' };
        let minutes = self.offset.unsigned_abs() / 60;
        write!(f, "{sign}{:02}:{:02}", minutes / 60, minutes % 60)
    }
}

impl fmt::Display for Duration {
    /// Seconds, as CEL writes durations: `5400s`, `0.5s`. Go goes through a floating-point number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = (self.0 / 1_000_000_000) as f64;
        let seconds = whole + (self.0 % 1_000_000_000) as f64 / 1e9;
        write!(f, "{seconds}s")
    }
}

fn write_fraction(f: &mut fmt::Formatter<'_>, nanos: u32) -> fmt::Result {
    if nanos == 0 {
        return Ok(());
    }
    let digits = format!("{nanos:09}");
    write!(f, ".{}", digits.trim_end_matches('0'))
}

/// Year, month and day of a day counted from 1970.
fn civil_of(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

fn number(bytes: &[u8]) -> Option<i64> {
    (!bytes.is_empty() && bytes.iter().all(u8::is_ascii_digit))
        .then(|| std::str::from_utf8(bytes).ok()?.parse().ok())
        .flatten()
}

fn date(text: &[u8]) -> Option<civil::Date> {
    (text.len() == 10 && text[4] == b'-' && text[7] == b'-')
        .then(|| {
            civil::Date::new(
                number(&text[..4])? as i16,
                number(&text[5..7])? as i8,
                number(&text[8..])? as i8,
            )
            .ok()
        })
        .flatten()
}

fn seconds_of(date: civil::Date) -> i64 {
    let epoch = civil::date(1970, 1, 1);
    i64::from((date - epoch).get_days()) * 86_400
}

/// RFC 3339, as Go's `time.Parse` reads it (`2006-01-02T15:04:05Z07:00`).
pub(crate) fn parse_timestamp(text: &str) -> Option<Timestamp> {
    let bytes = text.as_bytes();
    if bytes.len() < 20 || bytes[10] != b'T' || bytes[13] != b':' || bytes[16] != b':' {
        return None;
    }
    let date = date(&bytes[..10])?;
    let (hour, minute, second) = (
        number(&bytes[11..13])?,
        number(&bytes[14..16])?,
        number(&bytes[17..19])?,
    );
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let mut rest = &bytes[19..];
    let mut nanos = 0;
    if matches!(rest.first(), Some(b'.' | b',')) {
        let digits = rest[1..].iter().take_while(|b| b.is_ascii_digit()).count();
        if digits == 0 {
            return None;
        }
        let taken = digits.min(9);
        nanos = number(&rest[1..=taken])? as u32 * 10u32.pow(9 - taken as u32);
        rest = &rest[1 + digits..];
    }
    let offset = match rest {
        b"Z" => 0,
        [sign @ (b'+' | b'-'), zone @ ..] if zone.len() == 5 && zone[2] == b':' => {
            let (hours, minutes) = (number(&zone[..2])?, number(&zone[3..])?);
            if hours > 24 || minutes > 59 {
                return None;
            }
            let east = (hours * 3600 + minutes * 60) as i32;
            if *sign == b'-' { -east } else { east }
        }
        _ => return None,
    };
    let seconds = seconds_of(date) + hour * 3600 + minute * 60 + second - i64::from(offset);
    Some(Timestamp {
        seconds,
        nanos,
        offset,
    })
}

/// The `date-time` format of schemas.
pub(super) fn parse_date_time(text: &str) -> Option<Timestamp> {
    parse_timestamp(text).or_else(|| parse_timestamp(&text.replacen('t', "T", 1).replace('z', "Z")))
}

/// The `date` format of schemas.
pub(crate) fn parse_date(text: &str) -> Option<Timestamp> {
    Timestamp::new(seconds_of(date(text.as_bytes())?), 0)
}

/// Go's `time.ParseDuration`: `1h30m`, `-1.5s`, `0`.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    let (negative, mut rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Some(Duration(0));
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let whole = rest.bytes().take_while(u8::is_ascii_digit).count();
        let after = &rest[whole..];
        let fraction = match after.strip_prefix('.') {
            Some(digits) => 1 + digits.bytes().take_while(u8::is_ascii_digit).count(),
            None => 0,
        };
        if whole == 0 && fraction < 2 {
            return None;
        }
        let unit_at = whole + fraction;
        let unit_len = rest[unit_at..]
            .bytes()
            .take_while(|b| *b != b'.' && !b.is_ascii_digit())
            .count();
        let scale: i128 = match &rest[unit_at..unit_at + unit_len] {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        if whole > 19 {
            return None;
        }
        total += rest[..whole].parse::<i128>().unwrap_or(0) * scale;
        if fraction > 1 {
            // Digits beyond a billionth of the largest unit change nothing.
            let digits = &rest[whole + 1..unit_at.min(whole + 19)];
            let value: i128 = digits.parse().unwrap_or(0);
            total += value * scale / 10i128.pow(digits.len() as u32);
        }
        if total > 1 << 64 {
            return None;
        }
        rest = &rest[unit_at + unit_len..];
    }
    let total = if negative { -total } else { total };
    i64::try_from(total).ok().map(Duration)
}

/// The further forms the `duration` format of schemas allows: `3 days`, `1 hour`, `2w`.
pub(super) fn parse_worded_duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let count: i64 = text[..digits].parse().ok()?;
    let unit = match text[digits..].trim() {
        "ns" | "nanos" | "nano" | "nanosecond" | "nanoseconds" => 1,
        "us" | "micros" | "micro" | "microsecond" | "microseconds" => 1_000,
        "ms" | "millis" | "milli" | "millisecond" | "milliseconds" => 1_000_000,
        "s" | "sec" | "secs" | "second" | "seconds" => 1_000_000_000,
        "m" | "min" | "mins" | "minute" | "minutes" => 60_000_000_000,
        "h" | "hr" | "hrs" | "hour" | "hours" => 3_600_000_000_000,
        "d" | "day" | "days" => 86_400_000_000_000,
        "w" | "wk" | "wks" | "week" | "weeks" => 604_800_000_000_000_i64,
        _ => return None,
    };
    count.checked_mul(unit).map(Duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_reads_them() {
        for (text, nanos) in [
            ("0", Some(0)),
            ("1h30m", Some(5_400_000_000_000)),
            ("-1.5s", Some(-1_500_000_000)),
            ("1us", Some(1_000)),
            (".5s", Some(500_000_000)),
            ("1", None),
            ("", None),
            ("s", None),
            ("1.s", Some(1_000_000_000)),
            ("1d", None),
            ("9223372036s", Some(9_223_372_036_000_000_000)),
            ("9223372037s", None),
        ] {
            assert_eq!(parse_duration(text).map(|d| d.0), nanos, "{text}");
        }
    }

    #[test]
    fn timestamps_are_written_as_they_were_read() {
        for text in [
            "2009-02-13T23:31:30Z",
            "2009-02-13T23:31:30.5Z",
            "2011-08-18T19:03:37.01+01:00",
            "0001-01-01T00:00:00Z",
            "9999-12-31T23:59:59.999999999Z",
        ] {
            let read = parse_timestamp(text).map(|t| t.to_string());
            assert_eq!(read.as_deref(), Some(text));
        }
        for text in ["2009-02-13", "2009-02-30T00:00:00Z", "2009-02-13T25:00:00Z"] {
            assert_eq!(parse_timestamp(text), None, "{text}");
        }
    }
}
