//! Custom resources that quotas count (`count/NAME.GROUP`): each is followed from the first quota that
//! names it until its definition goes or changes.

use std::collections::HashMap;

use api::catalog;
use client::Informer;
use client::informer::Metadata;
use kube::core::ApiResource;
use kube::discovery::{self, Scope};
use kube::error::DiscoveryError;
use parking_lot::Mutex;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::error::{Error, On};

/// What is followed, by qualified name, which is the name of the definition too. Bounded by the
/// definitions there are.
#[derive(Default)]
pub(super) struct Followed(Mutex<HashMap<String, (Informer<Metadata>, CancellationToken)>>);

impl Followed {
    pub fn get(&self, name: &str) -> Option<Informer<Metadata>> {
        self.0
            .lock()
            .get(name)
            .map(|(informer, _)| informer.clone())
    }

    /// Holds the informer until it is forgotten, when `stop` ends.
    pub fn hold(&self, name: &str, informer: Informer<Metadata>, stop: CancellationToken) {
        let before = self.0.lock().insert(name.to_owned(), (informer, stop));
        if let Some((_, stop)) = before {
            stop.cancel();
        }
    }

    pub fn forget(&self, name: &str) {
        if let Some((_, stop)) = self.0.lock().remove(name) {
            stop.cancel();
        }
    }
}

/// The names by which a quota counts kinds that are not built in.
pub(super) fn names(quota: &Value) -> impl Iterator<Item = &str> {
    super::hard(quota)
        .filter_map(|name| name.strip_prefix("count/"))
        .filter(|name| {
            let (plural, group) = name.split_once('.').unwrap_or((name, ""));
            let mut builtin = catalog::builtin().resources();
            !builtin.any(|r| *r.plural == *plural && *r.gvk.group == *group)
        })
}

/// The resource of this qualified name as it is served now; none when it is not.
pub(super) async fn resource(
    client: &kube::Client,
    name: &str,
) -> Result<Option<ApiResource>, Error> {
    let Some((plural, group)) = name.split_once('.') else {
        return Ok(None);
    };
    let found = match discovery::group(client, group).await {
        Ok(found) => found,
        Err(kube::Error::Discovery(DiscoveryError::MissingApiGroup(_))) => return Ok(None),
        // A group that goes while it is asked about.
        Err(kube::Error::Api(status)) if status.code == 404 => return Ok(None),
        Err(error) => {
            return Err(error).on("discover", "resources", client::Key::default);
        }
    };
    // Not every version of a group has all of its resources.
    let mut resources = found.resources_by_stability().into_iter();
    let found = resources.find(|(resource, capabilities)| {
        resource.plural == plural && capabilities.scope == Scope::Namespaced
    });
    Ok(found.map(|(resource, _)| resource))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn built_in_kinds_are_no_custom_ones() {
        let quota = json!({"spec": {"hard": {
            "count/configmaps": "1", "count/deployments.apps": "1", "count/foos.example.com": "1",
            "pods": "1", "count/deployments.example.com": "1", "requests.cpu": "1",
        }}});
        let names: Vec<_> = names(&quota).collect();
        assert_eq!(names, ["deployments.example.com", "foos.example.com"]);
    }
}
