//! Defaults of Services.

use schema::Value;
use serde_json::json;

use crate::object::Object;

/// Defaults of a Service. Addresses, ports and address families are the allocator's part.
pub fn defaults(object: &mut Value) {
    object.set_default_text("spec.sessionAffinity", "None");
    let spec = object.place("spec");
    if spec.text("sessionAffinity") == "None" {
        spec.remove("sessionAffinityConfig");
    } else if spec.text("sessionAffinity") == "ClientIP"
        && !spec.has("sessionAffinityConfig.clientIP.timeoutSeconds")
    {
        spec.set(
            "sessionAffinityConfig",
            json!({"clientIP": {"timeoutSeconds": 10800}}),
        );
    }
    spec.set_default_text("type", "ClusterIP");
    for port in spec.list_mut("ports") {
        port.set_default_text("protocol", "TCP");
        let target = port.at("targetPort");
        if target.is_null() || target.as_i64() == Some(0) || target.as_str() == Some("") {
            let number = port.at("port").clone();
            port.set("targetPort", number);
        }
    }
    let kind = spec.text("type").to_owned();
    let external = matches!(&*kind, "NodePort" | "LoadBalancer")
        || (kind == "ClusterIP" && !spec.list("externalIPs").is_empty());
    if external {
        spec.set_default_text("externalTrafficPolicy", "Cluster");
    }
    if matches!(&*kind, "NodePort" | "LoadBalancer" | "ClusterIP") {
        spec.set_default("internalTrafficPolicy", "Cluster");
    }
    if kind == "LoadBalancer" {
        spec.set_default("allocateLoadBalancerNodePorts", true);
        for ingress in object.list_mut("status.loadBalancer.ingress") {
            if !ingress.text("ip").is_empty() {
                ingress.set_default("ipMode", "VIP");
            }
        }
    }
}
