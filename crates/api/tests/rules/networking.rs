//! The group networking.k8s.io, and disruption budgets.

use api::{object::Object, strategy::Part};
use serde_json::{Value, json};

use super::{create, on_create, on_update, update, warned};

fn of(kind: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": "networking.k8s.io/v1", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

#[test]
fn ranges_for_services() {
    let range = of("ServiceCIDR", "r", json!({"cidrs": ["10.1.0.0/24"]}));
    let cidrs = |list: Value| [("spec.cidrs", list)];
    on_create(
        &range,
        &[
            (
                &cidrs(json!(["10.1.0.1/24"])),
                &[
                    "spec.cidrs[0]: Invalid value: \"10.1.0.1/24\": must not have bits set beyond the prefix length",
                ],
            ),
            (
                &cidrs(json!(["10.1.0.0/24", "10.2.0.0/24"])),
                &[
                    "spec.cidrs: Invalid value: [\"10.1.0.0/24\",\"10.2.0.0/24\"]: may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64",
                ],
            ),
        ],
    );
    on_update(
        Part::Main,
        &range,
        &[
            (&cidrs(json!(["10.1.0.0/24", "fd00::/64"])), &[]),
            (
                &cidrs(json!(["10.2.0.0/24"])),
                &["spec.cidrs[0]: Invalid value: \"10.2.0.0/24\": field is immutable"],
            ),
        ],
    );
}

#[test]
fn addresses() {
    let address = of(
        "IPAddress",
        "10.1.0.1",
        json!({"parentRef": {"resource": "services", "name": "a", "namespace": "b"}}),
    );
    on_create(
        &address,
        &[
            (
                &[("metadata.name", json!("fd00:0::1"))],
                &[
                    "metadata.name: Invalid value: \"fd00:0::1\": must be in canonical form (\"fd00::1\")",
                ],
            ),
            (
                &[("spec.parentRef.name", json!("a%"))],
                &["spec.parentRef.name: Invalid value: \"a%\": may not contain '%'"],
            ),
        ],
    );
    on_update(
        Part::Main,
        &address,
        &[(
            &[("spec.parentRef.namespace", json!("c"))],
            &[
                "spec.parentRef: Invalid value: {\"name\":\"a\",\"namespace\":\"c\",\"resource\":\"services\"}: field is immutable",
            ],
        )],
    );
}

#[test]
fn classes_of_ingresses() {
    let class = of(
        "IngressClass",
        "c",
        json!({"controller": "a.b/c", "parameters": {"kind": "K", "name": "n"}}),
    );
    let parameters = |value: Value| [("spec.parameters", value)];
    on_create(
        &class,
        &[
            (
                &parameters(json!({})),
                &[
                    "spec.parameters.kind: Required value",
                    "spec.parameters.name: Required value",
                ],
            ),
            (
                &parameters(json!({"kind": "K", "name": "n", "scope": "Namespace"})),
                &[
                    "spec.parameters.namespace: Required value: `parameters.scope` is set to 'Namespace'",
                ],
            ),
            (
                &parameters(json!({"kind": "K", "name": "n", "namespace": "x"})),
                &["spec.parameters.namespace: Forbidden: `parameters.scope` is set to 'Cluster'"],
            ),
            (
                &parameters(json!({"kind": "K", "name": "n", "scope": "All"})),
                &[
                    "spec.parameters.scope: Unsupported value: \"All\": supported values: \"Cluster\", \"Namespace\"",
                ],
            ),
        ],
    );
}

#[test]
fn ingresses() {
    const CLASS: &str = "kubernetes.io/ingress.class";
    let backend = json!({"service": {"name": "s", "port": {"number": 80}}});
    let mut ingress = of("Ingress", "i", json!({"defaultBackend": backend}));
    ingress.set("metadata.annotations", json!({CLASS: "a"}));
    on_create(
        &ingress,
        &[(
            &[("spec.ingressClassName", json!("b"))],
            &[
                "annotations.kubernetes.io/ingress.class: Invalid value: \"a\": must match `ingressClassName` when both are specified",
            ],
        )],
    );
    assert_eq!(
        warned(ingress.clone()),
        [
            "annotation \"kubernetes.io/ingress.class\" is deprecated, please use 'spec.ingressClassName' instead"
        ]
    );
    let at = |value: Value| [("status.loadBalancer.ingress", json!([value]))];
    on_update(
        Part::Status,
        &ingress,
        &[
            (
                &at(json!({"ip": "1.2.3.04"})),
                &[
                    "status.loadBalancer.ingress[0].ip: Invalid value: \"1.2.3.04\": must not have leading 0s",
                ],
            ),
            (
                &at(json!({"hostname": "1.2.3.4"})),
                &[
                    "status.loadBalancer.ingress[0].hostname: Invalid value: \"1.2.3.4\": must be a DNS name, not an IP address",
                ],
            ),
        ],
    );
    let (mut old, _) = create(ingress);
    old.set("spec.tls", json!([{"secretName": "Odd"}]));
    assert!(update(Part::Main, old.clone(), &old).1.is_empty());
}

#[test]
fn policies_keep_their_old_ranges() {
    let peers = |cidr: &str| json!([{"from": [{"ipBlock": {"cidr": cidr}}]}]);
    let policy = of("NetworkPolicy", "p", json!({"podSelector": {}}));
    on_create(
        &policy,
        &[(
            &[("spec.ingress", peers("10.0.0.1/8"))],
            &[
                "spec.ingress[0].from[0].ipBlock.cidr: Invalid value: \"10.0.0.1/8\": must not have bits set beyond the prefix length",
            ],
        )],
    );
    let (mut old, _) = create(policy);
    old.set("spec.ingress", peers("10.0.0.1/8"));
    assert!(update(Part::Main, old.clone(), &old).1.is_empty());
}

#[test]
fn statuses_of_disruption_budgets() {
    let budget = json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "b"}});
    let bad = json!([{"type": "A", "status": "Maybe", "reason": "1", "lastTransitionTime": "2026-01-01T00:00:00Z"}]);
    on_update(
        Part::Status,
        &budget,
        &[
            (
                &[("status.expectedPods", json!(-1))],
                &["status.expectedPods: Invalid value: -1: must be greater than or equal to 0"],
            ),
            (
                &[("status.conditions", bad)],
                &[
                    "status.conditions[0].status: Unsupported value: \"Maybe\": supported values: \"False\", \"True\", \"Unknown\"",
                    "status.conditions[0].reason: Invalid value: \"1\": a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric characters or '_,:', and must end with an alphanumeric character or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName',  or 'ReasonA,ReasonB',  or 'ReasonA:ReasonB', regex used for validation is '[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?')",
                ],
            ),
        ],
    );
}
