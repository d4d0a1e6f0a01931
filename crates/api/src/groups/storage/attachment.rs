//! VolumeAttachments.

use schema::{Path, Value, field_error::FieldError};

use crate::{
    core::{source::csi_driver_name, storage::volume_spec},
    names,
    object::Object,
    validation::checks::{immutable, wrongs},
};

/// Greatest size of what a driver says of an attached volume.
const METADATA_MAX: usize = 256 * 1024;
const MESSAGE_MAX: usize = 1024;

/// Everything wrong with a VolumeAttachment.
pub fn validate(object: &Value, errors: &mut Vec<FieldError>) {
    let path = Path::ROOT.field("spec");
    let spec = object.at("spec");
    csi_driver_name(spec.text("attacher"), &path.field("attacher"), errors);
    let source = spec.at("source");
    let field = path.field("source");
    let volume = source.text("persistentVolumeName");
    const ONE: &str = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
    match (
        source.has("inlineVolumeSpec"),
        source.has("persistentVolumeName"),
    ) {
        (false, false) => errors.push(FieldError::required(field, ONE)),
        (true, true) => errors.push(FieldError::forbidden(field, ONE)),
        (false, true) => {
            if volume.is_empty() {
                let wrong = "must specify non empty persistentVolumeName";
                errors.push(FieldError::required(
                    field.field("persistentVolumeName"),
                    wrong,
                ));
            }
        }
        (true, false) => {
            let inline = source.at("inlineVolumeSpec");
            volume_spec(inline, None, &field.field("inlineVolumeSpec"), errors);
        }
    }
    let node = spec.text("nodeName");
    let node_field = path.field("nodeName");
    wrongs(node, names::dns1123_subdomain(node), &node_field, errors);
    status(object, errors);
    if source.has("persistentVolumeName") {
        let field = field.field("persistentVolumeName");
        wrongs(volume, names::dns1123_subdomain(volume), &field, errors);
    }
}

fn status(object: &Value, errors: &mut Vec<FieldError>) {
    let path = Path::ROOT.field("status");
    let size: usize = object
        .pairs("status.attachmentMetadata")
        .map(|(key, value)| key.len() + value.as_str().map_or(0, str::len))
        .sum();
    if size > METADATA_MAX {
        let field = path.field("attachmentMetadata");
        errors.push(FieldError::too_long(field, METADATA_MAX));
    }
    for field in ["attachError", "detachError"] {
        let error = object.at("status").at(field);
        let path = path.field(field);
        if error.text("message").len() > MESSAGE_MAX {
            // Upstream names the other limit.
            errors.push(FieldError::too_long(path.field("message"), METADATA_MAX));
        }
        if let Some(code) = error.int("errorCode").filter(|code| *code < 0) {
            let wrong = format!("must be between 0 and {}, inclusive", i32::MAX);
            errors.push(FieldError::invalid(path.field("errorCode"), code, wrong));
        }
    }
}

/// What is wrong with a changed status.
pub fn update_status(object: &Value, _: &Value, errors: &mut Vec<FieldError>) {
    validate(object, errors);
}

/// What of a VolumeAttachment may not change.
pub fn update(object: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    immutable(object, old, "spec", &Path::ROOT, errors);
}
