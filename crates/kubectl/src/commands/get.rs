//! `kubectl get`.

use futures::{AsyncBufReadExt, TryStreamExt};
use serde_json::Value;

use super::report;
use crate::{
    error::{Error, Result, io, usage},
    flags::Get,
    object::{Found, Target, objects, targets},
    output::{self, Format, jsonpath::Template, table},
    session::Session,
};

/// What asks the server for a table.
const AS_TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

/// Runs it.
pub async fn run(session: &Session, flags: &Get) -> Result<u8> {
    if let Some(path) = &flags.raw {
        print!("{}", session.text(path).await?);
        return Ok(0);
    }
    if flags.selection.arguments.is_empty() && flags.selection.filename.is_empty() {
        eprintln!(
            "You must specify the type of resource to get. Use \"kubectl api-resources\" for a complete list of supported resources.\n"
        );
        return Err(usage(
            "Required resource not specified.\nUse \"kubectl explain <resource>\" for a detailed description of that resource (e.g. kubectl explain pods).\nSee 'kubectl get -h' for help and examples",
        ));
    }
    let format = Format::parse(flags.output.as_deref())?;
    if let Format::Table { wide } = format {
        return tables(session, flags, wide).await;
    }
    let (mut found, errors) = objects(session, &flags.selection).await?;
    if let Some(path) = &flags.sort_by {
        sort(&mut found, path)?;
    }
    let all = targets(session, &flags.selection).await?;
    let single = all.len() == 1 && all[0].name.is_some();
    let missing = tolerated(errors, flags.ignore_not_found);
    if !(found.is_empty() && (single || !missing.is_empty())) {
        print!(
            "{}",
            output::print(&format, &found, single, flags.show_managed_fields)?
        );
    }
    if flags.watch {
        return watch_objects(session, flags, &format, &all).await;
    }
    Ok(report(&missing))
}

fn tolerated(errors: Vec<Error>, ignore: bool) -> Vec<Error> {
    errors
        .into_iter()
        .filter(|e| !(ignore && matches!(e, Error::Server(s) if s.code == 404)))
        .collect()
}

fn sort(found: &mut [Found], path: &str) -> Result<()> {
    let path = path.trim_matches(['{', '}']);
    let dot = if path.starts_with('.') { "" } else { "." };
    let template = Template::parse(&format!("{{{dot}{path}}}")).map_err(usage)?;
    found.sort_by_cached_key(|f| {
        match template
            .values(&f.object)
            .ok()
            .and_then(|v| v.first().map(|v| (*v).clone()))
        {
            Some(Value::Number(n)) => (
                0,
                n.as_f64().map_or(0, |n| (n * 1000.0) as i64),
                String::new(),
            ),
            Some(Value::String(s)) => (1, 0, s),
            _ => (2, 0, String::new()),
        }
    });
    Ok(())
}

