//! A CronJob's schedule and time zone, read from its spec.

use jiff::tz::TimeZone;
use k8s_openapi::api::batch::v1::CronJobSpec;

use super::schedule::Schedule;
use super::zones;

/// When a CronJob is to run.
#[derive(Debug)]
pub(super) struct Timing {
    pub schedule: Schedule,
    pub zone: TimeZone,
}

/// Why nothing can be scheduled; a person has to change the CronJob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// No such `timeZone`.
    Zone(String),
    /// A schedule that is none.
    Schedule(String),
}

/// Reads them. A zone within the schedule (`TZ=…`, `CRON_TZ=…`) counts before the field: the API
/// takes none such any more, but there may be objects from before.
pub(super) fn read(spec: &CronJobSpec) -> Result<Timing, Trouble> {
    let text = spec.schedule.trim();
    let mut zone = TimeZone::UTC;
    if let Some(name) = spec.time_zone.as_deref().filter(|name| !name.is_empty()) {
        zone = zones::get(name).ok_or_else(|| {
            Trouble::Zone(format!(
                "invalid timeZone: {name:?}: unknown time zone {name}"
            ))
        })?;
    }
    let wrong = |why: String| {
        Trouble::Schedule(format!("unparseable schedule: {:?} : {why}", spec.schedule))
    };
    let prefixed = text
        .strip_prefix("TZ=")
        .or_else(|| text.strip_prefix("CRON_TZ="));
    let fields = match prefixed {
        None => text,
        Some(rest) => {
            let (name, fields) = rest
                .split_once(' ')
                .ok_or_else(|| wrong("no schedule after the time zone".to_owned()))?;
            zone = zones::get(name).ok_or_else(|| wrong(format!("unknown time zone {name}")))?;
            fields
        }
    };
    let schedule = Schedule::parse(fields).map_err(|error| wrong(error.to_string()))?;
    Ok(Timing { schedule, zone })
}

/// Does the schedule name a zone itself? It is heeded, and its author warned: `timeZone` is the place.
pub(super) fn names_zone(spec: &CronJobSpec) -> bool {
    spec.schedule.contains("TZ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;

    #[test]
    fn zones_of_the_field_and_of_the_schedule() {
        let six = "0 6 * * *";
        let cases = [
            (six, None, Ok("06:00")),
            (six, Some("Europe/Berlin"), Ok("05:00")),
            ("TZ=Asia/Tokyo 0 6 * * *", None, Ok("21:00")),
            (
                "CRON_TZ=Asia/Tokyo 0 6 * * *",
                Some("Europe/Berlin"),
                Ok("21:00"),
            ),
            (six, Some("Moon/Crater"), Err("zone")),
            ("TZ=Moon/Crater 0 6 * * *", None, Err("schedule")),
            ("TZ=0", None, Err("schedule")),
            ("0 6 * *", None, Err("schedule")),
        ];
        let from: Timestamp = "2026-11-20T00:00:00Z".parse().unwrap();
        for (schedule, zone, expected) in cases {
            let spec = CronJobSpec {
                schedule: schedule.to_owned(),
                time_zone: zone.map(str::to_owned),
                ..CronJobSpec::default()
            };
            let next = match read(&spec) {
                Ok(timing) => {
                    let next = timing.schedule.next(from, &timing.zone).unwrap();
                    Ok(next.strftime("%H:%M").to_string())
                }
                Err(Trouble::Zone(_)) => Err("zone"),
                Err(Trouble::Schedule(_)) => Err("schedule"),
            };
            assert_eq!(next, expected.map(str::to_owned), "{schedule}");
        }
    }
}
