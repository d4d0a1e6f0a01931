//! Type checking of ValidatingAdmissionPolicies: what their expressions would not find in the types they
//! are about is told in their status. A hint for authors; what policies do does not depend on it.

use std::collections::BTreeSet;
use std::sync::Arc;

use api::meta;
use api::object::Object;
use api::status::{About, Status};
use api::strategy::Part;
use cel::Declared;
use cel::Type;
use parking_lot::Mutex;
use schema::{Map, openapi};
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::parse;
use crate::admission::expression::{Expression, Gives, Scope};
use crate::bootstrap::follow::Follower;
use crate::endpoint::{Endpoint, Endpoints};
use crate::registry::call::{Call, WriteOptions};
use crate::registry::{Change, update};
use crate::server::ApiServer;

const GROUP: &str = "admissionregistration.k8s.io";
const PLURAL: &str = "validatingadmissionpolicies";
/// Types that are looked at for one rule; further ones are not.
const MAX_TYPES: usize = 10;

/// Follows policies in a task of its own, which ends with the server.
pub(crate) fn start(server: &Arc<ApiServer>) {
    let waiting: Arc<Mutex<BTreeSet<String>>> = Arc::default();
    let changed = Arc::new(Notify::new());
    let seen = {
        let (waiting, changed) = (waiting.clone(), changed.clone());
        move |_: &str, name: &str, object: Option<&Value>| {
            if object.is_some_and(is_unseen) {
                // Bounded by the policies there are.
                waiting.lock().insert(name.to_owned());
                changed.notify_one();
            }
        }
    };
    Follower::new(server.store.clone(), GROUP, PLURAL).start(seen, server.ending.clone());
    let (weak, ending) = (Arc::downgrade(server), server.ending.clone());
    tokio::spawn(async move {
        loop {
            let next = waiting.lock().pop_first();
            let Some(name) = next else {
                tokio::select! {
                    () = ending.cancelled() => return,
                    () = changed.notified() => continue,
                }
            };
            let Some(server) = weak.upgrade() else { return };
            if let Err(status) = tell(&server, &name).await {
                tracing::warn!(%status, policy = %name, "tell of type checking");
                // Told with the next change, and at the next start.
            }
        }
    });
}

fn is_unseen(policy: &Value) -> bool {
    let observed = policy.int("status.observedGeneration").unwrap_or(0);
    meta::generation(policy) > observed
}

async fn tell(server: &Arc<ApiServer>, name: &str) -> Result<(), Status> {
    let Some(endpoint) = server.endpoints.get(GROUP, "v1", PLURAL) else {
        return Ok(());
    };
    let own = Call::internal(server, endpoint, "");
    let endpoints = &server.endpoints;
    let change = Change {
        part: Part::Status,
        subresource: "status",
        create_missing: false,
        managed: false,
        propose: Box::new(|live| {
            let live = live.ok_or_else(|| Status::not_found(About::new(GROUP, PLURAL), name))?;
            let mut policy = live.clone();
            if is_unseen(live) {
                let warnings = warnings(live, endpoints);
                let told = if warnings.is_empty() {
                    json!({})
                } else {
                    json!({"expressionWarnings": warnings})
                };
                policy.set("status.observedGeneration", meta::generation(live));
                policy.set("status.typeChecking", told);
            }
            Ok(policy)
        }),
    };
    let options = WriteOptions {
        field_manager: "validatingadmissionpolicy-status-controller".to_owned(),
        ..WriteOptions::default()
    };
    match update(&own, name, change, &options).await {
        // It went meanwhile.
        Err(status) if status.code == 404 => Ok(()),
        other => other.map(|_| ()),
    }
}

