//! `kubectl run`: a pod from flags; attached to, and removed again, where that is asked for.

use std::time::Duration;

use api::object::Object;
use futures::{AsyncBufReadExt, TryStreamExt};
use http::Method;
use serde_json::{Map, Value, json};

use super::{change, change::Dry, delete::until_gone, duration, exec};
use crate::{
    error::{Error, Result, io, usage},
    flags::{Attach, Run},
    object::{Found, Target},
    session::Session,
};

/// Runs it.
pub async fn run(session: &Session, flags: &Run) -> Result<u8> {
    let attached = flags.attach || flags.stdin || flags.tty;
    if flags.rm && !attached {
        return Err(usage("--rm should only be used for attached containers"));
    }
    if flags.rm && flags.write.dry_run != "none" {
        return Err(usage("--dry-run=server and --rm can't be used together"));
    }
    let mut pod = pod(flags)?;
    if let Some(overrides) = &flags.overrides {
        let patch: Value = serde_json::from_str(overrides)
            .map_err(|e| usage(format!("Invalid --overrides: {e}")))?;
        pod = schema::patch::merge(&pod, &patch);
    }
    let mapping = session.mapping().await?;
    let resource = mapping.of_kind("v1", "Pod")?;
    let made = change::create(session, resource, pod, &flags.write, "kubectl-run").await?;
    if !attached || Dry::parse(&flags.write.dry_run)? != Dry::No {
        change::tell(&made, "created", &flags.write)?;
        return Ok(0);
    }
    let code = attached_to(session, flags, &made).await;
    if flags.rm {
        let target = Target {
            resource: made.resource.clone(),
            name: Some(made.name().to_string()),
            namespace: made.namespace().to_string(),
        };
        let gone = session
            .json(Method::DELETE, &made.path(), "application/json", None)
            .await;
        match gone {
            Ok(_) => {}
            Err(Error::Server(status)) if status.code == 404 => {}
            Err(error) => return Err(error),
        }
        if !flags.quiet {
            println!(
                "pod \"{}\" deleted from {} namespace",
                made.name(),
                made.namespace()
            );
        }
        until_gone(session, &target, made.object.text("metadata.uid")).await?;
    }
    code
}

/// The pod (upstream's generator `run-pod/v1`).
fn pod(flags: &Run) -> Result<Value> {
    let pairs = |text: &str| -> Result<Map<String, Value>> {
        let mut map = Map::new();
        for pair in text.split(',').filter(|p| !p.is_empty()) {
            let (key, value) = pair
                .split_once('=')
                .ok_or_else(|| usage(format!("unexpected label spec: {pair}")))?;
            map.insert(key.into(), value.into());
        }
        Ok(map)
    };
    let labels = match &flags.labels {
        Some(text) => pairs(text)?,
        None => Map::from_iter([("run".to_string(), Value::from(flags.name.clone()))]),
    };
    let mut container = json!({"name": flags.name, "image": flags.image, "resources": {}});
    if let Some(policy) = &flags.image_pull_policy {
        container["imagePullPolicy"] = policy.clone().into();
    }
    if !flags.arguments.is_empty() {
        let field = if flags.command { "command" } else { "args" };
        container[field] = json!(flags.arguments);
    }
    if let Some(port) = flags.port {
        container["ports"] = json!([{"containerPort": port}]);
    }
    let mut variables = Vec::new();
    for text in &flags.env {
        let (name, value) = text
            .split_once('=')
            .filter(|(name, _)| !name.is_empty())
            .ok_or_else(|| usage(format!("invalid env: {text}")))?;
        variables.push(json!({"name": name, "value": value}));
    }
    if !variables.is_empty() {
        container["env"] = variables.into();
    }
    if flags.stdin {
        container["stdin"] = true.into();
        container["stdinOnce"] = true.into();
    }
    if flags.tty {
        container["tty"] = true.into();
    }
    if flags.privileged {
        container["securityContext"] = json!({"privileged": true});
    }
    if !["Always", "OnFailure", "Never"].contains(&flags.restart.as_str()) {
        return Err(usage(format!("invalid restart policy: {}", flags.restart)));
    }
    let mut metadata = json!({"name": flags.name, "labels": labels});
    if !flags.annotations.is_empty() {
        metadata["annotations"] = Value::Object(pairs(&flags.annotations.join(","))?);
    }
    Ok(json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": metadata,
        "spec": {"containers": [container], "restartPolicy": flags.restart, "dnsPolicy": "ClusterFirst"},
        "status": {},
    }))
}

/// Waits until the pod runs or is over, and attaches, or shows what it left.
async fn attached_to(session: &Session, flags: &Run, made: &Found) -> Result<u8> {
    let limit = duration(&flags.pod_running_timeout)?.max(Duration::from_secs(1));
    let pod = tokio::time::timeout(limit, started(session, made))
        .await
        .map_err(|_| usage("timed out waiting for the condition"))??;
    if pod.text("status.phase") == "Running" {
        let attach = Attach {
            target: made.name().to_string(),
            container: Some(flags.name.clone()),
            stdin: flags.stdin,
            tty: flags.tty,
            quiet: flags.quiet,
        };
        match exec::attach(session, &attach).await {
            Ok(0) => {}
            Ok(code) => return Ok(code),
            // It may have ended meanwhile: its log tells.
            Err(_) => print!("{}", session.text(&format!("{}/log", made.path())).await?),
        }
    } else {
        print!("{}", session.text(&format!("{}/log", made.path())).await?);
    }
    let pod = match session.get(&made.path()).await {
        Ok(pod) => pod,
        Err(Error::Server(status)) if status.code == 404 => return Ok(0),
        Err(error) => return Err(error),
    };
    let state = pod.list("status.containerStatuses").first();
    let code = state.and_then(|s| s.int("state.terminated.exitCode"));
    Ok(code.and_then(|c| u8::try_from(c).ok()).unwrap_or_default())
}

async fn started(session: &Session, made: &Found) -> Result<Value> {
    loop {
        let pod = session.get(&made.path()).await?;
        let over = |pod: &Value| !matches!(pod.text("status.phase"), "" | "Pending");
        if over(&pod) {
            return Ok(pod);
        }
        let watch = format!(
            "{}?watch=true&fieldSelector=metadata.name%3D{}&resourceVersion={}",
            made.resource.path(Some(made.namespace())),
            made.name(),
            pod.text("metadata.resourceVersion")
        );
        let mut lines = session.stream(&watch, "application/json").await?.lines();
        while let Some(line) = lines.try_next().await.map_err(io("watch"))? {
            let event: Value =
                serde_json::from_str(&line).map_err(|e| Error::Connect(e.to_string()))?;
            match event.text("type") {
                "ERROR" => break,
                "DELETED" => return Err(usage("the pod was deleted before it ran")),
                _ if over(event.at("object")) => return Ok(event.at("object").clone()),
                _ => {}
            }
        }
    }
}
