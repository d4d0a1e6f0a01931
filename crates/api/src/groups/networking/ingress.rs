//! Ingresses.

use schema::{Path, Value, field_error::FieldError};

use super::reference;
use crate::{
    meta, names,
    object::Object,
    strategy::{Part, Strategy},
    validation::{
        addresses::{self, ip_warnings},
        checks::{required, wrongs},
    },
};

const CLASS: &str = "kubernetes.io/ingress.class";
const NOT_AN_ADDRESS: &str = "must be a DNS name, not an IP address";

/// What Ingresses do specially.
pub struct Ingress;

impl Strategy for Ingress {
    fn validate(&self, object: &Value, errors: &mut Vec<FieldError>) {
        spec(object.at("spec"), &Value::Null, errors);
    }

    fn validate_result(&self, object: &Value, old: &Value, errors: &mut Vec<FieldError>) {
        spec(object.at("spec"), old.at("spec"), errors);
    }

    fn validate_create(&self, object: &Value, errors: &mut Vec<FieldError>) {
        self.validate(object, errors);
        if let Some(class) = meta::annotation(object, CLASS)
            && object.has("spec.ingressClassName")
            && class != object.text("spec.ingressClassName")
        {
            let annotations = Path::ROOT.field("annotations");
            let wrong = "must match `ingressClassName` when both are specified";
            errors.push(FieldError::invalid(annotations.field(CLASS), class, wrong));
        }
    }

    fn validate_update(
        &self,
        part: Part<'_>,
        object: &Value,
        old: &Value,
        errors: &mut Vec<FieldError>,
    ) {
        if part != Part::Status {
            return;
        }
        let path = Path::ROOT.field("status");
        let balancer = path.field("loadBalancer");
        let list = balancer.field("ingress");
        let before = old.list("status.loadBalancer.ingress");
        for (index, item) in object
            .list("status.loadBalancer.ingress")
            .iter()
            .enumerate()
        {
            let path = list.index(index);
            let (ip, name) = (item.text("ip"), item.text("hostname"));
            if !ip.is_empty() && !before.iter().any(|item| item.text("ip") == ip) {
                addresses::ip(ip, &path.field("ip"), errors);
            }
            if !name.is_empty() {
                let path = path.field("hostname");
                wrongs(name, names::dns1123_subdomain(name), &path, errors);
                if addresses::sloppy(name).is_some() {
                    errors.push(FieldError::invalid(path, name, NOT_AN_ADDRESS));
                }
            }
        }
    }

    fn warnings(&self, object: &Value) -> Vec<String> {
        if meta::annotation(object, CLASS).is_none() || object.has("spec.ingressClassName") {
            return Vec::new();
        }
        vec![format!(
            "annotation \"{CLASS}\" is deprecated, please use 'spec.ingressClassName' instead"
        )]
    }

    fn warnings_on_update(&self, part: Part<'_>, object: &Value, _: &Value) -> Vec<String> {
        let mut warnings = Vec::new();
        if part == Part::Status {
            let list = object.list("status.loadBalancer.ingress");
            for (index, item) in list.iter().enumerate() {
                let path = format!("status.loadBalancer.ingress[{index}]");
                ip_warnings(item.text("ip"), &path, &mut warnings);
            }
        }
        warnings
    }

    fn generation(&self) -> &'static [&'static str] {
        &["spec"]
    }
}

/// What of the rules one that was there before has broken already.
struct Tolerated {
    secret: bool,
    wildcard: bool,
}

impl Tolerated {
    fn of(old: &Value) -> Self {
        let odd = |tls: &Value| {
            let name = tls.text("secretName");
            !name.is_empty() && !names::dns1123_subdomain(name).is_empty()
        };
        let broken = |rule: &Value| {
            let mut errors = Vec::new();
            paths(rule, &Path::ROOT, &mut errors);
            rule.text("host").contains('*') && !errors.is_empty()
        };
        Tolerated {
            secret: old.list("tls").iter().any(odd),
            wildcard: old.list("rules").iter().any(broken),
        }
    }
}

