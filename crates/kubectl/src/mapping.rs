//! What the words for kinds mean: `po`, `pods`, `deploy`, `deployments.apps`, `all`.

use serde_json::Value;

use crate::{
    error::{Error, Result, usage},
    session::Session,
};

/// One served resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resource {
    /// Empty for the core group.
    pub group: String,
    /// Version.
    pub version: String,
    /// Plural name.
    pub plural: String,
    /// Singular name.
    pub singular: String,
    /// Kind.
    pub kind: String,
    /// Lives in a namespace.
    pub namespaced: bool,
    /// Short names.
    pub short: Vec<String>,
    /// Categories.
    pub categories: Vec<String>,
    /// Verbs.
    pub verbs: Vec<String>,
}

impl Resource {
    /// `apps/v1`, or `v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.clone()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// `deployments.apps`, or `pods`: as messages name it.
    pub fn qualified(&self) -> String {
        if self.group.is_empty() {
            self.plural.clone()
        } else {
            format!("{}.{}", self.plural, self.group)
        }
    }

    /// `deployment.apps/web`, or `pod/web`.
    pub fn named(&self, name: &str) -> String {
        let singular = if self.singular.is_empty() {
            self.kind.to_lowercase()
        } else {
            self.singular.clone()
        };
        if self.group.is_empty() {
            format!("{singular}/{name}")
        } else {
            format!("{singular}.{}/{name}", self.group)
        }
    }

    /// The path of the collection; none as the namespace means across all.
    pub fn path(&self, namespace: Option<&str>) -> String {
        let root = if self.group.is_empty() {
            format!("/api/{}", self.version)
        } else {
            format!("/apis/{}/{}", self.group, self.version)
        };
        match namespace.filter(|_| self.namespaced) {
            Some(namespace) => format!("{root}/namespaces/{namespace}/{}", self.plural),
            None => format!("{root}/{}", self.plural),
        }
    }

    /// An item of a list with the kind and version that lists leave out.
    pub fn typed(&self, mut object: Value) -> Value {
        object["apiVersion"] = self.api_version().into();
        object["kind"] = self.kind.clone().into();
        object
    }

    /// The path of an object.
    pub fn object(&self, namespace: &str, name: &str) -> String {
        format!("{}/{name}", self.path(Some(namespace)))
    }
}

/// Everything served, preferred versions first.
#[derive(Debug, Default)]
pub struct Mapping {
    /// In discovery's order.
    pub resources: Vec<Resource>,
}

impl Mapping {
    /// Asks the aggregated discovery documents.
    pub async fn discover(session: &Session) -> Result<Mapping> {
        const ACCEPT: &str =
            "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
        let mut mapping = Mapping::default();
        for path in ["/api", "/apis"] {
            let document = session.json(http::Method::GET, path, ACCEPT, None).await?;
            mapping.read(&document);
        }
        if mapping.resources.is_empty() {
            return Err(Error::Connect("the server lists no resources".into()));
        }
        Ok(mapping)
    }

    /// Takes in one aggregated document.
    pub fn read(&mut self, document: &Value) {
        let text = |v: &Value| v.as_str().unwrap_or_default().to_string();
        let texts = |v: &Value| {
            v.as_array()
                .into_iter()
                .flatten()
                .map(text)
                .collect::<Vec<_>>()
        };
        for group in document["items"].as_array().into_iter().flatten() {
            for version in group["versions"].as_array().into_iter().flatten() {
                for resource in version["resources"].as_array().into_iter().flatten() {
                    self.resources.push(Resource {
                        group: text(&group["metadata"]["name"]),
                        version: text(&version["version"]),
                        plural: text(&resource["resource"]),
                        singular: text(&resource["singularResource"]),
                        kind: text(&resource["responseKind"]["kind"]),
                        namespaced: resource["scope"] == "Namespaced",
                        short: texts(&resource["shortNames"]),
                        categories: texts(&resource["categories"]),
                        verbs: texts(&resource["verbs"]),
                    });
                }
            }
        }
    }

