//! `kubectl api-resources`.

use std::collections::BTreeSet;

use crate::{
    error::{Result, usage},
    flags::ApiResources,
    mapping::Resource,
    output::table,
    session::Session,
};

/// Prints what the server serves, each resource in its preferred version, by group and name.
pub async fn run(session: &Session, flags: &ApiResources) -> Result<u8> {
    let wide = match flags.output.as_deref() {
        None | Some("" | "name") => false,
        Some("wide") => true,
        Some(other) => return Err(usage(format!("--output {other} is not available"))),
    };
    let mut seen = BTreeSet::new();
    let mut all: Vec<&Resource> = session.mapping().await?.resources.iter().collect();
    // Discovery's first version of a group is the preferred one.
    all.retain(|r| seen.insert((r.group.clone(), r.plural.clone())));
    all.retain(|r| {
        let has = |own: &[String], wanted: &[String]| wanted.iter().all(|w| own.contains(w));
        flags.namespaced.is_none_or(|n| n == r.namespaced)
            && flags.api_group.as_ref().is_none_or(|g| *g == r.group)
            && has(&r.verbs, &flags.verbs)
            && has(&r.categories, &flags.categories)
    });
    match flags.sort_by.as_deref() {
        None | Some("") => all.sort_by_key(|r| (&r.group, &r.plural)),
        Some("name") => all.sort_by_key(|r| &r.plural),
        Some("kind") => all.sort_by_key(|r| &r.kind),
        Some(_) => return Err(usage("--sort-by accepts only name or kind")),
    }
    if flags.output.as_deref() == Some("name") {
        for resource in all {
            println!("{}", resource.qualified());
        }
        return Ok(0);
    }
    let mut head = vec!["NAME", "SHORTNAMES", "APIVERSION", "NAMESPACED", "KIND"];
    if wide {
        head.extend(["VERBS", "CATEGORIES"]);
    }
    let mut rows = Vec::new();
    if !flags.no_headers {
        rows.push(head.into_iter().map(str::to_string).collect());
    }
    for resource in all {
        let mut row = vec![
            resource.plural.clone(),
            resource.short.join(","),
            resource.api_version(),
            resource.namespaced.to_string(),
            resource.kind.clone(),
        ];
        if wide {
            row.extend([resource.verbs.join(","), resource.categories.join(",")]);
        }
        rows.push(row);
    }
    print!("{}", table::align(rows));
    Ok(0)
}
