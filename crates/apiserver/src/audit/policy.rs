//! The policy: the first rule that is about a request says at which level it is told of, and at which
//! stages it is not.

use api::names;
use schema::Path;
use schema::field_error::FieldError;
use serde::Deserialize;
use serde_json::Value;

use crate::authorization::Attributes;
use crate::request::info::RequestInfo;

/// How much is told of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Nothing.
    #[default]
    None,
    /// Who, what, when, with which outcome.
    Metadata,
    /// And the object that was sent.
    Request,
    /// And the object that was answered.
    RequestResponse,
}

/// When a request is told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Before anything was done.
    RequestReceived,
    /// The beginning of an answer that takes long (a watch).
    ResponseStarted,
    /// All was answered.
    ResponseComplete,
    /// The handler failed.
    Panic,
}

const LEVELS: [(&str, Level); 4] = [
    ("None", Level::None),
    ("Metadata", Level::Metadata),
    ("Request", Level::Request),
    ("RequestResponse", Level::RequestResponse),
];

const STAGES: [(&str, Stage); 4] = [
    ("RequestReceived", Stage::RequestReceived),
    ("ResponseStarted", Stage::ResponseStarted),
    ("ResponseComplete", Stage::ResponseComplete),
    ("Panic", Stage::Panic),
];

impl Level {
    /// As events name it.
    pub fn name(self) -> &'static str {
        LEVELS[self as usize].0
    }
}

impl Stage {
    /// As events name it.
    pub fn name(self) -> &'static str {
        STAGES[self as usize].0
    }
}

/// A set of stages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stages(u8);

impl Stages {
    /// Is it one of them?
    pub fn has(self, stage: Stage) -> bool {
        self.0 & (1 << stage as u8) != 0
    }

    fn with(self, other: Stages) -> Stages {
        Stages(self.0 | other.0)
    }
}

/// What the policy says about one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ruling {
    /// How much is told.
    pub level: Level,
    /// When it is not.
    pub omitted: Stages,
    /// Objects are told of without their managedFields.
    pub omit_managed_fields: bool,
}

