//! PersistentVolumes and their claims.

use schema::{Path, Value, field_error::FieldError};

use super::{claim_sources, pod::validation::node_selector, source};
use crate::{
    meta, names,
    object::Object,
    quantity::Quantity,
    strategy::{Part, Strategy},
    validation::checks::{
        IMMUTABLE, label_selector, one_of_if_set, positive_quantity, quantity, required, wrongs,
    },
};

const MODES: [&str; 4] = [
    "ReadOnlyMany",
    "ReadWriteMany",
    "ReadWriteOnce",
    "ReadWriteOncePod",
];

const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";

fn access_modes(spec: &Value, missing: &str, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let path = path.field("accessModes");
    if spec.list("accessModes").is_empty() {
        errors.push(FieldError::required(path, missing));
    }
    let (mut single, mut others) = (false, false);
    for mode in spec.texts("accessModes") {
        if !MODES.contains(&mode) {
            errors.push(FieldError::not_supported(path, mode, &MODES));
        } else if mode == "ReadWriteOncePod" {
            single = true;
        } else {
            others = true;
        }
    }
    if single && others {
        let wrong = "may not use ReadWriteOncePod with other access modes";
        errors.push(FieldError::forbidden(path, wrong));
    }
}

fn class_name(spec: &Value, field: &str, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let class = spec.text(field);
    if !class.is_empty() {
        wrongs(
            class,
            names::dns1123_subdomain(class),
            &path.field(field),
            errors,
        );
    }
}

/// A claim's spec, also in templates.
pub fn claim_spec(spec: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    claim_spec_with(spec, false, path, errors);
}

/// `claim_spec`; `any_group` takes any group of a data source, as claims had it that are there.
fn claim_spec_with(spec: &Value, any_group: bool, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    access_modes(spec, "at least 1 access mode is required", path, errors);
    if spec.has("selector") {
        label_selector(spec.at("selector"), &path.field("selector"), errors);
    }
    let resources = path.field("resources");
    let storage = resources.key("storage");
    match spec.at("resources.requests").get("storage") {
        None => errors.push(FieldError::required(storage, "")),
        Some(value) => positive_quantity(value, &storage, errors),
    }
    class_name(spec, "storageClassName", path, errors);
    one_of_if_set(spec, "volumeMode", &["Block", "Filesystem"], path, errors);
    for field in ["dataSource", "dataSourceRef"] {
        if spec.has(field) {
            data_source(spec.at(field), any_group, &path.field(field), errors);
        }
    }
    let (source, reference) = (spec.at("dataSource"), spec.at("dataSourceRef"));
    let shown = || path.field("dataSource").to_string();
    if !source.is_null() && !reference.text("namespace").is_empty() {
        let wrong = "may not be specified when dataSourceRef.namespace is specified";
        errors.push(FieldError::invalid(path, shown(), wrong));
    } else if !source.is_null() && !reference.is_null() {
        let same = |field| source.at(field) == reference.at(field);
        if !["apiGroup", "kind", "name"].into_iter().all(same) {
            let wrong = "must match dataSourceRef";
            errors.push(FieldError::invalid(path, shown(), wrong));
        }
    }
    class_name(spec, "volumeAttributesClassName", path, errors);
}

