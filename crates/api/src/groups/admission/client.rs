//! Where a webhook is.

use schema::{Path, Value, field_error::FieldError};

use crate::{names, object::Object, validation::checks::required};

/// Everything wrong with the place of a webhook.
pub fn client_config(config: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    match (config.has("url"), config.has("service")) {
        (true, true) | (false, false) => {
            let wrong = "exactly one of url or service is required";
            errors.push(FieldError::required(path, wrong));
        }
        (true, false) => url(config.text("url"), &path.field("url"), errors),
        (false, true) => service(config.at("service"), &path.field("service"), errors),
    }
}

/// `https://host[/path]`, and nothing else.
fn url(text: &str, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    const FORM: &str = "; desired format: https://host[/path]";
    let mut wrong = |part: &str, wrong: String| {
        errors.push(FieldError::invalid(path, part, wrong));
    };
    let (text, fragment) = text.split_once('#').unwrap_or((text, ""));
    let (scheme, rest) = match text.split_once(':') {
        Some((scheme, rest)) if is_scheme(scheme) => (scheme.to_lowercase(), rest),
        _ => (String::new(), text),
    };
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    if scheme != "https" {
        let said = format!("'https' is the only allowed URL scheme{FORM}");
        wrong(&scheme, said);
    }
    let authority = rest
        .strip_prefix("//")
        .map_or("", |rest| rest.split('/').next().unwrap_or(""));
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    if host.is_empty() {
        wrong("", format!("host must be specified{FORM}"));
    }
    if let Some(user) = user {
        wrong(
            user,
            "user information is not permitted in the URL".to_owned(),
        );
    }
    if !fragment.is_empty() {
        wrong(
            fragment,
            "fragments are not permitted in the URL".to_owned(),
        );
    }
    if !query.is_empty() {
        wrong(
            query,
            "query parameters are not permitted in the URL".to_owned(),
        );
    }
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
}

fn service(service: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    required(service, "name", path, errors);
    required(service, "namespace", path, errors);
    if let Some(port) = service.int("port") {
        for wrong in names::port_number(port) {
            let wrong = format!("port is not valid: {wrong}");
            errors.push(FieldError::invalid(path.field("port"), port, wrong));
        }
    }
    let text = service.text("path");
    let mut wrong = |wrong: String| {
        errors.push(FieldError::invalid(path.field("path"), text, wrong));
    };
    match text {
        "" | "/" => return,
        "//" => {
            wrong("segment[0] may not be empty".to_owned());
            return;
        }
        _ if !text.starts_with('/') => wrong("must start with a '/'".to_owned()),
        _ => {}
    }
    // What comes first is taken for the slash.
    let steps = text.get(1..).unwrap_or("");
    let steps = steps.strip_suffix('/').unwrap_or(steps);
    for (index, step) in steps.split('/').enumerate() {
        if step.is_empty() {
            wrong(format!("segment[{index}] may not be empty"));
            continue;
        }
        for bad in names::dns1123_subdomain(step) {
            wrong(format!("segment[{index}]: {bad}"));
        }
    }
}
