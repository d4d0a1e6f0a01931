//! `Impersonate-*` headers: acting as another, when authorized to.

use std::collections::BTreeMap;

use http::HeaderMap;

use super::{AUTHENTICATED, UNAUTHENTICATED, UserInfo};
use crate::authorization::Attributes;
use crate::request::info::percent_decode;

/// Whom the headers ask to become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The user to become.
    pub user: UserInfo,
}

/// Reads the headers; none when there are none, an error text when groups or extras come without a
/// user.
pub fn wanted(headers: &HeaderMap) -> Result<Option<Wanted>, &'static str> {
    let text = |name: &str| {
        headers
            .get(name)
            .and_then(|v| v.to_str().ok())
            .unwrap_or("")
    };
    let groups: Vec<String> = headers
        .get_all("impersonate-group")
        .iter()
        .filter_map(|v| v.to_str().ok())
        .map(str::to_owned)
        .collect();
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in headers {
        if let Some(key) = name.as_str().strip_prefix("impersonate-extra-")
            && let Ok(value) = value.to_str()
        {
            extra
                .entry(percent_decode(key).to_lowercase())
                .or_default()
                .push(value.to_owned());
        }
    }
    let (name, uid) = (text("impersonate-user"), text("impersonate-uid"));
    if name.is_empty() {
        if groups.is_empty() && extra.is_empty() && uid.is_empty() {
            return Ok(None);
        }
        return Err("requested impersonation without impersonating a user");
    }
    let user = UserInfo {
        name: name.to_owned(),
        uid: uid.to_owned(),
        groups,
        extra,
    };
    Ok(Some(Wanted { user }))
}

impl Wanted {
    /// What must be authorized for `by` before it may act as the wanted user.
    pub fn needs<'a>(&'a self, by: &'a UserInfo) -> Vec<Attributes<'a>> {
        let base = Attributes {
            user: by,
            verb: "impersonate",
            is_resource: true,
            ..Attributes::of(by)
        };
        let mut needs = Vec::new();
        match service_account(&self.user.name) {
            Some((namespace, name)) => needs.push(Attributes {
                resource: "serviceaccounts",
                namespace,
                name,
                version: "v1",
                ..base.clone()
            }),
            None => needs.push(Attributes {
                resource: "users",
                name: &self.user.name,
                version: "v1",
                ..base.clone()
            }),
        }
        for group in &self.user.groups {
            needs.push(Attributes {
                resource: "groups",
                name: group,
                version: "v1",
                ..base.clone()
            });
        }
        let authentication = Attributes {
            group: "authentication.k8s.io",
            version: "v1",
            ..base.clone()
        };
        if !self.user.uid.is_empty() {
            needs.push(Attributes {
                resource: "uids",
                name: &self.user.uid,
                ..authentication.clone()
            });
        }
        for (key, values) in &self.user.extra {
            for value in values {
                needs.push(Attributes {
                    resource: "userextras",
                    subresource: key,
                    name: value,
                    ..authentication.clone()
                });
            }
        }
        needs
    }

    /// The user to act as, with the groups that follow from its name.
    pub fn become_user(self) -> UserInfo {
        let mut user = self.user;
        if let Some((namespace, _)) = service_account(&user.name)
            && user.groups.is_empty()
        {
            user.groups = vec![
                "system:serviceaccounts".to_owned(),
                format!("system:serviceaccounts:{namespace}"),
            ];
        }
        let everybody = if user.name == "system:anonymous" {
            UNAUTHENTICATED
        } else {
            AUTHENTICATED
        };
        if !user.in_group(AUTHENTICATED) && !user.in_group(UNAUTHENTICATED) {
            user.groups.push(everybody.to_owned());
        }
        user
    }
}

fn service_account(user: &str) -> Option<(&str, &str)> {
    let (namespace, name) = user
        .strip_prefix("system:serviceaccount:")?
        .split_once(':')?;
    (!namespace.is_empty() && !name.is_empty() && !name.contains(':')).then_some((namespace, name))
}
