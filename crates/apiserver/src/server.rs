//! The server: what all requests share, and how it comes up.

use std::sync::Arc;

use api::catalog::Catalog;
use api::clock::Clock;
use api::serving::{Serving, ServingError};
use futures::future::BoxFuture;
use parking_lot::RwLock;
use serde_json::Value;
use store::{RegisterError, Registration, Store};
use tokio_util::sync::CancellationToken;

use crate::admission::Chain;
use crate::admission::policy::typecheck;
use crate::aggregation::{self, Aggregation};
use crate::audit::{Audit, AuditError};
use crate::authentication::Authenticator;
use crate::authentication::front_proxy::FrontProxy;
use crate::authentication::jwt::{JwtError, Signer};
use crate::authentication::service_account::Tokens;
use crate::authorization::Authorizer;
use crate::authorization::rbac::Rbac;
use crate::bootstrap;
use crate::config::{Config, Random};
use crate::discovery::Documents;
use crate::endpoint::Endpoints;
use crate::extensions;
use crate::flow::{self, FlowControl};
use crate::http::local::LocalTransport;
use crate::metrics::Metrics;
use crate::objects::Objects;
use crate::outbound::Outbound;
use crate::proxy::Proxy;
use crate::registry;
use crate::service_addresses::Addresses;

/// Why the server does not come up.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The signing key cannot be used.
    #[error("service account signing key: {0}")]
    SigningKey(#[from] JwtError),
    /// Nothing can be recorded.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The store does not give its objects.
    #[error("load {plural}: {source}")]
    Load {
        /// Which resource.
        plural: String,
        /// Why.
        source: RegisterError,
    },
    /// What shall be served is not there.
    #[error("runtime-config: {0}")]
    Serving(ServingError),
    /// A first object cannot be written.
    #[error("create {what}: {reason}")]
    Bootstrap {
        /// Which object.
        what: String,
        /// Why.
        reason: String,
    },
}

/// The API server.
pub struct ApiServer {
    pub(crate) config: Config,
    pub(crate) catalog: &'static Catalog,
    /// What of the catalog is served.
    pub(crate) serving: Arc<Serving>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) store: Arc<Store>,
    pub(crate) objects: Arc<Objects>,
    pub(crate) endpoints: Endpoints,
    pub(crate) authenticator: Authenticator,
    pub(crate) authorizer: Authorizer,
    pub(crate) admission: Chain,
    pub(crate) addresses: Addresses,
    pub(crate) flow: Arc<FlowControl>,
    pub(crate) audit: Audit,
    pub(crate) metrics: Metrics,
    pub(crate) documents: Documents,
    pub(crate) proxy: Proxy,
    pub(crate) outbound: Outbound,
    pub(crate) aggregation: Aggregation,
    pub(crate) front_proxy: Option<FrontProxy>,
    /// Ended when the server goes down: watches end with it.
    pub(crate) ending: CancellationToken,
    /// What `/readyz` waits for.
    pub(crate) ready: RwLock<bool>,
}

