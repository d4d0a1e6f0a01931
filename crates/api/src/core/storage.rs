//! PersistentVolumes and their claims.

use schema::{Path, Value, field_error::FieldError};

use super::pod::validation::node_selector;
use crate::{
    meta, names,
    object::Object,
    quantity::Quantity,
    strategy::{Part, Strategy},
    validation::checks::{IMMUTABLE, label_selector, one_of_if_set, quantity, required, wrongs},
};

const MODES: [&str; 4] = [
    "ReadOnlyMany",
    "ReadWriteMany",
    "ReadWriteOnce",
    "ReadWriteOncePod",
];

fn access_modes(spec: &Value, missing: &str, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let path = path.field("accessModes");
    let modes = spec.list("accessModes");
    if modes.is_empty() {
        errors.push(FieldError::required(path, missing));
    }
    for mode in spec.texts("accessModes") {
        if !MODES.contains(&mode) {
            errors.push(FieldError::not_supported(path, mode, &MODES));
        }
    }
    if modes.len() > 1
        && spec
            .texts("accessModes")
            .any(|mode| mode == "ReadWriteOncePod")
    {
        let wrong = "may not use ReadWriteOncePod with other access modes";
        errors.push(FieldError::forbidden(path, wrong));
    }
}

/// A claim's spec, also in templates.
pub fn claim_spec(spec: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    access_modes(spec, "at least 1 access mode is required", path, errors);
    if spec.has("selector") {
        label_selector(spec.at("selector"), &path.field("selector"), errors);
    }
    let resources = path.field("resources");
    let requests = resources.field("requests");
    match spec.at("resources.requests").get("storage") {
        None => errors.push(FieldError::required(requests.key("storage"), "")),
        Some(value) => {
            let path = requests.key("storage");
            if let Some(amount) = quantity(value, &path, errors)
                && amount == Quantity::ZERO
            {
                errors.push(FieldError::invalid(
                    path,
                    value.clone(),
                    "must be greater than zero",
                ));
            }
        }
    }
    let class = spec.text("storageClassName");
    if !class.is_empty() {
        wrongs(
            class,
            names::dns1123_subdomain(class),
            &path.field("storageClassName"),
            errors,
        );
    }
    one_of_if_set(spec, "volumeMode", &["Block", "Filesystem"], path, errors);
    let source = spec.at("dataSource");
    if !source.is_null() {
        required(source, "name", &path.field("dataSource"), errors);
        required(source, "kind", &path.field("dataSource"), errors);
    }
}

/// What claims do specially.
pub struct Claim;

impl Strategy for Claim {
    fn default(&self, object: &mut Value) {
        super::small::persistent_volume_claim(object);
    }

    fn prepare_create(&self, object: &mut Value, _now: jiff::Timestamp) {
        object.set("status.phase", "Pending");
    }

    fn validate(&self, object: &Value, errors: &mut Vec<FieldError>) {
        claim_spec(object.at("spec"), &Path::ROOT.field("spec"), errors);
    }

    fn validate_update(
        &self,
        part: Part<'_>,
        object: &Value,
        old: &Value,
        errors: &mut Vec<FieldError>,
    ) {
        if part != Part::Main {
            return;
        }
        let path = Path::ROOT.field("spec");
        let (new, before) = (object.at("spec"), old.at("spec"));
        let mut munged = new.clone();
        if before.text("volumeName").is_empty() {
            munged.restore("volumeName", before);
        }
        let bound = old.text("status.phase") == "Bound";
        if bound {
            let size = |spec: &Value| Quantity::of(spec.at("resources.requests.storage"));
            let (wanted, had) = (size(new), size(before));
            if wanted < had && wanted < Quantity::of(old.at("status.capacity.storage")) {
                let wrong = "field can not be less than status.capacity";
                let resources = path.field("resources");
                let requests = resources.field("requests");
                errors.push(FieldError::forbidden(requests.field("storage"), wrong));
            }
            munged.restore("resources.requests", before);
        }
        // A class may be given to a claim that never said anything about classes.
        if !before.has("storageClassName")
            && meta::annotation(old, "volume.beta.kubernetes.io/storage-class").is_none()
        {
            munged.remove("storageClassName");
        }
        munged.restore("volumeAttributesClassName", before);
        if munged != *before {
            let wrong = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
            errors.push(FieldError::forbidden(path, wrong));
        }
    }
}

/// What volumes do specially.
pub struct Volume;

impl Strategy for Volume {
    fn default(&self, object: &mut Value) {
        super::small::persistent_volume(object);
    }

    fn prepare_create(&self, object: &mut Value, now: jiff::Timestamp) {
        object.set("status.phase", "Pending");
        meta::set_time(object, "status.lastPhaseTransitionTime", now);
    }

