//! Storage version migration (KEP-4192): objects that rest in an old version are written anew in the
//! present one. Where the kind is served: it is not unless the cluster is told to.
//!
//! Nothing of an object changes: it is applied with nothing but its uid and resourceVersion. A conflict
//! means that somebody wrote or deleted it meanwhile, which is as good.

mod definition;
mod plan;

use std::sync::Arc;
use std::time::Duration;

use client::controller::Requeue;
use client::{Change, Informer, Key, Scope};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::storagemigration::v1beta1::{
    StorageVersionMigration, StorageVersionMigrationStatus,
};
use kube::api::{ListParams, Patch, PatchParams};
use kube::core::{ApiResource, DynamicObject, PartialObjectMeta};
use kube::discovery::verbs;
use kube::{Api, ResourceExt};
use serde_json::json;

use self::plan::{FAILED, RUNNING, SUCCEEDED, Step};
use crate::error::{Error, On, status};
use crate::kinds::{self, Kind};
use crate::kit::Kit;
use crate::write;

/// A kind that discovery does not name yet may be a new one for so long.
const NEW: Duration = Duration::from_secs(60);
/// How soon to ask discovery again then.
const AGAIN: Duration = Duration::from_secs(2);
/// Objects listed at a time.
const PAGE: u32 = 500;
/// Objects written at a time.
const WRITES: usize = 8;
/// What a resource must be able to do.
const NEEDED: [&str; 3] = [verbs::UPDATE, verbs::PATCH, verbs::LIST];

struct Controller {
    kit: Kit,
    migrations: Informer<StorageVersionMigration>,
}

/// Runs until the shutdown.
pub(crate) async fn run(kit: Kit) {
    let served = kit.serves(
        "storagemigration.k8s.io/v1beta1",
        "storageversionmigrations",
    );
    if served.await != Some(true) {
        kit.shutdown.cancelled().await;
        return;
    }
    let migrations = kit.informers.get::<StorageVersionMigration>(Scope::All);
    let queue = kit.queue::<Key>();
    if !kit.synced(&migrations).await {
        return;
    }
    // A key is a resource: its migrations wait for each other.
    kit.follow(
        &migrations,
        &queue,
        |change: Change<StorageVersionMigration>| {
            plan::resource(change.object()).map(|(group, plural)| Key::new(group, plural))
        },
    );
    let controller = Arc::new(Controller {
        kit: kit.clone(),
        migrations,
    });
    kit.run(queue, move |key| {
        let controller = controller.clone();
        async move { controller.reconcile(&key).await }
    })
    .await;
}

/// What became of a migration.
enum Outcome {
    Done,
    /// It cannot be done, and why.
    Failed(String),
}

impl Controller {
    async fn reconcile(&self, key: &Key) -> Result<Requeue, Error> {
        let mut all = self.migrations.store().list();
        all.retain(|one| plan::resource(one) == Some((&*key.namespace, &*key.name)));
        let now = self.kit.time();
        match plan::next(&all) {
            Step::Nothing => {}
            Step::Start(one) => {
                definition::begins(&self.kit, one).await?;
                let says = ("MigrationRunning", "The migration is running");
                self.write(one, plan::with_condition(one, RUNNING, true, says, &now))
                    .await?;
            }
            Step::Finish(one) => {
                definition::ends(&self.kit, one).await?;
                let says = ("MigrationCompleted", "Migration completed");
                self.write(one, plan::with_condition(one, RUNNING, false, says, &now))
                    .await?;
            }
            Step::Checkpoint(one) => match self.kind(key, one).await? {
                None => return Ok(Requeue::After(AGAIN)),
                Some(Err(why)) => self.fail(one, &why).await?,
                Some(Ok(kind)) => {
                    let listed = self.list(key, &kind.resource, 1, None).await?;
                    let status = StorageVersionMigrationStatus {
                        resource_version: listed.metadata.resource_version,
                        ..one.status.clone().unwrap_or_default()
                    };
                    self.write(one, status).await?;
                }
            },
            Step::Migrate(one, revision) => match self.kind(key, one).await? {
                None => return Ok(Requeue::After(AGAIN)),
                Some(Err(why)) => self.fail(one, &why).await?,
                Some(Ok(kind)) => match self.migrate(key, &kind, revision).await? {
                    Outcome::Failed(why) => {
                        let why = format!("migration encountered unhandled error: {why}");
                        self.fail(one, &why).await?;
                    }
                    Outcome::Done => {
                        let says = ("StorageVersionMigrationSucceeded", "");
                        self.write(one, plan::with_condition(one, SUCCEEDED, true, says, &now))
                            .await?;
                    }
                },
            },
        }
        // What was written brings the key back.
        Ok(Requeue::OnChange)
    }

