//! Deployments, ReplicaSets, DaemonSets and StatefulSets.

use jiff::Timestamp;
use schema::{Path, Value, field_error::FieldError};

use super::{
    defaults,
    status::{Counts, counts},
};
use crate::{
    core::pod::validation::template_after,
    labels::Selector,
    meta, names,
    object::Object,
    strategy::{Part, Strategy, label_name},
    validation::checks::{
        immutable, int_or_percent, is_zero, label_selector_after, not_negative, supported, wrongs,
    },
};

/// The selector of a workload: present, not empty, and fit for its own template.
fn selector(spec: &Value, old: &Value, kind: &str, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let value = spec.at("selector");
    let own = path.field("selector");
    if value.is_null() && kind != "daemonset" {
        errors.push(FieldError::required(own, ""));
    }
    let before = match kind {
        "statefulset" => &Value::Null,
        _ => old.at("selector"),
    };
    label_selector_after(value, before, &own, errors);
    let size =
        value.map("matchLabels").map_or(0, |map| map.len()) + value.list("matchExpressions").len();
    if size == 0 && !value.is_null() {
        let wrong = format!("empty selector is invalid for {kind}");
        errors.push(FieldError::invalid(own, value.clone(), wrong));
        return;
    }
    // No selector selects nothing.
    let parsed = match Selector::from_label_selector(value) {
        Ok(parsed) => (!value.is_null()).then_some(parsed),
        Err(_) => {
            let wrong = match kind {
                "daemonset" => return,
                "statefulset" => "",
                _ => "invalid label selector",
            };
            errors.push(FieldError::invalid(own, value.clone(), wrong));
            return;
        }
    };
    if parsed.is_none_or(|parsed| !parsed.matches_object(spec.at("template"))) {
        let wrong = "`selector` does not match template `labels`";
        let found = spec.at("template.metadata.labels").clone();
        let template = path.field("template");
        let metadata = template.field("metadata");
        errors.push(FieldError::invalid(metadata.field("labels"), found, wrong));
    }
}

/// A template whose pods are always restarted.
fn always(spec: &Value, old: &Value, kind: &str, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let path = path.field("template");
    let own = spec.at("template");
    template_after(own, old.at("template"), &path, errors);
    let pod = path.field("spec");
    supported(own.at("spec"), "restartPolicy", &["Always"], &pod, errors);
    if own.has("spec.activeDeadlineSeconds") {
        let wrong = format!("activeDeadlineSeconds in {kind} is not Supported");
        errors.push(FieldError::forbidden(
            pod.field("activeDeadlineSeconds"),
            wrong,
        ));
    }
}

/// What a workload is warned of: its name, where pods are called after it, and its pods.
fn warnings(object: &Value) -> Vec<String> {
    let mut warnings = Vec::new();
    crate::core::pod::host_name_warnings(object, NAMES_PODS, &mut warnings);
    warnings.extend(crate::core::pod::template_warnings(object, "spec.template"));
    warnings
}

/// What a change is warned of: nothing new where nothing is asked for anew.
fn warnings_on_update(object: &Value, old: &Value) -> Vec<String> {
    if meta::generation(object) == meta::generation(old) {
        return Vec::new();
    }
    crate::core::pod::template_warnings(object, "spec.template")
}

const NAMES_PODS: &str =
    "this is used in Pod names and hostnames, which can result in surprising behavior";

/// Numbers that may not be negative.
fn numbers(spec: &Value, fields: &[&str], path: &Path<'_>, errors: &mut Vec<FieldError>) {
    for field in fields {
        not_negative(spec, field, path, errors);
    }
}

/// What Deployments do specially.
pub struct Deployment;

impl Strategy for Deployment {
    fn default(&self, object: &mut Value) {
        defaults::deployment(object);
    }

    fn validate(&self, object: &Value, errors: &mut Vec<FieldError>) {
        self.validate_result(object, &Value::Null, errors);
    }

