//! Parts of timestamps, in UTC or a given zone, and of durations.

use jiff::civil::DateTime;

use super::{Args, Row};
use crate::value::{Fault, Outcome, Value};

pub(super) const ROWS: &[Row] = &[
    (
        "getFullYear",
        "timestamp_to_year",
        "timestamp.() -> int",
        year,
    ),
    (
        "getFullYear",
        "timestamp_to_year_with_tz",
        "timestamp.(string) -> int",
        year,
    ),
    (
        "getMonth",
        "timestamp_to_month",
        "timestamp.() -> int",
        month,
    ),
    (
        "getMonth",
        "timestamp_to_month_with_tz",
        "timestamp.(string) -> int",
        month,
    ),
    (
        "getDayOfYear",
        "timestamp_to_day_of_year",
        "timestamp.() -> int",
        day_of_year,
    ),
    (
        "getDayOfYear",
        "timestamp_to_day_of_year_with_tz",
        "timestamp.(string) -> int",
        day_of_year,
    ),
    (
        "getDayOfMonth",
        "timestamp_to_day_of_month",
        "timestamp.() -> int",
        day_of_month,
    ),
    (
        "getDayOfMonth",
        "timestamp_to_day_of_month_with_tz",
        "timestamp.(string) -> int",
        day_of_month,
    ),
    (
        "getDate",
        "timestamp_to_day_of_month_1_based",
        "timestamp.() -> int",
        date,
    ),
    (
        "getDate",
        "timestamp_to_day_of_month_1_based_with_tz",
        "timestamp.(string) -> int",
        date,
    ),
    (
        "getDayOfWeek",
        "timestamp_to_day_of_week",
        "timestamp.() -> int",
        day_of_week,
    ),
    (
        "getDayOfWeek",
        "timestamp_to_day_of_week_with_tz",
        "timestamp.(string) -> int",
        day_of_week,
    ),
    (
        "getHours",
        "timestamp_to_hours",
        "timestamp.() -> int",
        hours,
    ),
    (
        "getHours",
        "timestamp_to_hours_with_tz",
        "timestamp.(string) -> int",
        hours,
    ),
    ("getHours", "duration_to_hours", "duration.() -> int", hours),
    (
        "getMinutes",
        "timestamp_to_minutes",
        "timestamp.() -> int",
        minutes,
    ),
    (
        "getMinutes",
        "timestamp_to_minutes_with_tz",
        "timestamp.(string) -> int",
        minutes,
    ),
    (
        "getMinutes",
        "duration_to_minutes",
        "duration.() -> int",
        minutes,
    ),
    (
        "getSeconds",
        "timestamp_to_seconds",
        "timestamp.() -> int",
        seconds,
    ),
    (
        "getSeconds",
        "timestamp_to_seconds_tz",
        "timestamp.(string) -> int",
        seconds,
    ),
    (
        "getSeconds",
        "duration_to_seconds",
        "duration.() -> int",
        seconds,
    ),
    (
        "getMilliseconds",
        "timestamp_to_milliseconds",
        "timestamp.() -> int",
        milliseconds,
    ),
    (
        "getMilliseconds",
        "timestamp_to_milliseconds_with_tz",
        "timestamp.(string) -> int",
        milliseconds,
    ),
    (
        "getMilliseconds",
        "duration_to_milliseconds",
        "duration.() -> int",
        milliseconds,
    ),
];

fn local(args: Args<'_, '_>) -> Result<DateTime, Fault> {
    let Value::Timestamp(timestamp) = args.value(0)? else {
        return Err(Fault::no_such_overload());
    };
    let zone = if args.len() > 1 { args.text(1)? } else { "UTC" };
    timestamp.in_zone(zone).map_err(Fault::new)
}

fn part<'a>(
    args: Args<'_, 'a>,
    of_time: fn(DateTime) -> i64,
    nanos_of_duration: i64,
) -> Outcome<'a> {
    Ok(Value::Int(match args.value(0)? {
        Value::Duration(duration) => duration.0 / nanos_of_duration,
        _ => of_time(local(args)?),
    }))
}

fn year<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    Ok(Value::Int(i64::from(local(args)?.year())))
}

fn month<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    Ok(Value::Int(i64::from(local(args)?.month()) - 1))
}

fn day_of_year<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    Ok(Value::Int(i64::from(local(args)?.day_of_year()) - 1))
}

fn day_of_month<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    Ok(Value::Int(i64::from(local(args)?.day()) - 1))
}

fn date<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    Ok(Value::Int(i64::from(local(args)?.day())))
}

fn day_of_week<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    let weekday = local(args)?.weekday().to_sunday_zero_offset();
    Ok(Value::Int(i64::from(weekday)))
}

fn hours<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    part(args, |t| i64::from(t.hour()), 3_600_000_000_000)
}

fn minutes<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    part(args, |t| i64::from(t.minute()), 60_000_000_000)
}

fn seconds<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    part(args, |t| i64::from(t.second()), 1_000_000_000)
}

fn milliseconds<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    part(args, |t| i64::from(t.millisecond()), 1_000_000)
}
