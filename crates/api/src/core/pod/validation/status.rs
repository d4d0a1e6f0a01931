//! What a pod's status may say.

use schema::{Path, Value, field_error::FieldError};

use super::{annotations, security};
use crate::{
    core::resource_names,
    names,
    object::Object,
    quantity::Quantity,
    validation::{
        addresses,
        checks::{IMMUTABLE, one_of, required, wrongs},
    },
};

const LISTS: [(&str, &str); 3] = [
    ("containerStatuses", "containers"),
    ("initContainerStatuses", "initContainers"),
    ("ephemeralContainerStatuses", "ephemeralContainers"),
];

/// A write of the status.
pub fn status(object: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let metadata = Path::ROOT.field("metadata");
    annotations::changes(object, old, &metadata.field("annotations"), errors);
    let path = Path::ROOT.field("status");
    let (new, before, spec) = (object.at("status"), old.at("status"), object.at("spec"));
    conditions(new, &path.field("conditions"), errors);
    let nominated = new.text("nominatedNodeName");
    if nominated != before.text("nominatedNodeName") && !nominated.is_empty() {
        let field = path.field("nominatedNodeName");
        wrongs(
            nominated,
            names::dns1123_subdomain(nominated),
            &field,
            errors,
        );
        if !old.text("spec.nodeName").is_empty() {
            let wrong = "may not be set on pods that are already bound to a node";
            errors.push(FieldError::forbidden(field, wrong));
        }
    }
    observed_generation(new, &path, errors);
    let class = new.text("qosClass");
    if class != before.text("qosClass") {
        errors.push(FieldError::invalid(
            path.field("qosClass"),
            class,
            IMMUTABLE,
        ));
    }
    transitions(new, before, old.at("spec"), &path, errors);
    claim_statuses(new, spec, &path.field("resourceClaimStatuses"), errors);
    extended_claim(
        new,
        spec,
        &path.field("extendedResourceClaimStatus"),
        errors,
    );
    node_claims(
        new,
        spec,
        &path.field("nodeAllocatableResourceClaimStatuses"),
        errors,
    );
    addresses_of(new, before, "podIPs", &path, errors);
    let host_ips = new.list("hostIPs");
    if let Some(first) = host_ips.first()
        && first.text("ip") != new.text("hostIP")
    {
        let list = path.field("hostIPs");
        let wrong = "must be equal to `hostIP`";
        let value = first.text("ip");
        errors.push(FieldError::invalid(list.index(0).field("ip"), value, wrong));
    }
    addresses_of(new, before, "hostIPs", &path, errors);
    for (list, containers) in LISTS {
        let list_path = path.field(list);
        for (index, own) in new.list(list).iter().enumerate() {
            let path = list_path.index(index);
            user(own, spec, &path, errors);
            let containers = spec.list(containers);
            allocated(own, containers, list == LISTS[2].0, &path, errors);
        }
    }
}

fn observed_generation(holder: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    if let Some(number) = holder.int("observedGeneration").filter(|n| *n < 0) {
        errors.push(FieldError::invalid(
            path.field("observedGeneration"),
            number,
            "must be a non-negative integer",
        ));
    }
}

fn conditions(status: &Value, list: &Path<'_>, errors: &mut Vec<FieldError>) {
    for (index, condition) in status.list("conditions").iter().enumerate() {
        let path = list.index(index);
        observed_generation(condition, &path, errors);
        let kind = condition.text("type");
        if !matches!(kind, "PodScheduled" | "Ready" | "Initialized") {
            wrongs(
                kind,
                names::qualified_name(kind),
                &path.field("Type"),
                errors,
            );
        }
    }
}

/// Addresses that are new are right, and there is one of each family.
fn addresses_of(
    new: &Value,
    old: &Value,
    list: &str,
    path: &Path<'_>,
    errors: &mut Vec<FieldError>,
) {
    let list_path = path.field(list);
    let ips = |status: &Value| -> Vec<String> {
        let list = status.list(list).iter();
        list.map(|item| item.text("ip").to_owned()).collect()
    };
    let (ips, before) = (ips(new), ips(old));
    for (index, ip) in ips.iter().enumerate() {
        if !before.contains(ip) {
            addresses::ip(ip, &list_path.index(index), errors);
        }
    }
    if ips.len() < 2 {
        return;
    }
    if let Some(bad) = ips.iter().position(|ip| addresses::sloppy(ip).is_none()) {
        let wrong = format!(
            "failed to check for dual stack with error:invalid IP[{bad}]: ({})",
            ips[bad]
        );
        errors.push(FieldError::internal(list_path, wrong));
    }
    let six = ips.iter().filter(|ip| addresses::is_v6(ip)).count();
    if ips.len() > 2 || six != 1 {
        let wrong = "may specify no more than one IP for each IP family";
        errors.push(FieldError::invalid(list_path, new.at(list).clone(), wrong));
    }
}

