//! What `kubectl create` makes from flags.

use std::{collections::BTreeMap, fs, path::Path};

use api::object::Object;
use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Map, Value, json};

use crate::{
    error::{Result, io, usage},
    flags::{Binding, Generator, Literals, RoleRules, SecretKind, ServiceKind, ServicePorts},
    session::Session,
};

const RBAC: &str = "rbac.authorization.k8s.io";

fn named(api_version: &str, kind: &str, name: &str) -> Value {
    json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name}})
}

/// The object.
pub async fn object(session: &Session, generator: &Generator) -> Result<Value> {
    Ok(match generator {
        Generator::Namespace { name } => {
            let mut namespace = named("v1", "Namespace", name);
            namespace["spec"] = json!({});
            namespace["status"] = json!({});
            namespace
        }
        Generator::Serviceaccount { name } => named("v1", "ServiceAccount", name),
        Generator::Configmap(literals) => config_map(literals)?,
        Generator::Secret(kind) => secret(kind)?,
        Generator::Service(kind) => service(kind)?,
        Generator::Deployment {
            name,
            image,
            replicas,
            port,
            command,
        } => deployment(name, image, *replicas, *port, command),
        Generator::Job {
            name,
            image,
            from,
            command,
        } => job(session, name, image.as_deref(), from.as_deref(), command).await?,
        Generator::Cronjob {
            name,
            image,
            schedule,
            restart,
            command,
        } => {
            let mut cron = named("batch/v1", "CronJob", name);
            cron["spec"] = json!({"schedule": schedule, "jobTemplate": {"metadata": {"name": name}, "spec": {
                "template": {"metadata": {}, "spec": {"containers": [container(name, image, command)], "restartPolicy": restart}}}}});
            cron["status"] = json!({});
            cron
        }
        Generator::Role(rules) => role(session, "Role", rules).await?,
        Generator::Clusterrole(rules) => role(session, "ClusterRole", rules).await?,
        Generator::Rolebinding(flags) => binding("RoleBinding", flags)?,
        Generator::Clusterrolebinding(flags) => binding("ClusterRoleBinding", flags)?,
        Generator::Token { name, .. } => {
            return Err(usage(format!("the token of {name} is no object")));
        }
        Generator::Quota { name, hard, scopes } => {
            let mut quota = named("v1", "ResourceQuota", name);
            quota["spec"] = json!({});
            quota["status"] = json!({});
            if let Some(hard) = hard {
                quota["spec"]["hard"] = amounts(hard)?;
            }
            if let Some(scopes) = scopes {
                quota["spec"]["scopes"] = scopes.split(',').collect();
            }
            quota
        }
        Generator::Poddisruptionbudget {
            name,
            selector,
            min_available,
            max_unavailable,
        } => {
            let mut budget = named("policy/v1", "PodDisruptionBudget", name);
            let mut spec = json!({"selector": label_selector(selector)?});
            let (field, amount) = match (min_available, max_unavailable) {
                (Some(amount), None) => ("minAvailable", amount),
                (None, Some(amount)) => ("maxUnavailable", amount),
                (None, None) => {
                    return Err(usage(
                        "one of min-available or max-unavailable must be specified",
                    ));
                }
                _ => {
                    return Err(usage(
                        "min-available and max-unavailable cannot be both specified",
                    ));
                }
            };
            spec[field] = amount.parse::<i64>().map_or(json!(amount), Value::from);
            budget["spec"] = spec;
            budget["status"] = json!({"currentHealthy": 0, "desiredHealthy": 0, "disruptionsAllowed": 0, "expectedPods": 0});
            budget
        }
        Generator::Priorityclass {
            name,
            value,
            global_default,
            description,
            preemption_policy,
        } => {
            let mut class = named("scheduling.k8s.io/v1", "PriorityClass", name);
            class["value"] = (*value).into();
            class["preemptionPolicy"] = preemption_policy.clone().into();
            if *global_default {
                class["globalDefault"] = true.into();
            }
            if !description.is_empty() {
                class["description"] = description.clone().into();
            }
            class
        }
    })
}

fn container(name: &str, image: &str, command: &[String]) -> Value {
    let mut container = json!({"name": name, "image": image, "resources": {}});
    if !command.is_empty() {
        container["command"] = json!(command);
    }
    container
}

