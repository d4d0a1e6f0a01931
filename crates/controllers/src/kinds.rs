//! Which kinds the server has, by discovery.

use client::Key;
use kube::core::ApiResource;
use kube::discovery::{ApiCapabilities, Discovery, Scope, verbs};

use crate::error::{Error, On};

/// A served resource in its preferred version.
#[derive(Clone, Debug)]
pub(crate) struct Kind {
    pub resource: ApiResource,
    pub namespaced: bool,
    capabilities: ApiCapabilities,
}

impl Kind {
    pub fn can(&self, verb: &str) -> bool {
        self.capabilities.supports_operation(verb)
    }

    /// Can be listed and watched.
    pub fn is_watchable(&self) -> bool {
        self.can(verbs::LIST) && self.can(verbs::WATCH)
    }
}

/// All resources that can be deleted, each once, in its group's preferred version.
pub(crate) async fn deletable(client: &kube::Client) -> Result<Vec<Kind>, Error> {
    let discovery = match Discovery::new(client.clone()).run_aggregated().await {
        Ok(discovery) => discovery,
        // A server from before aggregated discovery.
        Err(_) => {
            Discovery::new(client.clone())
                .run()
                .await
                .on("discover", "resources", Key::default)?
        }
    };
    let mut kinds = Vec::new();
    for group in discovery.groups_alphabetical() {
        for (resource, capabilities) in group.recommended_resources() {
            let namespaced = capabilities.scope == Scope::Namespaced;
            let kind = Kind {
                resource,
                namespaced,
                capabilities,
            };
            if kind.can(verbs::DELETE) {
                kinds.push(kind);
            }
        }
    }
    Ok(kinds)
}
