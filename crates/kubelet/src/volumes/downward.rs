//! Files about the pod itself.

use k8s_openapi::api::core::v1::DownwardAPIVolumeFile;

use super::{File, Payload, VolumeError, payload};
use crate::pods::{
    fields::{self, Surroundings},
    view::PodView,
};

/// The files.
pub fn files(
    pod: &PodView,
    around: &Surroundings,
    items: &[DownwardAPIVolumeFile],
    default_mode: u32,
) -> Result<Payload, VolumeError> {
    let mut out = Payload::new();
    for item in items {
        let text = if let Some(field) = &item.field_ref {
            fields::field(pod, around, &field.field_path)
        } else if let Some(selector) = &item.resource_field_ref {
            fields::resource(pod, around, selector, None)
        } else {
            continue;
        }
        .map_err(|error| VolumeError::Reference(error.to_string()))?;
        out.insert(
            payload::checked(&item.path)?,
            File {
                data: text.into_bytes(),
                mode: payload::mode(item.mode, default_mode),
                uid: None,
            },
        );
    }
    Ok(out)
}
