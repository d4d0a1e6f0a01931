//! What pods for Windows may have, and what only they may have.

use schema::{Path, Value, field_error::FieldError};

use super::visit;
use crate::{names, object::Object, validation::checks::wrongs};

const GMSA_MAX_KIB: usize = 64;
const DOMAIN_MAX: usize = 256;
const USER_MAX: usize = 104;

/// `windowsOptions` of a security context.
pub fn options(options: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    if options.is_null() {
        return;
    }
    if options.has("gmsaCredentialSpecName") {
        let name = options.text("gmsaCredentialSpecName");
        let field = path.field("gmsaCredentialSpecName");
        wrongs(name, names::dns1123_subdomain(name), &field, errors);
    }
    if options.has("gmsaCredentialSpec") {
        let spec = options.text("gmsaCredentialSpec");
        let field = path.field("gmsaCredentialSpec");
        if spec.is_empty() {
            let wrong = "gmsaCredentialSpec cannot be an empty string";
            errors.push(FieldError::invalid(field, spec, wrong));
        } else if spec.len() > GMSA_MAX_KIB * 1024 {
            let wrong = format!("gmsaCredentialSpec size must be under {GMSA_MAX_KIB} KiB");
            errors.push(FieldError::invalid(field, spec, wrong));
        }
    }
    if options.has("runAsUserName") {
        let name = options.text("runAsUserName");
        let field = path.field("runAsUserName");
        for wrong in user_name(name) {
            errors.push(FieldError::invalid(field, name, wrong));
        }
    }
}

/// What is wrong with a user's name.
fn user_name(name: &str) -> Vec<String> {
    if name.is_empty() {
        return vec!["runAsUserName cannot be an empty string".to_owned()];
    }
    if name.chars().any(|c| c.is_ascii_control()) {
        return vec!["runAsUserName cannot contain control characters".to_owned()];
    }
    let parts: Vec<&str> = name.split('\\').collect();
    let (domain, user) = match parts[..] {
        [user] => (None, user),
        [domain, user] => (Some(domain), user),
        _ => return vec!["runAsUserName cannot contain more than one backslash".to_owned()],
    };
    let mut wrongs = Vec::new();
    if domain.is_some_and(|domain| domain.len() >= DOMAIN_MAX) {
        wrongs.push(format!(
            "runAsUserName's Domain length must be under {DOMAIN_MAX} characters"
        ));
    }
    if domain.is_some_and(|domain| !is_net_bios(domain) && !is_dns(domain)) {
        let wrong = "runAsUserName's Domain doesn't match the NetBios nor the DNS format";
        wrongs.push(wrong.to_owned());
    }
    if user.is_empty() {
        wrongs.push("runAsUserName's User cannot be empty".to_owned());
    } else if user.len() > USER_MAX {
        wrongs.push(format!(
            "runAsUserName's User length must not be longer than {USER_MAX} characters"
        ));
    }
    if !user.is_empty() && user.chars().all(|c| matches!(c, '.' | ' ')) {
        wrongs.push("runAsUserName's User cannot contain only periods or spaces".to_owned());
    }
    if user.contains([
        '"', '/', '\\', ':', ';', '|', '=', ',', '+', '*', '?', '<', '>', '@', '[', ']',
    ]) {
        let wrong =
            "runAsUserName's User cannot contain the following characters: \"/\\:;|=,+*?<>@[]";
        wrongs.push(wrong.to_owned());
    }
    wrongs
}

fn is_net_bios(domain: &str) -> bool {
    let bad = |c: char| matches!(c, '\\' | '/' | ':' | '*' | '?' | '"' | '<' | '>' | '|');
    (1..=15).contains(&domain.chars().count()) && !domain.starts_with('.') && !domain.contains(bad)
}

fn is_dns(domain: &str) -> bool {
    domain.split('.').all(|label| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
    })
}

/// Containers in the host's own processes: all of them, or none.
pub fn host_process(spec: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let own = |holder: &Value| {
        holder
            .at("securityContext.windowsOptions.hostProcess")
            .as_bool()
    };
    let pod = own(spec);
    let (mut count, mut hosted) = (0, 0);
    visit(spec, path, &mut |item, path| {
        count += 1;
        let container = own(item);
        if let (Some(pod), Some(container)) = (pod, container)
            && pod != container
        {
            let context = path.field("securityContext");
            let options = context.field("windowsOptions");
            let wrong =
                format!("pod hostProcess value must be identical if both are specified, was {pod}");
            errors.push(FieldError::invalid(
                options.field("hostProcess"),
                container,
                wrong,
            ));
        }
        hosted += usize::from(container.or(pod) == Some(true));
    });
    if hosted == 0 {
        return;
    }
    if hosted != count {
        let wrong = "If pod contains any hostProcess containers then all containers must be HostProcess containers";
        errors.push(FieldError::invalid(path, "", wrong));
    }
    if !spec.flag("hostNetwork") {
        let wrong = "hostNetwork must be true if pod contains any hostProcess containers";
        errors.push(FieldError::invalid(path.field("hostNetwork"), false, wrong));
    }
}

/// `spec.os`, and what pods for it may not have.
pub fn system(spec: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let os = path.field("os");
    match spec.text("os.name") {
        "" => errors.push(FieldError::required(os.field("name"), "")),
        "linux" => linux(spec, path, errors),
        "windows" => windows(spec, path, errors),
        other => {
            let known = ["linux", "windows"];
            errors.push(FieldError::not_supported(os, other, &known));
        }
    }
}

fn linux(spec: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    const WRONG: &str = "windows options cannot be set for a linux pod";
    let mut check = |holder: &Value, path: &Path<'_>| {
        if holder.has("securityContext.windowsOptions") {
            let context = path.field("securityContext");
            errors.push(FieldError::forbidden(
                context.field("windowsOptions"),
                WRONG,
            ));
        }
    };
    check(spec, path);
    visit(spec, path, &mut check);
}

fn windows(spec: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    const WRONG: &str = "cannot be set for a windows pod";
    for field in ["hostUsers", "shareProcessNamespace"] {
        if spec.has(field) {
            errors.push(FieldError::forbidden(path.field(field), WRONG));
        }
    }
    for field in ["hostPID", "hostIPC"] {
        if spec.flag(field) {
            errors.push(FieldError::forbidden(path.field(field), WRONG));
        }
    }
    let mut check = |holder: &Value, fields: &[&str], path: &Path<'_>| {
        let context = path.field("securityContext");
        for field in fields {
            if holder.at("securityContext").has(field) {
                errors.push(FieldError::forbidden(context.field(field), WRONG));
            }
        }
    };
    const POD: [&str; 11] = [
        "appArmorProfile",
        "seLinuxOptions",
        "seccompProfile",
        "fsGroup",
        "fsGroupChangePolicy",
        "sysctls",
        "runAsUser",
        "runAsGroup",
        "supplementalGroups",
        "supplementalGroupsPolicy",
        "seLinuxChangePolicy",
    ];
    check(spec, &POD, path);
    const CONTAINER: [&str; 10] = [
        "appArmorProfile",
        "seLinuxOptions",
        "seccompProfile",
        "capabilities",
        "readOnlyRootFilesystem",
        "privileged",
        "allowPrivilegeEscalation",
        "procMount",
        "runAsUser",
        "runAsGroup",
    ];
    visit(spec, path, &mut |item, path| check(item, &CONTAINER, path));
}