fn data_source(source: &Value, any_group: bool, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    required(source, "name", path, errors);
    let kind = required(source, "kind", path, errors);
    let group = source.text("apiGroup");
    if group.is_empty() && kind != "PersistentVolumeClaim" {
        let wrong = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
        errors.push(FieldError::invalid(path, kind, wrong));
    }
    if !group.is_empty() && !any_group {
        let field = path.field("apiGroup");
        wrongs(group, names::dns1123_subdomain(group), &field, errors);
    }
    let namespace = source.text("namespace");
    if !namespace.is_empty() {
        let field = path.field("namespace");
        wrongs(namespace, names::dns1123_label(namespace), &field, errors);
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
        if let Some(spec) = object.at_mut("spec") {
            claim_sources::prepare(spec, &Value::Null);
        }
    }

    fn prepare_update(
        &self,
        part: Part<'_>,
        object: &mut Value,
        old: &Value,
        _now: jiff::Timestamp,
    ) {
        if part == Part::Main
            && let Some(spec) = object.at_mut("spec")
        {
            claim_sources::prepare(spec, old.at("spec"));
        }
    }

    fn validate_create(&self, object: &Value, errors: &mut Vec<FieldError>) {
        claim_spec(object.at("spec"), &Path::ROOT.field("spec"), errors);
    }

    fn validate_update(
        &self,
        part: Part<'_>,
        object: &Value,
        old: &Value,
        errors: &mut Vec<FieldError>,
    ) {
        match part {
            Part::Main => {
                let grouped = |field| old.at("spec").at(field).at("apiGroup").is_string();
                let any = grouped("dataSource") || grouped("dataSourceRef");
                let path = Path::ROOT.field("spec");
                claim_spec_with(object.at("spec"), any, &path, errors);
                let mut old = old.clone();
                if let Some(spec) = old.at_mut("spec") {
                    claim_sources::normalize(spec);
                }
                claim_update(object, &old, errors);
            }
            Part::Status => claim_status(object, errors),
            Part::Sub(_) => {}
        }
    }

    fn warnings(&self, object: &Value) -> Vec<String> {
        let mut warnings = Vec::new();
        if meta::annotation(object, CLASS_ANNOTATION).is_some() {
            warnings.push(format!(
                "metadata.annotations[{CLASS_ANNOTATION}]: deprecated since v1.8; use \"storageClassName\" attribute instead"
            ));
        }
        claim_spec_warnings(object.at("spec"), "spec", &mut warnings);
        warnings
    }
}

/// What a claim's spec is warned of, also in templates.
pub fn claim_spec_warnings(spec: &Value, path: &str, warnings: &mut Vec<String>) {
    for kind in ["requests", "limits"] {
        let amount = spec.at("resources").at(kind).at("storage");
        if !amount.is_null() && !Quantity::of(amount).is_whole() {
            let amount = Quantity::of(amount);
            warnings.push(format!(
                "{path}.resources.{kind}[storage]: fractional byte value \"{amount}\" is invalid, must be an integer"
            ));
        }
    }
}

/// What of a claim may change.
fn claim_update(object: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let path = Path::ROOT.field("spec");
    let (new, before) = (object.at("spec"), old.at("spec"));
    let (mut munged, mut fixed) = (new.clone(), before.clone());
    if before.text("volumeName").is_empty() {
        fixed.restore("volumeName", new);
    }
    // A class may move from the annotation into the spec, and be given where none was.
    let annotation = |object| meta::annotation(object, CLASS_ANNOTATION);
    let (given, had) = (new.at("storageClassName"), before.at("storageClassName"));
    let moved = annotation(old).is_some()
        && had.is_null()
        && given.as_str() == annotation(old)
        && annotation(object).is_none_or(|now| Some(now) == annotation(old));
    if moved {
        munged.remove("storageClassName");
    } else {
        if annotation(object).unwrap_or("") != annotation(old).unwrap_or("") {
            errors.push(FieldError::invalid(
                format!("metadata.annotations.{CLASS_ANNOTATION}"),
                annotation(object).unwrap_or(""),
                IMMUTABLE,
            ));
        }
        let agrees = annotation(old).is_none_or(|class| given.as_str() == Some(class));
        if !given.is_null() && had.is_null() && agrees {
            munged.restore("storageClassName", before);
        }
    }
    if object.text("status.phase") == "Bound" {
        if new.has("resources.requests") {
            munged.restore("resources.requests.storage", before);
        }
        munged.restore("volumeAttributesClassName", before);
    }
    if munged != fixed {
        let wrong = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
        errors.push(FieldError::forbidden(path, wrong));
    }
    let size = |spec: &Value| Quantity::of(spec.at("resources.requests.storage"));
    if size(new) < size(before) && size(new) <= Quantity::of(old.at("status.capacity.storage")) {
        let wrong = "field can not be less than status.capacity";
        errors.push(FieldError::forbidden(
            "spec.resources.requests.storage",
            wrong,
        ));
    }
    if new.at("volumeMode") != before.at("volumeMode") {
        let value = new.at("volumeMode").clone();
        errors.push(FieldError::invalid("volumeMode", value, IMMUTABLE));
    }
    let class = new.at("volumeAttributesClassName");
    if class != before.at("volumeAttributesClassName")
        && old.has("status.currentVolumeAttributesClassName")
        && class.as_str().is_none_or(str::is_empty)
    {
        let to = if class.is_null() {
            "nil"
        } else {
            "empty string"
        };
        let wrong = format!(
            "update to {to} is forbidden when status.currentVolumeAttributesClassName is not nil"
        );
        errors.push(FieldError::forbidden(
            path.field("volumeAttributesClassName"),
            wrong,
        ));
    }
}

