//! Sources of volumes that pods and PersistentVolumes share: what each of them must be given.
//! Where the two differ, `persistent` says for which of them it is.

use schema::{Path, Value, field_error::FieldError};

use crate::{
    names,
    object::Object,
    validation::checks::{descending_path, no_backsteps, one_of_if_set, required, wrongs},
};

const LUN: &str = "must be between 0 and 255, inclusive";
const PARTITION: &str = "must be between 1 and 255, inclusive";
const HOST_PORT: &str = "must be a host:port pair or multiple pairs separated by commas";

/// What of each source must be given.
fn needed(kind: &str) -> &'static [&'static str] {
    match kind {
        "gitRepo" => &["repository"],
        "gcePersistentDisk" => &["pdName"],
        "awsElasticBlockStore" | "cinder" | "portworxVolume" => &["volumeID"],
        "nfs" => &["server", "path"],
        "iscsi" => &["targetPortal", "iqn"],
        "glusterfs" => &["endpoints", "path"],
        "rbd" => &["monitors", "image"],
        "cephfs" => &["monitors"],
        "flexVolume" => &["driver"],
        "azureFile" => &["secretName", "shareName"],
        "vsphereVolume" => &["volumePath"],
        "photonPersistentDisk" => &["pdID"],
        "azureDisk" => &["diskName", "diskURI"],
        "scaleIO" => &["gateway", "system", "volumeName"],
        "quobyte" => &["volume"],
        "storageos" => &["volumeName"],
        "hostPath" | "local" => &["path"],
        _ => &[],
    }
}

/// How upstream names the source in paths.
pub fn shown(kind: &str) -> &str {
    match kind {
        "gcePersistentDisk" => "persistentDisk",
        other => other,
    }
}

/// How upstream names the source where there is more than one.
pub fn shown_second(kind: &str) -> &str {
    match kind {
        "cephfs" => "cephFS",
        "downwardAPI" => "downwarAPI",
        other => other,
    }
}

/// What is wrong with a source; `name` is the volume's.
pub fn source(
    kind: &str,
    value: &Value,
    name: &str,
    persistent: bool,
    path: &Path<'_>,
    errors: &mut Vec<FieldError>,
) {
    for field in needed(kind) {
        let given = match value.at(field) {
            Value::Array(list) => !list.is_empty(),
            text => text.as_str().is_some_and(|text| !text.is_empty()),
        };
        if !given {
            errors.push(FieldError::required(path.field(field), ""));
        }
    }
    match kind {
        "hostPath" => host_path(value, path, errors),
        "local" => no_backsteps(value.text("path"), &path.field("path"), errors),
        "gitRepo" => {
            descending_path(value.text("directory"), &path.field("directory"), errors);
        }
        "gcePersistentDisk" | "awsElasticBlockStore" => {
            range(value, "partition", PARTITION, path, errors);
        }
        "nfs" => {
            let text = value.text("path");
            if !text.starts_with('/') {
                let wrong = "must be an absolute path";
                errors.push(FieldError::invalid(path.field("path"), text, wrong));
            }
        }
        "iscsi" => iscsi(value, name, persistent, path, errors),
        "fc" => fibre_channel(value, path, errors),
        "glusterfs" if persistent && value.has("endpointsNamespace") => {
            let namespace = value.text("endpointsNamespace");
            let path = path.field("endpointsNamespace");
            if namespace.is_empty() {
                let wrong = "if the endpointnamespace is set, it must be a valid namespace name";
                errors.push(FieldError::invalid(path, namespace, wrong));
            } else {
                wrongs(namespace, names::dns1123_label(namespace), &path, errors);
            }
        }
        "flocker" => flocker(value, path, errors),
        "cinder" | "storageos" => {
            if kind == "storageos" {
                for field in ["volumeName", "volumeNamespace"] {
                    let text = value.text(field);
                    if !text.is_empty() {
                        wrongs(text, names::dns1123_label(text), &path.field(field), errors);
                    }
                }
            }
            secret(value.at("secretRef"), persistent, path, errors);
        }
        "flexVolume" => {
            let options = path.field("options");
            for (key, _) in value.pairs("options") {
                let namespace = key.split_once('/').map_or(key, |(namespace, _)| namespace);
                let whole = format!(".{}", namespace.to_lowercase());
                if whole.ends_with(".kubernetes.io") || whole.ends_with(".k8s.io") {
                    let wrong = "kubernetes.io and k8s.io namespaces are reserved";
                    errors.push(FieldError::invalid(options.key(key), key, wrong));
                }
            }
        }
        "azureFile" if persistent && value.has("secretNamespace") => {
            required(value, "secretNamespace", path, errors);
        }
        "azureDisk" => azure_disk(value, path, errors),
        "quobyte" => quobyte(value, path, errors),
        "csi" => csi(value, persistent, path, errors),
        _ => {}
    }
}

