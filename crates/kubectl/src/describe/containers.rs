//! Containers: what they run, how they are, what they may use, what they see.

use api::{object::Object, quantity::Quantity};
use serde_json::Value;

use super::page::{Page, quantity, shown, truth};

/// The containers of a pod (`whole` is it) or of a template, under a title.
pub fn list(
    title: &str,
    at: &str,
    spec: &Value,
    whole: Option<&Value>,
    space: &str,
    page: &mut Page,
) {
    let containers = spec.list(at);
    let none = if containers.is_empty() { " <none>" } else { "" };
    page.line(0, format!("{space}{title}:{none}"));
    let field = format!("status.{}Statuses", at.trim_end_matches('s'));
    for container in containers {
        let status = whole.and_then(|pod| {
            pod.list(&field)
                .iter()
                .rfind(|s| s.text("name") == container.text("name"))
        });
        let indent = if space.is_empty() { "" } else { " " };
        page.line(1, format!("{indent}{}:", container.text("name")));
        basics(container, status, page);
        for (title, field) in [("Command", "command"), ("Args", "args")] {
            words(title, container.list(field), page);
        }
        if let Some(status) = status {
            state("State", status.at("state"), page);
            if status.has("lastState.terminated") {
                state("Last State", status.at("lastState"), page);
            }
            page.field(2, "Ready", truth(status.flag("ready")));
            let restarts = status.int("restartCount").unwrap_or_default();
            page.field(2, "Restart Count", restarts.to_string());
        }
        resources(container.at("resources"), 2, page);
        for (title, field) in [
            ("Liveness", "livenessProbe"),
            ("Readiness", "readinessProbe"),
            ("Startup", "startupProbe"),
        ] {
            if container.has(field) {
                page.field(2, title, probe(container.at(field)));
            }
        }
        environment_from(container.list("envFrom"), page);
        environment(container, whole, page);
        mounts(container, page);
    }
}

fn basics(container: &Value, status: Option<&Value>, page: &mut Page) {
    if let Some(status) = status {
        page.field(2, "Container ID", status.text("containerID"));
    }
    page.field(2, "Image", container.text("image"));
    if let Some(status) = status {
        page.field(2, "Image ID", status.text("imageID"));
    }
    for (title, field) in [("Port", "containerPort"), ("Host Port", "hostPort")] {
        let ports: Vec<String> = container
            .list("ports")
            .iter()
            .map(|port| {
                let number = port.int(field).unwrap_or_default();
                let name = match port.text("name") {
                    "" => String::new(),
                    name => format!(" ({name})"),
                };
                format!("{number}/{}{name}", port.text("protocol"))
            })
            .collect();
        match ports.len() {
            0 => page.field(2, title, "<none>"),
            1 => page.field(2, title, &ports[0]),
            _ => page.field(2, &format!("{title}s"), ports.join(", ")),
        }
    }
    seccomp(container.at("securityContext.seccompProfile"), 2, 3, page);
}

/// A seccomp profile, and the file of one that lies on the node.
pub fn seccomp(profile: &Value, level: usize, inner: usize, page: &mut Page) {
    if profile.is_null() {
        return;
    }
    page.field(level, "SeccompProfile", profile.text("type"));
    if profile.text("type") == "Localhost" {
        page.field(inner, "LocalhostProfile", profile.text("localhostProfile"));
    }
}

fn words(title: &str, words: &[Value], page: &mut Page) {
    if words.is_empty() {
        return;
    }
    page.line(2, format!("{title}:"));
    for word in words.iter().filter_map(Value::as_str) {
        for line in word.split('\n') {
            page.line(3, line);
        }
    }
}