fn deployment(
    name: &str,
    images: &[String],
    replicas: i32,
    port: Option<i32>,
    command: &[String],
) -> Value {
    let containers: Vec<Value> = images
        .iter()
        .map(|image| {
            let last = image.rsplit('/').next().unwrap_or(image);
            let short = last.split(['@', ':']).next().unwrap_or(last);
            let mut container = container(short, image, command);
            if let Some(port) = port {
                container["ports"] = json!([{"containerPort": port}]);
            }
            container
        })
        .collect();
    let labels = json!({"app": name});
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "labels": labels},
        "spec": {"replicas": replicas, "selector": {"matchLabels": labels},
                 "strategy": {}, "template": {"metadata": {"labels": labels}, "spec": {"containers": containers}}},
        "status": {},
    })
}

async fn job(
    session: &Session,
    name: &str,
    image: Option<&str>,
    from: Option<&str>,
    command: &[String],
) -> Result<Value> {
    let mut job = named("batch/v1", "Job", name);
    match (image, from) {
        (Some(image), None) => {
            let containers = [container(name, image, command)];
            job["spec"] = json!({"template": {"metadata": {}, "spec": {"containers": containers, "restartPolicy": "Never"}}});
            job["status"] = json!({});
        }
        (None, Some(from)) => {
            let (kind, source) = from.split_once('/').unwrap_or(("", from));
            let resource = session.mapping().await?.find(kind)?;
            if resource.kind != "CronJob" {
                return Err(usage(format!(
                    "from must be an existing cronjob, not {from}"
                )));
            }
            let cron = session
                .get(&resource.object(&session.namespace, source))
                .await?;
            let template = cron.at("spec.jobTemplate");
            job["spec"] = template.at("spec").clone();
            let mut annotations = template.at("metadata.annotations").clone();
            if !annotations.is_object() {
                annotations = json!({});
            }
            annotations["cronjob.kubernetes.io/instantiate"] = "manual".into();
            job["metadata"]["annotations"] = annotations;
            if template.has("metadata.labels") {
                job["metadata"]["labels"] = template.at("metadata.labels").clone();
            }
            job["metadata"]["ownerReferences"] = json!([{"apiVersion": "batch/v1", "kind": "CronJob",
                "name": source, "uid": cron.at("metadata.uid"), "controller": true}]);
        }
        _ => return Err(usage("either --image or --from must be specified")),
    }
    Ok(job)
}

/// `cpu=1,pods=2` as a map.
fn amounts(text: &str) -> Result<Value> {
    let mut map = Map::new();
    for pair in text.split(',').filter(|p| !p.is_empty()) {
        let (name, amount) = pair.split_once('=').ok_or_else(|| {
            usage(format!(
                "Invalid argument syntax {pair}, expected <resource>=<value>"
            ))
        })?;
        map.insert(name.into(), amount.into());
    }
    Ok(Value::Object(map))
}

/// A label selector in text as an object has it.
fn label_selector(text: &str) -> Result<Value> {
    let mut labels = Map::new();
    for pair in text.split(',') {
        let (key, value) = pair
            .split_once('=')
            .ok_or_else(|| usage(format!("{pair:?} is not a valid label selector")))?;
        labels.insert(key.into(), value.trim_start_matches('=').into());
    }
    Ok(json!({"matchLabels": labels}))
}

