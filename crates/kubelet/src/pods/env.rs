//! A container's environment: services, envFrom, env, in upstream's order of precedence.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, Container, Secret, Service};

use super::{
    expand::expand,
    fields::{self, Surroundings},
    view::PodView,
};

/// A variable could not be set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct EnvError(pub String);

/// ConfigMaps and Secrets that the environment takes from, fetched before; `None` is one that is
/// not there.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// By name.
    pub config_maps: BTreeMap<String, Option<ConfigMap>>,
    /// By name.
    pub secrets: BTreeMap<String, Option<Secret>>,
}

/// Names of the ConfigMaps and Secrets that a container's environment takes from.
pub fn references(container: &Container) -> (Vec<String>, Vec<String>) {
    let (mut maps, mut secrets) = (Vec::new(), Vec::new());
    for from in container.env_from.iter().flatten() {
        maps.extend(from.config_map_ref.as_ref().map(|r| r.name.clone()));
        secrets.extend(from.secret_ref.as_ref().map(|r| r.name.clone()));
    }
    for from in container
        .env
        .iter()
        .flatten()
        .filter_map(|e| e.value_from.as_ref())
    {
        maps.extend(from.config_map_key_ref.as_ref().map(|r| r.name.clone()));
        secrets.extend(from.secret_key_ref.as_ref().map(|r| r.name.clone()));
    }
    for list in [&mut maps, &mut secrets] {
        list.sort();
        list.dedup();
    }
    (maps, secrets)
}

/// Builds the environment.
pub fn build(
    pod: &PodView,
    container: &Container,
    around: &Surroundings,
    services: BTreeMap<String, String>,
    sources: &Sources,
) -> Result<BTreeMap<String, String>, EnvError> {
    let mut own: BTreeMap<String, String> = BTreeMap::new();
    for from in container.env_from.iter().flatten() {
        let prefix = from.prefix.as_deref().unwrap_or_default();
        if let Some(reference) = &from.config_map_ref {
            let map = sources
                .config_maps
                .get(&reference.name)
                .and_then(Option::as_ref);
            match map {
                Some(map) => {
                    for (key, value) in map.data.iter().flatten() {
                        own.insert(format!("{prefix}{key}"), value.clone());
                    }
                }
                None if reference.optional == Some(true) => {}
                None => {
                    return Err(EnvError(format!(
                        "configmap {:?} not found",
                        reference.name
                    )));
                }
            }
        }
        if let Some(reference) = &from.secret_ref {
            let secret = sources
                .secrets
                .get(&reference.name)
                .and_then(Option::as_ref);
            match secret {
                Some(secret) => {
                    for (key, value) in secret.data.iter().flatten() {
                        let text = String::from_utf8_lossy(&value.0).into_owned();
                        own.insert(format!("{prefix}{key}"), text);
                    }
                }
                None if reference.optional == Some(true) => {}
                None => return Err(EnvError(format!("secret {:?} not found", reference.name))),
            }
        }
    }
    for variable in container.env.iter().flatten() {
        let value = match (&variable.value, &variable.value_from) {
            (Some(value), _) if !value.is_empty() => Some(expand(value, |name| {
                own.get(name).or_else(|| services.get(name)).cloned()
            })),
            (_, Some(from)) => reference(pod, container, around, sources, from)?,
            _ => Some(String::new()),
        };
        if let Some(value) = value {
            own.insert(variable.name.clone(), value);
        }
    }
    for (name, value) in services {
        own.entry(name).or_insert(value);
    }
    Ok(own)
}

/// The value of a `valueFrom`; none when it is optional and not there.
fn reference(
    pod: &PodView,
    container: &Container,
    around: &Surroundings,
    sources: &Sources,
    from: &k8s_openapi::api::core::v1::EnvVarSource,
) -> Result<Option<String>, EnvError> {
    if let Some(field) = &from.field_ref {
        return fields::field(pod, around, &field.field_path)
            .map(Some)
            .map_err(|e| EnvError(e.to_string()));
    }
    if let Some(selector) = &from.resource_field_ref {
        return fields::resource(pod, around, selector, Some(container))
            .map(Some)
            .map_err(|e| EnvError(e.to_string()));
    }
    let missing = |kind: &str, key: &str, name: &str| {
        EnvError(format!(
            "couldn't find key {key} in {kind} {}/{name}",
            pod.namespace()
        ))
    };
    if let Some(key) = &from.config_map_key_ref {
        let optional = key.optional == Some(true);
        let Some(map) = sources.config_maps.get(&key.name).and_then(Option::as_ref) else {
            return if optional {
                Ok(None)
            } else {
                Err(EnvError(format!("configmap {:?} not found", key.name)))
            };
        };
        return match map.data.as_ref().and_then(|d| d.get(&key.key)) {
            Some(value) => Ok(Some(value.clone())),
            None if optional => Ok(None),
            None => Err(missing("ConfigMap", &key.key, &key.name)),
        };
    }
    if let Some(key) = &from.secret_key_ref {
        let optional = key.optional == Some(true);
        let Some(secret) = sources.secrets.get(&key.name).and_then(Option::as_ref) else {
            return if optional {
                Ok(None)
            } else {
                Err(EnvError(format!("secret {:?} not found", key.name)))
            };
        };
        return match secret.data.as_ref().and_then(|d| d.get(&key.key)) {
            Some(value) => Ok(Some(String::from_utf8_lossy(&value.0).into_owned())),
            None if optional => Ok(None),
            None => Err(missing("Secret", &key.key, &key.name)),
        };
    }
    Err(EnvError("env source is not supported".to_owned()))
}

