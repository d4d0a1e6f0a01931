//! Parameters of policies: objects of the policy's `paramKind` that a binding's `paramRef` names or
//! selects.

use std::sync::Arc;

use api::labels::Selector;
use api::object::Object;
use serde_json::Value;

use crate::admission::Admission;
use crate::endpoint::Endpoint;
use crate::registry::live;

/// The kind of a policy's parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ParamKind {
    group: String,
    version: String,
    kind: String,
}

/// A binding's parameters.
pub(super) struct ParamRef {
    name: String,
    namespace: String,
    selector: Option<Result<Selector, String>>,
    deny_when_missing: bool,
}

/// Parameters of one binding; further ones are an error, since each costs an evaluation.
const MAX_PARAMS: usize = 1000;

impl ParamKind {
    pub fn read(kind: &Value) -> ParamKind {
        let (group, version) = api::meta::split_api_version(kind.text("apiVersion"));
        ParamKind {
            group: group.to_owned(),
            version: version.to_owned(),
            kind: kind.text("kind").to_owned(),
        }
    }

    /// Where objects of the kind are.
    pub fn endpoint(&self, admission: &Admission<'_>) -> Result<Arc<Endpoint>, String> {
        let ParamKind {
            group,
            version,
            kind,
        } = self;
        let endpoints = &admission.call.server.endpoints;
        endpoints.of_kind(group, version, kind).ok_or_else(|| {
            format!(
                "failed to find resource referenced by paramKind: '{group}/{version}, Kind={kind}'"
            )
        })
    }
}

impl ParamRef {
    pub fn read(reference: &Value) -> ParamRef {
        ParamRef {
            name: reference.text("name").to_owned(),
            namespace: reference.text("namespace").to_owned(),
            selector: reference.has("selector").then(|| {
                Selector::from_label_selector(reference.at("selector")).map_err(|e| e.to_string())
            }),
            deny_when_missing: reference.text("parameterNotFoundAction") == "Deny",
        }
    }
}

/// The parameters, one evaluation each; a single "none" where the policy or the binding wants none.
pub(super) async fn collect(
    endpoint: Option<&Endpoint>,
    reference: Option<&ParamRef>,
    admission: &Admission<'_>,
) -> Result<Vec<Option<Value>>, String> {
    let (Some(endpoint), Some(reference)) = (endpoint, reference) else {
        return Ok(vec![None]);
    };
    let resource = &*endpoint.resource;
    let mut namespace = "";
    if resource.namespaced {
        namespace = match reference.namespace.as_str() {
            "" => admission.namespace(),
            given => given,
        };
        if namespace.is_empty() {
            return Err("cannot use namespaced paramRef in policy binding that matches cluster-scoped resources".to_owned());
        }
    } else if !reference.namespace.is_empty() {
        return Err(
            "paramRef.namespace must not be provided for a cluster-scoped `paramKind`".to_owned(),
        );
    }
    let objects = admission.objects();
    let (group, plural) = (&resource.storage_group, &resource.storage_plural);
    let entries = match (&reference.selector, reference.name.as_str()) {
        (None, "") => return Err("one of name or selector must be provided".to_owned()),
        (Some(_), name) if !name.is_empty() => {
            return Err("paramRef.name and paramRef.selector are mutually exclusive".to_owned());
        }
        (None, name) => {
            let entry = objects.entry(group, plural, namespace, name);
            entry.into_iter().collect()
        }
        (Some(selector), _) => {
            let selector = selector.as_ref().map_err(Clone::clone)?;
            let place = resource.namespaced.then_some(namespace);
            let mut entries = objects.list(group, plural, place);
            entries.retain(|entry| selector.matches_with(|key| entry.attributes.label(key)));
            entries
        }
    };
    if entries.len() > MAX_PARAMS {
        return Err(format!(
            "the binding has {} parameters, more than {MAX_PARAMS}",
            entries.len()
        ));
    }
    if entries.is_empty() && reference.deny_when_missing {
        return Err(
            "no params found for policy binding with `Deny` parameterNotFoundAction".to_owned(),
        );
    }
    let mut params = Vec::with_capacity(entries.len());
    for entry in entries {
        let param = live(endpoint, &entry).await.map_err(|s| s.message)?;
        params.push(Some(param));
    }
    Ok(params)
}
