//! persistentVolumeClaim: from the claim to a directory of this node (hostPath and local volumes).

use std::path::PathBuf;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::Api;

use super::{VolumeError, host_path};
use crate::{agent::Agent, pods::view::PodView};

/// The directory behind a bound claim, and whether it is read-only.
pub async fn resolve(
    agent: &Agent,
    pod: &PodView,
    name: &str,
) -> Result<(PathBuf, bool), VolumeError> {
    let api = |error: kube::Error| VolumeError::Api(error.to_string());
    let client = agent.context.client.clone();
    let claim = Api::<PersistentVolumeClaim>::namespaced(client.clone(), pod.namespace())
        .get_opt(name)
        .await
        .map_err(api)?
        .ok_or_else(|| {
            VolumeError::Object(format!("persistentvolumeclaim \"{name}\" not found"))
        })?;
    let bound = claim
        .status
        .as_ref()
        .is_some_and(|s| s.phase.as_deref() == Some("Bound"));
    let spec = claim.spec.unwrap_or_default();
    let volume_name = spec.volume_name.unwrap_or_default();
    if !bound || volume_name.is_empty() {
        return Err(VolumeError::Object(format!("PVC is not bound: {name}")));
    }
    if spec.volume_mode.as_deref() == Some("Block") {
        return Err(VolumeError::Unsupported);
    }
    let volume = Api::<PersistentVolume>::all(client)
        .get_opt(&volume_name)
        .await
        .map_err(api)?
        .ok_or_else(|| {
            VolumeError::Object(format!("persistentvolume \"{volume_name}\" not found"))
        })?;
    let spec = volume.spec.unwrap_or_default();
    let claimed = spec.claim_ref.as_ref().and_then(|r| r.uid.as_deref());
    if claimed != claim.metadata.uid.as_deref() {
        return Err(VolumeError::Object(format!(
            "persistentvolume {volume_name} is bound to another claim"
        )));
    }
    let read_only = spec
        .access_modes
        .as_ref()
        .is_some_and(|modes| !modes.is_empty() && modes.iter().all(|m| m == "ReadOnlyMany"));
    if let Some(source) = spec.host_path {
        let path = PathBuf::from(&source.path);
        super::blocking(move || host_path::check(&source)).await?;
        return Ok((path, read_only));
    }
    if let Some(source) = spec.local {
        let path = PathBuf::from(source.path);
        let shown = path.clone();
        super::blocking(move || {
            std::fs::metadata(&shown)
                .map(|_| ())
                .map_err(VolumeError::io("local volume", &shown))
        })
        .await?;
        return Ok((path, read_only));
    }
    Err(VolumeError::Unsupported)
}