    async fn write(
        &self,
        one: &StorageVersionMigration,
        next: StorageVersionMigrationStatus,
    ) -> Result<(), Error> {
        let api: Api<StorageVersionMigration> = Api::all(self.kit.client.clone());
        let written = write::status(&api, one, &one.status, &Some(next)).await;
        written.map(drop)
    }

    async fn fail(&self, one: &StorageVersionMigration, why: &str) -> Result<(), Error> {
        let says = ("StorageVersionMigrationFailed", why);
        let status = plan::with_condition(one, FAILED, true, says, &self.kit.time());
        self.write(one, status).await
    }

    /// The resource as it is served, or why it cannot be migrated; nothing while it may still come.
    async fn kind(
        &self,
        key: &Key,
        one: &StorageVersionMigration,
    ) -> Result<Option<Result<Kind, String>>, Error> {
        let served = kinds::served(&self.kit.client).await?;
        let found = served.deletable.into_iter().find(|kind| {
            kind.resource.group == *key.namespace && kind.resource.plural == *key.name
        });
        let Some(kind) = found else {
            let created = one.metadata.creation_timestamp.as_ref();
            let age = created.map(|created| self.kit.now().duration_since(created.0));
            let is_new = age.is_some_and(|age| Duration::try_from(age).unwrap_or_default() < NEW);
            let why = "resource does not exist in discovery".to_owned();
            return Ok((!is_new).then_some(Err(why)));
        };
        if NEEDED.iter().all(|verb| kind.can(verb)) {
            return Ok(Some(Ok(kind)));
        }
        let ApiResource {
            group,
            version,
            plural,
            ..
        } = &kind.resource;
        let needed = NEEDED.join(" ");
        Ok(Some(Err(format!(
            "resource \"{group}/{version}, Resource={plural}\" does not support discovery operations: [{needed}]"
        ))))
    }

    async fn list(
        &self,
        key: &Key,
        resource: &ApiResource,
        limit: u32,
        token: Option<&str>,
    ) -> Result<kube::core::ObjectList<PartialObjectMeta<DynamicObject>>, Error> {
        let api: Api<DynamicObject> = Api::all_with(self.kit.client.clone(), resource);
        let mut params = ListParams::default().limit(limit);
        params.continue_token = token.map(str::to_owned);
        let listed = api.list_metadata(&params).await;
        listed.on("list", &resource.plural, || key.clone())
    }

    /// Writes every object anew that is not newer than the revision.
    async fn migrate(&self, key: &Key, kind: &Kind, revision: &str) -> Result<Outcome, Error> {
        let Ok(checkpoint) = revision.parse::<u64>() else {
            return Ok(Outcome::Failed(format!(
                "the resource version {revision:?} is not a number"
            )));
        };
        let mut token = None;
        loop {
            let page = self
                .list(key, &kind.resource, PAGE, token.as_deref())
                .await?;
            let old = page.items.into_iter().filter(|object| {
                let revision = object.resource_version();
                revision.is_some_and(|text| text.parse::<u64>().is_ok_and(|r| r <= checkpoint))
            });
            let writes = stream::iter(old.map(|object| self.rewrite(kind, object)));
            let mut writes = writes.buffer_unordered(WRITES);
            while let Some(outcome) = writes.try_next().await? {
                if let Outcome::Failed(_) = outcome {
                    return Ok(outcome);
                }
            }
            token = page.metadata.continue_.filter(|token| !token.is_empty());
            if token.is_none() {
                return Ok(Outcome::Done);
            }
        }
    }

    async fn rewrite(
        &self,
        kind: &Kind,
        object: PartialObjectMeta<DynamicObject>,
    ) -> Result<Outcome, Error> {
        let (name, namespace) = (object.name_any(), object.namespace().unwrap_or_default());
        let client = self.kit.client.clone();
        let api: Api<DynamicObject> = match kind.namespaced {
            true => Api::namespaced_with(client, &namespace, &kind.resource),
            false => Api::all_with(client, &kind.resource),
        };
        let same = json!({
            "apiVersion": kind.resource.api_version,
            "kind": kind.resource.kind,
            "metadata": {"uid": object.metadata.uid, "resourceVersion": object.metadata.resource_version},
        });
        let params = PatchParams::apply(self.kit.name);
        let written = api.patch(&name, &params, &Patch::Apply(&same)).await;
        match written {
            Ok(_) => Ok(Outcome::Done),
            Err(error) => match status(&error).map(|status| status.code) {
                // Written, deleted or made anew by somebody else.
                Some(409) => Ok(Outcome::Done),
                Some(code) if code != 429 && code < 500 => Ok(Outcome::Failed(error.to_string())),
                _ => Err(error).on("apply", &kind.resource.plural, || {
                    Key::new(&namespace, &name)
                }),
            },
        }
    }
}