/// Containers that ended stay ended where nothing says that they start again.
fn transitions(
    new: &Value,
    old: &Value,
    spec: &Value,
    path: &Path<'_>,
    errors: &mut Vec<FieldError>,
) {
    let all = spec
        .list("containers")
        .iter()
        .chain(spec.list("initContainers"));
    let together = all
        .flat_map(|item| item.list("restartPolicyRules"))
        .any(|rule| rule.text("action") == "RestartAllContainers");
    for (list, containers) in LISTS {
        let ephemeral = list == LISTS[2].0;
        if together && !ephemeral {
            continue;
        }
        let list_path = path.field(list);
        for (index, before) in old.list(list).iter().enumerate() {
            let name = before.text("name");
            let Some(ended) = before.map("state.terminated") else {
                continue;
            };
            let code = ended.get("exitCode").and_then(Value::as_i64).unwrap_or(0);
            let mut now = new.list(list).iter();
            let runs = now
                .find(|status| status.text("name") == name)
                .is_some_and(|status| !status.has("state.terminated"));
            let own = |item: &&Value| item.text("name") == name;
            let allowed = !ephemeral
                && spec
                    .list(containers)
                    .iter()
                    .find(own)
                    .is_some_and(|item| starts_again(item, spec, code));
            if runs && !allowed {
                let wrong = "may not be transitioned to non-terminated state";
                let field = list_path.index(index);
                errors.push(FieldError::forbidden(field.field("state"), wrong));
            }
        }
    }
}

/// Does a container that ended with this code start again?
fn starts_again(item: &Value, spec: &Value, code: i64) -> bool {
    let by_policy = |policy: &str| match policy {
        "Always" => Some(true),
        "OnFailure" => Some(code != 0),
        "Never" => Some(false),
        _ => None,
    };
    if item.has("restartPolicy") {
        let matches = |rule: &&Value| {
            let codes = rule.list("exitCodes.values").iter();
            let listed = codes.filter_map(Value::as_i64).any(|own| own == code);
            match rule.text("exitCodes.operator") {
                "In" => listed,
                "NotIn" => !listed,
                _ => false,
            }
        };
        if item
            .list("restartPolicyRules")
            .iter()
            .any(|rule| matches(&rule))
        {
            return true;
        }
        if let Some(answer) = by_policy(item.text("restartPolicy")) {
            return answer;
        }
    }
    by_policy(spec.text("restartPolicy")).unwrap_or(true)
}

fn claim_statuses(new: &Value, spec: &Value, list: &Path<'_>, errors: &mut Vec<FieldError>) {
    let statuses = new.list("resourceClaimStatuses");
    for (index, status) in statuses.iter().enumerate() {
        let path = list.index(index);
        let name = status.text("name");
        let field = path.field("name");
        let mut claims = spec.list("resourceClaims").iter();
        if !claims.any(|claim| claim.text("name") == name) {
            let wrong = "must match the name of an entry in `spec.resourceClaims`";
            errors.push(FieldError::invalid(field, name, wrong));
        }
        if statuses[..index]
            .iter()
            .any(|other| other.text("name") == name)
        {
            errors.push(FieldError::duplicate(field, name));
        }
        if status.has("resourceClaimName") {
            let name = status.text("resourceClaimName");
            let field = path.field("resourceClaimName");
            wrongs(name, names::dns1123_subdomain(name), &field, errors);
        }
    }
}

fn extended_claim(new: &Value, spec: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let status = new.at("extendedResourceClaimStatus");
    if status.is_null() {
        return;
    }
    let list = path.field("requestMappings");
    let mappings = status.list("requestMappings");
    if mappings.is_empty() {
        let wrong = "at least one request mapping is required";
        errors.push(FieldError::required(list, wrong));
    }
    for (index, mapping) in mappings.iter().enumerate() {
        let own = list.index(index);
        let (container, resource) = (mapping.text("containerName"), mapping.text("resourceName"));
        let mut all = spec
            .list("containers")
            .iter()
            .chain(spec.list("initContainers"));
        match all.find(|item| item.text("name") == container) {
            None => {
                let wrong = "must match the name of an entry in spec.initContainers.name or spec.containers.name";
                let field = own.field("containerName");
                errors.push(FieldError::invalid(field, container, wrong));
            }
            Some(item) if item.at("resources.requests").get(resource).is_none() => {
                let wrong = "must match the extended resource name of an entry in spec.initContainers.resources.requests or spec.containers.resources.requests";
                let field = own.field("resourceName");
                errors.push(FieldError::invalid(field, resource, wrong));
            }
            Some(_) => {}
        }
        let request = mapping.text("requestName");
        wrongs(
            request,
            names::dns1123_label(request),
            &path.field("requestName"),
            errors,
        );
        if mappings[..index].contains(mapping) {
            for field in ["containerName", "resourceName", "requestName"] {
                errors.push(FieldError::duplicate(own.field(field), mapping.text(field)));
            }
        }
    }
    let name = required(status, "resourceClaimName", path, errors);
    if !name.is_empty() {
        let field = path.field("resourceClaimName");
        wrongs(name, names::dns1123_subdomain(name), &field, errors);
    }
}

