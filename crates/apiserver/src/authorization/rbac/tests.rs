//! Who may do what under which rules and bindings.

use serde_json::json;

use super::*;

fn rbac() -> Rbac {
    let rbac = Rbac::default();
    rbac.observe(
        "clusterroles",
        "",
        "reader",
        Some(&json!({"rules": [
            {"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods", "pods/log"]},
            {"verbs": ["update"], "apiGroups": ["*"], "resources": ["*/scale"]},
            {"verbs": ["get"], "nonResourceURLs": ["/healthz", "/logs/*"]},
        ]})),
    );
    rbac.observe("roles", "a", "named", Some(&json!({"rules": [
        {"verbs": ["get"], "apiGroups": [""], "resources": ["secrets"], "resourceNames": ["one"]},
    ]})));
    rbac.observe(
        "clusterrolebindings",
        "",
        "all",
        Some(&json!({
            "roleRef": {"kind": "ClusterRole", "name": "reader"},
            "subjects": [{"kind": "Group", "name": "readers"}],
        })),
    );
    rbac.observe(
        "rolebindings",
        "a",
        "sa",
        Some(&json!({
            "roleRef": {"kind": "Role", "name": "named"},
            "subjects": [{"kind": "ServiceAccount", "name": "bot", "namespace": "b"}],
        })),
    );
    rbac
}

fn allowed(rbac: &Rbac, user: &UserInfo, wanted: &str) -> bool {
    let mut words = wanted.split(' ');
    let (verb, target) = (words.next().unwrap(), words.next().unwrap());
    let base = Attributes {
        verb,
        ..Attributes::of(user)
    };
    let attributes = if target.starts_with('/') {
        Attributes {
            path: target,
            ..base
        }
    } else {
        let mut parts = target.split(':');
        let mut next = || parts.next().unwrap_or("");
        Attributes {
            is_resource: true,
            group: next(),
            resource: next(),
            subresource: next(),
            namespace: next(),
            name: next(),
            ..base
        }
    };
    matches!(rbac.decide(&attributes), Decision::Allow(_))
}

#[test]
fn rules_cover_what_they_name() {
    let rbac = rbac();
    let reader = UserInfo::new("r", &["readers"]);
    let bot = UserInfo::service_account("b", "bot");
    let cases = [
        (&reader, "get :pods::x:y", true),
        (&reader, "list :pods", true),
        (&reader, "get :pods:log:x:y", true),
        (&reader, "get :pods:exec:x:y", false),
        (&reader, "delete :pods::x:y", false),
        (&reader, "get apps:pods::x:y", false),
        (&reader, "update apps:deployments:scale:x:y", true),
        (&reader, "update apps:deployments::x:y", false),
        (&reader, "get /healthz", true),
        (&reader, "get /logs/a/b", true),
        (&reader, "get /healthz/x", false),
        (&bot, "get :secrets::a:one", true),
        (&bot, "get :secrets::a:two", false),
        (&bot, "get :secrets::b:one", false),
    ];
    for (user, wanted, expected) in cases {
        assert_eq!(
            allowed(&rbac, user, wanted),
            expected,
            "{} {wanted}",
            user.name
        );
    }
}

#[test]
fn a_changed_binding_counts_at_once() {
    let rbac = rbac();
    let reader = UserInfo::new("r", &["readers"]);
    rbac.observe("clusterrolebindings", "", "all", None);
    assert!(!allowed(&rbac, &reader, "list :pods"));
    rbac.observe(
        "clusterrolebindings",
        "",
        "all",
        Some(&json!({
            "roleRef": {"kind": "ClusterRole", "name": "gone"},
            "subjects": [{"kind": "User", "name": "r"}],
        })),
    );
    let decision = rbac.decide(&Attributes {
        verb: "get",
        path: "/x",
        ..Attributes::of(&reader)
    });
    let reason = r#"RBAC: clusterrole.rbac.authorization.k8s.io "gone" not found"#;
    assert_eq!(decision, Decision::NoOpinion(reason.to_owned()));
}

#[test]
fn escalation_is_judged_by_single_permissions() {
    let rule = |verbs: &[&str], resources: &[&str], names: &[&str]| {
        Rule::parse(
            &json!({"verbs": verbs, "apiGroups": [""], "resources": resources, "resourceNames": names}),
        )
    };
    let held = [
        rule(&["get"], &["pods"], &[]),
        rule(&["list"], &["pods", "secrets"], &[]),
    ];
    let cases = [
        (rule(&["get", "list"], &["pods"], &[]), true),
        (rule(&["get"], &["pods"], &["x"]), true),
        (rule(&["get"], &["secrets"], &[]), false),
        (rule(&["*"], &["pods"], &[]), false),
    ];
    for (wanted, expected) in cases {
        assert_eq!(wanted.is_covered_by(&held), expected, "{wanted:?}");
    }
}