/// What is to be told of a policy, by field.
fn warnings(policy: &Value, endpoints: &Endpoints) -> Vec<Value> {
    let spec = policy.at("spec");
    let types: Vec<(String, Type)> = types(spec, endpoints)
        .iter()
        .filter_map(|endpoint| Some((called(endpoint), type_of(endpoint)?)))
        .collect();
    let has_params = spec.has("paramKind");
    let (group, version) = meta::split_api_version(spec.text("paramKind.apiVersion"));
    let params = endpoints
        .of_kind(group, version, spec.text("paramKind.kind"))
        .and_then(|endpoint| type_of(&endpoint))
        .unwrap_or(Type::Dyn);
    let scopes: Vec<(String, Scope)> = types
        .into_iter()
        .map(|(called, object)| {
            let mut scope = Scope::with_objects(has_params, true, object, params.clone());
            parse::variables(spec, &mut scope);
            (called, scope)
        })
        .collect();
    let mut warnings = Vec::new();
    for (index, validation) in spec.list("validations").iter().enumerate() {
        for field in ["expression", "messageExpression"] {
            let text = validation.text(field);
            if text.is_empty() {
                continue;
            }
            let wrong: Vec<String> = scopes
                .iter()
                .filter_map(|(called, scope)| {
                    let compiled = Expression::compile(text, scope, Gives::Any);
                    compiled.error().map(|why| format!("{called}: {why}\n"))
                })
                .collect();
            if !wrong.is_empty() {
                warnings.push(json!({
                    "fieldRef": format!("spec.validations[{index}].{field}"),
                    "warning": wrong.join("\n"),
                }));
            }
        }
    }
    warnings
}

/// `apps/v1, Kind=Deployment`
fn called(endpoint: &Endpoint) -> String {
    let gvk = &endpoint.resource.gvk;
    format!("{}/{}, Kind={}", gvk.group, gvk.version, gvk.kind)
}

/// The types that a policy names, in order; those of rules with wildcards are not looked at.
fn types(spec: &Value, endpoints: &Endpoints) -> Vec<Arc<Endpoint>> {
    let mut found: Vec<Arc<Endpoint>> = Vec::new();
    'rules: for rule in spec.list("matchConstraints.resourceRules") {
        let words = |field: &str| -> BTreeSet<&str> { rule.texts(field).collect() };
        let (groups, versions) = (words("apiGroups"), words("apiVersions"));
        if groups
            .iter()
            .chain(&versions)
            .any(|word| word.contains('*'))
        {
            continue;
        }
        let mut count = 0;
        for group in &groups {
            for version in &versions {
                for plural in words("resources") {
                    let Some(endpoint) = endpoints.get(group, version, plural) else {
                        continue;
                    };
                    if !found.iter().any(|known| Arc::ptr_eq(known, &endpoint)) {
                        found.push(endpoint);
                    }
                    count += 1;
                    if count == MAX_TYPES {
                        break 'rules;
                    }
                }
            }
        }
    }
    found.sort_by(|a, b| a.resource.gvk.cmp(&b.resource.gvk));
    found
}

/// The type of a resource's objects in expressions.
fn type_of(endpoint: &Endpoint) -> Option<Type> {
    let resource = &*endpoint.resource;
    let catalog = api::catalog::builtin();
    let schema = match &endpoint.form {
        None => whole(
            resource.table(),
            resource.ty,
            &resource.table().get(resource.ty).name,
        ),
        Some(form) => {
            let mut schema = form.version().at("schema.openAPIV3Schema").clone();
            let meta = catalog.table.id("meta.v1.ObjectMeta")?;
            let meta = whole(&catalog.table, meta, "meta.v1.ObjectMeta");
            let properties = meta::map_mut(schema.place("properties"));
            properties.insert("metadata".to_owned(), meta);
            schema
        }
    };
    let declared = Declared::from_schema(&schema, true, &resource.gvk.kind)?;
    Some(Type::declared(&declared))
}

/// A type's schema without references.
fn whole(table: &schema::table::Table, ty: schema::table::TypeId, name: &str) -> Value {
    let definitions = openapi::v3_schemas(table, [ty], &|_| None);
    let name = openapi::definition_name(name);
    inlined(
        definitions.get(&name).unwrap_or(&Value::Null),
        &definitions,
        &mut vec![&name],
    )
}

/// What may be anything, as a schema says it of numbers that may be texts.
fn anything() -> Value {
    json!({"x-kubernetes-int-or-string": true})
}

