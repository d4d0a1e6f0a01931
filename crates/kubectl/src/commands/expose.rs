//! `kubectl expose`: a Service made from what it shall lead to; and `kubectl autoscale`.

use api::object::Object;
use serde_json::{Map, Value, json};

use super::{change, report};
use crate::{
    error::{Result, usage},
    flags::{Autoscale, Expose},
    object::{Found, objects},
    session::Session,
};

/// Runs `expose`.
pub async fn run(session: &Session, flags: &Expose) -> Result<u8> {
    let (found, mut errors) = objects(session, &flags.selection).await?;
    for item in found {
        let service = service(&item, flags)?;
        let mapping = session.mapping().await?;
        let resource = mapping.of_kind("v1", "Service")?;
        match change::create(session, resource, service, &flags.write, "kubectl-expose").await {
            Ok(made) => change::tell(&made, "exposed", &flags.write)?,
            Err(error) => errors.push(error),
        }
    }
    Ok(report(&errors))
}

/// `a=b,c=d` as a map.
fn labels(text: &str) -> Result<Value> {
    let mut map = Map::new();
    for pair in text.split(',').filter(|p| !p.is_empty()) {
        let (key, value) = pair
            .split_once('=')
            .ok_or_else(|| usage(format!("unexpected label spec: {pair}")))?;
        map.insert(key.into(), value.into());
    }
    Ok(Value::Object(map))
}

/// The Service for an object (upstream's generator).
fn service(item: &Found, flags: &Expose) -> Result<Value> {
    let object = &item.object;
    let kind = object.text("kind");
    let (selector, containers) = match kind {
        "Pod" => (object.at("metadata.labels"), "spec.containers"),
        "Service" => (object.at("spec.selector"), ""),
        "ReplicationController" => (object.at("spec.selector"), "spec.template.spec.containers"),
        "Deployment" | "ReplicaSet" => {
            if object.has("spec.selector.matchExpressions") {
                return Err(usage(
                    "couldn't convert expressions - \"matchExpressions\" are not supported for exposing",
                ));
            }
            (
                object.at("spec.selector.matchLabels"),
                "spec.template.spec.containers",
            )
        }
        _ => {
            return Err(usage(format!("cannot expose a {}", item.resource.kind)));
        }
    };
    let selector = match &flags.selection.selector {
        Some(text) => labels(text)?,
        None => selector.clone(),
    };
    if selector.as_object().is_none_or(Map::is_empty) {
        return Err(usage(match kind {
            "Pod" => {
                "couldn't retrieve selectors via --selector flag or introspection: the pod has no labels and cannot be exposed"
            }
            _ => {
                "couldn't retrieve selectors via --selector flag or introspection: the object selects no pods"
            }
        }));
    }
    let declared: Vec<(i64, &str)> = match containers {
        "" => {
            let ports = object.list("spec.ports").iter();
            ports
                .filter_map(|p| Some((p.int("port")?, p.text("protocol"))))
                .collect()
        }
        path => {
            let ports = object.list(path).iter().flat_map(|c| c.list("ports"));
            ports
                .filter_map(|p| Some((p.int("containerPort")?, p.text("protocol"))))
                .collect()
        }
    };
    let wanted: Vec<i64> = match &flags.port {
        Some(text) => text
            .split(',')
            .map(|p| p.parse().map_err(|_| usage(format!("invalid port {p:?}"))))
            .collect::<Result<_>>()?,
        None => declared.iter().map(|(port, _)| *port).collect(),
    };
    if wanted.is_empty() {
        return Err(usage(
            "couldn't find port via --port flag or introspection\nSee 'kubectl expose -h' for help and examples",
        ));
    }
    let target = flags.target_port.as_ref().map(|t| match t.parse::<i64>() {
        Ok(number) => json!(number),
        Err(_) => json!(t),
    });
    let ports: Vec<Value> = wanted
        .iter()
        .enumerate()
        .map(|(at, port)| {
            let known = declared.iter().find(|(p, _)| p == port).map(|(_, p)| *p);
            let protocol = flags
                .protocol
                .as_deref()
                .or(known)
                .filter(|p| !p.is_empty());
            let mut made = json!({
                "port": port,
                "protocol": protocol.unwrap_or("TCP"),
                "targetPort": target.clone().unwrap_or(json!(port)),
            });
            if wanted.len() > 1 {
                made["name"] = format!("port-{}", at + 1).into();
            }
            made
        })
        .collect();
    let name = flags.name.as_deref().unwrap_or(item.name());
    let mut spec = json!({"ports": ports, "selector": selector});
    for (field, value) in [
        ("type", &flags.r#type),
        ("clusterIP", &flags.cluster_ip),
        ("sessionAffinity", &flags.session_affinity),
    ] {
        if let Some(value) = value {
            spec[field] = value.clone().into();
        }
    }
    if let Some(address) = &flags.external_ip {
        spec["externalIPs"] = json!([address]);
    }
    let labels = match &flags.labels {
        Some(text) => labels(text)?,
        None => object.at("metadata.labels").clone(),
    };
    let mut metadata = json!({"name": name});
    if labels.is_object() {
        metadata["labels"] = labels;
    }
    if object.has("metadata.namespace") {
        metadata["namespace"] = object.at("metadata.namespace").clone();
    }
    Ok(
        json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec,
        "status": {"loadBalancer": {}}}),
    )
}