fn state(title: &str, state: &Value, page: &mut Page) {
    let given = |page: &mut Page, title: &str, value: &Value| {
        let text = shown(value);
        if !text.is_empty() && text != "0" {
            page.field(3, title, text);
        }
    };
    if let running @ Value::Object(_) = state.at("running") {
        page.field(2, title, "Running");
        let time = page.moment.time(running.at("startedAt"));
        page.field(3, "Started", time);
    } else if let Value::Object(_) = state.at("waiting") {
        page.field(2, title, "Waiting");
        given(page, "Reason", state.at("waiting.reason"));
    } else if let ended @ Value::Object(_) = state.at("terminated") {
        page.field(2, title, "Terminated");
        given(page, "Reason", ended.at("reason"));
        given(page, "Message", ended.at("message"));
        let code = ended.int("exitCode").unwrap_or_default();
        page.field(3, "Exit Code", code.to_string());
        given(page, "Signal", ended.at("signal"));
        for (title, field) in [("Started", "startedAt"), ("Finished", "finishedAt")] {
            let time = page.moment.time(ended.at(field));
            page.field(3, title, time);
        }
    } else {
        page.field(2, title, "Waiting");
    }
}

/// Limits and requests.
pub fn resources(resources: &Value, level: usize, page: &mut Page) {
    for (title, field) in [("Limits", "limits"), ("Requests", "requests")] {
        let mut amounts = resources.pairs(field).peekable();
        if amounts.peek().is_some() {
            page.line(level, format!("{title}:"));
        }
        for (name, amount) in amounts {
            page.field(level + 1, name, quantity(amount));
        }
    }
}

fn probe(probe: &Value) -> String {
    let number = |field: &str| probe.int(field).unwrap_or_default();
    let times = format!(
        "delay={}s timeout={}s period={}s #success={} #failure={}",
        number("initialDelaySeconds"),
        number("timeoutSeconds"),
        number("periodSeconds"),
        number("successThreshold"),
        number("failureThreshold")
    );
    if probe.has("exec") {
        let command = match probe.at("exec.command") {
            Value::Null => "[]".into(),
            command => shown(command),
        };
        format!("exec {command} {times}")
    } else if probe.has("httpGet") {
        let get = probe.at("httpGet");
        let host = match get.text("host") {
            host if host.contains(':') => format!("[{host}]"),
            host => host.to_string(),
        };
        let port = shown(get.at("port"));
        let path = get.text("path");
        let slash = if path.is_empty() || path.starts_with('/') {
            ""
        } else {
            "/"
        };
        format!(
            "http-get {}://{host}:{port}{slash}{} {times}",
            get.text("scheme").to_lowercase(),
            escaped(path)
        )
    } else if probe.has("tcpSocket") {
        let socket = probe.at("tcpSocket");
        format!(
            "tcp-socket {}:{} {times}",
            socket.text("host"),
            shown(socket.at("port"))
        )
    } else if probe.has("grpc") {
        let grpc = probe.at("grpc");
        format!(
            "grpc <pod>:{} {} {times}",
            shown(grpc.at("port")),
            grpc.text("service")
        )
    } else {
        format!("unknown {times}")
    }
}

