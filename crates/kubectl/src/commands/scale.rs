//! `kubectl scale`, through the scale subresource.

use http::Method;
use serde_json::json;

use super::report;
use crate::{
    error::{Result, usage},
    flags::Scale,
    object::objects,
    session::Session,
};

/// Runs it.
pub async fn run(session: &Session, flags: &Scale) -> Result<u8> {
    let (found, mut errors) = objects(session, &flags.selection).await?;
    for item in found {
        let path = format!("{}/scale", item.path());
        let change = async {
            if let Some(expected) = flags.current_replicas {
                let now = session.get(&path).await?["spec"]["replicas"]
                    .as_i64()
                    .unwrap_or_default();
                if now != i64::from(expected) {
                    return Err(usage(format!(
                        "Expected replicas to be {expected}, was {now}"
                    )));
                }
            }
            let patch = json!({"spec": {"replicas": flags.replicas}});
            session
                .json(
                    Method::PATCH,
                    &path,
                    "application/json",
                    Some(("application/merge-patch+json", &patch)),
                )
                .await
        };
        match change.await {
            Ok(_) => println!("{} scaled", item.resource.named(item.name())),
            Err(error) => errors.push(error),
        }
    }
    Ok(report(&errors))
}
