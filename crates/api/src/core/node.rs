//! Nodes.

use schema::{Path, Value, field_error::FieldError};

use super::pod::validation::{taints, whole_amount};
use crate::{
    names,
    object::Object,
    strategy::{Part, Strategy},
    validation::{
        addresses,
        checks::{required, wrongs},
    },
};

/// What nodes do specially.
pub struct Node;

impl Strategy for Node {
    fn default(&self, object: &mut Value) {
        super::small::node(object);
    }

    /// Whoever registers a node says at once what it is.
    fn keeps_status_of_new(&self) -> bool {
        true
    }

    fn prepare_create(&self, object: &mut Value, _: jiff::Timestamp) {
        // Of configuration by reference nothing is left.
        object.remove("spec.configSource");
        object.remove("status.config");
    }

    fn prepare_update(&self, part: Part<'_>, object: &mut Value, old: &Value, _: jiff::Timestamp) {
        if part == Part::Main && !old.has("spec.configSource") {
            object.remove("spec.configSource");
        }
        if part == Part::Status && !old.has("status.config") {
            object.remove("status.config");
        }
    }

    fn validate(&self, object: &Value, errors: &mut Vec<FieldError>) {
        let metadata = Path::ROOT.field("metadata");
        taints(
            object.list("spec.taints"),
            &metadata.field("taints"),
            errors,
        );
        any_status(object, errors);
        if object
            .int("status.nodeInfo.swap.capacity")
            .is_some_and(|bytes| bytes <= 0)
        {
            let path = metadata.field("nodeSwapStatus");
            let bytes = object.at("status.nodeInfo.swap.capacity").clone();
            let wrong = "must be greater than zero";
            errors.push(FieldError::invalid(path.field("capacity"), bytes, wrong));
        }
        ranges(object, errors);
    }

    fn validate_update(
        &self,
        part: Part<'_>,
        object: &Value,
        old: &Value,
        errors: &mut Vec<FieldError>,
    ) {
        let path = Path::ROOT.field("spec");
        if part != Part::Main {
            let taints_path = Path::ROOT.field("metadata");
            taints(
                object.list("spec.taints"),
                &taints_path.field("taints"),
                errors,
            );
            any_status(object, errors);
        }
        let addresses = object.list("status.addresses");
        for (index, address) in addresses.iter().enumerate() {
            if addresses[..index].contains(address) {
                let status = Path::ROOT.field("status");
                let list = status.field("addresses");
                errors.push(FieldError::duplicate(list.index(index), address.clone()));
            }
        }
        if !old.list("spec.podCIDRs").is_empty()
            && old.at("spec.podCIDRs") != object.at("spec.podCIDRs")
        {
            let wrong = "node updates may not change podCIDR except from \"\" to valid";
            errors.push(FieldError::forbidden(path.field("podCIDRs"), wrong));
        }
        let provider = old.text("spec.providerID");
        if !provider.is_empty() && provider != object.text("spec.providerID") {
            let wrong = "node updates may not change providerID except from \"\" to valid";
            errors.push(FieldError::forbidden(path.field("providerID"), wrong));
        }
        if object.text("spec.externalID") != old.text("spec.externalID") {
            errors.push(FieldError::forbidden(
                path.field("externalID"),
                "may not be updated",
            ));
        }
        if object.has("spec.configSource") {
            config_source(
                object.at("spec.configSource"),
                false,
                &path.field("configSource"),
                errors,
            );
        }
        let status = Path::ROOT.field("status");
        let config = status.field("config");
        for field in ["assigned", "active", "lastKnownGood"] {
            let source = object.at("status.config").at(field);
            if !source.is_null() {
                config_source(source, true, &config.field(field), errors);
            }
        }
    }

    fn warnings(&self, object: &Value) -> Vec<String> {
        let mut warnings = Vec::new();
        if object.has("spec.configSource") {
            warnings.push("spec.configSource: the feature is removed".to_owned());
        }
        if !object.text("spec.externalID").is_empty() {
            let warning = "spec.externalID: this field is deprecated, and is unused by Kubernetes";
            warnings.push(warning.to_owned());
        }
        for (index, range) in object.texts("spec.podCIDRs").enumerate() {
            addresses::cidr_warnings(range, &format!("spec.podCIDRs[{index}]"), &mut warnings);
        }
        warnings
    }

    fn field_names(&self) -> &'static [&'static str] {
        &["spec.unschedulable"]
    }

    fn fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        vec![(
            "spec.unschedulable",
            object.flag("spec.unschedulable").to_string(),
        )]
    }
}

