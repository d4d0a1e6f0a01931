//! `kubectl set image`, `set env` and `set resources`: a strategic patch of the containers in a pod
//! template.

use api::object::Object;
use serde_json::{Map, Value, json};

use super::{change, report};
use crate::{
    error::{Result, usage},
    flags::{Selection, Set, SetPart, SetResources},
    object::{Found, objects},
    session::Session,
};

const STRATEGIC: &str = "application/strategic-merge-patch+json";

/// Runs it.
pub async fn run(session: &Session, command: &Set) -> Result<u8> {
    match command {
        Set::Image(flags) => image(session, flags).await,
        Set::Env(flags) => env(session, flags).await,
        Set::Resources(flags) => resources(session, flags).await,
    }
}

/// Where the containers are: in the object itself, its template, or its template's template.
fn place(object: &Value) -> &'static str {
    match object.text("kind") {
        "Pod" => "spec",
        "CronJob" => "spec.jobTemplate.spec.template.spec",
        _ => "spec.template.spec",
    }
}

/// A patch of the containers there.
fn within(place: &str, lists: Map<String, Value>) -> Value {
    place
        .rsplit('.')
        .fold(Value::Object(lists), |inner, name| json!({name: inner}))
}

/// Words that say which objects, and words that say what is set.
fn split(flags: &SetPart, is_value: impl Fn(&str) -> bool) -> (Selection, Vec<String>) {
    let (values, words) = flags.arguments.iter().cloned().partition(|w| is_value(w));
    let selection = Selection {
        arguments: words,
        selector: flags.selector.clone(),
        ..Selection::default()
    };
    (selection, values)
}

/// The containers a pattern of `--containers` means, with the list they stand in.
fn chosen<'o>(object: &'o Value, pattern: &str) -> Vec<(&'static str, &'o str)> {
    let spec = object.at(place(object));
    let lists = ["initContainers", "containers"];
    lists
        .iter()
        .flat_map(|list| spec.list(list).iter().map(|c| (*list, c.text("name"))))
        .filter(|(_, name)| pattern == "*" || *name == pattern)
        .collect()
}

fn add(lists: &mut Map<String, Value>, list: &str, container: Value) {
    let all = lists.entry(list).or_insert_with(|| json!([]));
    if let Some(all) = all.as_array_mut() {
        all.push(container);
    }
}

async fn send(
    session: &Session,
    flags: &SetPart,
    item: &Found,
    lists: Map<String, Value>,
    verb: &str,
) -> Result<()> {
    let patch = within(place(&item.object), lists);
    let after = change::patch(
        session,
        item,
        STRATEGIC,
        &patch,
        &flags.write,
        "kubectl-set",
    )
    .await?;
    let same =
        after.object["metadata"]["resourceVersion"] == item.object["metadata"]["resourceVersion"];
    if !same || flags.write.dry_run != "none" || flags.write.output.is_some() {
        change::tell(&after, verb, &flags.write)?;
    }
    Ok(())
}

async fn image(session: &Session, flags: &SetPart) -> Result<u8> {
    let (selection, values) = split(flags, |w| w.contains('='));
    if values.is_empty() {
        return Err(usage("at least one image update is required"));
    }
    let (found, mut errors) = objects(session, &selection).await?;
    for item in found {
        let mut lists = Map::new();
        for value in &values {
            let (name, image) = value.split_once('=').unwrap_or((value, ""));
            let containers = chosen(&item.object, name);
            if containers.is_empty() {
                errors.push(usage(format!("unable to find container named {name:?}")));
            }
            for (list, name) in containers {
                add(&mut lists, list, json!({"name": name, "image": image}));
            }
        }
        if !lists.is_empty()
            && let Err(error) = send(session, flags, &item, lists, "image updated").await
        {
            errors.push(error);
        }
    }
    Ok(report(&errors))
}

