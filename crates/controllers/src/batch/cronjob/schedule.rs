//! Cron schedules: five fields (minute, hour, day of month, month, day of week) or one of the `@`
//! words, as upstream's parser takes them, walked in a time zone.
//!
//! When both days are restricted, a day that fits either counts, as cron has always had it.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, Timestamp};

/// No schedule is searched further ahead than this: `0 0 30 2 *` never comes.
const YEARS: i16 = 9;

/// What is wrong with a schedule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ScheduleError {
    /// Not five fields.
    #[error("expected exactly 5 fields, found {0}: {1:?}")]
    Fields(usize, String),
    /// A field that is no number, range, step or name in its bounds.
    #[error("failed to parse {field} field {text:?}")]
    Field {
        /// `minute`.
        field: &'static str,
        /// As written.
        text: String,
    },
    /// An `@` word that means nothing.
    #[error("unrecognized descriptor: {0:?}")]
    Descriptor(String),
}

/// A schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Schedule {
    /// Bits of the minutes, hours, … it fits.
    Fields(Fields),
    /// `@every 90s`.
    Every(SignedDuration),
}

/// The five fields as bit sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fields {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    any_day: bool,
    any_weekday: bool,
}

const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

impl Schedule {
    /// Parses.
    pub fn parse(text: &str) -> Result<Self, ScheduleError> {
        let text = text.trim();
        if let Some(every) = text.strip_prefix("@every ") {
            let duration: Option<SignedDuration> = every.trim().parse().ok();
            let whole =
                duration.map(|duration| SignedDuration::from_secs(duration.as_secs().max(1)));
            return whole
                .map(Self::Every)
                .ok_or_else(|| ScheduleError::Descriptor(text.to_owned()));
        }
        let fields = match text {
            "@yearly" | "@annually" => "0 0 1 1 *",
            "@monthly" => "0 0 1 * *",
            "@weekly" => "0 0 * * 0",
            "@daily" | "@midnight" => "0 0 * * *",
            "@hourly" => "0 * * * *",
            word if word.starts_with('@') => {
                return Err(ScheduleError::Descriptor(word.to_owned()));
            }
            fields => fields,
        };
        let parts: Vec<_> = fields.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = parts.as_slice() else {
            return Err(ScheduleError::Fields(parts.len(), text.to_owned()));
        };
        let (days, any_day) = field("day of month", day, 1, 31, &[])?;
        let (weekdays, any_weekday) = field("day of week", weekday, 0, 6, &WEEKDAYS)?;
        Ok(Self::Fields(Fields {
            minutes: field("minute", minute, 0, 59, &[])?.0,
            hours: field("hour", hour, 0, 23, &[])?.0,
            days,
            months: field("month", month, 1, 12, &MONTHS)?.0,
            weekdays,
            any_day,
            any_weekday,
        }))
    }

    /// The first time after `after` that fits; none if none comes in years.
    pub fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        match self {
            Self::Every(period) => {
                let whole = Timestamp::from_second(after.as_second()).ok()?;
                whole.checked_add(*period).ok()
            }
            Self::Fields(fields) => fields.next(after, zone),
        }
    }

    /// The last time after `from` and not after `now`, and about how many there were. No more than
    /// `limit` and a few are walked through, however long ago `from` is.
    pub fn last_between(
        &self,
        from: Timestamp,
        now: Timestamp,
        zone: &TimeZone,
        limit: usize,
    ) -> Option<(Timestamp, usize)> {
        let mut last = self.next(from, zone).filter(|at| *at <= now)?;
        let mut count = 1;
        while let Some(at) = self.next(last, zone).filter(|at| *at <= now) {
            last = at;
            count += 1;
            if count > limit {
                return Some((self.last_after(last, now, zone), count));
            }
        }
        Some((last, count))
    }

    /// The last time not after `now`, given one: looks back from now in steps that double.
    fn last_after(&self, known: Timestamp, now: Timestamp, zone: &TimeZone) -> Timestamp {
        if let Self::Every(period) = self {
            let periods = now.duration_since(known).as_secs() / period.as_secs().max(1);
            let whole = SignedDuration::from_secs(period.as_secs().saturating_mul(periods));
            return known.checked_add(whole).unwrap_or(known);
        }
        let mut back = SignedDuration::from_secs(60);
        while let Some(from) = now.checked_sub(back).ok().filter(|from| *from > known) {
            if let Some(mut at) = self.next(from, zone).filter(|at| *at <= now) {
                while let Some(next) = self.next(at, zone).filter(|next| *next <= now) {
                    at = next;
                }
                return at;
            }
            back = back.saturating_mul(2);
        }
        known
    }
}