/// One range, or one of each family.
fn ranges(object: &Value, errors: &mut Vec<FieldError>) {
    let spec = Path::ROOT.field("spec");
    let path = spec.field("podCIDRs");
    let mut families = Vec::new();
    for (index, text) in object.texts("spec.podCIDRs").enumerate() {
        let range = addresses::cidr(text, &path.index(index), errors);
        families.push((text, range.map(|range| range.address.is_ipv6())));
    }
    if families.len() < 2 {
        return;
    }
    if let Some((text, _)) = families.iter().find(|(_, family)| family.is_none()) {
        let wrong = format!(
            "invalid PodCIDRs. failed to check with dual stack with error:invalid CIDR address: {text}"
        );
        errors.push(FieldError::internal(path, wrong));
    }
    let both = families.iter().any(|(_, six)| *six == Some(true))
        && families.iter().any(|(_, six)| *six == Some(false))
        && families.iter().all(|(_, six)| six.is_some());
    if !both || families.len() > 2 {
        let wrong = "may specify no more than one CIDR for each IP family";
        errors.push(FieldError::invalid(
            path,
            object.at("spec.podCIDRs").clone(),
            wrong,
        ));
    }
}

/// What is wrong with a status whoever writes it.
fn any_status(object: &Value, errors: &mut Vec<FieldError>) {
    let status = Path::ROOT.field("status");
    for field in ["capacity", "allocatable"] {
        let path = status.field(field);
        for (name, value) in object.at("status").pairs(field) {
            whole_amount(name, value, &path.field(name), errors);
        }
    }
    let path = status.field("declaredFeatures");
    let names: Vec<&str> = object.texts("status.declaredFeatures").collect();
    for (index, name) in names.iter().enumerate() {
        let path = path.index(index);
        if let Some(wrong) = bad_feature(name) {
            errors.push(FieldError::invalid(path, *name, wrong));
        }
        match index.checked_sub(1).map(|before| names[before]) {
            Some(before) if before == *name => {
                errors.push(FieldError::duplicate(path, *name));
            }
            Some(before) if before > *name => {
                let wrong = "list must be sorted alphabetically";
                errors.push(FieldError::invalid(path, *name, wrong));
            }
            _ => {}
        }
    }
}

/// What is wrong with the name of a feature that a node has.
fn bad_feature(name: &str) -> Option<String> {
    if name.len() > names::SUBDOMAIN_MAX {
        let max = names::SUBDOMAIN_MAX;
        return Some(format!(
            "invalid feature name {name:?}: must be no more than {max} characters"
        ));
    }
    let good = name.split('/').enumerate().all(|(index, part)| {
        let fits = |first: u8| match index {
            0 => first.is_ascii_uppercase(),
            _ => first.is_ascii_alphabetic(),
        };
        part.bytes().next().is_some_and(fits) && part.bytes().all(|b| b.is_ascii_alphanumeric())
    });
    (!good).then(|| {
        format!("invalid feature name {name:?}: must start with an UpperCamelCase segment, with subsequent segments separated by '/' (e.g., MyFeature or MyFeature/mySubFeature), and contain only alphanumeric characters and slashes")
    })
}

/// A reference to a kubelet's configuration, which nothing reads any more; `seen` says that it is
/// one that a kubelet has found.
fn config_source(source: &Value, seen: bool, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    if !source.has("configMap") {
        let wrong = "exactly one reference subfield must be non-nil";
        errors.push(FieldError::invalid(path, source.clone(), wrong));
        return;
    }
    let (path, source) = (path.field("configMap"), source.at("configMap"));
    for field in ["uid", "resourceVersion"] {
        match (seen, source.text(field).is_empty()) {
            (true, true) => errors.push(FieldError::required(path.field(field), "")),
            (false, false) => {
                let wrong = format!("{field} must not be set in spec");
                errors.push(FieldError::forbidden(path.field(field), wrong));
            }
            _ => {}
        }
    }
    type Check = fn(&str) -> Vec<String>;
    let checks: [(&str, Check); 3] = [
        ("namespace", names::dns1123_label),
        ("name", names::dns1123_subdomain),
        ("kubeletConfigKey", names::config_map_key),
    ];
    for (field, check) in checks {
        let text = required(source, field, &path, errors);
        if !text.is_empty() {
            wrongs(text, check(text), &path.field(field), errors);
        }
    }
}