/// Variables about the Services a pod may see: those of its namespace, and `kubernetes`.
pub fn services<'a>(
    namespace: &str,
    links: bool,
    all: impl IntoIterator<Item = &'a Service>,
) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    let mut own = Vec::new();
    for service in all {
        let (ns, name) = (
            service.metadata.namespace.as_deref().unwrap_or_default(),
            service.metadata.name.as_deref().unwrap_or_default(),
        );
        let master = ns == "default" && name == "kubernetes";
        if ns == namespace && links {
            own.push((name, service));
        } else if master {
            variables(name, service, &mut out);
        }
    }
    // The namespace's own service of the same name wins.
    for (name, service) in own {
        variables(name, service, &mut out);
    }
    out
}

fn variables(name: &str, service: &Service, out: &mut BTreeMap<String, String>) {
    let Some(spec) = &service.spec else { return };
    let ip = match spec.cluster_ip.as_deref() {
        None | Some("" | "None") => return,
        Some(ip) => ip,
    };
    let screaming = |text: &str| text.to_uppercase().replace('-', "_");
    let prefix = screaming(name);
    let host = if ip.contains(':') {
        format!("[{ip}]")
    } else {
        ip.to_owned()
    };
    out.insert(format!("{prefix}_SERVICE_HOST"), ip.to_owned());
    for (index, port) in spec.ports.iter().flatten().enumerate() {
        let number = port.port;
        let protocol = port.protocol.as_deref().unwrap_or("TCP");
        let url = format!("{}://{host}:{number}", protocol.to_lowercase());
        if index == 0 {
            out.insert(format!("{prefix}_SERVICE_PORT"), number.to_string());
            out.insert(format!("{prefix}_PORT"), url.clone());
        }
        if let Some(port_name) = port.name.as_deref().filter(|n| !n.is_empty()) {
            out.insert(
                format!("{prefix}_SERVICE_PORT_{}", screaming(port_name)),
                number.to_string(),
            );
        }
        let link = format!("{prefix}_PORT_{number}_{}", protocol.to_uppercase());
        out.insert(format!("{link}_PROTO"), protocol.to_lowercase());
        out.insert(format!("{link}_PORT"), number.to_string());
        out.insert(format!("{link}_ADDR"), ip.to_owned());
        out.insert(link, url);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn pod(container: serde_json::Value) -> PodView {
        let pod = serde_json::json!({
            "metadata": {"name": "p", "namespace": "ns", "uid": "u"},
            "spec": {"containers": [container]}
        });
        PodView::new(Arc::new(serde_json::from_value(pod).expect("a pod")))
    }

    fn sources() -> Sources {
        Sources {
            config_maps: [(
                "cm".to_owned(),
                serde_json::from_value(serde_json::json!({"data": {"k": "v", "A": "from-map"}}))
                    .ok(),
            )]
            .into(),
            secrets: [("gone".to_owned(), None)].into(),
        }
    }

    #[test]
    fn precedence_and_expansion() {
        let pod = pod(serde_json::json!({"name": "c",
        "envFrom": [{"configMapRef": {"name": "cm"}, "prefix": "P_"}, {"configMapRef": {"name": "cm"}}],
        "env": [
            {"name": "A", "value": "own"},
            {"name": "B", "value": "$(A)-$(WEB_SERVICE_HOST)-$(LATER)"},
            {"name": "LATER", "value": "x"},
            {"name": "K", "valueFrom": {"configMapKeyRef": {"name": "cm", "key": "k"}}},
            {"name": "OPT", "valueFrom": {"secretKeyRef": {"name": "gone", "key": "k", "optional": true}}},
            {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}
        ]}));
        let service: Service = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "web", "namespace": "ns"},
            "spec": {"clusterIP": "10.0.0.9", "ports": [{"name": "http", "port": 80}]}
        }))
        .expect("a service");
        let services = services("ns", true, [&service]);
        let env = build(
            &pod,
            &pod.containers()[0],
            &Surroundings::default(),
            services,
            &sources(),
        )
        .expect("complete");
        for (name, want) in [
            ("A", "own"),
            ("B", "own-10.0.0.9-$(LATER)"),
            ("P_A", "from-map"),
            ("K", "v"),
            ("NAME", "p"),
            ("WEB_SERVICE_PORT_HTTP", "80"),
            ("WEB_PORT_80_TCP", "tcp://10.0.0.9:80"),
        ] {
            assert_eq!(env.get(name).map(String::as_str), Some(want), "{name}");
        }
        assert!(!env.contains_key("OPT"));
    }

    #[test]
    fn what_is_missing_is_named() {
        let cases = [
            (
                serde_json::json!([{"name": "X", "valueFrom": {"configMapKeyRef": {"name": "cm", "key": "nope"}}}]),
                "couldn't find key nope in ConfigMap ns/cm",
            ),
            (
                serde_json::json!([{"name": "X", "valueFrom": {"secretKeyRef": {"name": "gone", "key": "k"}}}]),
                "secret \"gone\" not found",
            ),
        ];
        for (env, want) in cases {
            let pod = pod(serde_json::json!({"name": "c", "env": env}));
            let error = build(
                &pod,
                &pod.containers()[0],
                &Surroundings::default(),
                BTreeMap::new(),
                &sources(),
            )
            .expect_err("missing");
            assert_eq!(error.to_string(), want);
        }
    }
}
