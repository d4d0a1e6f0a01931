//! What a pod on a node may become there: PodResizeValidator lets it ask for no more than the node has,
//! NodeDeclaredFeatureValidator (KEP-5328) for nothing that the node does not say it can do.

use api::meta;
use api::object::Object;
use api::quantity::Quantity;
use api::quota::usage;
use api::status::{Cause, Status};
use serde_json::Value;

use super::{Admission, Operation, Plugin};

/// The node of a pod whose spec this request changes; none when it is about something else.
fn node_of<'a>(
    admission: &Admission<'_>,
    pod: &'a Value,
    old: Option<&Value>,
    subresources: &[&str],
) -> Option<&'a str> {
    let node = pod.text("spec.nodeName");
    let changes = admission.operation == Operation::Update
        && admission.of("", "pods")
        && subresources.contains(&admission.subresource)
        && !node.is_empty()
        // It moves with the spec alone.
        && meta::generation(old?) != meta::generation(pod);
    changes.then_some(node)
}

fn missing(admission: &Admission<'_>, pod: &Value, node: &str) -> Status {
    admission.forbid(pod, format_args!("node {node:?} not found"))
}

/// See the module.
pub struct PodResize;

impl PodResize {
    /// Why the node cannot take the pod as it wants to be: a word for programs, and a text.
    fn refuse(pod: &Value, name: &str, node: &Value) -> Option<(&'static str, String)> {
        if let Some(system) = meta::label(node, "kubernetes.io/os")
            && system != "linux"
        {
            let why =
                format!("pod resize is only supported on linux nodes, node {name:?} is {system:?}");
            return Some(("UnsupportedPlatform", why));
        }
        let requests = usage::totals(pod, "requests");
        let wanted = |resource: &str| requests.get(resource).copied().unwrap_or_default();
        let has = |resource: &str| Quantity::of(node.at("status.allocatable").at(resource));
        let mut short = Vec::new();
        let (cpu, memory) = (wanted("cpu"), wanted("memory"));
        if cpu > has("cpu") {
            let (asked, most) = (cpu.millis(), has("cpu").millis());
            short.push(format!("cpu, requested: {asked}, allocatable: {most}"));
        }
        if memory > has("memory") {
            let (asked, most) = (memory.value(), has("memory").value());
            short.push(format!("memory, requested: {asked}, allocatable: {most}"));
        }
        let why = "node didn't have enough allocatable resources";
        (!short.is_empty()).then(|| ("NodeCapacity", format!("{why}: {}", short.join("; "))))
    }
}

impl Plugin for PodResize {
    fn name(&self) -> &'static str {
        "PodResizeValidator"
    }

    fn validate(
        &self,
        admission: &Admission<'_>,
        pod: &Value,
        old: Option<&Value>,
    ) -> Result<(), Status> {
        let Some(name) = node_of(admission, pod, old, &["resize"]) else {
            return Ok(());
        };
        let node = admission.objects().value("", "nodes", "", name);
        let node = node.ok_or_else(|| missing(admission, pod, name))?;
        match PodResize::refuse(pod, name, &node) {
            None => Ok(()),
            Some((reason, why)) => {
                let mut status = admission.forbid(pod, why);
                let cause = Cause {
                    reason: reason.to_owned(),
                    ..Cause::default()
                };
                status.details.get_or_insert_default().causes.push(cause);
                Err(status)
            }
        }
    }
}

/// See the module.
pub struct NodeDeclaredFeatures;

/// What a node has to be able to do for this change of a pod.
fn features(pod: &Value, old: &Value) -> Vec<&'static str> {
    let mut needed = Vec::new();
    if pod.at("spec.resources") != old.at("spec.resources") {
        needed.push("InPlacePodLevelResourcesVerticalScaling");
    }
    let plain = |container: &Value| container.text("restartPolicy") != "Always";
    let pairs = old
        .list("spec.initContainers")
        .iter()
        .zip(pod.list("spec.initContainers"));
    if pairs
        .filter(|(old, _)| plain(old))
        .any(|(old, new)| old.at("resources") != new.at("resources"))
    {
        needed.push("InPlacePodVerticalScalingInitContainers");
    }
    needed
}

impl Plugin for NodeDeclaredFeatures {
    fn name(&self) -> &'static str {
        "NodeDeclaredFeatureValidator"
    }

    fn validate(
        &self,
        admission: &Admission<'_>,
        pod: &Value,
        old: Option<&Value>,
    ) -> Result<(), Status> {
        let Some((name, old)) = node_of(admission, pod, old, &["", "resize"]).zip(old) else {
            return Ok(());
        };
        let mut needed = features(pod, old);
        if needed.is_empty() {
            return Ok(());
        }
        let node = admission.objects().value("", "nodes", "", name);
        let node = node.ok_or_else(|| missing(admission, pod, name))?;
        needed.retain(|feature| {
            !node
                .texts("status.declaredFeatures")
                .any(|has| has == *feature)
        });
        if needed.is_empty() {
            return Ok(());
        }
        let list = needed.join(", ");
        let why =
            format!("pod update requires features {list} which are not available on node {name:?}");
        Err(admission.forbid(pod, why))
    }
}