    fn validate_result(&self, object: &Value, old: &Value, errors: &mut Vec<FieldError>) {
        let path = Path::ROOT.field("spec");
        let (spec, before) = (object.at("spec"), old.at("spec"));
        not_negative(spec, "replicas", &path, errors);
        selector(spec, before, "deployment", &path, errors);
        always(spec, before, "ReplicaSet", &path, errors);
        deployment_strategy(spec.at("strategy"), &path.field("strategy"), errors);
        let rollback = meta::annotation(object, "deprecated.deployment.rollback.to");
        if let Some(revision) = rollback.and_then(|text| text.parse::<i64>().ok())
            && revision < 0
        {
            let wrong = "must be greater than or equal to 0";
            errors.push(FieldError::invalid(
                "spec.rollback.version",
                revision,
                wrong,
            ));
        }
        numbers(
            spec,
            &[
                "minReadySeconds",
                "revisionHistoryLimit",
                "progressDeadlineSeconds",
            ],
            &path,
            errors,
        );
        if let Some(deadline) = spec.int("progressDeadlineSeconds")
            && deadline <= spec.int("minReadySeconds").unwrap_or(0)
        {
            let wrong = "must be greater than minReadySeconds";
            errors.push(FieldError::invalid(
                path.field("progressDeadlineSeconds"),
                deadline,
                wrong,
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
        if part == Part::Main {
            immutable(
                object.at("spec"),
                old.at("spec"),
                "selector",
                &Path::ROOT.field("spec"),
                errors,
            );
        } else if part == Part::Status {
            const COUNTS: Counts = Counts {
                numbers: &[
                    "observedGeneration",
                    "replicas",
                    "updatedReplicas",
                    "readyReplicas",
                    "availableReplicas",
                    "unavailableReplicas",
                    "terminatingReplicas",
                    "collisionCount",
                ],
                parts: &["updatedReplicas", "readyReplicas", "availableReplicas"],
                available: "cannot be greater than readyReplicas",
            };
            counts(object, old, &COUNTS, errors);
        }
    }

    fn generation(&self) -> &'static [&'static str] {
        &["spec", "metadata.annotations"]
    }

    fn warnings(&self, object: &Value) -> Vec<String> {
        warnings(object)
    }

    fn warnings_on_update(&self, part: Part<'_>, object: &Value, old: &Value) -> Vec<String> {
        match part {
            Part::Main => warnings_on_update(object, old),
            _ => Vec::new(),
        }
    }
}

/// Is it zero, or nothing that can be read as a number?
fn no_number(value: &Value) -> bool {
    is_zero(value)
        || value.as_str().is_some_and(|text| {
            text.strip_suffix('%')
                .is_none_or(|n| n.parse::<i32>().is_err())
        })
}

fn deployment_strategy(strategy: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let rolling = strategy.at("rollingUpdate");
    match strategy.text("type") {
        "Recreate" => {
            if !rolling.is_null() {
                let wrong = "may not be specified when strategy `type` is 'Recreate'";
                errors.push(FieldError::forbidden(path.field("rollingUpdate"), wrong));
            }
        }
        "RollingUpdate" => {
            let path = path.field("rollingUpdate");
            int_or_percent(
                rolling.at("maxUnavailable"),
                true,
                &path.field("maxUnavailable"),
                errors,
            );
            int_or_percent(
                rolling.at("maxSurge"),
                false,
                &path.field("maxSurge"),
                errors,
            );
            if no_number(rolling.at("maxUnavailable")) && no_number(rolling.at("maxSurge")) {
                let wrong = "may not be 0 when `maxSurge` is 0";
                let value = rolling.at("maxUnavailable").clone();
                errors.push(FieldError::invalid(
                    path.field("maxUnavailable"),
                    value,
                    wrong,
                ));
            }
        }
        _ => {
            let known = ["Recreate", "RollingUpdate"];
            errors.push(FieldError::not_supported(path, strategy.clone(), &known));
        }
    }
}

/// The counts of ReplicaSets, and of ReplicationControllers.
const REPLICA_COUNTS: Counts = Counts {
    numbers: &[
        "replicas",
        "fullyLabeledReplicas",
        "readyReplicas",
        "availableReplicas",
        "observedGeneration",
        "terminatingReplicas",
    ],
    parts: &["fullyLabeledReplicas", "readyReplicas", "availableReplicas"],
    available: "cannot be greater than readyReplicas",
};

/// What ReplicaSets do specially.
pub struct ReplicaSet;

impl Strategy for ReplicaSet {
    fn default(&self, object: &mut Value) {
        defaults::replica_set(object);
    }

    fn validate(&self, object: &Value, errors: &mut Vec<FieldError>) {
        self.validate_result(object, &Value::Null, errors);
    }

    fn validate_result(&self, object: &Value, old: &Value, errors: &mut Vec<FieldError>) {
        let path = Path::ROOT.field("spec");
        let (spec, before) = (object.at("spec"), old.at("spec"));
        numbers(spec, &["replicas", "minReadySeconds"], &path, errors);
        selector(spec, before, "deployment", &path, errors);
        always(spec, before, "ReplicaSet", &path, errors);
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
                immutable(
                    object.at("spec"),
                    old.at("spec"),
                    "selector",
                    &Path::ROOT.field("spec"),
                    errors,
                );
            }
            Part::Status => {
                counts(object, old, &REPLICA_COUNTS, errors);
            }
            Part::Sub(_) => {}
        }
    }