/// Why a text is no policy.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// It cannot be read at all.
    #[error("{0}")]
    Form(String),
    /// It is something else.
    #[error("it is a {kind:?} of {api_version:?}; a Policy of audit.k8s.io/v1 is expected")]
    Kind {
        /// What it says it is.
        kind: String,
        /// Of which version.
        api_version: String,
    },
    /// Values are wrong.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
    Invalid(Vec<FieldError>),
    /// Nothing would ever be told of.
    #[error("it has no rules")]
    Empty,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct File {
    api_version: String,
    kind: String,
    rules: Vec<FileRule>,
    omit_stages: Vec<String>,
    omit_managed_fields: bool,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct FileRule {
    level: String,
    users: Vec<String>,
    user_groups: Vec<String>,
    verbs: Vec<String>,
    resources: Vec<GroupResources>,
    namespaces: Vec<String>,
    #[serde(rename = "nonResourceURLs")]
    non_resource_urls: Vec<String>,
    omit_stages: Vec<String>,
    omit_managed_fields: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct GroupResources {
    group: String,
    resources: Vec<String>,
    resource_names: Vec<String>,
}

/// Fields by their place; others are told of and count for nothing, as upstream has it.
const KNOWN: [(&str, &[&str]); 3] = [
    (
        "",
        &[
            "apiVersion",
            "kind",
            "metadata",
            "rules",
            "omitStages",
            "omitManagedFields",
        ],
    ),
    (
        "rules",
        &[
            "level",
            "users",
            "userGroups",
            "verbs",
            "resources",
            "namespaces",
            "nonResourceURLs",
            "omitStages",
            "omitManagedFields",
        ],
    ),
    ("resources", &["group", "resources", "resourceNames"]),
];

struct Rule {
    ruling: Ruling,
    file: FileRule,
}

/// A policy.
pub struct Policy {
    rules: Vec<Rule>,
}

impl Policy {
    /// Everything at level `Metadata`.
    pub fn metadata() -> Policy {
        let ruling = Ruling {
            level: Level::Metadata,
            omitted: Stages(1 << Stage::RequestReceived as u8),
            ..Ruling::default()
        };
        let file = FileRule::default();
        Policy {
            rules: vec![Rule { ruling, file }],
        }
    }

    /// Reads YAML or JSON.
    pub fn parse(text: &[u8]) -> Result<Policy, PolicyError> {
        let form = |e: &dyn std::fmt::Display| PolicyError::Form(e.to_string());
        let mut value = schema::decode::yaml_untyped(text).map_err(|e| form(&e))?;
        without_nulls(&mut value);
        for name in unknown(&value) {
            tracing::warn!(field = %name, "the audit policy has a field that it should not have");
        }
        let file: File = serde_json::from_value(value).map_err(|e| form(&e))?;
        if file.api_version != "audit.k8s.io/v1" || file.kind != "Policy" {
            return Err(PolicyError::Kind {
                kind: file.kind,
                api_version: file.api_version,
            });
        }
        let mut errors = Vec::new();
        let root = Path::ROOT;
        let everywhere = stages(&file.omit_stages, &root.field("omitStages"), &mut errors);
        let list = root.field("rules");
        let mut rules = Vec::new();
        for (index, rule) in file.rules.into_iter().enumerate() {
            let path = list.index(index);
            let level = check(&rule, &path, &mut errors);
            let omitted = stages(&rule.omit_stages, &path.field("omitStages"), &mut errors);
            let ruling = Ruling {
                level,
                omitted: omitted.with(everywhere),
                omit_managed_fields: rule.omit_managed_fields.unwrap_or(file.omit_managed_fields),
            };
            rules.push(Rule { ruling, file: rule });
        }
        if !errors.is_empty() {
            return Err(PolicyError::Invalid(errors));
        }
        if rules.is_empty() {
            return Err(PolicyError::Empty);
        }
        Ok(Policy { rules })
    }

    /// What the first rule says that is about this request; nothing is told when there is none.
    pub fn judge(&self, attributes: Option<&Attributes<'_>>, info: &RequestInfo) -> Ruling {
        self.rules
            .iter()
            .find(|rule| rule.file.is_about(attributes, info))
            .map_or_else(Ruling::default, |rule| rule.ruling)
    }
}

fn has(list: &[String], word: &str) -> bool {
    list.iter().any(|held| held == word)
}

impl FileRule {
    fn is_about(&self, attributes: Option<&Attributes<'_>>, info: &RequestInfo) -> bool {
        let user = attributes.map(|a| a.user);
        if !self.users.is_empty() && !user.is_some_and(|user| has(&self.users, &user.name)) {
            return false;
        }
        let in_group =
            |user: &crate::UserInfo| user.groups.iter().any(|g| has(&self.user_groups, g));
        if !self.user_groups.is_empty() && !user.is_some_and(in_group) {
            return false;
        }
        if !self.verbs.is_empty() && !has(&self.verbs, info.verb) {
            return false;
        }
        if !self.namespaces.is_empty() || !self.resources.is_empty() {
            return info.is_resource
                && (self.namespaces.is_empty() || has(&self.namespaces, &info.namespace))
                && (self.resources.is_empty() || self.resources.iter().any(|r| r.has(info)));
        }
        self.non_resource_urls.is_empty()
            || !info.is_resource
                && self.non_resource_urls.iter().any(|url| {
                    let path = info.path.as_str();
                    url == path || url.strip_suffix('*').is_some_and(|p| path.starts_with(p))
                })
    }
}

impl GroupResources {
    fn has(&self, info: &RequestInfo) -> bool {
        if self.group != "*" && self.group != info.group {
            return false;
        }
        if self.resources.is_empty() {
            return true;
        }
        if !self.resource_names.is_empty() && !has(&self.resource_names, &info.name) {
            return false;
        }
        let (resource, sub) = (info.resource.as_str(), info.subresource.as_str());
        self.resources
            .iter()
            .any(|wanted| match wanted.split_once('/') {
                None => wanted == "*" || sub.is_empty() && wanted == resource,
                Some((r, s)) => {
                    r == resource && (s == "*" || !sub.is_empty() && s == sub)
                        || r == "*" && !sub.is_empty() && s == sub
                }
            })
    }
}

fn stages(names: &[String], path: &Path<'_>, errors: &mut Vec<FieldError>) -> Stages {
    let mut set = Stages::default();
    for (index, name) in names.iter().enumerate() {
        match STAGES.iter().find(|(known, _)| known == name) {
            Some((_, stage)) => set = set.with(Stages(1 << *stage as u8)),
            None => {
                let known = STAGES.map(|(name, _)| name).join(",");
                let why = format!("allowed stages are {known}");
                errors.push(FieldError::invalid(path.index(index), name.as_str(), why));
            }
        }
    }
    set
}

fn check(rule: &FileRule, path: &Path<'_>, errors: &mut Vec<FieldError>) -> Level {
    let level = LEVELS.iter().find(|(name, _)| *name == rule.level);
    match level {
        None if rule.level.is_empty() => errors.push(FieldError::required(path.field("level"), "")),
        None => {
            let known = LEVELS.map(|(name, _)| name);
            let level = rule.level.as_str();
            errors.push(FieldError::not_supported(
                path.field("level"),
                level,
                &known,
            ));
        }
        Some(_) => {}
    }
    let urls = path.field("nonResourceURLs");
    for (index, url) in rule
        .non_resource_urls
        .iter()
        .enumerate()
        .filter(|(_, url)| *url != "*")
    {
        let mut wrong = |why: &str| {
            errors.push(FieldError::invalid(urls.index(index), url.as_str(), why));
        };
        if !url.starts_with('/') {
            wrong("non-resource URL rules must begin with a '/' character");
        }
        if url.trim_end_matches('*').len() + 1 < url.len()
            || url.trim_end_matches('*').contains('*')
        {
            wrong("non-resource URL wildcards '*' must be the final character of the rule");
        }
    }
    let place = path.field("resources");
    for about in &rule.resources {
        if !about.group.is_empty() && about.group != "*" {
            let wrong = names::dns1123_subdomain(&about.group);
            if !wrong.is_empty() {
                let group = place.field("group");
                errors.push(FieldError::invalid(
                    group,
                    about.group.as_str(),
                    wrong.join(","),
                ));
            }
        }
        if !about.resource_names.is_empty() && about.resources.is_empty() {
            errors.push(FieldError::invalid(
                place.field("resourceNames"),
                about.resource_names.join(","),
                "using resourceNames requires at least one resource",
            ));
        }
    }
    let resources = !rule.resources.is_empty() || !rule.namespaces.is_empty();
    if !rule.non_resource_urls.is_empty() && resources {
        errors.push(FieldError::invalid(
            urls,
            rule.non_resource_urls.join(","),
            "rules cannot apply to both regular resources and non-resource URLs",
        ));
    }
    level.map_or(Level::None, |(_, level)| *level)
}

/// A null stands for a field that is not there.
fn without_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(without_nulls);
        }
        Value::Array(list) => list.iter_mut().for_each(without_nulls),
        _ => {}
    }
}

fn unknown(value: &Value) -> Vec<String> {
    fn look(value: &Value, place: usize, found: &mut Vec<String>) {
        let (_, known) = KNOWN[place];
        for (key, value) in value.as_object().into_iter().flatten() {
            if !known.contains(&key.as_str()) {
                found.push(key.clone());
            } else if place + 1 < KNOWN.len() && key == KNOWN[place + 1].0 {
                for item in value.as_array().into_iter().flatten() {
                    look(item, place + 1, found);
                }
            }
        }
    }
    let mut found = Vec::new();
    look(value, 0, &mut found);
    found
}

#[cfg(test)]
mod tests;
