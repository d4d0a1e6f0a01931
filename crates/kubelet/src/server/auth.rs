//! Who asks, and whether they may: by client certificate or token; the API server's own identity
//! and administrators at once, everyone else by asking the API.

use std::{collections::HashMap, sync::Arc, time::Duration};

use http::{Request, Response, StatusCode, header};
use hyper::body::Incoming;
use k8s_openapi::api::{
    authentication::v1::{TokenReview, TokenReviewSpec},
    authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
};
use kube::{Api, api::PostParams};
use parking_lot::Mutex;
use ring::digest;
use rustls_pki_types::CertificateDer;
use tokio::time::Instant;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{Body, route::Route, text};
use crate::agent::Agent;

/// The identity that the API server's certificate carries.
const API_SERVER: &str = "kube-apiserver-kubelet-client";
const ADMINISTRATORS: &str = "system:masters";

/// Answers of the API are believed for so long, and so many of them are kept; when there are
/// more, all are forgotten and asked again.
const BELIEVE: Duration = Duration::from_secs(60);
const KEPT: usize = 1024;

/// Somebody with a name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct User {
    name: String,
    uid: Option<String>,
    groups: Vec<String>,
}

/// The other end of a connection.
#[derive(Debug, Default)]
pub struct Peer {
    user: Option<User>,
}

impl Peer {
    /// By the certificate that the handshake has verified.
    pub fn of(certificates: Option<&[CertificateDer<'_>]>) -> Self {
        let user = certificates.and_then(|list| {
            let (_, certificate) = X509Certificate::from_der(list.first()?).ok()?;
            let subject = certificate.subject();
            let name = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
            let groups = subject
                .iter_organization()
                .filter_map(|o| o.as_str().ok().map(str::to_owned))
                .collect();
            Some(User {
                name,
                uid: None,
                groups,
            })
        });
        Self { user }
    }
}

/// Answers of the API, and until when they are believed.
type Believed<K, V> = Mutex<HashMap<K, (Instant, V)>>;

/// Decides.
pub struct Authority {
    agent: Arc<Agent>,
    tokens: Believed<Vec<u8>, Option<User>>,
    access: Believed<(User, String, &'static str), bool>,
}

impl Authority {
    /// Asks through the node's own client.
    pub fn new(agent: Arc<Agent>) -> Self {
        Self {
            agent,
            tokens: Mutex::default(),
            access: Mutex::default(),
        }
    }

    /// Lets the request through, or answers it.
    pub async fn allow(
        &self,
        peer: &Peer,
        request: &Request<Incoming>,
        route: &Route,
    ) -> Result<(), Response<Body>> {
        let user = match &peer.user {
            Some(user) => Some(user.clone()),
            None => self.by_token(request).await,
        };
        let Some(user) = user else {
            return Err(text(StatusCode::UNAUTHORIZED, "Unauthorized"));
        };
        if user.name == API_SERVER || user.groups.iter().any(|g| g == ADMINISTRATORS) {
            return Ok(());
        }
        let verb = match request.method().as_str() {
            "POST" => "create",
            _ => "get",
        };
        let resource = route.subresource();
        if self.may(&user, verb, resource).await {
            return Ok(());
        }
        Err(text(
            StatusCode::FORBIDDEN,
            format!(
                "Forbidden (user={}, verb={verb}, resource=nodes, subresource(s)=[{resource}])",
                user.name
            ),
        ))
    }

    async fn by_token(&self, request: &Request<Incoming>) -> Option<User> {
        let token = request
            .headers()
            .get(header::AUTHORIZATION)?
            .to_str()
            .ok()?
            .strip_prefix("Bearer ")?
            .trim()
            .to_owned();
        let key = digest::digest(&digest::SHA256, token.as_bytes())
            .as_ref()
            .to_vec();
        if let Some((until, user)) = self.tokens.lock().get(&key)
            && *until > Instant::now()
        {
            return user.clone();
        }
        let review = TokenReview {
            spec: TokenReviewSpec {
                token,
                ..Default::default()
            },
            ..Default::default()
        };
        let api: Api<TokenReview> = Api::all(self.agent.context.client.clone());
        let status = match api.create(&PostParams::default(), &review).await {
            Ok(answer) => answer.status.unwrap_or_default(),
            Err(error) => {
                tracing::warn!(%error, "cannot ask who a token belongs to");
                return None;
            }
        };
        let user = status
            .user
            .filter(|_| status.authenticated == Some(true))
            .map(|u| User {
                name: u.username.unwrap_or_default(),
                uid: u.uid,
                groups: u.groups.unwrap_or_default(),
            });
        remember(&self.tokens, key, user.clone());
        user
    }

    async fn may(&self, user: &User, verb: &str, subresource: &'static str) -> bool {
        let key = (user.clone(), verb.to_owned(), subresource);
        if let Some((until, allowed)) = self.access.lock().get(&key)
            && *until > Instant::now()
        {
            return *allowed;
        }
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(user.name.clone()),
                uid: user.uid.clone(),
                groups: Some(user.groups.clone()),
                resource_attributes: Some(ResourceAttributes {
                    verb: Some(verb.to_owned()),
                    version: Some("v1".to_owned()),
                    resource: Some("nodes".to_owned()),
                    subresource: Some(subresource.to_owned()),
                    name: Some(self.agent.config.node_name.clone()),
                    ..Default::default()
                }),
                ..Default::default()
            },
            ..Default::default()
        };
        let api: Api<SubjectAccessReview> = Api::all(self.agent.context.client.clone());
        match api.create(&PostParams::default(), &review).await {
            Ok(answer) => {
                let allowed = answer.status.is_some_and(|s| s.allowed);
                remember(&self.access, key, allowed);
                allowed
            }
            Err(error) => {
                tracing::warn!(%error, "cannot ask what a user may");
                false
            }
        }
    }
}

fn remember<K: std::hash::Hash + Eq, V>(map: &Believed<K, V>, key: K, value: V) {
    let mut map = map.lock();
    if map.len() >= KEPT {
        map.clear();
    }
    map.insert(key, (Instant::now() + BELIEVE, value));
}