    fn generation(&self) -> &'static [&'static str] {
        &["spec"]
    }

    fn warnings(&self, object: &Value) -> Vec<String> {
        warnings(object)
    }

    fn warnings_on_update(&self, part: Part<'_>, object: &Value, old: &Value) -> Vec<String> {
        match part {
            Part::Main => warnings_on_update(object, old),
            _ => Vec::new(),
        }
    }
}

const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

/// How often the template of a DaemonSet has changed.
fn template_generation(object: &Value) -> i64 {
    meta::annotation(object, TEMPLATE_GENERATION)
        .and_then(|text| text.parse().ok())
        .unwrap_or(0)
}

/// What DaemonSets do specially.
pub struct DaemonSet;

impl Strategy for DaemonSet {
    fn default(&self, object: &mut Value) {
        defaults::daemon_set(object);
    }

    fn prepare_create(&self, object: &mut Value, _now: Timestamp) {
        let sent = template_generation(object).max(1);
        meta::set_annotation(object, TEMPLATE_GENERATION, &sent.to_string());
    }

    fn prepare_update(&self, part: Part<'_>, object: &mut Value, old: &Value, _now: Timestamp) {
        if part != Part::Main {
            return;
        }
        let mut wanted = object.at("spec.template").clone();
        crate::core::pod::defaults::template(&mut wanted);
        let before = template_generation(old);
        let next = if wanted == *old.at("spec.template") {
            before
        } else {
            before + 1
        };
        meta::set_annotation(object, TEMPLATE_GENERATION, &next.to_string());
    }

    fn validate(&self, object: &Value, errors: &mut Vec<FieldError>) {
        self.validate_result(object, &Value::Null, errors);
    }

    fn validate_result(&self, object: &Value, old: &Value, errors: &mut Vec<FieldError>) {
        let path = Path::ROOT.field("spec");
        let (spec, before) = (object.at("spec"), old.at("spec"));
        selector(spec, before, "daemonset", &path, errors);
        always(spec, before, "DaemonSet", &path, errors);
        numbers(
            spec,
            &["minReadySeconds", "revisionHistoryLimit"],
            &path,
            errors,
        );
        let strategy = spec.at("updateStrategy");
        let path = path.field("updateStrategy");
        match strategy.text("type") {
            "OnDelete" => {}
            "RollingUpdate" => {
                let rolling = strategy.at("rollingUpdate");
                let path = path.field("rollingUpdate");
                if rolling.is_null() {
                    errors.push(FieldError::required(path, ""));
                    return;
                }
                int_or_percent(
                    rolling.at("maxUnavailable"),
                    true,
                    &path.field("maxUnavailable"),
                    errors,
                );
                int_or_percent(
                    rolling.at("maxSurge"),
                    true,
                    &path.field("maxSurge"),
                    errors,
                );
                match (
                    is_zero(rolling.at("maxUnavailable")),
                    is_zero(rolling.at("maxSurge")),
                ) {
                    (false, false) => {
                        let wrong = "may not be set when maxUnavailable is non-zero";
                        let value = rolling.at("maxSurge").clone();
                        errors.push(FieldError::invalid(path.field("maxSurge"), value, wrong));
                    }
                    (true, true) => {
                        let wrong = "cannot be 0 when maxSurge is 0";
                        errors.push(FieldError::required(path.field("maxUnavailable"), wrong));
                    }
                    _ => {}
                }
            }
            _ => {
                let known = ["RollingUpdate", "OnDelete"];
                errors.push(FieldError::not_supported(path, strategy.clone(), &known));
            }
        }
    }

