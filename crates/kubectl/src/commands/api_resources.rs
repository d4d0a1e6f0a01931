//! `kubectl api-resources`.

use crate::{error::Result, output::table, session::Session};

/// Prints what the server serves, each resource in its preferred version.
pub async fn run(session: &Session) -> Result<u8> {
    let mut seen = std::collections::BTreeSet::new();
    let mut rows = vec![
        ["NAME", "SHORTNAMES", "APIVERSION", "NAMESPACED", "KIND"]
            .map(str::to_string)
            .to_vec(),
    ];
    for resource in &session.mapping().await?.resources {
        if seen.insert((resource.group.clone(), resource.plural.clone())) {
            rows.push(vec![
                resource.plural.clone(),
                resource.short.join(","),
                resource.api_version(),
                resource.namespaced.to_string(),
                resource.kind.clone(),
            ]);
        }
    }
    print!("{}", table::align(rows));
    Ok(0)
}