/// Runs `autoscale`.
pub async fn autoscale(session: &Session, flags: &Autoscale) -> Result<u8> {
    if flags.max < 1 {
        return Err(usage(format!(
            "--max=MAXPODS is required and must be at least 1, max: {}",
            flags.max
        )));
    }
    if flags.min.is_some_and(|min| min > flags.max) {
        return Err(usage(format!(
            "--max=MAXPODS must be larger or equal to --min=MINPODS, max: {}, min: {}",
            flags.max,
            flags.min.unwrap_or_default()
        )));
    }
    let percent = flags
        .cpu_percent
        .filter(|p| *p >= 0)
        .map(|p| format!("{p}%"));
    let mut metrics = Vec::new();
    for (name, wanted) in [
        ("cpu", flags.cpu.as_ref().or(percent.as_ref())),
        ("memory", flags.memory.as_ref()),
    ] {
        let Some(wanted) = wanted else { continue };
        let target = match wanted.strip_suffix('%') {
            Some(percent) => {
                let percent: i32 = percent
                    .parse()
                    .map_err(|_| usage(format!("invalid --{name} value {wanted:?}")))?;
                json!({"type": "Utilization", "averageUtilization": percent})
            }
            None => json!({"type": "AverageValue", "averageValue": wanted}),
        };
        metrics.push(json!({"type": "Resource", "resource": {"name": name, "target": target}}));
    }
    let (found, mut errors) = objects(session, &flags.selection).await?;
    for item in found {
        let mut spec = json!({
            "scaleTargetRef": {"apiVersion": item.resource.api_version(), "kind": item.resource.kind, "name": item.name()},
            "maxReplicas": flags.max,
        });
        if let Some(min) = flags.min.filter(|min| *min > 0) {
            spec["minReplicas"] = min.into();
        }
        if !metrics.is_empty() {
            spec["metrics"] = json!(metrics);
        }
        let name = flags.name.as_deref().unwrap_or(item.name());
        let scaler = json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": name}, "spec": spec});
        let mapping = session.mapping().await?;
        let resource = mapping.of_kind("autoscaling/v2", "HorizontalPodAutoscaler")?;
        match change::create(session, resource, scaler, &flags.write, "kubectl-autoscale").await {
            Ok(made) => change::tell(&made, "autoscaled", &flags.write)?,
            Err(error) => errors.push(error),
        }
    }
    Ok(report(&errors))
}
