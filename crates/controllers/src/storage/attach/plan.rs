//! What to attach to a node and what to detach: pure.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use client::events::EventType;
use k8s_openapi::api::core::v1::{AttachedVolume, Node};
use k8s_openapi::api::storage::v1::{
    VolumeAttachment, VolumeAttachmentSource, VolumeAttachmentSpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use ring::digest;

use crate::kit::sooner;

/// How long a node that does not answer may keep a volume from being detached.
pub(super) const PATIENCE: Duration = Duration::from_secs(360);
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

/// A volume that pods on the node use.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted {
    pub driver: String,
    pub handle: String,
    /// Only one node at a time may have it.
    pub exclusive: bool,
    /// If another node has it, the pods on other nodes that use it.
    pub elsewhere: Option<Vec<String>>,
}

/// A volume as nodes' status names it.
pub(super) fn unique_name(driver: &str, handle: &str) -> String {
    format!("kubernetes.io/csi/{driver}^{handle}")
}

/// The name of an attachment: the same for the same volume and node, so that it is made once.
fn name(wanted: &Wanted, node: &str) -> String {
    let text = format!("{}{}{node}", wanted.handle, wanted.driver);
    let sum = digest::digest(&digest::SHA256, text.as_bytes());
    let hex: String = sum
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("csi-{hex}")
}

/// Did this controller make it? Attachments of other makers are theirs to undo.
fn is_own(attachment: &VolumeAttachment) -> bool {
    let name = attachment.metadata.name.as_deref().unwrap_or_default();
    name.strip_prefix("csi-").is_some_and(|hex| {
        hex.len() == 2 * digest::SHA256_OUTPUT_LEN && hex.bytes().all(|b| b.is_ascii_hexdigit())
    })
}

/// In this order: the node's status, creates, deletes.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// What the node's status should say, if it says something else.
    pub attached: Option<Vec<AttachedVolume>>,
    pub create: Vec<VolumeAttachment>,
    pub delete: Vec<Arc<VolumeAttachment>>,
    /// Volume, whose pods are told.
    pub events: Vec<(String, EventType, &'static str, String)>,
    pub again: Option<Duration>,
}

fn volume_of(attachment: &VolumeAttachment) -> Option<&str> {
    attachment.spec.source.persistent_volume_name.as_deref()
}

fn is_attached(attachment: &VolumeAttachment) -> bool {
    attachment
        .status
        .as_ref()
        .is_some_and(|status| status.attached)
}

