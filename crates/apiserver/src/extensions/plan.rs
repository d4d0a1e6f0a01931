//! What a definition's status should say: a pure function of it and the others.

use api::custom::{Taken, accept, conditions};
use api::meta;
use api::object::Object;
use jiff::Timestamp;
use serde_json::Value;

/// The definition as it should be; its versions are served before this is written.
pub fn plan<'a>(
    definition: &Value,
    others: impl IntoIterator<Item = &'a Value>,
    now: Timestamp,
) -> Value {
    let mut wanted = definition.clone();
    if meta::is_terminating(definition) {
        return wanted;
    }
    let settled = wanted.at("spec.names") == wanted.at("status.acceptedNames")
        && conditions::is_true(&wanted, "NamesAccepted");
    if !settled {
        accept(&mut wanted, &Taken::of(definition, others), now);
        // Later changes of the schemas were judged when they were written.
        conditions::judge(&mut wanted, now);
    }
    conditions::approve(&mut wanted, now);
    if conditions::is_true(&wanted, "NamesAccepted") && !conditions::is_true(&wanted, "Established")
    {
        let (reason, message) = (
            "InitialNamesAccepted",
            "the initial names have been accepted",
        );
        conditions::set(&mut wanted, "Established", "True", reason, message, now);
    }
    wanted
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn definition(plural: &str, kind: &str) -> Value {
        json!({
            "metadata": {"name": format!("{plural}.example.com")},
            "spec": {
                "group": "example.com",
                "names": {"plural": plural, "singular": kind.to_lowercase(), "kind": kind,
                    "listKind": format!("{kind}List")},
                "versions": [{"name": "v1", "schema": {"openAPIV3Schema": {"type": "object"}}}],
            },
        })
    }

    #[test]
    fn what_has_its_names_is_established_and_stays_so() {
        let now = Timestamp::UNIX_EPOCH;
        let first = plan(&definition("foos", "Foo"), [], now);
        assert!(conditions::is_true(&first, "Established"));
        assert_eq!(plan(&first, [&first], now), first);
        let second = plan(&definition("bars", "Foo"), [&first], now);
        assert!(!conditions::is_true(&second, "Established"));
        assert_eq!(
            meta::condition(&second, "Established").map(|c| c.text("reason")),
            Some("NotAccepted")
        );
        let third = plan(&second, [], now);
        assert!(conditions::is_true(&third, "Established"));
    }

    #[test]
    fn a_protected_group_says_who_approved_it() {
        let mut definition = definition("foos", "Foo");
        definition.set("spec.group", "x.k8s.io");
        definition["metadata"]["annotations"] =
            json!({"api-approved.kubernetes.io": "https://example.com/1"});
        let planned = plan(&definition, [], Timestamp::UNIX_EPOCH);
        assert!(conditions::is_true(
            &planned,
            "KubernetesAPIApprovalPolicyConformant"
        ));
    }
}