fn range(value: &Value, field: &str, wrong: &str, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    if let Some(number) = value.int(field).filter(|n| !(0..=255).contains(n)) {
        errors.push(FieldError::invalid(path.field(field), number, wrong));
    }
}

fn host_path(value: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    if value.text("path").is_empty() {
        return;
    }
    no_backsteps(value.text("path"), &path.field("path"), errors);
    const KNOWN: [&str; 8] = [
        "",
        "BlockDevice",
        "CharDevice",
        "Directory",
        "DirectoryOrCreate",
        "File",
        "FileOrCreate",
        "Socket",
    ];
    one_of_if_set(value, "type", &KNOWN, path, errors);
}

/// `iqn.2001-04.com.example:disk`, `eui.` with 16 digits or `naa.` with 32: the expressions are
/// upstream's, which looks for the first anywhere in the text.
fn is_iscsi_name(text: &str) -> bool {
    let alphanumeric = |rest: &str, length: usize| {
        let mut chars = rest.chars();
        chars.next().is_some() && {
            let rest = chars.as_str();
            rest.len() == length && rest.bytes().all(|byte| byte.is_ascii_alphanumeric())
        }
    };
    if let Some(rest) = text.strip_prefix("eui") {
        return alphanumeric(rest, 16);
    }
    if let Some(rest) = text.strip_prefix("naa") {
        return alphanumeric(rest, 32);
    }
    text.match_indices("iqn.")
        .any(|(at, _)| is_iqn(&text[at + 4..]))
}

fn is_iqn(text: &str) -> bool {
    let bytes = text.as_bytes();
    let digits = |range: std::ops::Range<usize>| {
        bytes
            .get(range)
            .is_some_and(|part| part.iter().all(u8::is_ascii_digit))
    };
    if !(digits(0..4) && bytes.get(4) == Some(&b'-') && digits(5..7) && bytes.get(7) == Some(&b'.'))
    {
        return false;
    }
    let Some((domain, rest)) = text[8..].split_once(':') else {
        return false;
    };
    let domain_ok = !domain.is_empty()
        && domain
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'));
    let rest_ok = !rest.is_empty()
        && !rest
            .chars()
            .any(|c| matches!(c, ',' | ';' | '*' | '&' | '$' | '|') || c.is_ascii_whitespace());
    domain_ok && rest_ok
}

fn iscsi(
    value: &Value,
    name: &str,
    persistent: bool,
    path: &Path<'_>,
    errors: &mut Vec<FieldError>,
) {
    const FORMAT: &str = "must be valid format";
    const PREFIX: &str = "must be valid format starting with iqn, eui, or naa";
    let prefix = if persistent { FORMAT } else { PREFIX };
    let mut check = |text: &str, field: &str| {
        if !["iqn", "eui", "naa"].iter().any(|p| text.starts_with(p)) {
            errors.push(FieldError::invalid(path.field(field), text, prefix));
        } else if !is_iscsi_name(text) {
            errors.push(FieldError::invalid(path.field(field), text, FORMAT));
        }
    };
    let iqn = value.text("iqn");
    if !iqn.is_empty() {
        check(iqn, "iqn");
    }
    if value.has("initiatorName") {
        check(value.text("initiatorName"), "initiatorname");
    }
    range(value, "lun", LUN, path, errors);
    let guarded = value.flag("chapAuthDiscovery") || value.flag("chapAuthSession");
    if guarded && !value.has("secretRef") {
        errors.push(FieldError::required(path.field("secretRef"), ""));
    }
    if persistent && value.has("secretRef") {
        required(
            value.at("secretRef"),
            "name",
            &path.field("secretRef"),
            errors,
        );
    }
    let portal = value.text("targetPortal");
    if persistent && iscsi_name_too_long(value, name) {
        errors.push(FieldError::invalid(
            path.field("targetportal"),
            portal,
            ISCSI_TOTAL,
        ));
    }
}

/// What is said when [`iscsi_name_too_long`].
pub const ISCSI_TOTAL: &str = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified.";

/// Is the name made of the volume's and the portal's too long?
pub fn iscsi_name_too_long(value: &Value, name: &str) -> bool {
    value.has("initiatorName") && name.len() + 1 + value.text("targetPortal").len() > 64
}