/// Plans for one node. `wanted` is by volume name; `names` answers driver and handle of a volume;
/// `waited` says since when a volume has not been wanted any more.
pub(super) fn plan(
    node_name: &str,
    node: Option<&Node>,
    wanted: &BTreeMap<String, Wanted>,
    attachments: &[Arc<VolumeAttachment>],
    names: impl Fn(&str) -> Option<String>,
    waited: impl Fn(&str) -> Duration,
) -> Plan {
    let mut plan = Plan::default();
    let status = node.and_then(|node| node.status.as_ref());
    let in_use = |volume: &str| {
        let used = status.and_then(|status| status.volumes_in_use.as_deref());
        names(volume).is_some_and(|name| used.unwrap_or_default().contains(&name))
    };
    let told: Vec<_> = status
        .and_then(|status| status.volumes_attached.clone())
        .unwrap_or_default();
    let mut kept = Vec::new();
    for attachment in attachments {
        let Some(volume) = volume_of(attachment) else {
            continue;
        };
        let leaving = attachment.metadata.deletion_timestamp.is_some();
        let detach = !leaving && is_own(attachment) && !wanted.contains_key(volume) && {
            let wait = PATIENCE.saturating_sub(waited(volume));
            let free = node.is_none_or(|node| {
                !in_use(volume) || is_out_of_service(node) || (wait.is_zero() && !is_ready(node))
            });
            if !free && node.is_some_and(|node| !is_ready(node)) {
                plan.again = sooner(plan.again, Some(wait.max(Duration::from_secs(1))));
            }
            free
        };
        if detach {
            plan.delete.push(attachment.clone());
        } else if is_attached(attachment)
            && !leaving
            && let Some(name) = names(volume)
        {
            if !told.iter().any(|told| told.name == name) {
                let message = format!("AttachVolume.Attach succeeded for volume {volume:?} ");
                plan.events.push((
                    volume.to_owned(),
                    EventType::Normal,
                    "SuccessfulAttachVolume",
                    message,
                ));
            }
            kept.push(AttachedVolume {
                name,
                device_path: String::new(),
            });
        } else if let Some(error) = attachment
            .status
            .as_ref()
            .and_then(|status| status.attach_error.as_ref())
        {
            let why = error.message.as_deref().unwrap_or_default();
            let message = format!("AttachVolume.Attach failed for volume {volume:?} : {why}");
            plan.events.push((
                volume.to_owned(),
                EventType::Warning,
                "FailedAttachVolume",
                message,
            ));
        }
    }
    if node.is_some() {
        for (volume, wanted) in wanted {
            let there = attachments
                .iter()
                .any(|attachment| volume_of(attachment) == Some(volume.as_str()));
            if there {
                continue;
            }
            if let Some(users) = wanted.elsewhere.as_ref().filter(|_| wanted.exclusive) {
                let why = match users.is_empty() {
                    true => "Volume is already exclusively attached to one node and can't be attached to another".to_owned(),
                    false => format!("Volume is already used by pod(s) {}", users.join(", ")),
                };
                let message = format!("Multi-Attach error for volume {volume:?} {why}");
                plan.events.push((
                    volume.clone(),
                    EventType::Warning,
                    "FailedAttachVolume",
                    message,
                ));
                continue;
            }
            plan.create.push(VolumeAttachment {
                metadata: ObjectMeta {
                    name: Some(name(wanted, node_name)),
                    ..ObjectMeta::default()
                },
                spec: VolumeAttachmentSpec {
                    attacher: wanted.driver.clone(),
                    node_name: node_name.to_owned(),
                    source: VolumeAttachmentSource {
                        persistent_volume_name: Some(volume.clone()),
                        ..VolumeAttachmentSource::default()
                    },
                },
                status: None,
            });
        }
        kept.sort_by(|a, b| a.name.cmp(&b.name));
        let mut before = told;
        before.sort_by(|a, b| a.name.cmp(&b.name));
        plan.attached = (kept != before).then_some(kept);
    }
    plan
}

fn is_out_of_service(node: &Node) -> bool {
    node.spec
        .as_ref()
        .and_then(|spec| spec.taints.as_deref())
        .unwrap_or_default()
        .iter()
        .any(|taint| taint.key == OUT_OF_SERVICE)
}