/// The bits of a field, and whether it restricts nothing: a star with a step does restrict.
fn field(
    name: &'static str,
    text: &str,
    low: u32,
    high: u32,
    names: &[&str],
) -> Result<(u64, bool), ScheduleError> {
    let wrong = || ScheduleError::Field {
        field: name,
        text: text.to_owned(),
    };
    let number = |text: &str| -> Option<u32> {
        let named = names
            .iter()
            .position(|name| name.eq_ignore_ascii_case(text));
        named
            .and_then(|at| u32::try_from(at).ok())
            .map(|at| at + low)
            .or_else(|| text.parse().ok())
    };
    let mut bits = 0_u64;
    let mut any = false;
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (range, step) = part
            .split_once('/')
            .map_or((part, None), |(range, step)| (range, Some(step)));
        let step = match step {
            Some(step) => step
                .parse::<u32>()
                .ok()
                .filter(|step| *step > 0)
                .ok_or_else(wrong)?,
            None => 1,
        };
        let (first, last) = match range {
            "*" | "?" => {
                any |= step == 1;
                (low, high)
            }
            _ => match range.split_once('-') {
                Some((first, last)) => (
                    number(first).ok_or_else(wrong)?,
                    number(last).ok_or_else(wrong)?,
                ),
                None => {
                    let first = number(range).ok_or_else(wrong)?;
                    // `5/15` means from 5 on.
                    (first, if part.contains('/') { high } else { first })
                }
            },
        };
        if first < low || last > high || first > last {
            return Err(wrong());
        }
        bits |= (first..=last)
            .step_by(step as usize)
            .fold(0, |bits, at| bits | 1 << at);
    }
    Ok((bits, any))
}

fn has(bits: u64, at: i8) -> bool {
    u32::try_from(at).is_ok_and(|at| bits & (1 << at) != 0)
}

impl Fields {
    fn fits(&self, date: Date) -> bool {
        let day = has(self.days, date.day());
        let weekday = has(self.weekdays, date.weekday().to_sunday_zero_offset());
        let days = if self.any_day || self.any_weekday {
            day && weekday
        } else {
            day || weekday
        };
        has(self.months, date.month()) && days
    }

    fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let start = after.to_zoned(zone.clone()).datetime();
        let last = start.date().checked_add(Span::new().years(YEARS)).ok()?;
        let mut date = start.date();
        let mut from = start
            .time()
            .with()
            .second(0)
            .subsec_nanosecond(0)
            .build()
            .ok()?;
        while date <= last {
            if self.fits(date) {
                let found = if repeats(date, zone) {
                    // What comes first in time need not be first by the clock.
                    self.times(Time::midnight())
                        .flat_map(|time| instants(date, time, zone))
                        .filter(|at| *at > after)
                        .min()
                } else {
                    self.times(from)
                        .filter_map(|time| instants(date, time, zone).next())
                        .find(|at| *at > after)
                };
                if found.is_some() {
                    return found;
                }
            }
            date = date.tomorrow().ok()?;
            from = Time::midnight();
        }
        None
    }

    /// The day's times from this one on.
    fn times(&self, from: Time) -> impl Iterator<Item = Time> {
        let hours = (from.hour()..24).filter(|hour| has(self.hours, *hour));
        hours.flat_map(move |hour| {
            let first = if hour == from.hour() {
                from.minute()
            } else {
                0
            };
            (first..60)
                .filter(|minute| has(self.minutes, *minute))
                .map(move |minute| Time::constant(hour, minute, 0, 0))
        })
    }
}