fn claim_status(object: &Value, errors: &mut Vec<FieldError>) {
    if object.list("spec.accessModes").is_empty() {
        errors.push(FieldError::required("Spec.accessModes", ""));
    }
    let path = Path::ROOT.field("status");
    let capacity = path.field("capacity");
    for (name, value) in object.pairs("status.capacity") {
        quantity(value, &capacity.key(name), errors);
    }
    const STATES: [&str; 5] = [
        "ControllerResizeInProgress",
        "ControllerResizeInfeasible",
        "NodeResizeInProgress",
        "NodeResizeInfeasible",
        "NodeResizePending",
    ];
    let states = path.field("allocatedResourceStatuses");
    for (name, state) in object.pairs("status.allocatedResourceStatuses") {
        claim_resource(name, &states, errors);
        if !state.as_str().is_some_and(|state| STATES.contains(&state)) {
            let mut known = STATES;
            known.sort_unstable();
            errors.push(FieldError::not_supported(states, name, &known));
        }
    }
    let allocated = path.field("allocatedResources");
    for (name, value) in object.pairs("status.allocatedResources") {
        if claim_resource(name, &allocated, errors) {
            quantity(value, &allocated.key(name), errors);
        }
    }
}

/// A resource of a claim: `storage`, or one of another domain.
fn claim_resource(name: &str, path: &Path<'_>, errors: &mut Vec<FieldError>) -> bool {
    let bad = names::qualified_name(name);
    if !bad.is_empty() {
        wrongs(name, bad, path, errors);
        return false;
    }
    let native = !name.contains('/') || name.contains("kubernetes.io/");
    if native && name != "storage" {
        errors.push(FieldError::not_supported(path, name, &["storage"]));
        return false;
    }
    true
}

