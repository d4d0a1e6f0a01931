//! What Services are warned of.

use schema::Value;

use crate::{
    meta,
    object::Object,
    validation::addresses::{cidr_warnings, ip_warnings},
};

/// Warnings for a new or changed Service.
pub fn warnings(object: &Value) -> Vec<String> {
    let spec = object.at("spec");
    let mut warnings = Vec::new();
    let hints = "service.kubernetes.io/topology-aware-hints";
    if meta::annotation(object, hints).is_some() {
        warnings.push(format!(
            "annotation {hints} is deprecated, please use service.kubernetes.io/topology-mode instead"
        ));
    }
    let kind = spec.text("type");
    let headless = kind == "ClusterIP" && spec.text("clusterIP") == "None";
    let outside = !spec.list("externalIPs").is_empty();
    if !matches!(spec.text("clusterIP"), "" | "None") {
        for (index, ip) in spec.texts("clusterIPs").enumerate() {
            ip_warnings(ip, &format!("spec.clusterIPs[{index}]"), &mut warnings);
        }
    }
    let balancer = spec.text("loadBalancerIP");
    if headless {
        for (set, field) in [
            (!balancer.is_empty(), "loadBalancerIP"),
            (outside, "externalIPs"),
            (spec.text("sessionAffinity") != "None", "SessionAffinity"),
        ] {
            if set {
                warnings.push(format!("spec.{field} is ignored for headless services"));
            }
        }
    }
    for (index, ip) in spec.texts("externalIPs").enumerate() {
        ip_warnings(ip, &format!("spec.externalIPs[{index}]"), &mut warnings);
    }
    if outside && !headless && kind != "ExternalName" {
        let warning =
            "spec.externalIPs is deprecated and may no longer be implemented in some clusters";
        warnings.push(warning.to_owned());
    }
    if !balancer.is_empty() {
        ip_warnings(balancer, "spec.loadBalancerIP", &mut warnings);
    }
    for (index, range) in spec.texts("loadBalancerSourceRanges").enumerate() {
        let path = format!("spec.loadBalancerSourceRanges[{index}]");
        cidr_warnings(range, &path, &mut warnings);
    }
    if kind == "ExternalName" && outside {
        let warning = "spec.externalIPs is ignored when spec.type is \"ExternalName\"";
        warnings.push(warning.to_owned());
    }
    if kind != "ExternalName" && !spec.text("externalName").is_empty() {
        let warning = "spec.externalName is ignored when spec.type is not \"ExternalName\"";
        warnings.push(warning.to_owned());
    }
    if spec.text("trafficDistribution") == "PreferClose" {
        let warning =
            "spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"";
        warnings.push(warning.to_owned());
    }
    warnings
}
