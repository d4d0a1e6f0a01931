//! Which conditions match, and what is said of those that cannot be judged.

use cel::Activation;
use serde_json::json;

use super::*;

fn verdict(conditions: &Value, ignore_failures: bool) -> Verdict {
    let object = json!({"metadata": {"name": "a"}, "n": 1});
    let list: Vec<Value> = conditions
        .as_array()
        .unwrap()
        .iter()
        .map(|text| json!({"name": "c", "expression": text}))
        .collect();
    let conditions = Conditions::compile(&list, &Scope::new(false, true), ignore_failures);
    let mut activation = Activation::new();
    activation.set_json("object", &object);
    conditions.decide(&activation)
}

#[test]
fn conditions_decide_together() {
    let fails = "object.missing == 1";
    let failed = "expression 'object.missing == 1' resulted in error: no such key: missing";
    let cases = [
        (json!([]), false, Verdict::Matches),
        (json!(["object.n == 1", "true"]), false, Verdict::Matches),
        (json!(["object.n == 2"]), false, Verdict::Excluded),
        (json!([fails, "false"]), false, Verdict::Excluded),
        (
            json!([fails, "true"]),
            false,
            Verdict::Failed(failed.to_owned()),
        ),
        (json!([fails, "true"]), true, Verdict::Excluded),
        (
            json!([fails, fails]),
            false,
            Verdict::Failed(format!("[{failed}, {failed}]")),
        ),
    ];
    for (conditions, ignore, expected) in cases {
        assert_eq!(verdict(&conditions, ignore), expected, "{conditions}");
    }
}

#[test]
fn expressions_must_give_what_is_asked_for() {
    let mut scope = Scope::new(true, true);
    scope.add_variable("n", Type::Int);
    let cases = [
        (
            "object.a",
            Gives::Bool,
            Some("must evaluate to bool but got dyn"),
        ),
        ("object.a == 1", Gives::Bool, None),
        ("variables.n == 1", Gives::Bool, None),
        ("1", Gives::Bool, Some("must evaluate to bool but got int")),
        (
            "1",
            Gives::Text,
            Some("must evaluate to string but got int"),
        ),
        ("null", Gives::TextOrNull, None),
        (
            "1",
            Gives::TextOrNull,
            Some("must evaluate to one of [string null_type] but got int"),
        ),
        (
            "params.x == 'a' && request.userInfo.username == 'b'",
            Gives::Bool,
            None,
        ),
        ("namespaceObject.metadata.name == 'a'", Gives::Bool, None),
        (
            "authorizer.requestResource.check('get').allowed()",
            Gives::Bool,
            None,
        ),
    ];
    for (text, gives, expected) in cases {
        let expression = Expression::compile(text, &scope, gives);
        assert_eq!(expression.error(), expected, "{text}");
    }
    let scope = scope.with_mutations();
    for (text, gives) in [
        (
            "Object{metadata: Object.metadata{labels: Object.metadata.labels{a: 'b'}}}",
            Gives::Object,
        ),
        ("[JSONPatch{op: 'add', path: '/a', value: 1}]", Gives::Patch),
    ] {
        assert_eq!(
            Expression::compile(text, &scope, gives).error(),
            None,
            "{text}"
        );
    }
    let unknown = Expression::compile("x", &scope, Gives::Bool);
    assert!(
        unknown.error().unwrap().starts_with(
            "compilation failed: ERROR: <input>:1:1: undeclared reference to 'x' (in container '')"
        ),
        "{:?}",
        unknown.error()
    );
}
