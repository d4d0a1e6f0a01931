//! Fills the Secrets that ask for a ServiceAccount's lasting token (type
//! `kubernetes.io/service-account-token`), and removes them when the account is gone.

use std::fmt;

use client::controller::Requeue;
use client::{Change, Key, Scope};
use k8s_openapi::ByteString;
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};

use super::legacy_tokens::{ACCOUNT, ACCOUNT_UID, TYPE};
use crate::error::{Error, On};
use crate::kit::Kit;
use crate::write;

/// These tokens are to last as long as their Secret does; this is the longest the API grants.
const SECONDS: i64 = 1 << 32;

/// A Secret, and the account it names: of a Secret that is gone nothing else would tell it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Task {
    secret: Key,
    account: String,
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of account {}", self.secret, self.account)
    }
}

impl Task {
    fn of(secret: &Secret) -> Option<Self> {
        Some(Self {
            secret: Key::of(secret),
            account: note(secret, ACCOUNT)?.to_owned(),
        })
    }
}

/// What a Secret of an existing account lacks.
#[derive(Debug, PartialEq)]
struct Lack {
    /// Its patch, without the token.
    patch: Value,
    token: bool,
}

fn note<'a>(secret: &'a Secret, name: &str) -> Option<&'a str> {
    let notes = secret.metadata.annotations.as_ref()?;
    notes.get(name).map(String::as_str)
}

/// Is this the account the Secret means? Without a uid the name is enough.
fn is_meant(secret: &Secret, account: &ServiceAccount) -> bool {
    note(secret, ACCOUNT_UID)
        .is_none_or(|uid| uid.is_empty() || Some(uid) == account.metadata.uid.as_deref())
}

/// Decides what to fill in; none if everything is there.
fn lack(secret: &Secret, account: &ServiceAccount, root_ca: &str) -> Option<Lack> {
    if secret.metadata.deletion_timestamp.is_some() || secret.immutable == Some(true) {
        return None;
    }
    let held = |name: &str| {
        let data = secret.data.as_ref().and_then(|data| data.get(name));
        data.map_or(&[][..], |data| &data.0)
    };
    let mut data = json!({});
    if !root_ca.is_empty() && held("ca.crt") != root_ca.as_bytes() {
        data["ca.crt"] = json!(ByteString(root_ca.into()));
    }
    if held("namespace").is_empty() {
        let namespace = secret.metadata.namespace.clone().unwrap_or_default();
        data["namespace"] = json!(ByteString(namespace.into()));
    }
    let token = held("token").is_empty();
    if !token && data == json!({}) {
        return None;
    }
    let annotations = json!({
        ACCOUNT: account.metadata.name,
        ACCOUNT_UID: account.metadata.uid,
    });
    let patch = json!({"metadata": {"annotations": annotations}, "data": data});
    Some(Lack { patch, token })
}

/// The account's list of Secrets without this one; none if it does not name it.
fn unlisted(account: &ServiceAccount, secret: &str) -> Option<Value> {
    let listed = account.secrets.as_deref().unwrap_or_default();
    let kept: Vec<_> = listed
        .iter()
        .filter(|one| one.name.as_deref() != Some(secret))
        .collect();
    (kept.len() < listed.len()).then(|| json!({ "secrets": kept }))
}

/// Runs until the shutdown.
pub(crate) async fn run(kit: Kit, root_ca_pem: String) {
    let secrets = kit
        .informers
        .get::<Secret>(Scope::fields(&format!("type={TYPE}")));
    let accounts = kit.informers.get::<ServiceAccount>(Scope::All);
    let queue = kit.queue::<Task>();
    if !(kit.synced(&secrets).await && kit.synced(&accounts).await) {
        return;
    }
    kit.follow(&secrets, &queue, |change: Change<Secret>| {
        Task::of(change.object())
    });
    let all = secrets.store().clone();
    kit.follow(&accounts, &queue, move |change: Change<ServiceAccount>| {
        let key = Key::of(&**change.object());
        let tasks = all.list_in(&key.namespace);
        let tasks = tasks.iter().filter_map(|secret| Task::of(secret));
        tasks
            .filter(|task| *task.account == *key.name)
            .collect::<Vec<_>>()
    });
    let inner = kit.clone();
    kit.run(queue, move |task: Task| {
        let (kit, secrets, accounts) = (inner.clone(), secrets.clone(), accounts.clone());
        let root_ca = root_ca_pem.clone();
        async move {
            let known = accounts.store().get(&task.secret.namespace, &task.account);
            let Some(secret) = secrets.store().get_key(&task.secret) else {
                if let Some(account) = known {
                    unlist(&kit, &account, &task.secret.name).await?;
                }
                return Ok(Requeue::OnChange);
            };
            let known = known.filter(|account| is_meant(&secret, account));
            let account = match known {
                Some(account) => Some((*account).clone()),
                None => look_up(&kit, &task, &secret).await?,
            };
            match account {
                Some(account) => fill(&kit, &secret, &account, &root_ca).await?,
                None => {
                    let api = Api::namespaced(kit.client.clone(), &task.secret.namespace);
                    ignore_change(write::delete(&api, &*secret, None, None).await)?;
                }
            }
            Ok::<_, Error>(Requeue::OnChange)
        }
    })
    .await;
}

/// The account as the API has it: the cache may be behind, and a Secret is lost for good.
async fn look_up(kit: &Kit, task: &Task, secret: &Secret) -> Result<Option<ServiceAccount>, Error> {
    let api: Api<ServiceAccount> = Api::namespaced(kit.client.clone(), &task.secret.namespace);
    let found = api.get_opt(&task.account).await;
    let found = found.on("get", "serviceaccount", || {
        Key::new(&task.secret.namespace, &task.account)
    })?;
    Ok(found.filter(|account| is_meant(secret, account)))
}

