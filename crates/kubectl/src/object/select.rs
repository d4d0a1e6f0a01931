//! `TYPE NAME…`, `TYPE/NAME…`, `TYPE,TYPE`, files: what a command is about.

use serde_json::Value;

use crate::{
    error::{Error, Result, usage},
    flags::Selection,
    manifest,
    mapping::Resource,
    session::{Session, escape},
};

/// What a command is about: a named object, or all of a kind that the selectors match.
#[derive(Clone, Debug)]
pub struct Target {
    /// The kind.
    pub resource: Resource,
    /// The object; none means all that match.
    pub name: Option<String>,
    /// Where.
    pub namespace: String,
}

/// An object and where it came from.
#[derive(Clone, Debug)]
pub struct Found {
    /// The kind.
    pub resource: Resource,
    /// The object.
    pub object: Value,
}

impl Found {
    /// Its name.
    pub fn name(&self) -> &str {
        self.object["metadata"]["name"].as_str().unwrap_or_default()
    }

    /// Its namespace, or the empty text.
    pub fn namespace(&self) -> &str {
        self.object["metadata"]["namespace"]
            .as_str()
            .unwrap_or_default()
    }

    /// Its path.
    pub fn path(&self) -> String {
        self.resource.object(self.namespace(), self.name())
    }
}

impl Target {
    /// The path of the object, or of the collection with the selectors as query.
    pub fn path(&self, selection: &Selection) -> String {
        match &self.name {
            Some(name) => self.resource.object(&self.namespace, name),
            None => {
                let namespace = (!selection.all_namespaces).then_some(self.namespace.as_str());
                let mut query = Vec::new();
                if let Some(labels) = &selection.selector {
                    query.push(format!("labelSelector={}", escape(labels)));
                }
                if let Some(fields) = &selection.field_selector {
                    query.push(format!("fieldSelector={}", escape(fields)));
                }
                let path = self.resource.path(namespace);
                if query.is_empty() {
                    path
                } else {
                    format!("{path}?{}", query.join("&"))
                }
            }
        }
    }
}

/// What the command's words and files mean.
pub async fn targets(session: &Session, selection: &Selection) -> Result<Vec<Target>> {
    let mapping = session.mapping().await?;
    let mut targets = Vec::new();
    for document in manifest::read(&selection.filename, selection.recursive)? {
        let document = document.object;
        let (api_version, kind) = manifest::kind_of(&document)?;
        let namespace = document["metadata"]["namespace"]
            .as_str()
            .unwrap_or(&session.namespace)
            .to_string();
        let name = document["metadata"]["name"].as_str().map(str::to_string);
        targets.push(Target {
            resource: mapping.of_kind(api_version, kind)?.clone(),
            name,
            namespace,
        });
    }
    let words = &selection.arguments;
    let target = |resource: &Resource, name: Option<&str>| Target {
        resource: resource.clone(),
        name: name.map(str::to_string),
        namespace: session.namespace.clone(),
    };
    match words.as_slice() {
        [] => {}
        all if all.iter().all(|w| w.contains('/')) => {
            for word in all {
                let (kind, name) = word.split_once('/').unwrap_or((word, ""));
                if name.is_empty() {
                    return Err(usage(format!(
                        "arguments in resource/name form must have a single resource and name: {word}"
                    )));
                }
                targets.push(target(mapping.find(kind)?, Some(name)));
            }
        }
        [kinds, names @ ..] => {
            if names.iter().any(|n| n.contains('/')) {
                return Err(usage(
                    "there is no need to specify a resource type as a separate argument when passing arguments in resource/name form (e.g. 'kubectl get resource/<resource_name>' instead of 'kubectl get resource resource/<resource_name>'",
                ));
            }
            for kind in kinds.split(',').filter(|k| !k.is_empty()) {
                for resource in mapping.expand(kind)? {
                    if names.is_empty() {
                        targets.push(target(resource, None));
                    }
                    targets.extend(names.iter().map(|name| target(resource, Some(name))));
                }
            }
        }
    }
    if targets.is_empty() {
        return Err(usage(
            "you must specify the type of resource, or a file: for example 'pods', 'deployment/web' or '-f app.yaml'",
        ));
    }
    if selection.all_namespaces && targets.iter().any(|t| t.name.is_some()) {
        return Err(usage(
            "a resource cannot be retrieved by name across all namespaces",
        ));
    }
    Ok(targets)
}

/// The objects themselves. Every error is answered at the end, after what could be had.
pub async fn objects(session: &Session, selection: &Selection) -> Result<(Vec<Found>, Vec<Error>)> {
    let mut found = Vec::new();
    let mut errors = Vec::new();
    for target in targets(session, selection).await? {
        match session.get(&target.path(selection)).await {
            Err(error) => errors.push(error),
            Ok(object) if target.name.is_some() => found.push(Found {
                resource: target.resource,
                object,
            }),
            Ok(mut list) => {
                let items = list["items"].as_array_mut().map(std::mem::take);
                for object in items.unwrap_or_default() {
                    found.push(Found {
                        object: target.resource.typed(object),
                        resource: target.resource.clone(),
                    });
                }
            }
        }
    }
    Ok((found, errors))
}
