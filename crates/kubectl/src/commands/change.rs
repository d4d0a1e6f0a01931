//! What the commands that write have in common: how a change is sent, and how it is told.

use http::Method;
use serde_json::Value;

use crate::{
    error::{Result, usage},
    flags::Write,
    mapping::Resource,
    object::Found,
    output::{self, Format},
    session::{Session, escape},
};

/// Whether anything is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dry {
    /// It is.
    No,
    /// Nothing is sent.
    Client,
    /// The server does everything but write.
    Server,
}

impl Dry {
    /// Reads `--dry-run`.
    pub fn parse(text: &str) -> Result<Dry> {
        match text {
            "none" | "false" => Ok(Dry::No),
            "client" | "true" => Ok(Dry::Client),
            "server" => Ok(Dry::Server),
            other => Err(usage(format!(
                "Invalid dry-run value ({other}). Must be \"none\", \"server\", or \"client\"."
            ))),
        }
    }

    /// What stands behind the verb.
    pub fn words(self) -> &'static str {
        match self {
            Dry::No => "",
            Dry::Client => " (dry run)",
            Dry::Server => " (server dry run)",
        }
    }
}

/// The query of a write; `manager` is who writes unless told otherwise.
pub fn query(flags: &Write, manager: &str) -> Result<String> {
    let manager = escape(flags.field_manager.as_deref().unwrap_or(manager));
    Ok(match Dry::parse(&flags.dry_run)? {
        Dry::Server => format!("fieldManager={manager}&dryRun=All"),
        _ => format!("fieldManager={manager}"),
    })
}

/// Sends a patch, unless nothing is to be sent; answers the object then.
pub async fn patch(
    session: &Session,
    item: &Found,
    kind: &str,
    patch: &Value,
    flags: &Write,
    manager: &str,
) -> Result<Found> {
    if Dry::parse(&flags.dry_run)? == Dry::Client {
        return Ok(item.clone());
    }
    let path = format!("{}?{}", item.path(), query(flags, manager)?);
    let object = session
        .json(
            Method::PATCH,
            &path,
            "application/json",
            Some((kind, patch)),
        )
        .await?;
    Ok(Found {
        resource: item.resource.clone(),
        object,
    })
}

/// Creates an object, unless nothing is to be sent.
pub async fn create(
    session: &Session,
    resource: &Resource,
    mut object: Value,
    flags: &Write,
    manager: &str,
) -> Result<Found> {
    let resource = resource.clone();
    if Dry::parse(&flags.dry_run)? == Dry::Client {
        return Ok(Found { resource, object });
    }
    if resource.namespaced && object["metadata"]["namespace"].is_null() {
        object["metadata"]["namespace"] = session.namespace.clone().into();
    }
    let namespace = object["metadata"]["namespace"].as_str();
    let path = format!("{}?{}", resource.path(namespace), query(flags, manager)?);
    let body = Some(("application/json", &object));
    let object = session
        .json(Method::POST, &path, "application/json", body)
        .await?;
    Ok(Found { resource, object })
}

/// Says what was done to an object, or prints the object where `-o` asks for it.
pub fn tell(found: &Found, verb: &str, flags: &Write) -> Result<()> {
    match flags.output.as_deref() {
        None | Some("") => println!(
            "{} {verb}{}",
            found.resource.named(found.name()),
            Dry::parse(&flags.dry_run)?.words()
        ),
        Some(output) => print!(
            "{}",
            output::print(
                &Format::parse(Some(output))?,
                std::slice::from_ref(found),
                true,
                false
            )?
        ),
    }
    Ok(())
}
