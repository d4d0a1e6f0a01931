//! configMap, secret, downwardAPI and projected volumes as one thing: parts that yield files.

use std::collections::BTreeSet;

use k8s_openapi::{
    api::{
        authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec},
        core::v1::{
            ConfigMapProjection, DownwardAPIVolumeFile, SecretProjection, ServiceAccount,
            ServiceAccountTokenProjection, Volume,
        },
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{Api, api::PostParams};

use super::VolumeError;
use crate::{agent::Agent, pods::view::PodView};

/// One source of files.
#[derive(Clone, Debug)]
pub enum Part {
    /// From a ConfigMap.
    ConfigMap(ConfigMapProjection),
    /// From a Secret.
    Secret(SecretProjection),
    /// From the pod itself.
    Downward(Vec<DownwardAPIVolumeFile>),
    /// A ServiceAccount token.
    Token(ServiceAccountTokenProjection),
}

/// A volume of files.
#[derive(Clone, Debug)]
pub struct Source {
    plugin: &'static str,
    /// In order; later parts win.
    pub parts: Vec<Part>,
    /// Mode of files that have none of their own.
    pub default_mode: Option<i32>,
}

impl Source {
    /// The volume as files; none when it is another kind of volume.
    pub fn of(volume: &Volume) -> Option<Self> {
        if let Some(v) = &volume.config_map {
            let part = Part::ConfigMap(ConfigMapProjection {
                name: v.name.clone(),
                items: v.items.clone(),
                optional: v.optional,
            });
            return Some(Self::single("configmap", part, v.default_mode));
        }
        if let Some(v) = &volume.secret {
            let part = Part::Secret(SecretProjection {
                name: v.secret_name.clone().unwrap_or_default(),
                items: v.items.clone(),
                optional: v.optional,
            });
            return Some(Self::single("secret", part, v.default_mode));
        }
        if let Some(v) = &volume.downward_api {
            let part = Part::Downward(v.items.clone().unwrap_or_default());
            return Some(Self::single("downward-api", part, v.default_mode));
        }
        let v = volume.projected.as_ref()?;
        let mut parts = Vec::new();
        for source in v.sources.iter().flatten() {
            if let Some(p) = &source.config_map {
                parts.push(Part::ConfigMap(p.clone()));
            }
            if let Some(p) = &source.secret {
                parts.push(Part::Secret(p.clone()));
            }
            if let Some(p) = &source.downward_api {
                parts.push(Part::Downward(p.items.clone().unwrap_or_default()));
            }
            if let Some(p) = &source.service_account_token {
                parts.push(Part::Token(p.clone()));
            }
        }
        Some(Self {
            plugin: "projected",
            parts,
            default_mode: v.default_mode,
        })
    }

    fn single(plugin: &'static str, part: Part, default_mode: Option<i32>) -> Self {
        Self {
            plugin,
            parts: vec![part],
            default_mode,
        }
    }

    /// The name its directory carries.
    pub fn plugin(&self) -> &'static str {
        self.plugin
    }

    /// Whether the files must not rest on disk.
    pub fn is_secret(&self) -> bool {
        self.parts
            .iter()
            .any(|p| matches!(p, Part::Secret(_) | Part::Token(_)))
    }

    /// Whether the files change with the pod.
    pub fn follows_pod(&self) -> bool {
        self.parts.iter().any(|p| matches!(p, Part::Downward(_)))
    }

    /// Names of the ConfigMaps.
    pub fn config_maps(&self) -> BTreeSet<&str> {
        self.parts
            .iter()
            .filter_map(|p| match p {
                Part::ConfigMap(p) => Some(p.name.as_str()),
                _ => None,
            })
            .collect()
    }

    /// Names of the Secrets.
    pub fn secrets(&self) -> BTreeSet<&str> {
        self.parts
            .iter()
            .filter_map(|p| match p {
                Part::Secret(p) => Some(p.name.as_str()),
                _ => None,
            })
            .collect()
    }
}

/// A token and when it ends, in seconds from now.
#[derive(Clone)]
pub struct Token {
    /// The token.
    pub text: String,
    /// Its life, in seconds.
    pub lifetime: i64,
}

/// Asks the API for a token of the pod's ServiceAccount, bound to the pod.
pub async fn request_token(
    agent: &Agent,
    pod: &PodView,
    part: &ServiceAccountTokenProjection,
) -> Result<Token, VolumeError> {
    let account = pod
        .spec()
        .service_account_name
        .as_deref()
        .filter(|s| !s.is_empty())
        .unwrap_or("default");
    let request = TokenRequest {
        metadata: ObjectMeta::default(),
        spec: Some(TokenRequestSpec {
            audiences: Some(
                part.audience
                    .iter()
                    .filter(|a| !a.is_empty())
                    .cloned()
                    .collect(),
            ),
            expiration_seconds: Some(part.expiration_seconds.unwrap_or(3600)),
            bound_object_ref: Some(BoundObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Pod".to_owned()),
                name: Some(pod.name().to_owned()),
                uid: Some(pod.uid().to_owned()),
            }),
        }),
        status: None,
    };
    let api: Api<ServiceAccount> = Api::namespaced(agent.context.client.clone(), pod.namespace());
    let failed = |reason: String| {
        VolumeError::Api(format!(
            "failed to fetch token for service account {}/{account}: {reason}",
            pod.namespace()
        ))
    };
    let answer = api
        .create_token_request(account, &PostParams::default(), &request)
        .await
        .map_err(|error| failed(error.to_string()))?;
    let status = answer.status.unwrap_or_default();
    let text = status
        .token
        .ok_or_else(|| failed("no token in the answer".to_owned()))?;
    let lifetime = status
        .expiration_timestamp
        .map_or(3600, |t| t.0.duration_since(agent.now()).as_secs());
    Ok(Token { text, lifetime })
}

/// The error of an object that is not there.
pub fn not_found(kind: &str, name: &str) -> VolumeError {
    VolumeError::Object(format!("{kind} {name:?} not found"))
}