async fn fill(
    kit: &Kit,
    secret: &Secret,
    account: &ServiceAccount,
    root_ca: &str,
) -> Result<(), Error> {
    let Some(Lack { mut patch, token }) = lack(secret, account, root_ca) else {
        return Ok(());
    };
    let key = Key::of(secret);
    if token {
        let token = ByteString(request(kit, secret, &Key::of(account)).await?.into());
        patch["data"]["token"] = json!(token);
    }
    let api: Api<Secret> = Api::namespaced(kit.client.clone(), &key.namespace);
    ignore_change(write::merge(&api, secret, patch).await)
}

/// Asks for a token of the account that ends with the Secret.
async fn request(kit: &Kit, secret: &Secret, account: &Key) -> Result<String, Error> {
    let bound = BoundObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Secret".to_owned()),
        name: secret.metadata.name.clone(),
        uid: secret.metadata.uid.clone(),
    };
    let request = TokenRequest {
        spec: Some(TokenRequestSpec {
            bound_object_ref: Some(bound),
            expiration_seconds: Some(SECONDS),
            ..TokenRequestSpec::default()
        }),
        ..TokenRequest::default()
    };
    let api: Api<ServiceAccount> = Api::namespaced(kit.client.clone(), &account.namespace);
    let answer = api
        .create_token_request(&account.name, &PostParams::default(), &request)
        .await
        .on("request token of", "serviceaccount", || account.clone())?;
    let token = answer.status.and_then(|status| status.token);
    token.ok_or_else(|| Error::Unusable {
        kind: "serviceaccount",
        key: account.clone(),
        what: "the API granted no token".to_owned(),
    })
}

async fn unlist(kit: &Kit, account: &ServiceAccount, secret: &str) -> Result<(), Error> {
    let Some(patch) = unlisted(account, secret) else {
        return Ok(());
    };
    let key = Key::of(account);
    let api: Api<ServiceAccount> = Api::namespaced(kit.client.clone(), &key.namespace);
    match write::merge(&api, account, patch).await {
        Err(error) if error.is_not_found() => Ok(()),
        result => result.map(drop),
    }
}

/// Whoever changed it meanwhile brings it here again.
fn ignore_change<T>(result: Result<T, Error>) -> Result<(), Error> {
    match result {
        Err(error) if error.is_conflict() || error.is_not_found() => Ok(()),
        result => result.map(drop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account() -> ServiceAccount {
        let secrets = json!([{"name": "one"}, {"name": "two"}]);
        serde_json::from_value(json!({"metadata": {"name": "robot", "uid": "u1"},
            "secrets": secrets}))
        .unwrap()
    }

    fn secret(annotations: &Value, data: &[(&str, &str)]) -> Secret {
        let data: serde_json::Map<String, Value> = data
            .iter()
            .map(|(name, text)| ((*name).to_owned(), json!(ByteString((*text).into()))))
            .collect();
        serde_json::from_value(json!({"data": data, "metadata":
            {"name": "one", "namespace": "yard", "annotations": annotations}}))
        .unwrap()
    }

    #[test]
    fn what_a_token_secret_lacks_is_filled_in() {
        let (ca, place, token) = (("ca.crt", "CA"), ("namespace", "yard"), ("token", "t"));
        let full = [ca, place, token];
        let text = |text: &str| json!(ByteString(text.into()));
        let cases: [(&str, &[(&str, &str)], _); 6] = [
            ("full", &full, None),
            (
                "empty",
                &[],
                Some((
                    json!({"ca.crt": text("CA"), "namespace": text("yard")}),
                    true,
                )),
            ),
            ("no token", &[ca, place], Some((json!({}), true))),
            (
                "no namespace",
                &[ca, token],
                Some((json!({"namespace": text("yard")}), false)),
            ),
            (
                "older authority",
                &[("ca.crt", "before"), place, token],
                Some((json!({"ca.crt": text("CA")}), false)),
            ),
            (
                "a namespace chosen by the user",
                &[ca, ("namespace", "field"), token],
                None,
            ),
        ];
        for (name, data, expected) in cases {
            let secret = secret(&json!({ACCOUNT: "robot"}), data);
            let expected = expected.map(|(data, token)| Lack {
                patch: json!({"data": data, "metadata": {"annotations":
                    {ACCOUNT: "robot", ACCOUNT_UID: "u1"}}}),
                token,
            });
            assert_eq!(lack(&secret, &account(), "CA"), expected, "{name}");
        }
        let none = secret(&json!({}), &[place, token]);
        assert_eq!(lack(&none, &account(), ""), None, "no authority to tell of");
    }

    #[test]
    fn an_account_of_another_uid_is_another() {
        let cases = [
            (json!({ACCOUNT: "robot"}), true),
            (json!({ACCOUNT: "robot", ACCOUNT_UID: ""}), true),
            (json!({ACCOUNT: "robot", ACCOUNT_UID: "u1"}), true),
            (json!({ACCOUNT: "robot", ACCOUNT_UID: "u0"}), false),
        ];
        for (annotations, expected) in cases {
            let secret = secret(&annotations, &[]);
            assert_eq!(is_meant(&secret, &account()), expected, "{annotations}");
        }
    }

    #[test]
    fn a_secret_that_is_gone_is_no_longer_listed() {
        let expected = json!({"secrets": [{"name": "two"}]});
        assert_eq!(unlisted(&account(), "one"), Some(expected));
        assert_eq!(unlisted(&account(), "three"), None);
    }
}