pub(super) fn is_ready(node: &Node) -> bool {
    let conditions = node
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_deref());
    conditions
        .unwrap_or_default()
        .iter()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn node(ready: &str, in_use: &[&str], attached: &[&str], taint: Option<&str>) -> Node {
        let attached: Vec<_> = attached
            .iter()
            .map(|name| json!({"name": name, "devicePath": ""}))
            .collect();
        serde_json::from_value(json!({"metadata": {"name": "n"},
            "spec": {"taints": taint.map(|key| vec![json!({"key": key, "effect": "NoExecute"})])},
            "status": {"conditions": [{"type": "Ready", "status": ready}],
                "volumesInUse": in_use, "volumesAttached": attached}}))
        .unwrap()
    }

    fn attachment(volume: &str, attached: bool) -> Arc<VolumeAttachment> {
        let of = Wanted {
            driver: "d".into(),
            handle: volume.to_owned(),
            ..Wanted::default()
        };
        attachment_called(&name(&of, "n"), volume, attached)
    }

    fn attachment_called(name: &str, volume: &str, attached: bool) -> Arc<VolumeAttachment> {
        Arc::new(
            serde_json::from_value(json!({"metadata": {"name": name},
            "spec": {"attacher": "d", "nodeName": "n", "source": {"persistentVolumeName": volume}},
            "status": {"attached": attached}}))
            .unwrap(),
        )
    }

    fn wanted(elsewhere: Option<&[&str]>) -> BTreeMap<String, Wanted> {
        let one = Wanted {
            driver: "d".into(),
            handle: "pv".into(),
            exclusive: true,
            elsewhere: elsewhere.map(|pods| pods.iter().map(|name| (*name).to_owned()).collect()),
        };
        [("pv".to_owned(), one)].into()
    }

    const NAME: &str = "kubernetes.io/csi/d^pv";

    fn planned(
        node: Option<&Node>,
        wanted: &BTreeMap<String, Wanted>,
        attachments: &[Arc<VolumeAttachment>],
        waited: u64,
    ) -> String {
        let names = |volume: &str| Some(unique_name("d", volume));
        let plan = plan("n", node, wanted, attachments, names, |_| {
            Duration::from_secs(waited)
        });
        let mut text = Vec::new();
        text.extend(plan.attached.map(|all| format!("status={}", all.len())));
        text.extend(plan.create.iter().map(|_| "create".to_owned()));
        text.extend(plan.delete.iter().map(|_| "delete".to_owned()));
        text.extend(
            plan.events
                .iter()
                .map(|(_, _, reason, _)| (*reason).to_owned()),
        );
        text.extend(plan.again.map(|wait| format!("again={}", wait.as_secs())));
        text.join(" ")
    }

    #[test]
    fn attach_and_detach() {
        let none = BTreeMap::new();
        let ready = node("True", &[], &[], None);
        let told = node("True", &[NAME], &[NAME], None);
        let unmounted = node("True", &[], &[NAME], None);
        let silent = node("Unknown", &[NAME], &[NAME], None);
        let shut_down = node("Unknown", &[NAME], &[NAME], Some(OUT_OF_SERVICE));
        let there = [attachment("pv", true)];
        let by_hand = [attachment_called("va-by-hand", "pv", false)];
        let on_its_way = [attachment("pv", false)];
        let here = wanted(None);
        let cases: [(_, &BTreeMap<String, Wanted>, &[_], _, _); 12] = [
            (Some(&ready), &none, &by_hand, 0, ""),
            (Some(&ready), &here, &[], 0, "create"),
            (Some(&ready), &here, &on_its_way, 0, ""),
            (
                Some(&ready),
                &here,
                &there,
                0,
                "status=1 SuccessfulAttachVolume",
            ),
            (Some(&told), &here, &there, 0, ""),
            (
                Some(&ready),
                &wanted(Some(&[])),
                &[],
                0,
                "FailedAttachVolume",
            ),
            (Some(&told), &none, &there, 0, ""),
            (Some(&unmounted), &none, &there, 0, "status=0 delete"),
            (Some(&silent), &none, &there, 60, "again=300"),
            (Some(&silent), &none, &there, 360, "status=0 delete"),
            (Some(&shut_down), &none, &there, 0, "status=0 delete"),
            (None, &none, &there, 0, "delete"),
        ];
        for (at, (node, wanted, attachments, waited, expected)) in cases.into_iter().enumerate() {
            assert_eq!(
                planned(node, wanted, attachments, waited),
                expected,
                "case {at}"
            );
        }
    }

    #[test]
    fn who_has_an_exclusive_volume() {
        let node = node("True", &[], &[], None);
        let cases = [
            (
                &[][..],
                "Volume is already exclusively attached to one node and can't be attached to another",
            ),
            (&["web-1"][..], "Volume is already used by pod(s) web-1"),
            (&["a", "b"][..], "Volume is already used by pod(s) a, b"),
        ];
        for (pods, why) in cases {
            let names = |volume: &str| Some(unique_name("d", volume));
            let wanted = wanted(Some(pods));
            let plan = plan("n", Some(&node), &wanted, &[], names, |_| Duration::ZERO);
            let expected = format!("Multi-Attach error for volume \"pv\" {why}");
            assert_eq!(plan.events[0].3, expected);
        }
    }

    #[test]
    fn the_name_is_upstreams() {
        let one = Wanted {
            driver: "ebs.csi.aws.com".into(),
            handle: "vol-1".into(),
            ..Wanted::default()
        };
        // sha256 of "vol-1ebs.csi.aws.comnode-1", as sha256sum prints it.
        let expected = "csi-58932ddfc9a6";
        let name = name(&one, "node-1");
        assert_eq!(name.len(), "csi-".len() + 64);
        assert!(name.starts_with(expected), "{name}");
    }
}