/// Everything wrong with the spec of the volume `name`; a volume that only an attachment tells of has none.
pub fn volume_spec(
    spec: &Value,
    name: Option<&str>,
    path: &Path<'_>,
    errors: &mut Vec<FieldError>,
) {
    const INLINE: &str = "may not be specified in the context of inline volumes";
    let inline = name.is_none();
    if inline {
        for field in ["claimRef", "capacity"] {
            if spec.has(field) {
                errors.push(FieldError::forbidden(path.field(field), INLINE));
            }
        }
        if !spec.has("csi") {
            let wrong = "has to be specified in the context of inline volumes";
            errors.push(FieldError::required(path.field("csi"), wrong));
        }
    }
    access_modes(spec, "", path, errors);
    let capacity = path.field("capacity");
    match spec.map("capacity") {
        _ if inline => {}
        None => {
            errors.push(FieldError::required(capacity, ""));
            let none = Value::Null;
            errors.push(FieldError::not_supported(capacity, none, &["storage"]));
        }
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
                let amount = Quantity::of(value).value();
                if amount < 0 {
                    let wrong = "must be a valid resource quantity";
                    errors.push(FieldError::invalid(path, amount, wrong));
                }
                positive_quantity(value, &path, errors);
            }
        }
    }
    let policies = ["Delete", "Recycle", "Retain"];
    let policy = "persistentVolumeReclaimPolicy";
    if !inline {
        one_of_if_set(spec, policy, &policies, path, errors);
    } else if !matches!(spec.text(policy), "" | "Retain") {
        let wrong = "may only be Retain in the context of inline volumes";
        errors.push(FieldError::forbidden(path.field(policy), wrong));
    }
    let (mode, class) = ("volumeMode", "storageClassName");
    if !inline {
        one_of_if_set(spec, mode, &["Block", "Filesystem"], path, errors);
        class_name(spec, class, path, errors);
    } else {
        if !spec.text(class).is_empty() {
            errors.push(FieldError::forbidden(path.field(class), INLINE));
        }
        if spec.has(mode) && spec.text(mode) != "Filesystem" {
            let wrong =
                "may not specify volumeMode other than Filesystem in the context of inline volumes";
            errors.push(FieldError::forbidden(path.field(mode), wrong));
        }
    }
    if spec.has("volumeAttributesClassName") {
        if spec.text("volumeAttributesClassName").is_empty() {
            let wrong = "an empty string is disallowed";
            let field = path.field("volumeAttributesClassName");
            errors.push(FieldError::required(field, wrong));
        }
        class_name(spec, "volumeAttributesClassName", path, errors);
        if !spec.has("csi") {
            let wrong = "has to be specified when using volumeAttributesClassName";
            errors.push(FieldError::required(path.field("csi"), wrong));
        }
    }
    if spec.has("nodeAffinity") && inline {
        errors.push(FieldError::forbidden(path.field("nodeAffinity"), INLINE));
    } else if spec.has("nodeAffinity") {
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
    let mut kinds = SOURCES.into_iter().filter(|kind| spec.has(kind));
    let Some(kind) = kinds.next() else {
        errors.push(FieldError::required(path, "must specify a volume type"));
        return;
    };
    let name = name.unwrap_or("");
    let own = path.field(source::shown(kind));
    source::source(kind, spec.at(kind), name, true, &own, errors);
    for other in kinds {
        if other == "flexVolume" {
            source::source(
                other,
                spec.at(other),
                name,
                true,
                &path.field(other),
                errors,
            );
            continue;
        }
        errors.push(FieldError::forbidden(
            path.field(source::shown_second(other)),
            "may not specify more than 1 volume type",
        ));
    }
    let host = spec.text("hostPath.path");
    let root = host.starts_with('/') && host.split('/').all(|part| matches!(part, "" | "."));
    if root && spec.text("persistentVolumeReclaimPolicy") == "Recycle" {
        let wrong = "may not be 'recycle' for a hostPath mount of '/'";
        let field = path.field("persistentVolumeReclaimPolicy");
        errors.push(FieldError::forbidden(field, wrong));
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
        volume_spec(object.at("spec"), Some(meta::name(object)), &path, errors);
    }

    fn warnings(&self, object: &Value) -> Vec<String> {
        volume_warnings(object)
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
        // A secret for expanding may be given later.
        let mut munged = new.clone();
        if before.has("csi") && !before.has("csi.controllerExpandSecretRef") {
            munged.remove("csi.controllerExpandSecretRef");
        }
        if SOURCES
            .iter()
            .any(|kind| munged.at(kind) != before.at(kind))
        {
            let wrong = "spec.persistentvolumesource is immutable after creation";
            errors.push(FieldError::forbidden(
                path.field("persistentvolumesource"),
                wrong,
            ));
        }
        if new.at("volumeMode") != before.at("volumeMode") {
            let value = new.at("volumeMode").clone();
            errors.push(FieldError::invalid("volumeMode", value, IMMUTABLE));
        }
        let affinity = new.at("nodeAffinity");
        if before.has("nodeAffinity") && !same_affinity(affinity, before.at("nodeAffinity")) {
            let value = affinity.clone();
            let wrong = format!("{IMMUTABLE}, except for updating from beta label to GA");
            errors.push(FieldError::invalid("nodeAffinity", value, wrong));
        }
        if before.has("volumeAttributesClassName") && !new.has("volumeAttributesClassName") {
            let wrong = "update from non-nil value to nil is forbidden";
            let field = path.field("volumeAttributesClassName");
            errors.push(FieldError::forbidden(field, wrong));
        }
    }
}

