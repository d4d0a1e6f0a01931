//! Which names of a definition are free within its group.

use std::collections::HashSet;

use jiff::Timestamp;
use schema::Value;
use serde_json::json;

use super::conditions;
use crate::object::Object;

/// Names that other definitions of the group have.
#[derive(Default)]
pub struct Taken {
    resources: HashSet<String>,
    kinds: HashSet<String>,
}

impl Taken {
    /// The names that `others` were accepted under, as far as they are of the group and not the
    /// definition itself.
    pub fn of<'a>(definition: &Value, others: impl IntoIterator<Item = &'a Value>) -> Self {
        let mut taken = Self::default();
        for other in others {
            if other.text("spec.group") != definition.text("spec.group")
                || other.text("metadata.name") == definition.text("metadata.name")
            {
                continue;
            }
            let names = other.at("status.acceptedNames");
            for field in ["plural", "singular"] {
                taken.resources.insert(names.text(field).to_owned());
            }
            taken
                .resources
                .extend(names.texts("shortNames").map(str::to_owned));
            for field in ["kind", "listKind"] {
                taken.kinds.insert(names.text(field).to_owned());
            }
        }
        taken.resources.remove("");
        taken.kinds.remove("");
        taken
    }
}

/// Accepts the names that are free, and says so in the conditions.
pub fn accept(definition: &mut Value, taken: &Taken, now: Timestamp) {
    let wanted = definition.at("spec.names").clone();
    let mut accepted = definition.at("status.acceptedNames").clone();
    if !accepted.is_object() {
        accepted = json!({});
    }
    let mut refused: Option<(&str, String)> = None;
    let in_use = |name: &str| format!("{name:?} is already in use");
    for (field, reason, used) in [
        ("plural", "PluralConflict", &taken.resources),
        ("singular", "SingularConflict", &taken.resources),
        ("shortNames", "ShortNamesConflict", &taken.resources),
        ("kind", "KindConflict", &taken.kinds),
        ("listKind", "ListKindConflict", &taken.kinds),
    ] {
        let conflicts: Vec<String> = if field == "shortNames" {
            let own: Vec<&str> = accepted.texts(field).collect();
            wanted
                .texts(field)
                .filter(|name| !own.contains(name) && used.contains(*name))
                .map(in_use)
                .collect()
        } else {
            let name = wanted.text(field);
            let free = name == accepted.text(field) || !used.contains(name);
            (!free).then(|| in_use(name)).into_iter().collect()
        };
        match &conflicts[..] {
            [] => accepted.restore(field, &wanted),
            [one] => refused = Some((reason, one.clone())),
            many => refused = Some((reason, format!("[{}]", many.join(", ")))),
        }
    }
    accepted.restore("categories", &wanted);
    definition.set("status.acceptedNames", accepted);
    let (status, reason, message) = match &refused {
        None => ("True", "NoConflicts", "no conflicts found"),
        Some((reason, message)) => ("False", *reason, message.as_str()),
    };
    conditions::set(definition, "NamesAccepted", status, reason, message, now);
    if conditions::is_true(definition, "Established") {
        return;
    }
    let (reason, message) = if refused.is_none() {
        ("Installing", "the initial names have been accepted")
    } else {
        ("NotAccepted", "not all names are accepted")
    };
    conditions::set(definition, "Established", "False", reason, message, now);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(plural: &str, kind: &str, short: &[&str]) -> Value {
        json!({
            "metadata": {"name": format!("{plural}.example.com")},
            "spec": {"group": "example.com", "names": {"plural": plural, "singular": kind.to_lowercase(),
                "kind": kind, "listKind": format!("{kind}List"), "shortNames": short}},
        })
    }

    #[test]
    fn the_first_to_ask_for_a_name_has_it() {
        let now = Timestamp::UNIX_EPOCH;
        let mut first = definition("foos", "Foo", &["f"]);
        accept(&mut first, &Taken::default(), now);
        assert!(conditions::is_true(&first, "NamesAccepted"));
        let mut second = definition("bars", "Foo", &["f", "b"]);
        let taken = Taken::of(&second, [&first]);
        accept(&mut second, &taken, now);
        let condition = crate::meta::condition(&second, "NamesAccepted").unwrap();
        assert_eq!(condition.text("reason"), "ListKindConflict");
        assert_eq!(condition.text("message"), "\"FooList\" is already in use");
        assert_eq!(second.text("status.acceptedNames.plural"), "bars");
        assert!(!second.has("status.acceptedNames.shortNames"));
        // A name that is given back can be had.
        accept(&mut second, &Taken::default(), now);
        assert!(conditions::is_true(&second, "NamesAccepted"));
        assert_eq!(second.text("status.acceptedNames.kind"), "Foo");
    }
}
