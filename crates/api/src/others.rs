//! Defaults of the kinds of all other groups, a few lines each.

use schema::Value;
use serde_json::json;

use crate::object::Object;

/// Defaults of RoleBindings and ClusterRoleBindings.
pub fn role_binding(object: &mut Value) {
    const GROUP: &str = "rbac.authorization.k8s.io";
    object.set_default_text("roleRef.apiGroup", GROUP);
    for subject in object.list_mut("subjects") {
        if matches!(subject.text("kind"), "User" | "Group") {
            subject.set_default_text("apiGroup", GROUP);
        }
    }
}

/// Defaults of an EndpointSlice.
pub fn endpoint_slice(object: &mut Value) {
    for port in object.list_mut("ports") {
        port.set_default("name", "");
        port.set_default("protocol", "TCP");
    }
}

/// Defaults of a StorageClass.
pub fn storage_class(object: &mut Value) {
    object.set_default("reclaimPolicy", "Delete");
    object.set_default("volumeBindingMode", "Immediate");
}

/// Defaults of a CSIDriver.
pub fn csi_driver(object: &mut Value) {
    let spec = object.place("spec");
    spec.set_default("attachRequired", true);
    spec.set_default("podInfoOnMount", false);
    spec.set_default("storageCapacity", false);
    spec.set_default("fsGroupPolicy", "ReadWriteOnceWithFSType");
    if spec.list("volumeLifecycleModes").is_empty() {
        spec.set("volumeLifecycleModes", json!(["Persistent"]));
    }
    spec.set_default("requiresRepublish", false);
    spec.set_default("seLinuxMount", false);
}

/// Defaults of a NetworkPolicy.
pub fn network_policy(object: &mut Value) {
    let spec = object.place("spec");
    for direction in ["ingress", "egress"] {
        for rule in spec.list_mut(direction) {
            for port in rule.list_mut("ports") {
                port.set_default("protocol", "TCP");
            }
        }
    }
    if spec.list("policyTypes").is_empty() {
        let egress = !spec.list("egress").is_empty();
        spec.set(
            "policyTypes",
            if egress {
                json!(["Ingress", "Egress"])
            } else {
                json!(["Ingress"])
            },
        );
    }
}

/// Defaults of an IngressClass.
pub fn ingress_class(object: &mut Value) {
    if let Some(parameters) = object.at_mut("spec.parameters") {
        parameters.set_default("scope", "Cluster");
    }
}

/// Defaults of a PriorityClass.
pub fn priority_class(object: &mut Value) {
    object.set_default("preemptionPolicy", "PreemptLowerPriority");
}

fn selectors(object: &mut Value) {
    object.set_default("matchPolicy", "Equivalent");
    object.set_default("namespaceSelector", json!({}));
    object.set_default("objectSelector", json!({}));
}

/// Defaults of both kinds of webhook configuration.
pub fn webhooks(object: &mut Value) {
    let mutating = object.text("kind") == "MutatingWebhookConfiguration";
    for webhook in object.list_mut("webhooks") {
        webhook.set_default("failurePolicy", "Fail");
        selectors(webhook);
        webhook.set_default("timeoutSeconds", 10);
        if mutating {
            webhook.set_default("reinvocationPolicy", "Never");
        }
        for rule in webhook.list_mut("rules") {
            rule.set_default("scope", "*");
        }
        if let Some(service) = webhook.at_mut("clientConfig.service") {
            service.set_default("port", 443);
        }
    }
}

fn match_resources(resources: Option<&mut Value>) {
    let Some(resources) = resources else { return };
    selectors(resources);
    for list in ["resourceRules", "excludeResourceRules"] {
        for rule in resources.list_mut(list) {
            rule.set_default("scope", "*");
        }
    }
}

/// Defaults of both kinds of admission policy.
pub fn admission_policy(object: &mut Value) {
    object.set_default("spec.failurePolicy", "Fail");
    match_resources(object.at_mut("spec.matchConstraints"));
}

/// Defaults of both kinds of admission policy binding.
pub fn admission_policy_binding(object: &mut Value) {
    match_resources(object.at_mut("spec.matchResources"));
}

/// Defaults of a FlowSchema.
pub fn flow_schema(object: &mut Value) {
    if object.int("spec.matchingPrecedence").unwrap_or(0) == 0 {
        object.set("spec.matchingPrecedence", 1000);
    }
}