fn node_claims(new: &Value, spec: &Value, list: &Path<'_>, errors: &mut Vec<FieldError>) {
    const EMPTY: &str = "must not be empty";
    let statuses = new.list("nodeAllocatableResourceClaimStatuses");
    for (index, status) in statuses.iter().enumerate() {
        let path = list.index(index);
        let name = status.text("resourceClaimName");
        let field = path.field("resourceClaimName");
        if name.is_empty() {
            errors.push(FieldError::required(field, EMPTY));
        }
        let mut named = spec
            .list("resourceClaims")
            .iter()
            .chain(new.list("resourceClaimStatuses"));
        if !named.any(|claim| claim.at("resourceClaimName").as_str() == Some(name)) {
            let wrong = "no mapping found in pod reference";
            errors.push(FieldError::invalid(field, name, wrong));
        }
        if status.list("containers").is_empty() {
            errors.push(FieldError::required(path.field("containers"), EMPTY));
        }
        let resources = path.field("resources");
        if status.map("resources").is_none_or(|map| map.is_empty()) {
            errors.push(FieldError::required(resources, EMPTY));
        }
        for (name, amount) in status.pairs("resources") {
            let path = resources.key(name);
            if !resource_names::is_native(name) {
                let wrong = "must be a node allocatable resource name";
                errors.push(FieldError::invalid(path, name, wrong));
            }
            let amount = Quantity::of(amount);
            if amount.is_negative() {
                errors.push(FieldError::invalid(path, amount, "must be non-negative"));
            }
        }
    }
}

/// As whom a container runs.
fn user(status: &Value, spec: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let user = status.at("user.linux");
    if user.is_null() {
        return;
    }
    let own = path.field("user");
    let path = own.field("linux");
    if spec.text("os.name") == "windows" {
        let wrong = "cannot be set for a windows pod";
        errors.push(FieldError::forbidden(path, wrong));
        return;
    }
    security::user_or_group(user, "uid", &path, errors);
    security::user_or_group(user, "gid", &path, errors);
    let groups = path.field("supplementalGroups");
    for (index, group) in user.list("supplementalGroups").iter().enumerate() {
        security::id(group, &groups.index(index), errors);
    }
}

/// How well the devices of a container are.
fn allocated(
    status: &Value,
    containers: &[Value],
    ephemeral: bool,
    path: &Path<'_>,
    errors: &mut Vec<FieldError>,
) {
    let list = path.field("allocatedResourcesStatus");
    let resources = status.list("allocatedResourcesStatus");
    if ephemeral {
        if !resources.is_empty() {
            let wrong = "must not be specified in container status";
            errors.push(FieldError::forbidden(list, wrong));
        }
        return;
    }
    let own = |item: &&Value| item.text("name") == status.text("name");
    let container = containers.iter().find(own);
    for (index, resource) in resources.iter().enumerate() {
        let path = list.index(index);
        let name = resource.text("name");
        if let Some(container) = container {
            let (found, wrong) = if name.starts_with("claim:") {
                let claims = container.list("resources.claims").iter();
                let named = |claim: &Value| match claim.text("request") {
                    "" => format!("claim:{}", claim.text("name")),
                    request => format!("claim:{}/{request}", claim.text("name")),
                };
                (
                    claims.map(named).any(|claim| claim == name),
                    "must match one of the container's resource claims in a format 'claim:<claimName>/<request>' or 'claim:<claimName>' if request is empty",
                )
            } else {
                (
                    container.at("resources.requests").get(name).is_some(),
                    "must match one of the container's resource requests",
                )
            };
            if !found {
                errors.push(FieldError::invalid(path.field("name"), name, wrong));
            }
        }
        let list = path.field("resources");
        let healths = resource.list("resources");
        for (at, health) in healths.iter().enumerate() {
            let path = list.index(at);
            one_of_health(health, &path, errors);
            let id = health.text("resourceID");
            if healths[..at]
                .iter()
                .any(|other| other.text("resourceID") == id)
            {
                errors.push(FieldError::duplicate(path.field("resourceID"), id));
            }
        }
    }
}

fn one_of_health(health: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    const KNOWN: [&str; 3] = ["Healthy", "Unhealthy", "Unknown"];
    const MESSAGE_MAX: usize = 1024;
    if health.text("health").is_empty() {
        errors.push(FieldError::not_supported(path.field("health"), "", &KNOWN));
    } else {
        one_of(health, "health", &KNOWN, path, errors);
    }
    if health.has("message") {
        let field = path.field("message");
        let message = health.text("message");
        if message.is_empty() {
            let wrong = "must be non-empty if specified";
            errors.push(FieldError::required(field, wrong));
        } else if message.len() > MESSAGE_MAX {
            errors.push(FieldError::too_long(field, MESSAGE_MAX));
        }
    }
}
