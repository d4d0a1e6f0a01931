//! `kubectl patch`.

use http::Method;
use serde_json::Value;

use super::{change, report};
use crate::{
    error::{Result, io, usage},
    flags::Patch,
    object::{Found, objects},
    session::Session,
};

/// Runs it.
pub async fn run(session: &Session, flags: &Patch) -> Result<u8> {
    let text = match (&flags.patch, &flags.patch_file) {
        (Some(text), None) => text.clone(),
        (None, Some(path)) => std::fs::read_to_string(path).map_err(io(format!(
            "unable to read patch file: open {}",
            path.display()
        )))?,
        (None, None) => {
            return Err(usage(
                "must specify --patch or --patch-file containing the contents of the patch",
            ));
        }
        _ => return Err(usage("cannot specify --patch and --patch-file together")),
    };
    let kind = match flags.r#type.to_lowercase().as_str() {
        "strategic" => "application/strategic-merge-patch+json",
        "merge" => "application/merge-patch+json",
        "json" => "application/json-patch+json",
        other => {
            return Err(usage(format!(
                "--type must be one of [json merge strategic], not {other:?}"
            )));
        }
    };
    let patch: Value = serde_saphyr::from_str(&text)
        .map_err(|e| usage(format!("unable to parse {text:?}: {e}")))?;
    let (found, mut errors) = objects(session, &flags.selection).await?;
    if found.is_empty() && errors.is_empty() {
        return Err(usage("no objects passed to patch"));
    }
    for item in found {
        match one(session, flags, &item, kind, &patch).await {
            Ok(after) => {
                let same = after.object["metadata"]["resourceVersion"]
                    == item.object["metadata"]["resourceVersion"];
                let verb = if same {
                    "patched (no change)"
                } else {
                    "patched"
                };
                change::tell(&after, verb, &flags.write)?;
            }
            Err(error) => errors.push(error),
        }
    }
    Ok(report(&errors))
}

async fn one(
    session: &Session,
    flags: &Patch,
    item: &Found,
    kind: &str,
    patch: &Value,
) -> Result<Found> {
    let Some(subresource) = &flags.subresource else {
        return change::patch(session, item, kind, patch, &flags.write, "kubectl-patch").await;
    };
    let query = change::query(&flags.write, "kubectl-patch")?;
    let path = format!("{}/{subresource}?{query}", item.path());
    let object = session
        .json(
            Method::PATCH,
            &path,
            "application/json",
            Some((kind, patch)),
        )
        .await?;
    let mut after = item.clone();
    if object["kind"] == item.object["kind"] {
        after.object = object;
    } else {
        after.object["metadata"]["resourceVersion"] = object["metadata"]["resourceVersion"].clone();
    }
    Ok(after)
}