/// Defaults of a PriorityLevelConfiguration.
pub fn priority_level(object: &mut Value) {
    if let Some(exempt) = object.at_mut("spec.exempt") {
        exempt.set_default("nominalConcurrencyShares", 0);
        exempt.set_default("lendablePercent", 0);
    }
    if let Some(limited) = object.at_mut("spec.limited") {
        limited.set_default("nominalConcurrencyShares", 30);
        limited.set_default("lendablePercent", 0);
        if let Some(queuing) = limited.at_mut("limitResponse.queuing") {
            for (field, value) in [("handSize", 8), ("queues", 64), ("queueLengthLimit", 50)] {
                if queuing.int(field).unwrap_or(0) == 0 {
                    queuing.set(field, value);
                }
            }
        }
    }
}

/// Defaults of a HorizontalPodAutoscaler, v1.
pub fn autoscaler_v1(object: &mut Value) {
    object.set_default("spec.minReplicas", 1);
}

/// Defaults of a HorizontalPodAutoscaler, v2.
pub fn autoscaler(object: &mut Value) {
    object.set_default("spec.minReplicas", 1);
    if object.text("apiVersion") == "autoscaling/v1" {
        return;
    }
    if object.list("spec.metrics").is_empty() {
        let target = json!({"type": "Utilization", "averageUtilization": 80});
        object.set(
            "spec.metrics",
            json!([{"type": "Resource", "resource": {"name": "cpu", "target": target}}]),
        );
    }
    if let Some(behavior) = object.at_mut("spec.behavior") {
        behavior.set_default("scaleUp.stabilizationWindowSeconds", 0);
        behavior.set_default("scaleUp.selectPolicy", "Max");
        behavior.set_default(
            "scaleUp.policies",
            json!([{"type": "Pods", "value": 4, "periodSeconds": 15}, {"type": "Percent", "value": 100, "periodSeconds": 15}]),
        );
        behavior.set_default("scaleDown.selectPolicy", "Max");
        behavior.set_default(
            "scaleDown.policies",
            json!([{"type": "Percent", "value": 100, "periodSeconds": 15}]),
        );
    }
}

/// Defaults of a CustomResourceDefinition.
pub fn custom_resource_definition(object: &mut Value) {
    let kind = object.text("spec.names.kind").to_owned();
    object.set_default_text("spec.names.singular", &kind.to_lowercase());
    if !kind.is_empty() {
        object.set_default_text("spec.names.listKind", &format!("{kind}List"));
    }
    object.set_default("spec.conversion", json!({"strategy": "None"}));
    if let Some(service) = object.at_mut("spec.conversion.webhook.clientConfig.service") {
        service.set_default("port", 443);
    }
    if object.list("status.storedVersions").is_empty() {
        let stored = object
            .list("spec.versions")
            .iter()
            .find(|version| version.flag("storage"));
        if let Some(name) = stored.map(|version| version.at("name").clone()) {
            object.set("status.storedVersions", json!([name]));
        }
    }
}

/// Defaults of an APIService.
pub fn api_service(object: &mut Value) {
    if let Some(service) = object.at_mut("spec.service") {
        service.set_default("port", 443);
    }
}

fn device_request(request: &mut Value) {
    request.set_default_text("allocationMode", "ExactCount");
    if request.text("allocationMode") == "ExactCount" && request.int("count").unwrap_or(0) == 0 {
        request.set("count", 1);
    }
}

fn claim_spec(spec: Option<&mut Value>) {
    let Some(spec) = spec else { return };
    for request in spec.list_mut("devices.requests") {
        if let Some(exactly) = request.at_mut("exactly") {
            device_request(exactly);
        } else if request.has("deviceClassName") {
            // v1beta1 has the exact request in the request itself.
            device_request(request);
        }
        for alternative in request.list_mut("firstAvailable") {
            device_request(alternative);
        }
    }
}

/// Defaults of a ResourceClaim.
pub fn resource_claim(object: &mut Value) {
    claim_spec(object.at_mut("spec"));
}

/// Defaults of a ResourceClaimTemplate.
pub fn resource_claim_template(object: &mut Value) {
    claim_spec(object.at_mut("spec.spec"));
}
