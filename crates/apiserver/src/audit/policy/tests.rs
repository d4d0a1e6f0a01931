//! Which requests rules are about, and what is said of wrong ones.

use super::*;
use crate::UserInfo;
use crate::request::info;
use crate::request::query::Query;

fn policy(text: &str) -> Result<Policy, PolicyError> {
    Policy::parse(format!("apiVersion: audit.k8s.io/v1\nkind: Policy\n{text}").as_bytes())
}

fn level(rules: &str, user: Option<&str>, method: &str, path: &str) -> Level {
    let policy = policy(&format!("rules:\n{rules}")).unwrap();
    let method = method.parse().unwrap();
    let info = info::parse(&method, path, &Query::default());
    let user = user.map(|name| UserInfo::new(name, &["devs"]));
    let attributes = user.as_ref().map(Attributes::of);
    policy.judge(attributes.as_ref(), &info).level
}

const POD: &str = "/api/v1/namespaces/a/pods/x";

#[test]
fn the_first_rule_that_is_about_it_counts() {
    let rules = "- {level: None, users: [bob], verbs: [get]}\n- level: Request";
    assert_eq!(level(rules, Some("bob"), "GET", POD), Level::None);
    assert_eq!(level(rules, Some("bob"), "DELETE", POD), Level::Request);
    assert_eq!(level(rules, Some("eve"), "GET", POD), Level::Request);
    // Without a rule nothing is told.
    assert_eq!(
        level("- {level: Request, verbs: [list]}", Some("bob"), "GET", POD),
        Level::None
    );
}

#[test]
fn nobody_is_no_user_and_in_no_group() {
    assert_eq!(
        level("- {level: Metadata, users: [bob]}", None, "GET", POD),
        Level::None
    );
    let groups = "- {level: Metadata, userGroups: [ops, devs]}";
    assert_eq!(level(groups, Some("bob"), "GET", POD), Level::Metadata);
    assert_eq!(level(groups, None, "GET", POD), Level::None);
}

#[test]
fn resources_and_paths() {
    let cases = [
        ("resources: [{resources: [pods]}]", POD, true),
        (
            "resources: [{resources: [pods]}]",
            "/api/v1/namespaces/a/pods/x/status",
            false,
        ),
        (
            "resources: [{resources: [pods/status]}]",
            "/api/v1/namespaces/a/pods/x/status",
            true,
        ),
        (
            "resources: [{resources: ['*/status']}]",
            "/api/v1/namespaces/a/pods/x/status",
            true,
        ),
        ("resources: [{resources: ['*/status']}]", POD, false),
        (
            "resources: [{resources: ['pods/*']}]",
            "/api/v1/namespaces/a/pods/x/log",
            true,
        ),
        ("resources: [{resources: ['pods/*']}]", POD, true),
        (
            "resources: [{resources: ['*']}]",
            "/api/v1/namespaces/a/pods/x/log",
            true,
        ),
        ("resources: [{}]", POD, true),
        ("resources: [{}]", "/apis/apps/v1/deployments", false),
        (
            "resources: [{group: apps}]",
            "/apis/apps/v1/deployments",
            true,
        ),
        (
            "resources: [{group: '*'}]",
            "/apis/apps/v1/deployments",
            true,
        ),
        (
            "resources: [{resources: [pods], resourceNames: [x]}]",
            POD,
            true,
        ),
        (
            "resources: [{resources: [pods], resourceNames: [z]}]",
            POD,
            false,
        ),
        ("namespaces: [a]", POD, true),
        ("namespaces: [b]", POD, false),
        ("namespaces: ['']", "/api/v1/nodes", true),
        ("namespaces: ['']", "/healthz", false),
        ("nonResourceURLs: [/healthz*]", "/healthz/ping", true),
        ("nonResourceURLs: [/healthz]", "/healthz/ping", false),
        ("nonResourceURLs: ['*']", "/metrics", true),
        ("nonResourceURLs: ['*']", POD, false),
    ];
    for (rule, path, about) in cases {
        let found = level(
            &format!("- {{level: Metadata, {rule}}}"),
            Some("bob"),
            "GET",
            path,
        );
        assert_eq!(found == Level::Metadata, about, "{rule} {path}");
    }
}

#[test]
fn stages_and_managed_fields() {
    let policy = policy(
        "omitStages: [RequestReceived]\nomitManagedFields: true\nrules:\n\
         - {level: Request, verbs: [get], omitStages: [Panic], omitManagedFields: false}\n- level: Metadata",
    );
    let policy = policy.unwrap();
    let judge =
        |method: http::Method| policy.judge(None, &info::parse(&method, POD, &Query::default()));
    let get = judge(http::Method::GET);
    assert!(get.omitted.has(Stage::RequestReceived) && get.omitted.has(Stage::Panic));
    assert!(!get.omitted.has(Stage::ResponseComplete) && !get.omit_managed_fields);
    let delete = judge(http::Method::DELETE);
    assert!(!delete.omitted.has(Stage::Panic) && delete.omit_managed_fields);
}

#[test]
fn what_is_wrong_is_named() {
    let cases = [
        ("rules: []", "it has no rules"),
        ("rules: [{}]", "rules[0].level: Required value"),
        (
            "rules: [{level: All}]",
            "rules[0].level: Unsupported value: \"All\"",
        ),
        (
            "rules: [{level: None, omitStages: [Never]}]",
            "rules[0].omitStages[0]: Invalid value: \"Never\": allowed stages are RequestReceived",
        ),
        (
            "rules: [{level: None, nonResourceURLs: [logs]}]",
            "rules[0].nonResourceURLs[0]: Invalid value: \"logs\": non-resource URL rules must begin",
        ),
        (
            "rules: [{level: None, nonResourceURLs: ['/a*b']}]",
            "must be the final character",
        ),
        (
            "rules: [{level: None, nonResourceURLs: ['/a**']}]",
            "must be the final character",
        ),
        (
            "rules: [{level: None, nonResourceURLs: [/a], namespaces: [x]}]",
            "cannot apply to both",
        ),
        (
            "rules: [{level: None, resources: [{group: apps/v1}]}]",
            "rules[0].resources.group: Invalid value: \"apps/v1\"",
        ),
        (
            "rules: [{level: None, resources: [{resourceNames: [x]}]}]",
            "at least one resource",
        ),
        ("rules: 1", "expected a sequence"),
    ];
    for (text, want) in cases {
        let error = policy(text).err().unwrap().to_string();
        assert!(error.contains(want), "{text}: {error}");
    }
    let other = Policy::parse(b"apiVersion: v1\nkind: Pod").err().unwrap();
    assert!(other.to_string().contains("audit.k8s.io/v1"));
    // Fields that are none are passed over, and so are nulls.
    policy("metadata: {name: x}\nrules: [{level: None, users: null, foo: 1}]").unwrap();
}
