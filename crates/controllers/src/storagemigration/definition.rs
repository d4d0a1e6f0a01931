//! What a CustomResourceDefinition says of the migration of its objects: that one runs, and which
//! versions objects may rest in once it has succeeded.

use client::Key;
use k8s_openapi::api::storagemigration::v1beta1::StorageVersionMigration;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, CustomResourceDefinitionCondition,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Api;

use super::plan;
use crate::error::{Error, On};
use crate::kit::Kit;
use crate::write;

const MIGRATING: &str = "StorageMigrating";

/// The definition of the migrated resource, if it is a custom one.
async fn of(
    api: &Api<CustomResourceDefinition>,
    migration: &StorageVersionMigration,
) -> Result<Option<CustomResourceDefinition>, Error> {
    let Some((group, plural)) = plan::resource(migration) else {
        return Ok(None);
    };
    let name = format!("{plural}.{group}");
    let found = api.get_opt(&name).await;
    found.on("get", "customresourcedefinition", || Key::new("", &name))
}

/// A migration begins.
pub(super) async fn begins(kit: &Kit, migration: &StorageVersionMigration) -> Result<(), Error> {
    let api = Api::all(kit.client.clone());
    let Some(definition) = of(&api, migration).await? else {
        return Ok(());
    };
    let name = migration.metadata.name.as_deref().unwrap_or_default();
    let says = ("MigrationRunning", &*format!("Migration {name} is running"));
    let next = with_condition(&definition, true, says, &kit.time());
    let status = write::status(&api, &definition, &definition.status, &next.status).await;
    status.map(drop)
}

/// A migration has ended.
pub(super) async fn ends(kit: &Kit, migration: &StorageVersionMigration) -> Result<(), Error> {
    let api = Api::all(kit.client.clone());
    let Some(definition) = of(&api, migration).await? else {
        return Ok(());
    };
    let next = ended(
        &definition,
        plan::is(migration, plan::SUCCEEDED),
        &kit.time(),
    );
    let status = write::status(&api, &definition, &definition.status, &next.status).await;
    status.map(drop)
}

/// Objects rest in the storage version alone, unless the definition changed while they were written.
fn ended(
    definition: &CustomResourceDefinition,
    well: bool,
    now: &Time,
) -> CustomResourceDefinition {
    let conditions = definition
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    let begun = conditions
        .filter(|condition| condition.type_ == MIGRATING)
        .find_map(|condition| condition.observed_generation);
    let unchanged = begun.is_some() && begun == definition.metadata.generation;
    let says = match (well, unchanged) {
        (true, true) => (
            "MigrationSucceeded",
            "The migration has succeeded and the stored versions have been updated",
        ),
        (true, false) => (
            "MigrationSucceeded",
            "The migration has succeeded but the stored versions have not been updated due to a generation mismatch",
        ),
        (false, _) => ("MigrationFailed", "The migration has failed"),
    };
    let mut next = with_condition(definition, false, says, now);
    let mut versions = definition.spec.versions.iter();
    if well
        && unchanged
        && let Some(version) = versions.find(|version| version.storage)
    {
        let status = next.status.get_or_insert_default();
        status.stored_versions = Some(vec![version.name.clone()]);
    }
    next
}

fn with_condition(
    definition: &CustomResourceDefinition,
    is: bool,
    (reason, message): (&str, &str),
    now: &Time,
) -> CustomResourceDefinition {
    let mut next = definition.clone();
    let set = CustomResourceDefinitionCondition {
        type_: MIGRATING.to_owned(),
        status: if is { "True" } else { "False" }.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_transition_time: Some(now.clone()),
        observed_generation: definition.metadata.generation,
    };
    let status = next.status.get_or_insert_default();
    let conditions = status.conditions.get_or_insert_default();
    match conditions.iter_mut().find(|had| had.type_ == MIGRATING) {
        Some(had) => *had = set,
        None => conditions.push(set),
    }
    next
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn stored_versions_shrink_only_if_nothing_changed_meanwhile() {
        let now = Time(jiff::Timestamp::from_second(100).unwrap());
        let definition = |begun: i64| -> CustomResourceDefinition {
            let schema = json!({"openAPIV3Schema": {"type": "object"}});
            serde_json::from_value(json!({
                "metadata": {"name": "widgets.example.com", "generation": 3},
                "spec": {"group": "example.com", "scope": "Namespaced",
                    "names": {"plural": "widgets", "kind": "Widget"},
                    "versions": [
                        {"name": "v1", "served": true, "storage": false, "schema": schema},
                        {"name": "v2", "served": true, "storage": true, "schema": schema}]},
                "status": {"storedVersions": ["v1", "v2"], "conditions": [
                    {"type": MIGRATING, "status": "True", "observedGeneration": begun}]},
            }))
            .unwrap()
        };
        let stored = |begun, well| {
            let status = ended(&definition(begun), well, &now).status.unwrap();
            let condition = status.conditions.unwrap().remove(0);
            assert_eq!(condition.status, "False");
            (status.stored_versions.unwrap(), condition.reason.unwrap())
        };
        let both = vec!["v1".to_owned(), "v2".to_owned()];
        let (good, bad) = (
            "MigrationSucceeded".to_owned(),
            "MigrationFailed".to_owned(),
        );
        assert_eq!(stored(3, true), (vec!["v2".to_owned()], good.clone()));
        assert_eq!(stored(2, true), (both.clone(), good));
        assert_eq!(stored(3, false), (both, bad));
    }
}