/// Is the day longer than others, because the clock is put back on it?
fn repeats(date: Date, zone: &TimeZone) -> bool {
    let offset = |date: Date| {
        let midnight = DateTime::from_parts(date, Time::midnight());
        let at = zone.to_ambiguous_zoned(midnight).compatible().ok()?;
        Some(at.offset())
    };
    date.tomorrow()
        .is_ok_and(|tomorrow| offset(date) > offset(tomorrow))
}

/// When the clock shows this: never if a change skips it, twice if a change repeats it.
fn instants(date: Date, time: Time, zone: &TimeZone) -> impl Iterator<Item = Timestamp> {
    let local = DateTime::from_parts(date, time);
    let ambiguous = zone.to_ambiguous_zoned(local);
    let first = ambiguous.clone().earlier().ok();
    let second = ambiguous
        .later()
        .ok()
        .filter(|at| first.as_ref() != Some(at));
    first
        .into_iter()
        .chain(second)
        .filter(move |at| at.datetime() == local)
        .map(|at| at.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_time() {
        let cases = [
            ("* * * * *", "2026-11-20T10:00:00Z", "2026-11-20T10:01:00Z"),
            (
                "*/15 * * * *",
                "2026-11-20T10:00:01Z",
                "2026-11-20T10:15:00Z",
            ),
            (
                "5/20 9-17 * * mon-fri",
                "2026-11-20T17:46:00Z",
                "2026-11-23T09:05:00Z",
            ),
            ("0 0 1 * *", "2026-11-20T10:00:00Z", "2026-12-01T00:00:00Z"),
            (
                "0 12 13 * 5",
                "2026-11-20T12:00:00Z",
                "2026-11-27T12:00:00Z",
            ),
            ("0 0 29 2 *", "2026-11-20T10:00:00Z", "2028-02-29T00:00:00Z"),
            (
                "30 6 ? JAN,jul Sun",
                "2026-11-20T10:00:00Z",
                "2027-01-03T06:30:00Z",
            ),
            ("@hourly", "2026-11-20T10:00:00Z", "2026-11-20T11:00:00Z"),
            ("@weekly", "2026-11-20T10:00:00Z", "2026-11-22T00:00:00Z"),
            (
                "@every 1m30s",
                "2026-11-20T10:00:00.5Z",
                "2026-11-20T10:01:30Z",
            ),
        ];
        for (schedule, after, expected) in cases {
            let next = Schedule::parse(schedule)
                .unwrap()
                .next(after.parse().unwrap(), &TimeZone::UTC);
            assert_eq!(next, Some(expected.parse().unwrap()), "{schedule}");
        }
        let never = Schedule::parse("0 0 30 2 *").unwrap();
        assert_eq!(never.next(Timestamp::UNIX_EPOCH, &TimeZone::UTC), None);
        let east = TimeZone::fixed(jiff::tz::offset(2));
        let nine = Schedule::parse("0 9 * * *")
            .unwrap()
            .next(Timestamp::UNIX_EPOCH, &east)
            .unwrap();
        assert_eq!(nine.to_string(), "1970-01-01T07:00:00Z");
    }

    #[test]
    fn a_star_with_a_step_restricts_the_day() {
        // Monday the 23rd fits by its weekday, although the odd days alone would not skip to it.
        let cases = [
            (
                "0 0 */2 * 1",
                "2026-11-21T00:00:00Z",
                "2026-11-23T00:00:00Z",
            ),
            (
                "0 0 */20 * 2",
                "2026-11-21T00:00:00Z",
                "2026-11-24T00:00:00Z",
            ),
            (
                "0 0 */1 * 2",
                "2026-11-21T00:00:00Z",
                "2026-11-24T00:00:00Z",
            ),
            (
                "0 0 1 * */3",
                "2026-11-21T00:00:00Z",
                "2026-11-22T00:00:00Z",
            ),
            (
                "0 0 1,,3 * *",
                "2026-11-21T00:00:00Z",
                "2026-12-01T00:00:00Z",
            ),
        ];
        for (schedule, after, expected) in cases {
            let next = Schedule::parse(schedule)
                .unwrap()
                .next(after.parse().unwrap(), &TimeZone::UTC);
            assert_eq!(next, Some(expected.parse().unwrap()), "{schedule}");
        }
    }

    #[test]
    fn clock_changes() {
        // New York put its clock back at 06:00 UTC on 1 November and on at 07:00 UTC on 8 March.
        let zone = super::super::zones::get("America/New_York").unwrap();
        let cases = [
            ("0 * * * *", "2026-11-01T05:00:00Z", "2026-11-01T06:00:00Z"),
            ("0 * * * *", "2026-11-01T06:00:00Z", "2026-11-01T07:00:00Z"),
            ("30 1 * * *", "2026-11-01T04:00:00Z", "2026-11-01T05:30:00Z"),
            ("30 1 * * *", "2026-11-01T05:30:00Z", "2026-11-01T06:30:00Z"),
            ("30 1 * * *", "2026-11-01T06:30:00Z", "2026-11-02T06:30:00Z"),
            (
                "*/20 1 * * *",
                "2026-11-01T05:40:00Z",
                "2026-11-01T06:00:00Z",
            ),
            ("30 2 * * *", "2026-03-08T05:00:00Z", "2026-03-09T06:30:00Z"),
            ("0 * * * *", "2026-03-08T06:00:00Z", "2026-03-08T07:00:00Z"),
        ];
        for (schedule, after, expected) in cases {
            let next = Schedule::parse(schedule)
                .unwrap()
                .next(after.parse().unwrap(), &zone);
            assert_eq!(next, Some(expected.parse().unwrap()), "{schedule} {after}");
        }
    }

    #[test]
    fn the_last_time_is_found_however_many_there_were() {
        let cases = [
            (
                "@every 7m",
                "2026-01-01T00:00:00Z",
                "2026-01-01T00:20:00Z",
                "2026-01-01T00:14:00Z",
                2,
            ),
            (
                "@every 7m",
                "2026-01-01T00:00:00Z",
                "2026-02-01T00:03:00Z",
                "2026-01-31T23:59:00Z",
                101,
            ),
            (
                "0 0 * * *",
                "2026-01-01T01:00:00Z",
                "2026-11-20T10:00:00Z",
                "2026-11-20T00:00:00Z",
                101,
            ),
            (
                "0 0 * * *",
                "2026-01-01T01:00:00Z",
                "2026-04-11T00:00:00Z",
                "2026-04-11T00:00:00Z",
                100,
            ),
        ];
        for (schedule, from, now, last, count) in cases {
            let found = Schedule::parse(schedule).unwrap().last_between(
                from.parse().unwrap(),
                now.parse().unwrap(),
                &TimeZone::UTC,
                100,
            );
            assert_eq!(
                found,
                Some((last.parse().unwrap(), count)),
                "{schedule} {now}"
            );
        }
    }

    #[test]
    fn malformed_schedules() {
        for text in [
            "",
            "* * * *",
            "60 * * * *",
            "* * 0 * *",
            "*/0 * * * *",
            "5-1 * * * *",
            "@often",
            "@every x",
            "a * * * *",
        ] {
            assert!(Schedule::parse(text).is_err(), "{text:?}");
        }
    }
}