impl ApiServer {
    /// Loads all objects, writes those that a cluster has from its first start, and is ready to
    /// serve.
    pub fn new(
        config: Config,
        store: Arc<Store>,
        clock: Arc<dyn Clock>,
    ) -> BoxFuture<'static, Result<Arc<ApiServer>, StartError>> {
        Box::pin(async move {
            let catalog = api::catalog::builtin();
            let serving = Arc::new(
                Serving::new(catalog, &config.runtime_config).map_err(StartError::Serving)?,
            );
            let endpoints = Endpoints::builtin(&serving);
            register(&store, &endpoints).await?;
            let objects = Arc::new(Objects::new(store.clone()));
            let rbac = Arc::new(Rbac::default());
            let signer = Signer::new(&config.service_account_key)?;
            let audiences = vec![config.issuer.clone()];
            let tokens = Tokens::new(signer, config.issuer.clone(), audiences);
            let addresses = Addresses::new(
                config.service_cidr,
                config.node_ports,
                config.random.clone(),
            );
            addresses.load(&objects);
            let metrics = Metrics::new(store.clone());
            let server = Arc::new(ApiServer {
                authenticator: Authenticator {
                    tokens,
                    fixed: config.tokens.clone(),
                },
                authorizer: Authorizer::new(rbac.clone(), objects.clone()),
                admission: Chain::builtin(),
                flow: Arc::new(FlowControl::new(
                    config.max_reads + config.max_writes,
                    metrics.flows.clone(),
                )),
                audit: Audit::open(&config.audit, clock.clone(), metrics.audit.clone())?,
                metrics,
                documents: Documents::new(serving.clone()),
                proxy: Proxy::new(config.kubelet_tls.clone()),
                outbound: Outbound::new(objects.clone()),
                aggregation: Aggregation::new(
                    config.front_proxy.as_ref().map(|f| f.identity.clone()),
                ),
                front_proxy: config
                    .front_proxy
                    .as_ref()
                    .and_then(|f| FrontProxy::new(&f.ca)),
                ending: CancellationToken::new(),
                ready: RwLock::new(false),
                catalog,
                serving,
                clock,
                store,
                objects,
                endpoints,
                addresses,
                config,
            });
            bootstrap::ensure(&server).await?;
            // After the first roles are written, so that nobody is refused for roles not seen yet.
            follow_rbac(&server.store, &rbac, &server.ending);
            server.admission.follow(&server.store, &server.ending);
            extensions::start(&server).await?;
            typecheck::start(&server);
            aggregation::start(&server);
            flow::objects::start(&server);
            *server.ready.write() = true;
            Ok(server)
        })
    }

    /// The way in for clients of the same process. Say who they are with
    /// [`LocalTransport::as_user`].
    pub fn local(self: &Arc<Self>) -> LocalTransport {
        LocalTransport::new(self.clone())
    }

    /// Shows at /metrics what another part of the process counts, given in Prometheus' text form.
    pub fn add_metrics(&self, source: crate::metrics::Source) {
        self.metrics.add(source);
    }

    /// The way to webhooks and other API servers.
    pub fn outbound(&self) -> &Outbound {
        &self.outbound
    }

    /// Waits until what the audit log was told so far is in its file, for a bounded time.
    pub async fn flush_audit(&self) {
        self.audit.flush().await;
    }

    /// Ends all watches, as before the server goes down.
    pub fn end_watches(&self) {
        *self.ready.write() = false;
        self.ending.cancel();
    }
}

/// A random (version 4) uid.
pub(crate) fn new_uid(random: &Random) -> String {
    let mut bytes = [0u8; 16];
    random(&mut bytes);
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let n = u128::from_be_bytes(bytes);
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        n >> 96,
        (n >> 80) & 0xffff,
        (n >> 64) & 0xffff,
        (n >> 48) & 0xffff,
        n & 0xffff_ffff_ffff
    )
}

/// Fields by which lists and watches come often enough to be worth an index.
const INDEXED: [(&str, &str, &str); 1] = [("", "pods", "spec.nodeName")];

/// Tells the store how to keep each resource, which loads its objects.
async fn register(store: &Arc<Store>, endpoints: &Endpoints) -> Result<(), StartError> {
    let mut registered = std::collections::HashSet::new();
    let mut all = endpoints.all();
    // The endpoint of the version objects rest in knows their attributes.
    all.sort_by_key(|endpoint| endpoint.converts);
    for endpoint in all.into_iter().filter(|endpoint| endpoint.stored) {
        if !registered.insert(endpoint.prefix.clone()) {
            continue;
        }
        let resting = endpoint.clone();
        let mut registration = Registration::new(
            move |bytes: &[u8]| match serde_json::from_slice::<Value>(bytes) {
                Ok(object) => registry::attributes(&*resting.resource.strategy, &object),
                Err(_) => store::Attributes::default(),
            },
        );
        let resource = &endpoint.resource;
        let fields = INDEXED
            .iter()
            .filter(|(group, plural, _)| {
                **group == *resource.storage_group && **plural == *resource.storage_plural
            })
            .map(|(_, _, field)| *field);
        registration = registration.indexed(fields);
        if resource.secret {
            registration = registration.sealed();
        }
        if let Err(source) = store.register(&endpoint.prefix, registration).await {
            // A second server over the same open store finds everything registered.
            if !matches!(source, RegisterError::Registered(_)) {
                return Err(StartError::Load {
                    plural: resource.plural.to_string(),
                    source,
                });
            }
        }
    }
    Ok(())
}

/// Keeps the RBAC index in step with the store.
fn follow_rbac(store: &Arc<Store>, rbac: &Arc<Rbac>, ending: &CancellationToken) {
    for plural in [
        "clusterroles",
        "clusterrolebindings",
        "roles",
        "rolebindings",
    ] {
        let follower =
            bootstrap::follow::Follower::new(store.clone(), "rbac.authorization.k8s.io", plural);
        let rbac = rbac.clone();
        let seen = move |namespace: &str, name: &str, object: Option<&Value>| {
            rbac.observe(plural, namespace, name, object);
        };
        follower.start(seen, ending.clone());
    }
}