    fn validate_update(
        &self,
        part: Part<'_>,
        object: &Value,
        old: &Value,
        errors: &mut Vec<FieldError>,
    ) {
        let path = Path::ROOT.field("spec");
        match part {
            Part::Main => immutable(object.at("spec"), old.at("spec"), "selector", &path, errors),
            Part::Status => {
                const COUNTS: Counts = Counts {
                    numbers: &[
                        "currentNumberScheduled",
                        "numberMisscheduled",
                        "desiredNumberScheduled",
                        "numberReady",
                        "observedGeneration",
                        "updatedNumberScheduled",
                        "numberAvailable",
                        "numberUnavailable",
                        "collisionCount",
                    ],
                    parts: &[],
                    available: "",
                };
                counts(object, old, &COUNTS, errors);
            }
            Part::Sub(_) => {}
        }
    }

    fn generation(&self) -> &'static [&'static str] {
        &["spec"]
    }

    fn warnings(&self, object: &Value) -> Vec<String> {
        crate::core::pod::template_warnings(object, "spec.template")
    }

    fn warnings_on_update(&self, part: Part<'_>, object: &Value, old: &Value) -> Vec<String> {
        match part {
            Part::Main => warnings_on_update(object, old),
            _ => Vec::new(),
        }
    }
}

/// A field of StatefulSets that servers do not take unless they are told to.
const MAX_UNAVAILABLE: &str = "spec.updateStrategy.rollingUpdate.maxUnavailable";

/// What StatefulSets do specially.
pub struct StatefulSet;

impl Strategy for StatefulSet {
    fn default(&self, object: &mut Value) {
        defaults::stateful_set(object);
    }

    fn prepare_create(&self, object: &mut Value, _: Timestamp) {
        object.remove(MAX_UNAVAILABLE);
    }

    fn prepare_update(&self, part: Part<'_>, object: &mut Value, old: &Value, _: Timestamp) {
        // It is kept where it was used while it was there.
        if part == Part::Main && !old.has(MAX_UNAVAILABLE) {
            object.remove(MAX_UNAVAILABLE);
        }
    }

    fn validate(&self, object: &Value, errors: &mut Vec<FieldError>) {
        self.validate_result(object, &Value::Null, errors);
    }

    fn validate_result(&self, object: &Value, old: &Value, errors: &mut Vec<FieldError>) {
        let path = Path::ROOT.field("spec");
        let (spec, before) = (object.at("spec"), old.at("spec"));
        let policy = spec.text("podManagementPolicy");
        match policy {
            "OrderedReady" | "Parallel" => {}
            "" => errors.push(FieldError::required(path.field("podManagementPolicy"), "")),
            other => {
                let wrong = "must be 'OrderedReady' or 'Parallel'";
                errors.push(FieldError::invalid(
                    path.field("podManagementPolicy"),
                    other,
                    wrong,
                ));
            }
        }
        update_strategy(
            spec.at("updateStrategy"),
            &path.field("updateStrategy"),
            errors,
        );
        let retention = spec.at("persistentVolumeClaimRetentionPolicy");
        let retention_path = path.field("persistentVolumeClaimRetentionPolicy");
        if !retention.is_null() {
            for field in ["whenDeleted", "whenScaled"] {
                supported(
                    retention,
                    field,
                    &["Retain", "Delete"],
                    &retention_path,
                    errors,
                );
            }
        }
        numbers(spec, &["replicas", "minReadySeconds"], &path, errors);
        if let Some(start) = spec.int("ordinals.start").filter(|start| *start < 0) {
            let wrong = "must be greater than or equal to 0";
            errors.push(FieldError::invalid(
                path.field("ordinals.start"),
                start,
                wrong,
            ));
        }
        selector(spec, before, "statefulset", &path, errors);
        let spec = with_claims(spec);
        always(&spec, before, "StatefulSet", &path, errors);
    }