/// A path as URLs hold it.
fn escaped(path: &str) -> String {
    let mut out = String::new();
    for byte in path.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' => out.push(char::from(byte)),
            b'-' | b'_' | b'.' | b'~' | b'$' | b'&' | b'+' | b',' | b'/' | b':' | b';' | b'='
            | b'@' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

fn environment_from(sources: &[Value], page: &mut Page) {
    if !sources.is_empty() {
        page.line(2, "Environment Variables from:");
    }
    for source in sources {
        let (from, reference) = if source.has("configMapRef") {
            ("ConfigMap", source.at("configMapRef"))
        } else {
            match source.at("secretRef") {
                Value::Null => ("", source.at("secretRef")),
                reference => ("Secret", reference),
            }
        };
        let prefix = match source.text("prefix") {
            "" => String::new(),
            prefix => format!(" with prefix '{prefix}'"),
        };
        page.line(
            3,
            format!(
                "{}\t{from}{prefix}\tOptional: {}",
                reference.text("name"),
                reference.flag("optional")
            ),
        );
    }
}

fn environment(container: &Value, pod: Option<&Value>, page: &mut Page) {
    let variables = container.list("env");
    let none = if variables.is_empty() { "\t<none>" } else { "" };
    page.line(2, format!("Environment:{none}"));
    for variable in variables {
        let name = variable.text("name");
        let from = variable.at("valueFrom");
        if from.is_null() {
            for (at, line) in variable.text("value").split('\n').enumerate() {
                let title = if at == 0 {
                    format!("{name}:")
                } else {
                    String::new()
                };
                page.line(3, format!("{title}\t{line}"));
            }
        } else if from.has("fieldRef") {
            let (version, path) = (
                from.text("fieldRef.apiVersion"),
                from.text("fieldRef.fieldPath"),
            );
            let value = pod.map(|pod| field(pod, path)).unwrap_or_default();
            page.line(3, format!("{name}:\t{value} ({version}:{path})"));
        } else if from.has("resourceFieldRef") {
            let reference = from.at("resourceFieldRef");
            let resource = reference.text("resource");
            let mut value = amount(container, reference);
            if value == "0" && matches!(resource, "limits.cpu" | "limits.memory") {
                value = "node allocatable".into();
            }
            page.line(3, format!("{name}:\t{value} ({resource})"));
        } else {
            for (field, words) in [
                ("secretKeyRef", "in secret"),
                ("configMapKeyRef", "of config map"),
            ] {
                if from.has(field) {
                    let key = from.at(field);
                    page.line(
                        3,
                        format!(
                            "{name}:\t<set to the key '{}' {words} '{}'>\tOptional: {}",
                            key.text("key"),
                            key.text("name"),
                            key.flag("optional")
                        ),
                    );
                    break;
                }
            }
        }
    }
}

/// The fields of its own that kubectl looks up for a pod's variables: those that any object can be
/// selected by, no others.
fn field<'p>(pod: &'p Value, path: &str) -> &'p str {
    match path {
        "metadata.name" | "metadata.namespace" => pod.text(path),
        _ => "",
    }
}

/// A container's amount in units of the divisor, rounded up.
fn amount(container: &Value, reference: &Value) -> String {
    let Some((kind, name)) = reference.text("resource").split_once('.') else {
        return String::new();
    };
    if !matches!(kind, "limits" | "requests")
        || !(matches!(name, "cpu" | "memory" | "ephemeral-storage")
            || name.starts_with("hugepages-"))
    {
        return String::new();
    }
    let one = Quantity::new(1, api::quantity::Format::Decimal);
    let divisor = match Quantity::of(reference.at("divisor")) {
        none if none.is_zero() => one,
        divisor => divisor,
    };
    let amount = Quantity::of(&container.at("resources").at(kind)[name]);
    let (have, unit) = if name == "cpu" {
        (amount.millis(), divisor.millis())
    } else {
        (amount.value(), divisor.value())
    };
    ((have as f64 / unit.max(1) as f64).ceil() as i64).to_string()
}

fn mounts(container: &Value, page: &mut Page) {
    let mut mounts: Vec<&Value> = container.list("volumeMounts").iter().collect();
    let none = if mounts.is_empty() { "\t<none>" } else { "" };
    page.line(2, format!("Mounts:{none}"));
    mounts.sort_by_key(|m| m.text("mountPath"));
    for mount in mounts {
        let mut flags = if mount.flag("readOnly") { "ro" } else { "rw" }.to_string();
        if !mount.text("subPath").is_empty() {
            flags.push_str(&format!(",path={:?}", mount.text("subPath")));
        }
        page.line(
            3,
            format!(
                "{} from {} ({flags})",
                mount.text("mountPath"),
                mount.text("name")
            ),
        );
    }
    let mut devices: Vec<&Value> = container.list("volumeDevices").iter().collect();
    if devices.is_empty() {
        return;
    }
    page.line(2, format!("Devices:{none}"));
    devices.sort_by_key(|d| d.text("devicePath"));
    for device in devices {
        page.line(
            3,
            format!("{} from {}", device.text("devicePath"), device.text("name")),
        );
    }
}