/// Keys and contents from literals and files; a folder gives each of its files.
fn contents(literals: &Literals) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut data = BTreeMap::new();
    let mut add = |key: String, bytes: Vec<u8>| match data.insert(key.clone(), bytes) {
        None => Ok(()),
        Some(_) => Err(usage(format!(
            "cannot add key {key}, another key by that name already exists"
        ))),
    };
    for literal in &literals.from_literal {
        let (key, value) = literal.split_once('=').ok_or_else(|| {
            usage(format!(
                "invalid literal source {literal}, expected key=value"
            ))
        })?;
        add(key.into(), value.as_bytes().to_vec())?;
    }
    let read =
        |path: &Path| fs::read(path).map_err(io(format!("error reading {}", path.display())));
    for source in &literals.from_file {
        let (key, path) = match source.split_once('=') {
            Some((key, path)) => (Some(key), path),
            None => (None, source.as_str()),
        };
        let path = Path::new(path);
        let file_name = |path: &Path| {
            let name = path.file_name().unwrap_or_default();
            name.to_string_lossy().into_owned()
        };
        if path.is_dir() {
            let shown = path.display().to_string();
            let mut files = Vec::new();
            for entry in fs::read_dir(path).map_err(io(shown.clone()))? {
                files.push(entry.map_err(io(shown.clone()))?.path());
            }
            files.sort();
            for file in files.iter().filter(|f| f.is_file()) {
                add(file_name(file), read(file)?)?;
            }
        } else {
            add(
                key.map_or_else(|| file_name(path), str::to_string),
                read(path)?,
            )?;
        }
    }
    for source in &literals.from_env_file {
        let text = fs::read_to_string(source).map_err(io(source.clone()))?;
        for line in text.lines().map(str::trim_start) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (key, value) = match line.split_once('=') {
                Some((key, value)) => (key, value.to_string()),
                // A name alone stands for this program's own variable.
                None => (line, std::env::var(line).unwrap_or_default()),
            };
            add(key.into(), value.into_bytes())?;
        }
    }
    Ok(data)
}

fn config_map(literals: &Literals) -> Result<Value> {
    let mut map = named("v1", "ConfigMap", &literals.name);
    for (key, bytes) in contents(literals)? {
        match String::from_utf8(bytes) {
            Ok(text) => map.place("data")[key] = text.into(),
            Err(bytes) => {
                map.place("binaryData")[key] = BASE64_STANDARD.encode(bytes.as_bytes()).into();
            }
        }
    }
    Ok(map)
}

fn secret(kind: &SecretKind) -> Result<Value> {
    let encoded = |bytes: &[u8]| Value::from(BASE64_STANDARD.encode(bytes));
    Ok(match kind {
        SecretKind::Generic { literals, r#type } => {
            let mut secret = named("v1", "Secret", &literals.name);
            for (key, bytes) in contents(literals)? {
                secret.place("data")[key] = encoded(&bytes);
            }
            if let Some(kind) = r#type {
                secret["type"] = kind.clone().into();
            }
            secret
        }
        SecretKind::Tls { name, cert, key } => {
            let read = |path: &Path| fs::read(path).map_err(io(path.display().to_string()));
            let mut secret = named("v1", "Secret", name);
            secret["type"] = "kubernetes.io/tls".into();
            secret["data"] =
                json!({"tls.crt": encoded(&read(cert)?), "tls.key": encoded(&read(key)?)});
            secret
        }
        SecretKind::DockerRegistry {
            name,
            docker_server,
            docker_username,
            docker_password,
            docker_email,
        } => {
            let both = BASE64_STANDARD.encode(format!("{docker_username}:{docker_password}"));
            let mut entry =
                json!({"username": docker_username, "password": docker_password, "auth": both});
            if let Some(email) = docker_email {
                entry["email"] = email.clone().into();
            }
            let config = json!({"auths": {docker_server: entry}}).to_string();
            let mut secret = named("v1", "Secret", name);
            secret["type"] = "kubernetes.io/dockerconfigjson".into();
            secret["data"] = json!({".dockerconfigjson": encoded(config.as_bytes())});
            secret
        }
    })
}