    fn validate_create(&self, object: &Value, errors: &mut Vec<FieldError>) {
        self.validate(object, errors);
        // What never changes is judged once: objects from before the rules stay as they are.
        let path = Path::ROOT.field("spec");
        let spec = object.at("spec");
        let claims = path.field("volumeClaimTemplates");
        for (index, claim) in spec.list("volumeClaimTemplates").iter().enumerate() {
            let path = claims.index(index);
            crate::core::storage::claim_spec(claim.at("spec"), &path.field("spec"), errors);
        }
        let service = spec.text("serviceName");
        if !service.is_empty() {
            let field = path.field("serviceName");
            wrongs(service, names::dns1123_label(service), &field, errors);
        }
    }

    fn validate_update(
        &self,
        part: Part<'_>,
        object: &Value,
        old: &Value,
        errors: &mut Vec<FieldError>,
    ) {
        if part == Part::Status {
            const COUNTS: Counts = Counts {
                numbers: &[
                    "replicas",
                    "readyReplicas",
                    "currentReplicas",
                    "updatedReplicas",
                    "availableReplicas",
                    "observedGeneration",
                    "collisionCount",
                ],
                parts: &[
                    "readyReplicas",
                    "currentReplicas",
                    "updatedReplicas",
                    "availableReplicas",
                ],
                available: "cannot be greater than status.readyReplicas",
            };
            counts(object, old, &COUNTS, errors);
        }
        if part != Part::Main {
            return;
        }
        let mut munged = object.at("spec").clone();
        for field in [
            "replicas",
            "template",
            "updateStrategy",
            "minReadySeconds",
            "ordinals",
            "revisionHistoryLimit",
            "persistentVolumeClaimRetentionPolicy",
        ] {
            munged.restore(field, old.at("spec"));
        }
        // What kind of objects the claims are nobody reads.
        let before = old.list("spec.volumeClaimTemplates");
        for (claim, before) in munged
            .list_mut("volumeClaimTemplates")
            .iter_mut()
            .zip(before)
        {
            claim.restore("apiVersion", before);
            claim.restore("kind", before);
        }
        if munged != *old.at("spec") {
            let wrong = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";
            errors.push(FieldError::forbidden("spec", wrong));
        }
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        label_name(name, prefix)
    }

    fn generation(&self) -> &'static [&'static str] {
        &["spec"]
    }

    fn warnings(&self, object: &Value) -> Vec<String> {
        crate::core::pod::template_warnings(object, "spec.template")
    }

    fn warnings_on_update(&self, part: Part<'_>, object: &Value, old: &Value) -> Vec<String> {
        match part {
            Part::Main => warnings_on_update(object, old),
            _ => Vec::new(),
        }
    }
}

/// The spec with a volume per claim template, as the controller adds them.
fn with_claims(spec: &Value) -> Value {
    let mut spec = spec.clone();
    let claims: Vec<String> = spec
        .list("volumeClaimTemplates")
        .iter()
        .map(|claim| claim.text("metadata.name").to_owned())
        .collect();
    let mut list: Vec<Value> = claims
        .iter()
        .map(|claim| {
            serde_json::json!({"name": claim, "persistentVolumeClaim": {"claimName": claim}})
        })
        .collect();
    let own = spec.list("template.spec.volumes").iter();
    list.extend(
        own.filter(|volume| !claims.iter().any(|claim| claim == volume.text("name")))
            .cloned(),
    );
    if !list.is_empty() {
        spec.set("template.spec.volumes", list);
    }
    // The controller gives pods their names.
    spec.remove("template.spec.subdomain");
    spec.remove("template.spec.hostname");
    spec
}

