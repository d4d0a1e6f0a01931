//! `kubectl auth can-i` and `kubectl auth whoami`: the server is asked about the one who asks.

use api::object::Object;
use http::Method;
use serde_json::{Value, json};

use crate::{
    describe::permissions,
    error::{Result, usage},
    flags::Auth,
    output::{self, Format, table},
    session::Session,
};

/// Runs it.
pub async fn run(session: &Session, command: &Auth) -> Result<u8> {
    match command {
        Auth::Whoami { output } => whoami(session, output.as_deref()).await,
        Auth::CanI { list: true, .. } => list(session).await,
        Auth::CanI {
            arguments,
            subresource,
            all_namespaces,
            quiet,
            ..
        } => {
            let spec =
                question(session, arguments, subresource.as_deref(), *all_namespaces).await?;
            let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": spec});
            let status = ask(
                session,
                "selfsubjectaccessreviews",
                "authorization.k8s.io",
                &review,
            )
            .await?;
            let allowed = status.flag("allowed");
            if !quiet {
                let mut text = if allowed { "yes" } else { "no" }.to_string();
                if !allowed {
                    for field in ["reason", "evaluationError"] {
                        if !status.text(field).is_empty() {
                            text.push_str(&format!(" - {}", status.text(field)));
                        }
                    }
                }
                println!("{text}");
            }
            Ok(u8::from(!allowed))
        }
    }
}

async fn ask(session: &Session, plural: &str, group: &str, review: &Value) -> Result<Value> {
    let path = format!("/apis/{group}/v1/{plural}");
    let body = Some(("application/json", review));
    let answer = session
        .json(Method::POST, &path, "application/json", body)
        .await?;
    Ok(answer.at("status").clone())
}

/// What the words ask about.
async fn question(
    session: &Session,
    words: &[String],
    subresource: Option<&str>,
    all_namespaces: bool,
) -> Result<Value> {
    let (verb, resource, name) = match words {
        [verb, resource] => match resource.split_once('/') {
            Some((resource, name)) if !resource.is_empty() => (verb, resource, name),
            _ => (verb, resource.as_str(), ""),
        },
        [verb, resource, name] => (verb, resource.as_str(), name.as_str()),
        _ => {
            return Err(usage(
                "you must specify two arguments: verb resource or verb resource/resourceName.\nSee 'kubectl auth can-i -h' for help and examples.",
            ));
        }
    };
    if resource.starts_with('/') {
        return Ok(json!({"nonResourceAttributes": {"verb": verb, "path": resource}}));
    }
    let mapping = session.mapping().await?;
    let known = mapping.find(resource).ok();
    let (group, plural) = match known {
        Some(known) => (known.group.as_str(), known.plural.as_str()),
        None => {
            let (plural, group) = resource.split_once('.').unwrap_or((resource, ""));
            if resource != "*" {
                let of = match group {
                    "" => String::new(),
                    group => format!(" in group '{group}'"),
                };
                eprintln!("Warning: the server doesn't have a resource type '{plural}'{of}\n");
            }
            (group, plural)
        }
    };
    let mut attributes = json!({"verb": verb, "group": group, "resource": plural});
    if let Some(known) = known
        && !known.namespaced
        && !all_namespaces
    {
        let of = match group {
            "" => String::new(),
            group => format!(" in group '{group}'"),
        };
        eprintln!("Warning: resource '{plural}' is not namespace scoped{of}\n");
    }
    if !all_namespaces {
        attributes["namespace"] = session.namespace.clone().into();
    }
    if !name.is_empty() {
        attributes["name"] = name.into();
    }
    if let Some(part) = subresource {
        attributes["subresource"] = part.into();
    }
    Ok(json!({"resourceAttributes": attributes}))
}

async fn list(session: &Session) -> Result<u8> {
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview", "spec": {"namespace": session.namespace}});
    let status = ask(
        session,
        "selfsubjectrulesreviews",
        "authorization.k8s.io",
        &review,
    )
    .await?;
    if status.flag("incomplete") {
        eprintln!(
            "warning: the list may be incomplete: {}",
            status.text("evaluationError")
        );
    }
    let rules: Vec<Value> = [
        status.list("resourceRules"),
        status.list("nonResourceRules"),
    ]
    .concat();
    let head = ["Resources", "Non-Resource URLs", "Resource Names", "Verbs"];
    let mut rows = vec![head.map(str::to_string).to_vec()];
    rows.extend(permissions(&rules).into_iter().map(|row| row.to_vec()));
    print!("{}", table::align(rows));
    Ok(0)
}

async fn whoami(session: &Session, format: Option<&str>) -> Result<u8> {
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let body = Some(("application/json", &review));
    let answer = session
        .json(Method::POST, path, "application/json", body)
        .await?;
    if let Some(format) = format {
        let found = crate::object::Found {
            resource: crate::mapping::Resource::default(),
            object: answer,
        };
        let format = Format::parse(Some(format))?;
        print!("{}", output::print(&format, &[found], true, false)?);
        return Ok(0);
    }
    let user = answer.at("status.userInfo");
    let row = |name: &str, value: String| vec![name.to_string(), value];
    let texts = |value: &Value| {
        let items = value.as_array().into_iter().flatten();
        let items: Vec<&str> = items.filter_map(Value::as_str).collect();
        format!("[{}]", items.join(" "))
    };
    let mut rows = vec![row("ATTRIBUTE", "VALUE".into())];
    for (name, field) in [("Username", "username"), ("UID", "uid")] {
        if !user.text(field).is_empty() {
            rows.push(row(name, user.text(field).into()));
        }
    }
    if !user.list("groups").is_empty() {
        rows.push(row("Groups", texts(user.at("groups"))));
    }
    for (key, values) in user.pairs("extra") {
        rows.push(row(&format!("Extra: {key}"), texts(values)));
    }
    print!("{}", table::align(rows));
    Ok(0)
}
