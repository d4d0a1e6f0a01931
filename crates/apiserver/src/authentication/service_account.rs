//! ServiceAccount tokens: made for TokenRequests, and believed only while the account, and the
//! pod, secret or node they are bound to, still live.

use std::collections::HashMap;
use std::sync::Arc;

use api::object::Object;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::{Value, json};

use super::jwt::{JwtError, Signer};
use super::{AuthenticationError, UserInfo};
use crate::objects::Objects;

/// What a token is checked against: the objects as they are now, and the time.
pub struct Live<'a> {
    /// Objects.
    pub objects: &'a Objects,
    /// Now.
    pub now: Timestamp,
}

/// An object a token is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    /// `Pod`, `Secret` or `Node`.
    pub kind: String,
    /// Name.
    pub name: String,
    /// Uid.
    pub uid: String,
}

/// What a new token shall say.
pub struct Grant<'a> {
    /// The account's namespace.
    pub namespace: &'a str,
    /// The account's name.
    pub name: &'a str,
    /// The account's uid.
    pub uid: &'a str,
    /// For whom.
    pub audiences: Vec<String>,
    /// How long.
    pub seconds: i64,
    /// When the kubelet's tokens should be called stale, for clients that never reload them.
    pub warn_after: Option<i64>,
    /// The object it ends with.
    pub bound: Option<Bound>,
    /// The node of a bound pod.
    pub node: Option<(String, String)>,
    /// The token's own identifier.
    pub id: String,
}

/// Verified tokens kept; at the bound all are forgotten and verified again when next seen.
const MAX_VERIFIED: usize = 10_000;
/// An account that is being deleted keeps its tokens this long, so that finalizers can work.
const DELETION_LEEWAY: i64 = 60;

/// Makes and validates ServiceAccount tokens.
pub struct Tokens {
    signer: Signer,
    issuer: String,
    audiences: Vec<String>,
    verified: Mutex<HashMap<[u8; 32], Arc<Claims>>>,
}

struct Claims {
    audiences: Vec<String>,
    not_before: i64,
    expires: i64,
    namespace: String,
    account: (String, String),
    bound: Vec<(&'static str, String, String)>,
    user: Arc<UserInfo>,
}

#[derive(Deserialize)]
struct Partial {
    metadata: PartialMeta,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PartialMeta {
    #[serde(default)]
    uid: String,
    #[serde(default)]
    deletion_timestamp: Option<String>,
}

impl Tokens {
    /// Tokens of `issuer`, signed with `signer`; the API itself answers to `audiences`.
    pub fn new(signer: Signer, issuer: String, audiences: Vec<String>) -> Tokens {
        Tokens {
            signer,
            issuer,
            audiences,
            verified: Mutex::default(),
        }
    }

    /// Who signs.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The audiences of this API.
    pub fn audiences(&self) -> &[String] {
        &self.audiences
    }

    /// The public keys, as a JSON Web Key Set.
    pub fn key_set(&self) -> Value {
        self.signer.key_set()
    }

    /// A new token, and when it ends.
    pub fn issue(&self, grant: &Grant<'_>, now: Timestamp) -> Result<(String, i64), JwtError> {
        let now = now.as_second();
        let expires = now + grant.seconds;
        let mut claim = json!({
            "namespace": grant.namespace,
            "serviceaccount": {"name": grant.name, "uid": grant.uid},
        });
        if let Some(bound) = &grant.bound {
            claim[bound.kind.to_ascii_lowercase()] = json!({"name": bound.name, "uid": bound.uid});
        }
        if let Some((name, uid)) = &grant.node {
            claim["node"] = json!({"name": name, "uid": uid});
        }
        if let Some(seconds) = grant.warn_after {
            claim["warnafter"] = (now + seconds).into();
        }
        let token = self.signer.sign(&json!({
            "iss": self.issuer,
            "sub": format!("system:serviceaccount:{}:{}", grant.namespace, grant.name),
            "aud": grant.audiences,
            "iat": now,
            "nbf": now,
            "exp": expires,
            "jti": grant.id,
            "kubernetes.io": claim,
        }))?;
        Ok((token, expires))
    }