fn update_strategy(strategy: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let rolling = strategy.at("rollingUpdate");
    match strategy.text("type") {
        "" => errors.push(FieldError::required(path, "")),
        "OnDelete" => {
            if !rolling.is_null() {
                let wrong = "only allowed for updateStrategy 'RollingUpdate'";
                errors.push(FieldError::invalid(
                    path.field("rollingUpdate"),
                    rolling.clone(),
                    wrong,
                ));
            }
        }
        "RollingUpdate" => {
            let path = path.field("rollingUpdate");
            not_negative(rolling, "partition", &path, errors);
            if rolling.has("maxUnavailable") {
                int_or_percent(
                    rolling.at("maxUnavailable"),
                    true,
                    &path.field("maxUnavailable"),
                    errors,
                );
                if is_zero(rolling.at("maxUnavailable")) {
                    let value = rolling.at("maxUnavailable").clone();
                    errors.push(FieldError::invalid(
                        path.field("maxUnavailable"),
                        value,
                        "cannot be 0",
                    ));
                }
            }
        }
        _ => {
            let wrong = "must be 'RollingUpdate' or 'OnDelete'";
            errors.push(FieldError::invalid(path, strategy.clone(), wrong));
        }
    }
}

/// What ReplicationControllers do specially.
pub struct ReplicationController;

impl Strategy for ReplicationController {
    fn default(&self, object: &mut Value) {
        crate::core::small::replication_controller(object);
    }

    fn validate(&self, object: &Value, errors: &mut Vec<FieldError>) {
        self.validate_result(object, &Value::Null, errors);
    }

    fn validate_result(&self, object: &Value, old: &Value, errors: &mut Vec<FieldError>) {
        let path = Path::ROOT.field("spec");
        let (spec, before) = (object.at("spec"), old.at("spec"));
        numbers(spec, &["minReadySeconds", "replicas"], &path, errors);
        if spec
            .map("selector")
            .is_none_or(|selector| selector.is_empty())
        {
            errors.push(FieldError::required(path.field("selector"), ""));
        }
        if !spec.has("template") {
            errors.push(FieldError::required(path.field("template"), ""));
            return;
        }
        let labels = spec.at("template.metadata.labels");
        if !Selector::from_map(spec.at("selector")).matches_object(spec.at("template")) {
            let template = path.field("template");
            let metadata = template.field("metadata");
            let wrong = "`selector` does not match template `labels`";
            errors.push(FieldError::invalid(
                metadata.field("labels"),
                labels.clone(),
                wrong,
            ));
        }
        always(spec, before, "ReplicationController", &path, errors);
    }

    fn validate_update(
        &self,
        part: Part<'_>,
        object: &Value,
        old: &Value,
        errors: &mut Vec<FieldError>,
    ) {
        if part == Part::Status {
            counts(object, old, &REPLICA_COUNTS, errors);
        }
    }

    fn warnings(&self, object: &Value) -> Vec<String> {
        warnings(object)
    }

    fn warnings_on_update(&self, part: Part<'_>, object: &Value, old: &Value) -> Vec<String> {
        match part {
            Part::Main => warnings_on_update(object, old),
            _ => Vec::new(),
        }
    }

    fn generation(&self) -> &'static [&'static str] {
        &["spec"]
    }

    fn field_names(&self) -> &'static [&'static str] {
        &["status.replicas"]
    }

    fn fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        vec![(
            "status.replicas",
            object.int("status.replicas").unwrap_or(0).to_string(),
        )]
    }
}

/// What ControllerRevisions do specially.
pub struct ControllerRevision;

impl Strategy for ControllerRevision {
    fn validate(&self, object: &Value, errors: &mut Vec<FieldError>) {
        if !object.has("data") {
            errors.push(FieldError::required("data", "data is mandatory"));
        } else if !object.at("data").is_object() {
            let wrong = "data must be a valid JSON object";
            errors.push(FieldError::required("data", wrong));
        }
        not_negative(object, "revision", &Path::ROOT, errors);
    }

    fn validate_update(
        &self,
        _part: Part<'_>,
        object: &Value,
        old: &Value,
        errors: &mut Vec<FieldError>,
    ) {
        immutable(object, old, "data", &Path::ROOT, errors);
    }
}