fn inlined<'a>(
    schema: &'a Value,
    definitions: &'a Map<String, Value>,
    within: &mut Vec<&'a str>,
) -> Value {
    let reference = match schema.list("allOf") {
        [one] => one.text("$ref"),
        _ => schema.text("$ref"),
    };
    if let Some(name) = reference.rsplit('/').next().filter(|name| !name.is_empty()) {
        let definition = definitions.get(name);
        // A type within itself ends somewhere.
        if within.contains(&name) || definition.is_none() {
            return anything();
        }
        within.push(name);
        let schema = definition.map_or_else(anything, |d| inlined(d, definitions, within));
        within.pop();
        return schema;
    }
    let Some(map) = schema.as_object() else {
        return anything();
    };
    let open = |key: &str| !map.contains_key(key);
    if open("type")
        || schema.text("type") == "object" && open("properties") && open("additionalProperties")
    {
        return anything();
    }
    let mut out = map.clone();
    for (key, value) in &mut out {
        match (key.as_str(), value) {
            ("items" | "additionalProperties", value) => {
                *value = inlined(&map[key], definitions, within)
            }
            ("properties", Value::Object(properties)) => {
                for (name, property) in properties {
                    *property = inlined(&map[key][name.as_str()], definitions, within);
                }
            }
            _ => {}
        }
    }
    Value::Object(out)
}

#[cfg(test)]
mod tests {
    use api::serving::Serving;

    use super::*;

    fn told(group: &str, version: &str, resources: &[&str], validation: Value) -> Vec<Value> {
        let serving = Serving::all(api::catalog::builtin());
        let policy = json!({"spec": {
            "matchConstraints": {"resourceRules": [{
                "apiGroups": [group], "apiVersions": [version], "resources": resources, "operations": ["*"]}]},
            "variables": [{"name": "spec", "expression": "object.spec"}],
            "validations": [validation],
        }});
        warnings(&policy, &Endpoints::builtin(&serving))
    }

    #[test]
    fn unknown_fields_are_told_of_with_their_types() {
        let told = told(
            "apps",
            "v1",
            &["deployments", "statefulsets"],
            json!({
                "expression": "object.spec.replicas > 1 && variables.spec.strategy.type == 'Recreate'",
                "messageExpression": "object.spec.nope + 'x'",
            }),
        );
        assert_eq!(told.len(), 2, "{told:?}");
        assert_eq!(told[0]["fieldRef"], "spec.validations[0].expression");
        let text = told[0]["warning"].as_str().unwrap();
        assert!(
            text.starts_with("apps/v1, Kind=StatefulSet: compilation failed: ERROR: "),
            "{text}"
        );
        assert!(text.contains("undefined field 'strategy'") && !text.contains("Kind=Deployment"));
        assert_eq!(told[1]["fieldRef"], "spec.validations[0].messageExpression");
        assert!(
            told[1]["warning"]
                .as_str()
                .unwrap()
                .contains("Kind=Deployment")
        );
    }

    #[test]
    fn what_is_right_or_not_known_is_not_told_of() {
        let right = json!({"expression":
            "object.metadata.labels.all(k, k != 'a') && object.spec.containers.all(c, c.image != '' \
             && quantity(c.resources.limits['cpu']).isGreaterThan(quantity('1'))) \
             && object.metadata.creationTimestamp < timestamp('2030-01-01T00:00:00Z')"});
        assert_eq!(told("", "v1", &["pods"], right), Vec::<Value>::new());
        let wrong = json!({"expression": "object.nope"});
        assert!(told("*", "v1", &["pods"], wrong.clone()).is_empty());
        assert!(told("", "v1", &["pods/status", "none"], wrong.clone()).is_empty());
        assert_eq!(told("", "v1", &["pods"], wrong).len(), 1);
        // A type within itself is not followed for ever.
        let deep = json!({"expression":
            "object.spec.versions.all(v, v.schema.openAPIV3Schema.properties['a'].properties['b'].type == 'x')"});
        let told = told(
            "apiextensions.k8s.io",
            "v1",
            &["customresourcedefinitions"],
            deep,
        );
        assert!(told.is_empty(), "{told:?}");
    }
}
