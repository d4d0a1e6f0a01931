//! Which address families a Service gets. There are Services of IPv4 only; those without an address
//! may name any family, for whoever writes their endpoints.

use api::object::Object;
use schema::field_error::FieldError;
use serde_json::{Value, json};

/// Fills in policy and families of a Service that has addresses or is headless.
pub(super) fn settle(service: &mut Value, old: Option<&Value>) -> Result<(), Vec<FieldError>> {
    const POLICY: &str = "spec.ipFamilyPolicy";
    let headless = service.text("spec.clusterIP") == "None"
        || service.texts("spec.clusterIPs").next() == Some("None");
    let by_hand = headless && service.pairs("spec.selector").next().is_none();
    if service.text(POLICY).is_empty() {
        let before = old.map_or("", |old| old.text(POLICY));
        let policy = match before {
            "" if by_hand => "RequireDualStack",
            "" => "SingleStack",
            before => before,
        };
        let policy = policy.to_owned();
        service.set(POLICY, policy);
    }
    let single = service.text(POLICY) == "SingleStack";
    let mut families: Vec<String> = service
        .texts("spec.ipFamilies")
        .map(str::to_owned)
        .collect();
    if let Some(old) = old
        && single
        && old.list("spec.ipFamilies") == service.list("spec.ipFamilies")
    {
        families.truncate(1);
    }
    let mut errors = Vec::new();
    if single && families.len() == 2 && families[0] != families[1] {
        let wrong = "must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified";
        errors.push(FieldError::invalid(POLICY, "SingleStack", wrong));
    }
    if !headless {
        let addresses = service.list("spec.clusterIPs");
        for (index, address) in addresses.iter().enumerate().skip(families.len()) {
            if address.as_str().is_some_and(|text| text.contains(':')) {
                let field = format!("spec.clusterIPs[{index}]");
                let wrong = "IPv6 is not configured on this cluster";
                errors.push(FieldError::invalid(field, json!(addresses), wrong));
            }
        }
    }
    if errors.is_empty() && !by_hand {
        if service.text(POLICY) == "RequireDualStack" {
            let wrong = "this cluster is not configured for dual-stack services";
            errors.push(FieldError::invalid(POLICY, "RequireDualStack", wrong));
        }
        for (index, family) in families.iter().enumerate() {
            if family == "IPv6" {
                let field = format!("spec.ipFamilies[{index}]");
                let wrong = "not configured on this cluster";
                errors.push(FieldError::invalid(field, "IPv6", wrong));
            }
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    if families.is_empty() {
        families.push("IPv4".to_owned());
    }
    if by_hand && families.len() == 1 && !single {
        let other = match families[0].as_str() {
            "IPv4" => "IPv6",
            _ => "IPv4",
        };
        families.push(other.to_owned());
    }
    service.set("spec.ipFamilies", json!(families));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(spec: Value, old: Option<Value>) -> Result<(String, Value), String> {
        let mut service = json!({"spec": spec});
        let old = old.map(|spec| json!({"spec": spec}));
        match settle(&mut service, old.as_ref()) {
            Ok(()) => Ok((
                service.text("spec.ipFamilyPolicy").to_owned(),
                service.at("spec.ipFamilies").clone(),
            )),
            Err(errors) => Err(errors
                .iter()
                .map(|error| format!("{}: {}", error.path, error.detail))
                .collect::<Vec<_>>()
                .join("; ")),
        }
    }

    #[test]
    fn families_follow_from_policy_selector_and_what_the_cluster_has() {
        let four = json!(["IPv4"]);
        let both = json!(["IPv4", "IPv6"]);
        let swapped = json!(["IPv6", "IPv4"]);
        let selector = json!({"a": "b"});
        let cases = [
            (json!({}), Ok(("SingleStack", four.clone()))),
            (
                json!({"ipFamilyPolicy": "PreferDualStack", "selector": selector}),
                Ok(("PreferDualStack", four.clone())),
            ),
            (
                json!({"clusterIP": "None", "selector": selector}),
                Ok(("SingleStack", four.clone())),
            ),
            // Headless without a selector: whoever writes the endpoints knows the families.
            (
                json!({"clusterIP": "None"}),
                Ok(("RequireDualStack", both.clone())),
            ),
            (
                json!({"clusterIP": "None", "ipFamilies": ["IPv6"]}),
                Ok(("RequireDualStack", swapped)),
            ),
            (
                json!({"clusterIP": "None", "ipFamilyPolicy": "SingleStack"}),
                Ok(("SingleStack", four.clone())),
            ),
            (
                json!({"ipFamilyPolicy": "RequireDualStack"}),
                Err("spec.ipFamilyPolicy: this cluster is not configured for dual-stack services"),
            ),
            (
                json!({"ipFamilies": ["IPv6"]}),
                Err("spec.ipFamilies[0]: not configured on this cluster"),
            ),
            (
                json!({"clusterIPs": ["fd00::1"], "clusterIP": "fd00::1"}),
                Err("spec.clusterIPs[0]: IPv6 is not configured on this cluster"),
            ),
            (
                json!({"ipFamilies": both}),
                Err(
                    "spec.ipFamilyPolicy: must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified",
                ),
            ),
        ];
        for (spec, expected) in cases {
            let found = settled(spec.clone(), None);
            let expected = expected
                .map(|(policy, families)| (policy.to_owned(), families))
                .map_err(str::to_owned);
            assert_eq!(found, expected, "{spec}");
        }
    }

    #[test]
    fn an_update_keeps_the_policy_and_single_stack_releases_the_second_family() {
        let old = json!({"clusterIP": "None", "ipFamilyPolicy": "RequireDualStack", "ipFamilies": ["IPv4", "IPv6"]});
        let kept = settled(json!({"clusterIP": "None"}), Some(old.clone())).unwrap();
        assert_eq!(kept.0, "RequireDualStack");
        let mut single = old.clone();
        single["ipFamilyPolicy"] = json!("SingleStack");
        let found = settled(single, Some(old)).unwrap();
        assert_eq!(found.1, json!(["IPv4"]));
    }
}
