//! Which pod a command means: by name, or the first of a Deployment, Service, Job, ….

use serde_json::Value;

use crate::{
    error::{Result, usage},
    session::{Session, escape},
};

/// The pods that `POD` or `TYPE/NAME` means, running ones first.
pub async fn of(session: &Session, target: &str) -> Result<Vec<Value>> {
    let (kind, name) = target.split_once('/').unwrap_or(("pods", target));
    let resource = session.mapping().await?.find(kind)?;
    let object = session
        .get(&resource.object(&session.namespace, name))
        .await?;
    if resource.plural == "pods" {
        return Ok(vec![object]);
    }
    let selector = match &object["spec"]["selector"] {
        Value::Object(map)
            if map.contains_key("matchLabels") || map.contains_key("matchExpressions") =>
        {
            api::labels::Selector::from_label_selector(&object["spec"]["selector"])
                .map_err(|e| usage(e.to_string()))?
                .to_string()
        }
        Value::Object(map) => map
            .iter()
            .map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default()))
            .collect::<Vec<_>>()
            .join(","),
        _ => {
            return Err(usage(format!(
                "cannot find the pods of {target}: it selects none"
            )));
        }
    };
    let mut pods = selected(session, &selector).await?;
    if pods.is_empty() {
        return Err(usage(format!("no pods found for {target}")));
    }
    pods.sort_by_key(|p| p["status"]["phase"] != "Running");
    Ok(pods)
}

/// The pods a label selector matches.
pub async fn selected(session: &Session, selector: &str) -> Result<Vec<Value>> {
    let path = format!(
        "/api/v1/namespaces/{}/pods?labelSelector={}",
        session.namespace,
        escape(selector)
    );
    Ok(session.get(&path).await?["items"]
        .as_array()
        .cloned()
        .unwrap_or_default())
}

/// The container meant when none is named: the annotated default, else the first.
pub fn default_container(pod: &Value) -> &str {
    pod["metadata"]["annotations"]["kubectl.kubernetes.io/default-container"]
        .as_str()
        .or_else(|| pod["spec"]["containers"][0]["name"].as_str())
        .unwrap_or_default()
}