/// Is this the affinity as it was, but for labels that took their final names?
fn same_affinity(new: &Value, old: &Value) -> bool {
    let renamed = |before: &str| match before {
        "failure-domain.beta.kubernetes.io/zone" => "topology.kubernetes.io/zone",
        "failure-domain.beta.kubernetes.io/region" => "topology.kubernetes.io/region",
        "beta.kubernetes.io/os" => "kubernetes.io/os",
        "beta.kubernetes.io/arch" => "kubernetes.io/arch",
        "beta.kubernetes.io/instance-type" => "node.kubernetes.io/instance-type",
        _ => "",
    };
    let mut munged = new.clone();
    for (term, before) in munged
        .list_mut("required.nodeSelectorTerms")
        .iter_mut()
        .zip(old.list("required.nodeSelectorTerms"))
    {
        for list in ["matchExpressions", "matchFields"] {
            for (own, before) in term.list_mut(list).iter_mut().zip(before.list(list)) {
                if own.text("key") == renamed(before.text("key")) {
                    own.restore("key", before);
                }
            }
        }
    }
    munged == *old
}

/// What a volume is warned of.
fn volume_warnings(object: &Value) -> Vec<String> {
    const OLD: [(&str, &str, &str); 6] = [
        (
            "cephfs",
            "cephfs",
            "deprecated in v1.28, non-functional in v1.31+",
        ),
        (
            "photonPersistentDisk",
            "photonPersistentDisk",
            "deprecated in v1.11, non-functional in v1.16+",
        ),
        (
            "scaleIO",
            "scaleIO",
            "deprecated in v1.16, non-functional in v1.22+",
        ),
        (
            "storageos",
            "storageOS",
            "deprecated in v1.22, non-functional in v1.25+",
        ),
        (
            "glusterfs",
            "glusterfs",
            "deprecated in v1.25, non-functional in v1.26+",
        ),
        (
            "rbd",
            "rbd",
            "deprecated in v1.28, non-functional in v1.31+",
        ),
    ];
    let spec = object.at("spec");
    let mut warnings = Vec::new();
    for (key, why) in [
        (
            CLASS_ANNOTATION,
            "deprecated since v1.8; use \"storageClassName\" attribute instead",
        ),
        (
            "volume.beta.kubernetes.io/mount-options",
            "deprecated since v1.31; use \"mountOptions\" attribute instead",
        ),
    ] {
        if meta::annotation(object, key).is_some() {
            warnings.push(format!("metadata.annotations[{key}]: {why}"));
        }
    }
    if spec.text("persistentVolumeReclaimPolicy") == "Recycle" {
        warnings.push("spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.".to_owned());
    }
    let terms = spec.list("nodeAffinity.required.nodeSelectorTerms");
    for (index, term) in terms.iter().enumerate() {
        let path = format!("spec.nodeAffinity.required.nodeSelectorTerms[{index}]");
        super::pod::node_selector_term_warnings(term, false, &path, &mut warnings);
    }
    for (kind, shown, why) in OLD {
        if spec.has(kind) {
            warnings.push(format!("spec.{shown}: {why}"));
        }
    }
    warnings
}

/// The sources of a PersistentVolume, in the order in which the first one counts.
const SOURCES: [&str; 22] = [
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "glusterfs",
    "flocker",
    "nfs",
    "rbd",
    "quobyte",
    "cephfs",
    "iscsi",
    "cinder",
    "fc",
    "flexVolume",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "scaleIO",
    "local",
    "storageos",
    "csi",
];
