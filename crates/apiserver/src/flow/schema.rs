//! FlowSchemas compiled: which requests belong to which flow of which priority level. Pure.

use api::meta;
use api::object::Object;
use http::HeaderValue;
use serde_json::Value;

use crate::authorization::Attributes;

/// One FlowSchema.
pub(super) struct Schema {
    pub(super) name: String,
    pub(super) uid: HeaderValue,
    pub(super) level: String,
    precedence: i64,
    by: By,
    rules: Vec<Rule>,
}

/// What tells the flows of one schema apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Nothing,
    User,
    Namespace,
}

struct Rule {
    subjects: Vec<Subject>,
    resources: Vec<ResourceRule>,
    paths: Vec<PathRule>,
}

enum Subject {
    User(String),
    Group(String),
    ServiceAccount(String, String),
}

struct ResourceRule {
    verbs: Words,
    groups: Words,
    resources: Words,
    namespaces: Words,
    cluster: bool,
}

struct PathRule {
    verbs: Words,
    paths: Vec<String>,
}

/// A list of texts, or `*`.
struct Words {
    any: bool,
    words: Vec<String>,
}

impl Words {
    fn read(value: &Value, path: &str) -> Words {
        let words: Vec<String> = value.texts(path).map(str::to_owned).collect();
        Words {
            any: words.iter().any(|w| w == "*"),
            words,
        }
    }

    fn has(&self, word: &str) -> bool {
        self.any || self.words.iter().any(|w| w == word)
    }
}

impl Schema {
    pub(super) fn read(object: &Value) -> Schema {
        let spec = object.at("spec");
        Schema {
            name: meta::name(object).to_owned(),
            uid: HeaderValue::from_str(meta::uid(object))
                .unwrap_or_else(|_| HeaderValue::from_static("")),
            level: spec.text("priorityLevelConfiguration.name").to_owned(),
            precedence: spec.int("matchingPrecedence").unwrap_or(1000),
            by: match spec.text("distinguisherMethod.type") {
                "ByUser" => By::User,
                "ByNamespace" => By::Namespace,
                _ => By::Nothing,
            },
            rules: spec.list("rules").iter().map(Rule::read).collect(),
        }
    }

    /// The order in which schemas are tried.
    pub(super) fn rank(&self) -> (i64, &str) {
        (self.precedence, &self.name)
    }

    pub(super) fn matches(&self, request: &Attributes<'_>) -> bool {
        self.rules.iter().any(|rule| rule.matches(request))
    }

    /// The flow within the schema.
    pub(super) fn flow<'a>(&self, request: &Attributes<'a>) -> &'a str {
        match self.by {
            By::Nothing => "",
            By::User => &request.user.name,
            By::Namespace => request.namespace,
        }
    }
}

impl Rule {
    fn read(rule: &Value) -> Rule {
        let subject = |s: &Value| match s.text("kind") {
            "User" => Subject::User(s.text("user.name").to_owned()),
            "Group" => Subject::Group(s.text("group.name").to_owned()),
            _ => Subject::ServiceAccount(
                s.text("serviceAccount.namespace").to_owned(),
                s.text("serviceAccount.name").to_owned(),
            ),
        };
        let resource = |r: &Value| ResourceRule {
            verbs: Words::read(r, "verbs"),
            groups: Words::read(r, "apiGroups"),
            resources: Words::read(r, "resources"),
            namespaces: Words::read(r, "namespaces"),
            cluster: r.flag("clusterScope"),
        };
        let path = |r: &Value| PathRule {
            verbs: Words::read(r, "verbs"),
            paths: r.texts("nonResourceURLs").map(str::to_owned).collect(),
        };
        Rule {
            subjects: rule.list("subjects").iter().map(subject).collect(),
            resources: rule.list("resourceRules").iter().map(resource).collect(),
            paths: rule.list("nonResourceRules").iter().map(path).collect(),
        }
    }

    fn matches(&self, request: &Attributes<'_>) -> bool {
        let asks = if request.is_resource {
            self.resources.iter().any(|r| r.matches(request))
        } else {
            self.paths.iter().any(|r| r.matches(request))
        };
        asks && self.subjects.iter().any(|s| s.is(request))
    }
}

impl Subject {
    fn is(&self, request: &Attributes<'_>) -> bool {
        let user = request.user;
        match self {
            Subject::User(name) => name == "*" || *name == user.name,
            Subject::Group(name) => name == "*" || user.in_group(name),
            Subject::ServiceAccount(namespace, name) => {
                let rest = user.name.strip_prefix("system:serviceaccount:");
                rest.and_then(|rest| rest.split_once(':'))
                    .is_some_and(|(ns, own)| ns == namespace && (name == "*" || name == own))
            }
        }
    }
}

impl ResourceRule {
    fn matches(&self, request: &Attributes<'_>) -> bool {
        let resource = || {
            self.resources.any
                || if request.subresource.is_empty() {
                    self.resources.has(request.resource)
                } else {
                    self.resources.has(&request.qualified())
                }
        };
        let place = || {
            if request.namespace.is_empty() {
                self.cluster
            } else {
                self.namespaces.has(request.namespace)
            }
        };
        self.verbs.has(request.verb) && self.groups.has(request.group) && resource() && place()
    }
}

impl PathRule {
    fn matches(&self, request: &Attributes<'_>) -> bool {
        self.verbs.has(request.verb)
            && self.paths.iter().any(|path| match path.strip_suffix('*') {
                Some(prefix) => request.path.starts_with(prefix),
                None => request.path == path,
            })
    }
}
