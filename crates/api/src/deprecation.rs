//! Versions of kinds that upstream has deprecated: what clients are warned of when they use one.

use crate::{meta::join_api_version, resource::Gvk};

/// Since which minor version, until which, and what to use in its place.
struct Deprecated {
    group: &'static str,
    version: &'static str,
    /// `*` for all kinds of the version.
    kind: &'static str,
    since: u32,
    until: Option<u32>,
    instead: &'static str,
}

const fn row(
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    since: u32,
    until: Option<u32>,
    instead: &'static str,
) -> Deprecated {
    Deprecated {
        group,
        version,
        kind,
        since,
        until,
        instead,
    }
}

/// As the life cycles that upstream's types state, up to this version.
const DEPRECATED: [Deprecated; 12] = [
    row("", "v1", "ComponentStatus", 19, None, ""),
    row(
        "",
        "v1",
        "Endpoints",
        33,
        None,
        "discovery.k8s.io/v1 EndpointSlice",
    ),
    row(
        "admissionregistration.k8s.io",
        "v1alpha1",
        "*",
        35,
        Some(38),
        "",
    ),
    row(
        "certificates.k8s.io",
        "v1alpha1",
        "ClusterTrustBundle",
        34,
        Some(37),
        "",
    ),
    row(
        "coordination.k8s.io",
        "v1alpha2",
        "LeaseCandidate",
        35,
        Some(38),
        "",
    ),
    row(
        "coordination.k8s.io",
        "v1beta1",
        "LeaseCandidate",
        36,
        Some(39),
        "",
    ),
    row("networking.k8s.io", "v1beta1", "*", 34, Some(37), ""),
    row(
        "resource.k8s.io",
        "v1alpha3",
        "DeviceTaintRule",
        36,
        Some(39),
        "",
    ),
    row("resource.k8s.io", "v1beta1", "*", 35, Some(38), ""),
    row(
        "resource.k8s.io",
        "v1beta2",
        "DeviceTaintRule",
        39,
        Some(42),
        "",
    ),
    row("resource.k8s.io", "v1beta2", "*", 36, Some(39), ""),
    row(
        "storage.k8s.io",
        "v1beta1",
        "VolumeAttributesClass",
        34,
        Some(37),
        "storage.k8s.io/v1 VolumeAttributesClass",
    ),
];

/// The minor version that is served.
const SERVED: u32 = 36;

/// The warning that the use of a kind earns; none for most.
pub fn warning(gvk: &Gvk) -> Option<String> {
    let found = DEPRECATED.iter().find(|row| {
        row.group == &*gvk.group
            && row.version == &*gvk.version
            && (row.kind == "*" || row.kind == &*gvk.kind)
    })?;
    if found.since > SERVED {
        return None;
    }
    let version = join_api_version(&gvk.group, &gvk.version);
    let mut text = format!(
        "{version} {} is deprecated in v1.{}+",
        gvk.kind, found.since
    );
    if let Some(until) = found.until {
        text.push_str(&format!(", unavailable in v1.{until}+"));
    }
    if !found.instead.is_empty() {
        text.push_str(&format!("; use {}", found.instead));
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_worded_as_upstreams() {
        let text = |group, version, kind| warning(&Gvk::new(group, version, kind));
        assert_eq!(
            text("", "v1", "Endpoints").unwrap(),
            "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"
        );
        assert_eq!(
            text("storage.k8s.io", "v1beta1", "VolumeAttributesClass").unwrap(),
            "storage.k8s.io/v1beta1 VolumeAttributesClass is deprecated in v1.34+, unavailable in v1.37+; use storage.k8s.io/v1 VolumeAttributesClass"
        );
        assert_eq!(text("", "v1", "Pod"), None);
        assert_eq!(text("resource.k8s.io", "v1beta2", "DeviceTaintRule"), None);
    }
}