async fn env(session: &Session, flags: &SetPart) -> Result<u8> {
    let (selection, values) = split(flags, |w| w.contains('=') || w.ends_with('-'));
    let (found, mut errors) = objects(session, &selection).await?;
    if values.is_empty() && !flags.list {
        return Err(usage("at least one environment variable must be provided"));
    }
    let variables: Vec<Value> = values
        .iter()
        .map(|value| match value.split_once('=') {
            Some((name, value)) => json!({"name": name, "value": value}),
            None => json!({"name": value.trim_end_matches('-'), "$patch": "delete"}),
        })
        .collect();
    for item in found {
        if flags.list {
            list(&item, &flags.containers);
            continue;
        }
        let mut lists = Map::new();
        for (list, name) in chosen(&item.object, &flags.containers) {
            add(&mut lists, list, json!({"name": name, "env": variables}));
        }
        if lists.is_empty() {
            errors.push(usage(format!(
                "{} has no containers matching {:?}",
                item.resource.named(item.name()),
                flags.containers
            )));
        } else if let Err(error) = send(session, flags, &item, lists, "env updated").await {
            errors.push(error);
        }
    }
    Ok(report(&errors))
}

fn list(item: &Found, pattern: &str) {
    let spec = item.object.at(place(&item.object));
    for (list, name) in chosen(&item.object, pattern) {
        let kind = item.resource.plural.as_str();
        println!("# {kind} {}, container {name}", item.name());
        let container = spec.list(list).iter().find(|c| c.text("name") == name);
        for variable in container.into_iter().flat_map(|c| c.list("env")) {
            if variable.has("valueFrom") {
                println!(
                    "# {} from {}",
                    variable.text("name"),
                    variable.at("valueFrom")
                );
            } else {
                println!("{}={}", variable.text("name"), variable.text("value"));
            }
        }
    }
}

async fn resources(session: &Session, flags: &SetResources) -> Result<u8> {
    let amounts = |given: &Option<String>| -> Result<Option<Value>> {
        let Some(given) = given else { return Ok(None) };
        let mut amounts = Map::new();
        for pair in given.split(',').filter(|p| !p.is_empty()) {
            let (name, amount) = pair.split_once('=').ok_or_else(|| {
                usage(format!(
                    "Invalid argument syntax {pair}, expected <resource>=<value>"
                ))
            })?;
            amounts.insert(name.into(), amount.into());
        }
        Ok(Some(Value::Object(amounts)))
    };
    let (limits, requests) = (amounts(&flags.limits)?, amounts(&flags.requests)?);
    if limits.is_none() && requests.is_none() {
        return Err(usage(
            "you must specify an update to requests or limits (in the form of --requests/--limits)",
        ));
    }
    let (selection, _) = split(&flags.part, |_| false);
    let (found, mut errors) = objects(session, &selection).await?;
    for item in found {
        let mut lists = Map::new();
        for (list, name) in chosen(&item.object, &flags.part.containers) {
            let mut container = json!({"name": name, "resources": {}});
            for (field, amounts) in [("limits", &limits), ("requests", &requests)] {
                if let Some(amounts) = amounts {
                    container["resources"][field] = amounts.clone();
                }
            }
            add(&mut lists, list, container);
        }
        if lists.is_empty() {
            errors.push(usage(format!(
                "unable to find container named {}",
                flags.part.containers
            )));
        } else if let Err(error) = send(
            session,
            &flags.part,
            &item,
            lists,
            "resource requirements updated",
        )
        .await
        {
            errors.push(error);
        }
    }
    Ok(report(&errors))
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::{chosen, within};

    #[test]
    fn containers_are_found_and_patched_where_the_kind_has_them() {
        let job = json!({"kind": "CronJob", "spec": {"jobTemplate": {"spec": {"template": {"spec": {
            "initContainers": [{"name": "i"}], "containers": [{"name": "a"}, {"name": "b"}]}}}}}});
        assert_eq!(
            chosen(&job, "*"),
            [
                ("initContainers", "i"),
                ("containers", "a"),
                ("containers", "b")
            ]
        );
        assert_eq!(chosen(&job, "b"), [("containers", "b")]);
        assert_eq!(chosen(&job, "c"), []);
        let mut lists = Map::new();
        lists.insert("containers".into(), json!([1]));
        assert_eq!(
            within("spec.template.spec", lists),
            json!({"spec": {"template": {"spec": {"containers": [1]}}}})
        );
    }
}