async fn tables(session: &Session, flags: &Get, wide: bool) -> Result<u8> {
    let all = targets(session, &flags.selection).await?;
    let several = all.iter().any(|t| t.resource != all[0].resource);
    let mut errors = Vec::new();
    let mut blocks: Vec<(Target, Value)> = Vec::new();
    for target in &all {
        match session
            .json(
                http::Method::GET,
                &target.path(&flags.selection),
                AS_TABLE,
                None,
            )
            .await
        {
            Err(error) => errors.push(error),
            Ok(table) => match blocks
                .iter_mut()
                .find(|(t, _)| t.resource == target.resource)
            {
                // Named objects of one kind share a table.
                Some((_, first)) => {
                    if let (Some(rows), Value::Array(more)) =
                        (first["rows"].as_array_mut(), table["rows"].clone())
                    {
                        rows.extend(more);
                    }
                }
                None => blocks.push((target.clone(), table)),
            },
        }
    }
    let extra = |target: &Target| table::Extra {
        wide,
        namespace: flags.selection.all_namespaces && target.resource.namespaced,
        prefix: several.then(|| target.resource.named("").trim_end_matches('/').to_string()),
        labels: flags.label_columns.clone(),
        all_labels: flags.show_labels,
    };
    let mut printed = false;
    for (target, server) in &blocks {
        let extra = extra(target);
        let rows = table::rows(server, server, &extra);
        if rows.is_empty() {
            continue;
        }
        if printed {
            println!();
        }
        printed = true;
        let header = (!flags.no_headers).then(|| table::header(server, &extra));
        print!("{}", table::align(header.into_iter().chain(rows).collect()));
    }
    let errors = tolerated(errors, flags.ignore_not_found);
    if !printed && errors.is_empty() && !flags.watch && !flags.ignore_not_found {
        let namespaced =
            all.iter().any(|t| t.resource.namespaced) && !flags.selection.all_namespaces;
        if namespaced {
            eprintln!("No resources found in {} namespace.", session.namespace);
        } else {
            eprintln!("No resources found");
        }
    }
    if flags.watch || flags.watch_only {
        let [(target, server)] = blocks.as_slice() else {
            return Err(usage(
                "you may only specify a single resource type to watch",
            ));
        };
        return watch_table(session, flags, target, server, &extra(target)).await;
    }
    Ok(report(&errors))
}

fn watch_path(flags: &Get, target: &Target, version: &str) -> String {
    let mut selection = flags.selection.clone();
    let mut target = target.clone();
    if let Some(name) = target.name.take() {
        selection.field_selector = Some(format!("metadata.name={name}"));
    }
    let path = target.path(&selection);
    let join = if path.contains('?') { '&' } else { '?' };
    format!("{path}{join}watch=true&resourceVersion={version}")
}

async fn watch_table(
    session: &Session,
    flags: &Get,
    target: &Target,
    first: &Value,
    extra: &table::Extra,
) -> Result<u8> {
    let version = first["metadata"]["resourceVersion"]
        .as_str()
        .unwrap_or_default();
    let stream = session
        .stream(&watch_path(flags, target, version), AS_TABLE)
        .await?;
    let mut lines = stream.lines();
    let mut widths: Vec<usize> = table::header(first, extra)
        .iter()
        .map(String::len)
        .collect();
    for row in table::rows(first, first, extra) {
        widen(&mut widths, &row);
    }
    while let Some(line) = lines.try_next().await.map_err(io("watch"))? {
        let event: Value =
            serde_json::from_str(&line).map_err(|e| Error::Connect(e.to_string()))?;
        for row in table::rows(first, &event["object"], extra) {
            widen(&mut widths, &row);
            let cells: Vec<String> = row
                .iter()
                .zip(&widths)
                .map(|(cell, width)| format!("{cell:<width$}"))
                .collect();
            println!("{}", cells.join("   ").trim_end());
        }
    }
    Ok(0)
}

fn widen(widths: &mut [usize], row: &[String]) {
    for (width, cell) in widths.iter_mut().zip(row) {
        *width = (*width).max(cell.chars().count());
    }
}

async fn watch_objects(
    session: &Session,
    flags: &Get,
    format: &Format,
    all: &[Target],
) -> Result<u8> {
    let [target] = all else {
        return Err(usage(
            "you may only specify a single resource type to watch",
        ));
    };
    let list = session.get(&target.path(&flags.selection)).await?;
    let version = list["metadata"]["resourceVersion"]
        .as_str()
        .unwrap_or_default();
    let stream = session
        .stream(&watch_path(flags, target, version), "application/json")
        .await?;
    let mut lines = stream.lines();
    while let Some(line) = lines.try_next().await.map_err(io("watch"))? {
        let mut event: Value =
            serde_json::from_str(&line).map_err(|e| Error::Connect(e.to_string()))?;
        let found = Found {
            resource: target.resource.clone(),
            object: event["object"].take(),
        };
        print!(
            "{}",
            output::print(format, &[found], true, flags.show_managed_fields)?
        );
    }
    Ok(0)
}