    /// The resource a word means: plural, singular, short name or kind, with `.group` or
    /// `.version.group` behind it.
    pub fn find(&self, word: &str) -> Result<&Resource> {
        let lower = word.to_lowercase();
        let (name, rest) = lower
            .split_once('.')
            .map_or((lower.as_str(), None), |(name, rest)| (name, Some(rest)));
        let is_named = |r: &&Resource| {
            r.plural == name
                || r.singular == name
                || r.short.iter().any(|s| s == name)
                || r.kind.to_lowercase() == name
        };
        let placed = |r: &&Resource| match rest {
            None => true,
            Some(rest) => {
                let full = format!("{}.{}", r.version, r.group);
                r.group == rest
                    || r.version == rest
                    || full.trim_end_matches('.') == rest
                    || (!rest.is_empty() && r.group.starts_with(rest))
            }
        };
        // A full name beats a short one.
        let exact = |r: &&Resource| r.plural == name || r.singular == name;
        self.resources
            .iter()
            .filter(placed)
            .find(exact)
            .or_else(|| self.resources.iter().filter(placed).find(is_named))
            .ok_or_else(|| {
                usage(format!(
                    "the server doesn't have a resource type \"{word}\""
                ))
            })
    }

    /// The resource of an object in a file.
    pub fn of_kind(&self, api_version: &str, kind: &str) -> Result<&Resource> {
        self.resources.iter().find(|r| r.kind == kind && r.api_version() == api_version).ok_or_else(|| {
            usage(format!(
                "resource mapping not found for kind \"{kind}\" in version \"{api_version}\": ensure CRDs are installed first"
            ))
        })
    }

    /// The resources a word means, where the word may be a category such as `all`.
    pub fn expand(&self, word: &str) -> Result<Vec<&Resource>> {
        let mut members: Vec<&Resource> = Vec::new();
        for resource in self
            .resources
            .iter()
            .filter(|r| r.categories.iter().any(|c| c == word))
        {
            // Each once, in the preferred version.
            if !members
                .iter()
                .any(|m| m.plural == resource.plural && m.group == resource.group)
            {
                members.push(resource);
            }
        }
        if members.is_empty() {
            Ok(vec![self.find(word)?])
        } else {
            Ok(members)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Mapping;

    fn mapping() -> Mapping {
        let resource = |plural: &str,
                        singular: &str,
                        kind: &str,
                        short: &str,
                        categories: &[&str]| {
            json!({"resource": plural, "singularResource": singular, "responseKind": {"kind": kind}, "scope": "Namespaced",
                   "shortNames": [short], "categories": categories})
        };
        let mut mapping = Mapping::default();
        mapping.read(&json!({"items": [{"metadata": {}, "versions": [{"version": "v1", "resources": [
            resource("pods", "pod", "Pod", "po", &["all"]), resource("events", "event", "Event", "ev", &[])]}]}]}));
        mapping.read(&json!({"items": [
            {"metadata": {"name": "apps"}, "versions": [{"version": "v1", "resources": [resource("deployments", "deployment", "Deployment", "deploy", &["all"])]}]},
            {"metadata": {"name": "events.k8s.io"}, "versions": [{"version": "v1", "resources": [resource("events", "event", "Event", "ev", &[])]}]},
        ]}));
        mapping
    }

    #[test]
    fn words_find_their_resource() {
        let mapping = mapping();
        for (word, want) in [
            ("po", "pods"),
            ("Pod", "pods"),
            ("deploy", "deployments.apps"),
            ("deployments.apps", "deployments.apps"),
            ("deployment.v1.apps", "deployments.apps"),
            ("ev", "events"),
            ("events.events.k8s.io", "events.events.k8s.io"),
        ] {
            assert_eq!(mapping.find(word).unwrap().qualified(), want, "{word}");
        }
        assert_eq!(
            mapping.find("nonsense").unwrap_err().to_string(),
            "error: the server doesn't have a resource type \"nonsense\""
        );
    }

    #[test]
    fn a_category_means_its_members() {
        let mapping = mapping();
        let names: Vec<String> = mapping
            .expand("all")
            .unwrap()
            .iter()
            .map(|r| r.qualified())
            .collect();
        assert_eq!(names, ["pods", "deployments.apps"]);
    }
}