fn spec(spec: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let path = Path::ROOT.field("spec");
    let tolerated = Tolerated::of(old);
    let rules = spec.list("rules");
    if rules.is_empty() && !spec.has("defaultBackend") {
        let wrong = "either `defaultBackend` or `rules` must be specified";
        errors.push(FieldError::invalid(path, spec.at("rules").clone(), wrong));
    }
    if spec.has("defaultBackend") {
        let field = path.field("defaultBackend");
        backend(spec.at("defaultBackend"), &field, errors);
    }
    let list = path.field("rules");
    for (index, rule) in rules.iter().enumerate() {
        let path = list.index(index);
        let name = rule.text("host");
        if !name.is_empty() {
            host(name, &path.field("host"), errors);
        }
        if !(name.contains('*') && tolerated.wildcard) {
            paths(rule, &path, errors);
        }
    }
    let list = path.field("tls");
    for (index, tls) in spec.list("tls").iter().enumerate() {
        let path = list.index(index);
        let hosts = path.field("hosts");
        for (index, name) in tls.texts("hosts").enumerate() {
            wrongs(name, dns_name(name), &hosts.index(index), errors);
        }
        let secret = tls.text("secretName");
        if !secret.is_empty() && !tolerated.secret {
            let field = path.field("secretName");
            wrongs(secret, names::dns1123_subdomain(secret), &field, errors);
        }
    }
    let class = spec.text("ingressClassName");
    if spec.has("ingressClassName") {
        let field = path.field("ingressClassName");
        wrongs(class, names::dns1123_subdomain(class), &field, errors);
    }
}

/// The paths of a rule.
fn paths(rule: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    if !rule.has("http") {
        return;
    }
    let http = path.field("http");
    let list = http.field("paths");
    let paths = rule.list("http.paths");
    if paths.is_empty() {
        errors.push(FieldError::required(list, ""));
    }
    for (index, item) in paths.iter().enumerate() {
        http_path(item, &list.index(index), errors);
    }
}

fn host(name: &str, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    if addresses::sloppy(name).is_some() {
        errors.push(FieldError::invalid(path, name, NOT_AN_ADDRESS));
    }
    wrongs(name, dns_name(name), path, errors);
}

/// What is wrong with a name of a host, or of every host of a domain.
fn dns_name(name: &str) -> Vec<String> {
    if name.contains('*') {
        names::wildcard_subdomain(name)
    } else {
        names::dns1123_subdomain(name)
    }
}

fn http_path(item: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let text = item.text("path");
    match item.text("pathType") {
        "" if !item.has("pathType") => {
            errors.push(FieldError::required(
                path.field("pathType"),
                "pathType must be specified",
            ));
            return;
        }
        "Exact" | "Prefix" => {
            if !text.starts_with('/') {
                errors.push(FieldError::invalid(
                    path.field("path"),
                    text,
                    "must be an absolute path",
                ));
            }
            for part in ["//", "/./", "/../", "%2f", "%2F"] {
                if text.contains(part) {
                    errors.push(FieldError::invalid(
                        path.field("path"),
                        text,
                        format!("must not contain '{part}'"),
                    ));
                }
            }
            for end in ["/..", "/."] {
                if text.ends_with(end) {
                    errors.push(FieldError::invalid(
                        path.field("path"),
                        text,
                        format!("cannot end with '{end}'"),
                    ));
                }
            }
        }
        "ImplementationSpecific" => {
            if !text.is_empty() && !text.starts_with('/') {
                errors.push(FieldError::invalid(
                    path.field("path"),
                    text,
                    "must be an absolute path",
                ));
            }
        }
        other => {
            let known = ["Exact", "ImplementationSpecific", "Prefix"];
            errors.push(FieldError::not_supported(
                path.field("pathType"),
                other,
                &known,
            ));
        }
    }
    backend(item.at("backend"), &path.field("backend"), errors);
}

fn backend(backend: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let service = backend.at("service");
    match (backend.has("resource"), !service.is_null()) {
        (true, true) => {
            errors.push(FieldError::invalid(
                path,
                "",
                "cannot set both resource and service backends",
            ));
        }
        (true, false) => {
            reference(backend.at("resource"), &path.field("resource"), errors);
        }
        (false, true) => {
            let own = path.field("service");
            let name = required(service, "name", &own, errors);
            if !name.is_empty() {
                wrongs(name, names::dns1123_label(name), &own.field("name"), errors);
            }
            let (port, number) = (
                service.text("port.name"),
                service.int("port.number").unwrap_or(0),
            );
            let field = own.field("port");
            match (port.is_empty(), number) {
                (true, 0) => errors.push(FieldError::required(
                    path,
                    "port name or number is required",
                )),
                (true, number) => {
                    for wrong in names::port_number(number) {
                        errors.push(FieldError::invalid(field.field("number"), number, wrong));
                    }
                }
                (false, 0) => wrongs(port, names::port_name(port), &field.field("name"), errors),
                (false, _) => {
                    errors.push(FieldError::invalid(
                        path,
                        "",
                        "cannot set both port name & port number",
                    ));
                }
            }
        }
        (false, false) => {
            errors.push(FieldError::invalid(
                path,
                "",
                "resource or service backend is required",
            ));
        }
    }
}