    fn prepare_update(
        &self,
        part: Part<'_>,
        object: &mut Value,
        old: &Value,
        now: jiff::Timestamp,
    ) {
        if part == Part::Status && object.text("status.phase") != old.text("status.phase") {
            meta::set_time(object, "status.lastPhaseTransitionTime", now);
        }
    }

    fn validate(&self, object: &Value, errors: &mut Vec<FieldError>) {
        let path = Path::ROOT.field("spec");
        let spec = object.at("spec");
        access_modes(spec, "", &path, errors);
        let capacity = path.field("capacity");
        match spec.map("capacity") {
            None => errors.push(FieldError::required(capacity, "")),
            Some(map) => {
                if !map.contains_key("storage") || map.len() > 1 {
                    errors.push(FieldError::not_supported(
                        capacity,
                        spec.at("capacity").clone(),
                        &["storage"],
                    ));
                }
                for (name, value) in map {
                    let path = capacity.key(name);
                    if let Some(amount) = quantity(value, &path, errors)
                        && amount == Quantity::ZERO
                    {
                        errors.push(FieldError::invalid(
                            path,
                            value.clone(),
                            "must be greater than zero",
                        ));
                    }
                }
            }
        }
        let policies = ["Delete", "Recycle", "Retain"];
        one_of_if_set(
            spec,
            "persistentVolumeReclaimPolicy",
            &policies,
            &path,
            errors,
        );
        one_of_if_set(spec, "volumeMode", &["Block", "Filesystem"], &path, errors);
        let class = spec.text("storageClassName");
        if !class.is_empty() {
            wrongs(
                class,
                names::dns1123_subdomain(class),
                &path.field("storageClassName"),
                errors,
            );
        }
        if spec.has("nodeAffinity") {
            let affinity = path.field("nodeAffinity");
            if spec.has("nodeAffinity.required") {
                node_selector(
                    spec.at("nodeAffinity.required"),
                    &affinity.field("required"),
                    errors,
                );
            } else {
                let wrong = "must specify required node constraints";
                errors.push(FieldError::required(affinity.field("required"), wrong));
            }
        } else if spec.has("local") {
            errors.push(FieldError::required(
                path.field("nodeAffinity"),
                "Local volume requires node affinity",
            ));
        }
        let mut sources = sources(spec);
        match sources.next() {
            None => errors.push(FieldError::required(path, "must specify a volume type")),
            Some((kind, source)) => {
                let path = path.field(kind);
                match kind {
                    "hostPath" | "local" => {
                        let text = required(source, "path", &path, errors);
                        crate::validation::checks::no_backsteps(text, &path.field("path"), errors);
                    }
                    "nfs" => {
                        required(source, "server", &path, errors);
                        required(source, "path", &path, errors);
                    }
                    "csi" => {
                        let driver = required(source, "driver", &path, errors);
                        if !driver.is_empty() {
                            super::pod::validation::csi_driver_name(
                                driver,
                                &path.field("driver"),
                                errors,
                            );
                        }
                        required(source, "volumeHandle", &path, errors);
                    }
                    _ => {}
                }
            }
        }
        for (kind, _) in sources {
            errors.push(FieldError::forbidden(
                path.field(kind),
                "may not specify more than 1 volume type",
            ));
        }
    }

    fn validate_update(
        &self,
        part: Part<'_>,
        object: &Value,
        old: &Value,
        errors: &mut Vec<FieldError>,
    ) {
        if part != Part::Main {
            return;
        }
        let path = Path::ROOT.field("spec");
        let (new, before) = (object.at("spec"), old.at("spec"));
        let both = |spec: &Value| {
            sources(spec)
                .map(|(kind, value)| (kind.to_owned(), value.clone()))
                .collect::<Vec<_>>()
        };
        if both(new) != both(before) {
            let wrong = "spec.persistentvolumesource is immutable after creation";
            errors.push(FieldError::forbidden(
                path.field("persistentvolumesource"),
                wrong,
            ));
        }
        for field in ["volumeMode"] {
            if new.at(field) != before.at(field) {
                errors.push(FieldError::invalid(
                    path.field(field),
                    new.at(field).clone(),
                    IMMUTABLE,
                ));
            }
        }
        if before.has("nodeAffinity") && new.at("nodeAffinity") != before.at("nodeAffinity") {
            errors.push(FieldError::invalid(
                path.field("nodeAffinity"),
                new.at("nodeAffinity").clone(),
                IMMUTABLE,
            ));
        }
    }
}

/// The fields of a volume's spec that are its source.
fn sources(spec: &Value) -> impl Iterator<Item = (&str, &Value)> {
    const OTHERS: [&str; 9] = [
        "capacity",
        "accessModes",
        "claimRef",
        "persistentVolumeReclaimPolicy",
        "storageClassName",
        "mountOptions",
        "volumeMode",
        "nodeAffinity",
        "volumeAttributesClassName",
    ];
    let fields = spec
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| (key.as_str(), value));
    fields.filter(|(key, value)| !OTHERS.contains(key) && !value.is_null())
}