    /// The bearer, and which of `audiences` (none: this API's own) the token is for.
    pub fn validate(
        &self,
        token: &str,
        audiences: &[String],
        live: &Live<'_>,
    ) -> Result<(Arc<UserInfo>, Vec<String>), AuthenticationError> {
        let claims = self.verified(token)?;
        let refuse = |why: &str| Err(AuthenticationError::Token(why.to_owned()));
        let now = live.now.as_second();
        if now >= claims.expires {
            return refuse("service account token has expired");
        }
        if now < claims.not_before {
            return refuse("service account token is not valid yet");
        }
        let wanted = if audiences.is_empty() {
            &self.audiences
        } else {
            audiences
        };
        let shared: Vec<String> = wanted
            .iter()
            .filter(|a| claims.audiences.contains(a))
            .cloned()
            .collect();
        if shared.is_empty() {
            return refuse("token audiences are not valid for this target audience");
        }
        let alive = |plural: &str, namespace: &str, name: &str, uid: &str, leeway: bool| {
            let Some(entry) = live.objects.entry("", plural, namespace, name) else {
                return false;
            };
            let Ok(object) = serde_json::from_slice::<Partial>(&entry.json) else {
                return false;
            };
            let going = object
                .metadata
                .deletion_timestamp
                .and_then(|t| t.parse::<Timestamp>().ok())
                .is_some_and(|t| !leeway || now > t.as_second() + DELETION_LEEWAY);
            object.metadata.uid == uid && !going
        };
        let (name, uid) = &claims.account;
        if !alive("serviceaccounts", &claims.namespace, name, uid, true) {
            return refuse("service account has been deleted");
        }
        for (plural, name, uid) in &claims.bound {
            let namespace = if *plural == "nodes" {
                ""
            } else {
                claims.namespace.as_str()
            };
            // A pod that is being deleted goes on running, and its token with it.
            if !alive(plural, namespace, name, uid, true) {
                return refuse("service account token has been invalidated");
            }
        }
        Ok((claims.user.clone(), shared))
    }

    fn verified(&self, token: &str) -> Result<Arc<Claims>, AuthenticationError> {
        let digest = ring::digest::digest(&ring::digest::SHA256, token.as_bytes());
        let key = <[u8; 32]>::try_from(digest.as_ref()).unwrap_or_default();
        if let Some(claims) = self.verified.lock().get(&key) {
            return Ok(claims.clone());
        }
        let value = self
            .signer
            .verify(token)
            .map_err(|e| AuthenticationError::Token(e.to_string()))?;
        let claims = Arc::new(
            self.read(&value)
                .ok_or_else(|| AuthenticationError::Token("the token is malformed".to_owned()))?,
        );
        let mut verified = self.verified.lock();
        if verified.len() >= MAX_VERIFIED {
            verified.clear();
        }
        verified.insert(key, claims.clone());
        Ok(claims)
    }

    fn read(&self, value: &Value) -> Option<Claims> {
        if value.text("iss") != self.issuer {
            return None;
        }
        let private = value.get("kubernetes.io")?;
        let namespace = private.text("namespace").to_owned();
        let account = (
            private.text("serviceaccount.name").to_owned(),
            private.text("serviceaccount.uid").to_owned(),
        );
        if value.text("sub") != format!("system:serviceaccount:{namespace}:{}", account.0) {
            return None;
        }
        let mut user = UserInfo::service_account(&namespace, &account.0);
        user.uid = account.1.clone();
        let mut extra = |key: &str, value: &str| {
            user.extra.insert(
                format!("authentication.kubernetes.io/{key}"),
                vec![value.to_owned()],
            );
        };
        if let Some(id) = value.get("jti").and_then(Value::as_str) {
            extra("credential-id", &format!("JTI={id}"));
        }
        let mut bound = Vec::new();
        for (claim, plural) in [("pod", "pods"), ("secret", "secrets"), ("node", "nodes")] {
            let Some(object) = private.get(claim) else {
                continue;
            };
            let (name, uid) = (object.text("name"), object.text("uid"));
            if claim != "secret" {
                extra(&format!("{claim}-name"), name);
                extra(&format!("{claim}-uid"), uid);
            }
            // A node beside a pod says where the pod runs; the pod's own life decides.
            if claim != "node" || private.get("pod").is_none() {
                bound.push((plural, name.to_owned(), uid.to_owned()));
            }
        }
        let audiences = match value.get("aud")? {
            Value::String(one) => vec![one.clone()],
            Value::Array(list) => list
                .iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
            _ => return None,
        };
        Some(Claims {
            audiences,
            not_before: value.int("nbf").unwrap_or(0),
            expires: value.int("exp")?,
            namespace,
            account,
            bound,
            user: Arc::new(user),
        })
    }
}
