//! NodeAffinity: `nodeSelector` and required node affinity bind; preferred affinity scores. A profile
//! can add an affinity of its own to every pod's (`addedAffinity`).

use std::sync::Arc;

use k8s_openapi::api::core::v1::{
    NodeAffinity as Affinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm,
    PreferredSchedulingTerm,
};

use crate::{
    cache::{Cache, NodeInfo, class::Class},
    framework::{
        Begin, BeginScore, FilterPlugin, LocalFilter, LocalScore, Normalize, Plugin, Rejection,
        ScorePlugin,
    },
    queue::events::{ClusterEvents, Event},
};

/// See the module.
#[derive(Default)]
pub struct NodeAffinity {
    /// Of the profile.
    pub added: Arc<Affinity>,
}

impl Plugin for NodeAffinity {
    fn name(&self) -> &'static str {
        "NodeAffinity"
    }
    fn hints(&self) -> ClusterEvents {
        ClusterEvents::NODE_ADD | ClusterEvents::NODE_LABEL
    }
    fn helps(&self, event: &Event<'_>, class: &Class) -> bool {
        let meets = |node| required_matches(class, node) && added_matches(&self.added, node);
        event.node.is_none_or(meets)
    }
}

fn added_matches(added: &Affinity, node: &NodeInfo) -> bool {
    let required = added
        .required_during_scheduling_ignored_during_execution
        .as_ref();
    required.is_none_or(|required| selector_matches(required, node))
}

/// Whether a node meets what pods of a class require of its labels and name.
pub fn required_matches(class: &Class, node: &NodeInfo) -> bool {
    let mut selector = class.node_selector.iter();
    selector.all(|(key, value)| node.label(key) == Some(value))
        && class
            .required_node_terms()
            .is_none_or(|terms| terms.iter().any(|term| term_matches(term, node)))
}

/// Whether a node meets any term.
pub fn selector_matches(selector: &NodeSelector, node: &NodeInfo) -> bool {
    let mut terms = selector.node_selector_terms.iter();
    terms.any(|term| term_matches(term, node))
}

/// Whether a node meets all of a term; an empty term matches nothing.
pub fn term_matches(term: &NodeSelectorTerm, node: &NodeInfo) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    if expressions.is_empty() && fields.is_empty() {
        return false;
    }
    expressions
        .iter()
        .all(|r| requirement_matches(r, node.label(&r.key)))
        && fields
            .iter()
            .all(|r| r.key == "metadata.name" && requirement_matches(r, Some(&node.name)))
}

fn requirement_matches(requirement: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let contains = |value: &str| values.iter().any(|v| v == value);
    let compare = |holds: fn(i64, i64) -> bool| {
        let (Some(Ok(have)), [bound]) = (value.map(str::parse::<i64>), values) else {
            return false;
        };
        bound.parse::<i64>().is_ok_and(|bound| holds(have, bound))
    };
    match requirement.operator.as_str() {
        "In" => value.is_some_and(contains),
        "NotIn" => !value.is_some_and(contains),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => compare(|have, bound| have > bound),
        "Lt" => compare(|have, bound| have < bound),
        _ => false,
    }
}

/// The nodes that the required affinity names outright: each of its terms must.
fn named_nodes(class: &Class) -> Option<Vec<Box<str>>> {
    let mut names = Vec::new();
    for term in class.required_node_terms()? {
        let field = term
            .match_fields
            .iter()
            .flatten()
            .find(|r| r.key == "metadata.name" && r.operator == "In")?;
        names.extend(field.values.iter().flatten().map(|v| v.as_str().into()));
    }
    (!names.is_empty()).then_some(names)
}

impl FilterPlugin for NodeAffinity {
    fn begin(&self, class: &Arc<Class>, _: &Cache) -> Begin {
        let added = self
            .added
            .required_during_scheduling_ignored_during_execution
            .is_some();
        if class.required_node_terms().is_none() && class.node_selector.is_empty() && !added {
            return Begin::Skip;
        }
        let required = Required {
            class: class.clone(),
            added: self.added.clone(),
        };
        match named_nodes(class) {
            Some(names) => Begin::Only(names, Box::new(required)),
            None => Begin::Local(Box::new(required)),
        }
    }
}

struct Required {
    class: Arc<Class>,
    added: Arc<Affinity>,
}

impl LocalFilter for Required {
    fn check(&self, _: &Cache, node: &NodeInfo) -> Result<(), Rejection> {
        if !added_matches(&self.added, node) {
            return Err(Rejection::unresolvable(
                "node(s) didn't match scheduler-enforced node affinity",
            ));
        }
        if !required_matches(&self.class, node) {
            return Err(Rejection::unresolvable(
                "node(s) didn't match Pod's node affinity/selector",
            ));
        }
        Ok(())
    }
}

impl ScorePlugin for NodeAffinity {
    fn begin(&self, class: &Arc<Class>, _: &Cache) -> BeginScore {
        let preferred = |a: &Affinity| {
            a.preferred_during_scheduling_ignored_during_execution
                .clone()
                .unwrap_or_default()
        };
        let mut wanted = preferred(&class.node_affinity);
        wanted.extend(preferred(&self.added));
        wanted.retain(|t| t.weight != 0);
        if wanted.is_empty() {
            return BeginScore::Skip;
        }
        BeginScore::Local(Box::new(Preferred(wanted)), Normalize::ToMax)
    }
}

struct Preferred(Vec<PreferredSchedulingTerm>);

impl LocalScore for Preferred {
    fn score(&self, _: &Cache, node: &NodeInfo) -> i64 {
        self.0
            .iter()
            .filter(|t| term_matches(&t.preference, node))
            .map(|t| i64::from(t.weight))
            .sum()
    }
}
