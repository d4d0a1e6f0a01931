//! Who is asking: client certificate, bearer token, or the identity an in-process client was given.

mod bootstrap_token;
pub mod front_proxy;
pub mod impersonation;
pub mod jwt;
pub mod service_account;
pub mod x509;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Who a request is from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UserInfo {
    /// `system:node:a`, `kubernetes-admin`, …
    #[serde(rename = "username", skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Empty where the way of proof knows none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// Groups.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// Whatever else the proof said.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub extra: BTreeMap<String, Vec<String>>,
}

/// The group of everybody who proved who they are.
pub const AUTHENTICATED: &str = "system:authenticated";
/// The group of everybody else.
pub const UNAUTHENTICATED: &str = "system:unauthenticated";
/// The group that authorization always lets pass.
pub const MASTERS: &str = "system:masters";

impl UserInfo {
    /// A user of this name in these groups.
    pub fn new(name: impl Into<String>, groups: &[&str]) -> UserInfo {
        UserInfo {
            name: name.into(),
            groups: groups.iter().map(|g| (*g).to_owned()).collect(),
            ..UserInfo::default()
        }
    }

    /// Nobody in particular.
    pub fn anonymous() -> UserInfo {
        UserInfo::new("system:anonymous", &[UNAUTHENTICATED])
    }

    /// The API server itself, for what it writes on its own behalf.
    pub fn apiserver() -> UserInfo {
        UserInfo::new("system:apiserver", &[MASTERS, AUTHENTICATED])
    }

    /// The user of a ServiceAccount.
    pub fn service_account(namespace: &str, name: &str) -> UserInfo {
        UserInfo {
            name: format!("system:serviceaccount:{namespace}:{name}"),
            groups: vec![
                "system:serviceaccounts".to_owned(),
                format!("system:serviceaccounts:{namespace}"),
                AUTHENTICATED.to_owned(),
            ],
            ..UserInfo::default()
        }
    }

    /// The node whose kubelet this is.
    pub fn node(&self) -> Option<&str> {
        let node = self
            .name
            .strip_prefix("system:node:")
            .filter(|n| !n.is_empty())?;
        self.in_group("system:nodes").then_some(node)
    }

    /// Is the user in this group?
    pub fn in_group(&self, group: &str) -> bool {
        self.groups.iter().any(|g| g == group)
    }

    /// Adds `system:authenticated`, unless the user is anonymous.
    #[must_use]
    pub(crate) fn authenticated(mut self) -> UserInfo {
        if !self.in_group(AUTHENTICATED) && !self.in_group(UNAUTHENTICATED) {
            self.groups.push(AUTHENTICATED.to_owned());
        }
        self
    }
}

/// The other end of a request, and what it has proved by connecting.
#[derive(Clone, Debug)]
pub enum Peer {
    /// A client of the same process.
    Local(Arc<UserInfo>),
    /// A client on a socket.
    Remote {
        /// Where from.
        address: SocketAddr,
        /// Who its client certificate says it is.
        certificate: Option<Arc<UserInfo>>,
        /// It has proved that it may speak for others.
        speaks_for_others: bool,
    },
}

/// Proof that was given and does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthenticationError {
    /// The token is not one of ours, or not valid now.
    #[error("invalid bearer token: {0}")]
    Token(String),
    /// Nothing was proved.
    #[error("no credentials")]
    None,
}

/// A token given at configuration, and whose it is.
#[derive(Clone)]
pub struct StaticToken {
    /// The secret.
    pub token: String,
    /// Its bearer.
    pub user: UserInfo,
}

impl StaticToken {
    /// The token with which new nodes ask for their certificates.
    pub fn bootstrap(token: impl Into<String>) -> StaticToken {
        StaticToken {
            token: token.into(),
            user: UserInfo::new(
                "system:bootstrap:corten",
                &[
                    "system:bootstrappers",
                    "system:bootstrappers:corten:default-node-token",
                    AUTHENTICATED,
                ],
            ),
        }
    }
}

impl std::fmt::Debug for StaticToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StaticToken({})", self.user.name)
    }
}

/// Decides who asks.
pub struct Authenticator {
    pub(crate) tokens: service_account::Tokens,
    pub(crate) fixed: Vec<StaticToken>,
}

impl Authenticator {
    /// The user behind a request; `None` when it proves nothing.
    pub fn authenticate(
        &self,
        peer: &Peer,
        headers: &http::HeaderMap,
        live: &service_account::Live<'_>,
    ) -> Result<Option<Arc<UserInfo>>, AuthenticationError> {
        match peer {
            Peer::Local(user) => return Ok(Some(user.clone())),
            Peer::Remote {
                certificate: Some(user),
                ..
            } => return Ok(Some(user.clone())),
            Peer::Remote {
                speaks_for_others: true,
                ..
            } => {
                if let Some(user) = front_proxy::user(headers) {
                    return Ok(Some(Arc::new(user)));
                }
            }
            Peer::Remote { .. } => {}
        }
        match bearer(headers) {
            Some(token) => self.token(token, &[], live).map(|(user, _)| Some(user)),
            None => Ok(None),
        }
    }

    /// The bearer of a token for any of `audiences` (none: this API), and the audiences it holds for.
    pub fn token(
        &self,
        token: &str,
        audiences: &[String],
        live: &service_account::Live<'_>,
    ) -> Result<(Arc<UserInfo>, Vec<String>), AuthenticationError> {
        for fixed in &self.fixed {
            if same_secret(fixed.token.as_bytes(), token.as_bytes()) {
                return Ok((Arc::new(fixed.user.clone()), audiences.to_vec()));
            }
        }
        if let Some(user) = bootstrap_token::user(token, live) {
            return user.map(|user| (Arc::new(user), audiences.to_vec()));
        }
        self.tokens.validate(token, audiences, live)
    }
}

/// Compares in time that depends on the lengths alone.
fn same_secret(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0u8, |acc, (x, y)| acc | (x ^ y)) == 0
}

/// The bearer token of a request: the `Authorization` header, or the WebSocket subprotocol that
/// browsers use.
fn bearer(headers: &http::HeaderMap) -> Option<&str> {
    let value = headers.get(http::header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.trim().split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}