fn service(kind: &ServiceKind) -> Result<Value> {
    let (kind, flags, external): (_, &ServicePorts, _) = match kind {
        ServiceKind::Clusterip(flags) => ("ClusterIP", flags, None),
        ServiceKind::Nodeport(flags) => ("NodePort", flags, None),
        ServiceKind::Loadbalancer(flags) => ("LoadBalancer", flags, None),
        ServiceKind::Externalname {
            ports,
            external_name,
        } => ("ExternalName", ports, Some(external_name)),
    };
    let headless = flags.clusterip.as_deref() == Some("None");
    if flags.tcp.is_empty() && !headless && external.is_none() {
        return Err(usage("at least one tcp port specifier must be provided"));
    }
    let mut ports = Vec::new();
    for text in &flags.tcp {
        let (port, target) = text.split_once(':').unwrap_or((text, text));
        let number: u16 = port
            .parse()
            .map_err(|_| usage(format!("invalid port {port:?} in {text:?}")))?;
        let target = target.parse::<u16>().map_or(json!(target), |t| json!(t));
        let mut made = json!({"name": text.replace(':', "-"), "port": number, "protocol": "TCP", "targetPort": target});
        if let Some(port) = flags.node_port.filter(|_| kind == "NodePort") {
            made["nodePort"] = port.into();
        }
        ports.push(made);
    }
    let labels = json!({"app": flags.name});
    let mut service = named("v1", "Service", &flags.name);
    service["metadata"]["labels"] = labels.clone();
    service["spec"] = json!({"type": kind, "selector": labels});
    service["status"] = json!({"loadBalancer": {}});
    if !ports.is_empty() {
        service["spec"]["ports"] = ports.into();
    }
    if let Some(address) = &flags.clusterip {
        service["spec"]["clusterIP"] = address.clone().into();
    }
    if let Some(name) = external {
        service["spec"]["externalName"] = name.clone().into();
    }
    Ok(service)
}

async fn role(session: &Session, kind: &str, flags: &RoleRules) -> Result<Value> {
    if flags.verb.is_empty() {
        return Err(usage("at least one verb must be specified"));
    }
    if flags.resource.is_empty() && flags.non_resource_url.is_empty() {
        return Err(usage("at least one resource must be specified"));
    }
    let mapping = session.mapping().await?;
    // One rule for each group, in the order the groups are named.
    let mut groups: Vec<(String, Vec<String>)> = Vec::new();
    for word in &flags.resource {
        let (name, part) = match word.split_once('/') {
            Some((name, part)) => (name, format!("/{part}")),
            None => (word.as_str(), String::new()),
        };
        let (group, plural) = if name == "*" {
            (String::new(), name.to_string())
        } else {
            let known = mapping.find(name)?;
            (known.group.clone(), known.plural.clone())
        };
        let resource = plural + &part;
        match groups.iter_mut().find(|(g, _)| *g == group) {
            Some((_, resources)) if resources.contains(&resource) => {}
            Some((_, resources)) => resources.push(resource),
            None => groups.push((group, vec![resource])),
        }
    }
    let mut rules = Vec::new();
    for (group, resources) in groups {
        let mut rule = json!({"apiGroups": [group], "resources": resources, "verbs": flags.verb});
        if !flags.resource_name.is_empty() {
            rule["resourceNames"] = json!(flags.resource_name);
        }
        rules.push(rule);
    }
    if !flags.non_resource_url.is_empty() {
        rules.push(json!({"nonResourceURLs": flags.non_resource_url, "verbs": flags.verb}));
    }
    let mut role = named(&format!("{RBAC}/v1"), kind, &flags.name);
    role["rules"] = rules.into();
    Ok(role)
}

fn binding(kind: &str, flags: &Binding) -> Result<Value> {
    let (role_kind, role) = match (&flags.clusterrole, &flags.role) {
        (Some(role), None) => ("ClusterRole", role),
        (None, Some(role)) if kind == "RoleBinding" => ("Role", role),
        _ => {
            return Err(usage(
                "exactly one of clusterrole or role must be specified",
            ));
        }
    };
    let mut subjects = Vec::new();
    for (kind, names) in [("User", &flags.user), ("Group", &flags.group)] {
        subjects.extend(
            names
                .iter()
                .map(|n| json!({"kind": kind, "apiGroup": RBAC, "name": n})),
        );
    }
    for account in &flags.serviceaccount {
        let (namespace, name) = account
            .split_once(':')
            .filter(|(namespace, name)| !namespace.is_empty() && !name.is_empty())
            .ok_or_else(|| usage("serviceaccount must be <namespace>:<name>"))?;
        subjects.push(json!({"kind": "ServiceAccount", "name": name, "namespace": namespace}));
    }
    let mut binding = named(&format!("{RBAC}/v1"), kind, &flags.name);
    binding["roleRef"] = json!({"apiGroup": RBAC, "kind": role_kind, "name": role});
    if !subjects.is_empty() {
        binding["subjects"] = subjects.into();
    }
    Ok(binding)
}