fn fibre_channel(value: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let names = value.list("targetWWNs");
    let ids = value.list("wwids");
    let field = path.field("targetWWNs");
    if names.is_empty() && ids.is_empty() {
        let wrong = "must specify either targetWWNs or wwids, but not both";
        errors.push(FieldError::required(field, wrong));
    }
    if names.is_empty() {
        return;
    }
    if !ids.is_empty() {
        let wrong = "targetWWNs and wwids can not be specified simultaneously";
        errors.push(FieldError::invalid(field, names.to_vec(), wrong));
    }
    if value.has("lun") {
        range(value, "lun", LUN, path, errors);
    } else {
        let wrong = "lun is required if targetWWNs is specified";
        errors.push(FieldError::required(path.field("lun"), wrong));
    }
}

fn flocker(value: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let (name, uuid) = (value.text("datasetName"), value.text("datasetUUID"));
    if name.is_empty() && uuid.is_empty() {
        let wrong = "one of datasetName and datasetUUID is required";
        errors.push(FieldError::required(path, wrong));
    }
    if !name.is_empty() && !uuid.is_empty() {
        let wrong = "datasetName and datasetUUID can not be specified simultaneously";
        errors.push(FieldError::invalid(path, "resource", wrong));
    }
    if name.contains('/') {
        let wrong = "must not contain '/'";
        errors.push(FieldError::invalid(path.field("datasetName"), name, wrong));
    }
}

/// A reference to a secret that, in a PersistentVolume, names a namespace too.
fn secret(reference: &Value, persistent: bool, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    if reference.is_null() {
        return;
    }
    let path = path.field("secretRef");
    required(reference, "name", &path, errors);
    if persistent {
        required(reference, "namespace", &path, errors);
    }
}

fn azure_disk(value: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let modes = ["None", "ReadOnly", "ReadWrite"];
    one_of_if_set(value, "cachingMode", &modes, path, errors);
    let kinds = ["Dedicated", "Managed", "Shared"];
    one_of_if_set(value, "kind", &kinds, path, errors);
    if !value.has("kind") {
        return;
    }
    let (prefix, form) = if value.text("kind") == "Managed" {
        (
            "/subscriptions/",
            "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}",
        )
    } else {
        (
            "https://",
            "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd",
        )
    };
    let uri = value.text("diskURI");
    if !uri.starts_with(prefix) {
        errors.push(FieldError::not_supported(
            path.field("diskURI"),
            uri,
            &[form],
        ));
    }
}

fn quobyte(value: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let registry = value.text("registry");
    let field = path.field("registry");
    if registry.is_empty() {
        errors.push(FieldError::required(field, HOST_PORT));
    } else if value.text("tenant").len() >= 65 {
        let wrong = "must be a UUID and may not exceed a length of 64 characters";
        errors.push(FieldError::required(path.field("tenant"), wrong));
    } else {
        for pair in registry.split(',') {
            let split = pair.rsplit_once(':');
            let host_ok = |host: &str| {
                (host.starts_with('[') && host.ends_with(']')) || !host.contains(['[', ']', ':'])
            };
            if !split.is_some_and(|(host, _)| host_ok(host)) {
                errors.push(FieldError::invalid(field, registry, HOST_PORT));
            }
        }
    }
}

/// The name of a secret: a missing one is told of at `at`, a wrong one at `shown`.
fn secret_name(reference: &Value, at: &Path<'_>, shown: &Path<'_>, errors: &mut Vec<FieldError>) {
    let name = required(reference, "name", at, errors);
    if !name.is_empty() {
        let wrong = names::dns1123_subdomain(name);
        wrongs(name, wrong, &shown.field("name"), errors);
    }
}

fn csi(value: &Value, persistent: bool, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    csi_driver_name(value.text("driver"), &path.field("driver"), errors);
    if !persistent {
        let reference = value.at("nodePublishSecretRef");
        if !reference.is_null() {
            // Upstream says where the name is missing, but not where a wrong one is.
            let at = path.field("nodePublishSecretRef");
            secret_name(reference, &at, path, errors);
        }
        return;
    }
    required(value, "volumeHandle", path, errors);
    for field in [
        "controllerPublishSecretRef",
        "controllerExpandSecretRef",
        "nodePublishSecretRef",
        "nodeExpandSecretRef",
    ] {
        let reference = value.at(field);
        if reference.is_null() {
            continue;
        }
        let path = path.field(field);
        secret_name(reference, &path, &path, errors);
        let namespace = required(reference, "namespace", &path, errors);
        if !namespace.is_empty() {
            wrongs(
                namespace,
                names::dns1123_label(namespace),
                &path.field("namespace"),
                errors,
            );
        }
    }
}

/// The name of a CSI driver.
pub fn csi_driver_name(name: &str, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    if name.is_empty() {
        errors.push(FieldError::required(path, ""));
        return;
    }
    if name.len() > 63 {
        errors.push(FieldError::too_long(path, 63));
    }
    wrongs(
        name,
        names::dns1123_subdomain(&name.to_lowercase()),
        path,
        errors,
    );
}
