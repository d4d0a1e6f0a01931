//! The forms of text: times, base64, durations.

use super::*;

#[test]
fn durations_read_and_write_as_in_go() {
    for (text, nanos, written) in [
        ("0", 0, "0s"),
        ("1h2m3.5s", 3_723_500_000_000, "1h2m3.5s"),
        ("90s", 90_000_000_000, "1m30s"),
        ("300ms", 300_000_000, "300ms"),
        ("1.5us", 1_500, "1.5µs"),
        ("-2m", -120_000_000_000, "-2m0s"),
        ("17ns", 17, "17ns"),
    ] {
        assert_eq!(parse_duration(text), Ok(nanos), "{text}");
        assert_eq!(duration(nanos), written);
    }
    for text in ["", "-", "1", "s", "1x", "9999999999h"] {
        assert!(parse_duration(text).is_err(), "{text}");
    }
}

#[test]
fn times_have_one_written_form() {
    for (text, written) in [
        ("2026-02-28T23:59:59Z", None),
        ("2024-02-29T00:00:00Z", None),
        ("2026-01-01T00:00:00+02:00", Some("2025-12-31T22:00:00Z")),
        ("2026-01-01T00:00:00.999Z", Some("2026-01-01T00:00:00Z")),
    ] {
        assert_eq!(time(text), Ok(written.map(str::to_owned)), "{text}");
    }
    for text in [
        "",
        "2026-02-29T00:00:00Z",
        "2026-01-01",
        "2026-01-01T25:00:00Z",
        "2026-13-01T00:00:00Z",
    ] {
        assert!(time(text).is_err(), "{text}");
    }
    assert_eq!(
        micro_time("2026-01-01T00:00:00Z"),
        Ok(Some("2026-01-01T00:00:00.000000Z".to_owned()))
    );
}

#[test]
fn times_before_1970_keep_their_instant() {
    let (seconds, nanos) = instant("1969-12-31T23:59:58.25Z").unwrap();
    assert_eq!((seconds, nanos), (-2, 250_000_000));
    assert_eq!(micros_form(seconds, nanos), "1969-12-31T23:59:58.250000Z");
    assert_eq!(seconds_form(i64::MAX), "0001-01-01T00:00:00Z");
}

#[test]
fn base64_is_checked_in_pieces() {
    let long = to_base64(&vec![7; 100_000]);
    assert_eq!(base64(&long), Ok(()));
    let mut broken = long.into_bytes();
    broken[5_000] = b'!';
    assert_eq!(
        base64(&String::from_utf8(broken).unwrap()),
        Err("illegal base64 data at input byte 5000".to_owned())
    );
}
