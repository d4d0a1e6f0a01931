//! Authorization checks; see [`crate::authorizer`].

use std::sync::Arc;

use super::{Args, Row};
use crate::{
    authorizer::{Check, Decision, Subject, User},
    value::{Fault, OpaqueValue, Outcome, Value},
};

pub(super) const ROWS: &[Row] = &[
    (
        "path",
        "authorizer_path",
        "kubernetes.authorization.Authorizer.(string) -> kubernetes.authorization.PathCheck",
        path,
    ),
    (
        "group",
        "authorizer_group",
        "kubernetes.authorization.Authorizer.(string) -> kubernetes.authorization.GroupCheck",
        group,
    ),
    (
        "serviceAccount",
        "authorizer_serviceaccount",
        "kubernetes.authorization.Authorizer.(string, string) -> kubernetes.authorization.Authorizer",
        service_account,
    ),
    (
        "resource",
        "groupcheck_resource",
        "kubernetes.authorization.GroupCheck.(string) -> kubernetes.authorization.ResourceCheck",
        resource,
    ),
    (
        "subresource",
        "resourcecheck_subresource",
        "kubernetes.authorization.ResourceCheck.(string) -> kubernetes.authorization.ResourceCheck",
        subresource,
    ),
    (
        "namespace",
        "resourcecheck_namespace",
        "kubernetes.authorization.ResourceCheck.(string) -> kubernetes.authorization.ResourceCheck",
        namespace,
    ),
    (
        "name",
        "resourcecheck_name",
        "kubernetes.authorization.ResourceCheck.(string) -> kubernetes.authorization.ResourceCheck",
        name,
    ),
    (
        "fieldSelector",
        "authorizer_fieldselector",
        "kubernetes.authorization.ResourceCheck.(string) -> kubernetes.authorization.ResourceCheck",
        field_selector,
    ),
    (
        "labelSelector",
        "authorizer_labelselector",
        "kubernetes.authorization.ResourceCheck.(string) -> kubernetes.authorization.ResourceCheck",
        label_selector,
    ),
    (
        "check",
        "pathcheck_check",
        "kubernetes.authorization.PathCheck.(string) -> kubernetes.authorization.Decision",
        check,
    ),
    (
        "check",
        "resourcecheck_check",
        "kubernetes.authorization.ResourceCheck.(string) -> kubernetes.authorization.Decision",
        check,
    ),
    (
        "errored",
        "decision_errored",
        "kubernetes.authorization.Decision.() -> bool",
        errored,
    ),
    (
        "error",
        "decision_error",
        "kubernetes.authorization.Decision.() -> string",
        error,
    ),
    (
        "allowed",
        "decision_allowed",
        "kubernetes.authorization.Decision.() -> bool",
        allowed,
    ),
    (
        "reason",
        "decision_reason",
        "kubernetes.authorization.Decision.() -> string",
        reason,
    ),
];

fn subject<'x, 'a>(args: Args<'x, 'a>) -> Result<&'x Subject<'a>, Fault> {
    match args.opaque(0)? {
        OpaqueValue::Authorizer(subject) => Ok(subject),
        _ => Err(Fault::no_such_overload()),
    }
}

fn path<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    let path = args.text(1)?;
    if path.trim().is_empty() {
        return Err(Fault::new("path must not be empty"));
    }
    Ok(Value::opaque(OpaqueValue::PathCheck(
        subject(args)?.clone(),
        path.into(),
    )))
}

fn group<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    Ok(Value::opaque(OpaqueValue::GroupCheck(
        subject(args)?.clone(),
        args.text(1)?.into(),
    )))
}

fn service_account<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    let (namespace, name) = (args.text(1)?, args.text(2)?);
    if !api::names::dns1123_subdomain(name).is_empty() {
        return Err(Fault::new("Invalid service account name"));
    }
    if !api::names::dns1123_label(namespace).is_empty() {
        return Err(Fault::new("Invalid service account namespace"));
    }
    Ok(Value::opaque(OpaqueValue::Authorizer(Subject {
        authorizer: subject(args)?.authorizer,
        user: User::ServiceAccount {
            namespace: namespace.into(),
            name: name.into(),
        },
    })))
}

fn resource<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    let OpaqueValue::GroupCheck(subject, group) = args.opaque(0)? else {
        return Err(Fault::no_such_overload());
    };
    let resource = args.text(1)?;
    if resource.trim().is_empty() {
        return Err(Fault::new("resource must not be empty"));
    }
    Ok(Value::opaque(OpaqueValue::ResourceCheck(
        subject.clone(),
        Check {
            group: group.clone(),
            resource: resource.into(),
            ..Check::default()
        },
    )))
}

fn with<'a>(args: Args<'_, 'a>, set: fn(&mut Check, Arc<str>)) -> Outcome<'a> {
    let OpaqueValue::ResourceCheck(subject, check) = args.opaque(0)? else {
        return Err(Fault::no_such_overload());
    };
    let mut check = check.clone();
    set(&mut check, args.text(1)?.into());
    Ok(Value::opaque(OpaqueValue::ResourceCheck(
        subject.clone(),
        check,
    )))
}

fn subresource<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    with(args, |check, text| check.subresource = text)
}

fn namespace<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    with(args, |check, text| check.namespace = text)
}

fn name<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    with(args, |check, text| check.name = text)
}

fn field_selector<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    with(args, |check, text| check.field_selector = text)
}

fn label_selector<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    with(args, |check, text| check.label_selector = text)
}

fn check<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    let verb: Arc<str> = args.text(1)?.into();
    let (subject, check) = match args.opaque(0)? {
        OpaqueValue::PathCheck(subject, path) => (
            subject,
            Check {
                verb,
                path: Some(path.clone()),
                ..Check::default()
            },
        ),
        OpaqueValue::ResourceCheck(subject, check) => (
            subject,
            Check {
                verb,
                ..check.clone()
            },
        ),
        _ => return Err(Fault::no_such_overload()),
    };
    let decision = subject.authorizer.authorize(&subject.user, &check);
    Ok(Value::opaque(OpaqueValue::Decision(decision)))
}

fn decision<'x>(args: Args<'x, '_>) -> Result<&'x Decision, Fault> {
    match args.opaque(0)? {
        OpaqueValue::Decision(decision) => Ok(decision),
        _ => Err(Fault::no_such_overload()),
    }
}

fn errored<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    Ok(Value::Bool(decision(args)?.error.is_some()))
}

fn error<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    let error = decision(args)?.error.clone();
    Ok(Value::string(error.unwrap_or_else(|| "".into())))
}

fn allowed<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    Ok(Value::Bool(decision(args)?.allowed))
}

fn reason<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    Ok(Value::string(decision(args)?.reason.clone()))
}
