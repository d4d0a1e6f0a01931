//! `kubectl create`, from files and from flags.

use http::Method;
use serde_json::{Value, json};

use super::{generate, report};
use crate::{
    error::{Error, Result, usage},
    flags::{Create, Generator},
    manifest::{self, Document},
    mapping::Resource,
    object::Found,
    output::{self, Format},
    session::Session,
};

/// Runs it.
pub async fn run(session: &Session, flags: &Create) -> Result<u8> {
    let documents = match &flags.generator {
        Some(Generator::Token {
            name,
            audience,
            duration,
        }) => return token(session, flags, name, audience, duration.as_deref()).await,
        Some(generator) => vec![generate::object(session, generator).await?],
        None if flags.filename.is_empty() => {
            return Err(usage("must specify one of -f, or what to create"));
        }
        None => Vec::new(),
    };
    let made_up = documents.len();
    let files = manifest::read(&flags.filename, flags.recursive)?;
    let documents = documents
        .into_iter()
        .map(|object| Document {
            source: String::new(),
            object,
        })
        .chain(files);
    let mut errors = Vec::new();
    let mut made = Vec::new();
    for document in documents {
        let what = format!("error when creating {:?}", document.source);
        let kind = document.object["kind"]
            .as_str()
            .unwrap_or_default()
            .to_lowercase();
        let done = one(session, flags, document.object).await;
        match done.map_err(|e| named(e, (made_up > 0).then_some(kind.as_str()), &what)) {
            Ok(found) => {
                if flags.output.is_none() {
                    let dry = match flags.dry_run.as_str() {
                        "client" => " (dry run)",
                        "server" => " (server dry run)",
                        _ => "",
                    };
                    println!("{} created{dry}", found.resource.named(found.name()));
                }
                made.push(found);
            }
            Err(error) => errors.push(error),
        }
    }
    if flags.output.is_some() && !made.is_empty() {
        print!(
            "{}",
            output::print(
                &Format::parse(flags.output.as_deref())?,
                &made,
                made.len() == 1,
                false
            )?
        );
    }
    Ok(report(&errors))
}

/// An error told as kubectl tells it: of something in a file, or of what was to be made.
fn named(error: Error, made_up: Option<&str>, what: &str) -> Error {
    match (error, made_up) {
        (Error::Server(status), Some(kind)) => {
            usage(format!("failed to create {kind}: {}", status.message))
        }
        (other, _) => other.during(what),
    }
}

async fn one(session: &Session, flags: &Create, mut document: Value) -> Result<Found> {
    let (api_version, kind) = manifest::kind_of(&document)?;
    let resource = session.mapping().await?.of_kind(api_version, kind)?.clone();
    if flags.dry_run == "client" {
        return Ok(Found {
            resource,
            object: document,
        });
    }
    if resource.namespaced && document["metadata"]["namespace"].is_null() {
        document["metadata"]["namespace"] = session.namespace.clone().into();
    }
    let namespace = document["metadata"]["namespace"]
        .as_str()
        .unwrap_or_default();
    let dry = if flags.dry_run == "server" {
        "&dryRun=All"
    } else {
        ""
    };
    let path = format!(
        "{}?fieldManager=kubectl-create&fieldValidation=Strict{dry}",
        resource.path(Some(namespace))
    );
    let object = session
        .json(
            Method::POST,
            &path,
            "application/json",
            Some(("application/json", &document)),
        )
        .await?;
    Ok(Found { resource, object })
}

/// Asks for a token of a ServiceAccount.
async fn token(
    session: &Session,
    flags: &Create,
    name: &str,
    audiences: &[String],
    duration: Option<&str>,
) -> Result<u8> {
    let mut spec = json!({});
    if !audiences.is_empty() {
        spec["audiences"] = json!(audiences);
    }
    if let Some(text) = duration {
        spec["expirationSeconds"] = super::duration(text)?.as_secs().into();
    }
    let request =
        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec});
    let path = format!(
        "/api/v1/namespaces/{}/serviceaccounts/{name}/token",
        session.namespace
    );
    let body = Some(("application/json", &request));
    let object = session
        .json(Method::POST, &path, "application/json", body)
        .await?;
    match &flags.output {
        None => println!("{}", object["status"]["token"].as_str().unwrap_or_default()),
        Some(format) => {
            let found = Found {
                resource: Resource::default(),
                object,
            };
            let format = Format::parse(Some(format))?;
            print!("{}", output::print(&format, &[found], true, false)?);
        }
    }
    Ok(0)
}
