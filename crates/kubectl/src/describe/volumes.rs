//! Where volumes come from: pods' volumes and PersistentVolumes share the table of sources.

use api::object::Object;
use serde_json::Value;

use super::page::{Page, Row, or_none, pairs, shortened, shown};

/// A kind of source: its field, what its `Type:` line says, the rows under it.
struct Source {
    field: &'static str,
    kind: &'static str,
    rows: &'static [Row],
}

const fn source(field: &'static str, kind: &'static str, rows: &'static [Row]) -> Source {
    Source { field, kind, rows }
}

const READ_ONLY: Row = Row::Or("ReadOnly", "readOnly", "false");
const FS_TYPE: Row = Row::Field("FSType", "fsType");

/// What both pods and PersistentVolumes may have.
const SHARED: &[Source] = &[
    source(
        "hostPath",
        "HostPath (bare host directory volume)",
        &[
            Row::Field("Path", "path"),
            Row::Line("HostPathType", |v| match v.at("type") {
                Value::Null => "<none>".into(),
                kind => shown(kind),
            }),
        ],
    ),
    source(
        "gcePersistentDisk",
        "GCEPersistentDisk (a Persistent Disk resource in Google Compute Engine)",
        &[
            Row::Field("PDName", "pdName"),
            FS_TYPE,
            Row::Or("Partition", "partition", "0"),
            READ_ONLY,
        ],
    ),
    source(
        "awsElasticBlockStore",
        "AWSElasticBlockStore (a Persistent Disk resource in AWS)",
        &[
            Row::Field("VolumeID", "volumeID"),
            FS_TYPE,
            Row::Or("Partition", "partition", "0"),
            READ_ONLY,
        ],
    ),
    source(
        "nfs",
        "NFS (an NFS mount that lasts the lifetime of a pod)",
        &[
            Row::Field("Server", "server"),
            Row::Field("Path", "path"),
            READ_ONLY,
        ],
    ),
    source(
        "iscsi",
        "ISCSI (an ISCSI Disk resource that is attached to a kubelet's host machine and then exposed to the pod)",
        &[
            Row::Field("TargetPortal", "targetPortal"),
            Row::Field("IQN", "iqn"),
            Row::Or("Lun", "lun", "0"),
            Row::Part(|v, page| {
                page.line(2, format!("ISCSIInterface\t{}", v.text("iscsiInterface")))
            }),
            FS_TYPE,
            READ_ONLY,
            Row::Or("Portals", "portals", "[]"),
            Row::Or("DiscoveryCHAPAuth", "chapAuthDiscovery", "false"),
            Row::Or("SessionCHAPAuth", "chapAuthSession", "false"),
            Row::Line("SecretRef", |v| reference(v.at("secretRef"))),
            Row::Or("InitiatorName", "initiatorName", "<none>"),
        ],
    ),
    source(
        "glusterfs",
        "Glusterfs (a Glusterfs mount on the host that shares a pod's lifetime)",
        &[
            Row::Field("EndpointsName", "endpoints"),
            Row::Field("Path", "path"),
            READ_ONLY,
        ],
    ),
    source(
        "rbd",
        "RBD (a Rados Block Device mount on the host that shares a pod's lifetime)",
        &[
            Row::Or("CephMonitors", "monitors", "[]"),
            Row::Field("RBDImage", "image"),
            FS_TYPE,
            Row::Field("RBDPool", "pool"),
            Row::Field("RadosUser", "user"),
            Row::Field("Keyring", "keyring"),
            Row::Line("SecretRef", |v| reference(v.at("secretRef"))),
            READ_ONLY,
        ],
    ),
    source(
        "quobyte",
        "Quobyte (a Quobyte mount on the host that shares a pod's lifetime)",
        &[
            Row::Field("Registry", "registry"),
            Row::Field("Volume", "volume"),
            READ_ONLY,
        ],
    ),
    source(
        "vsphereVolume",
        "vSphereVolume (a Persistent Disk resource in vSphere)",
        &[
            Row::Field("VolumePath", "volumePath"),
            FS_TYPE,
            Row::Field("StoragePolicyName", "storagePolicyName"),
        ],
    ),
    source(
        "cinder",
        "Cinder (a Persistent Disk resource in OpenStack)",
        &[
            Row::Field("VolumeID", "volumeID"),
            FS_TYPE,
            READ_ONLY,
            Row::Line("SecretRef", |v| reference(v.at("secretRef"))),
        ],
    ),
    source(
        "azureDisk",
        "AzureDisk (an Azure Data Disk mount on the host and bind mount to the pod)",
        &[
            Row::Field("DiskName", "diskName"),
            Row::Field("DiskURI", "diskURI"),
            Row::Part(|v, page| page.line(2, format!("Kind: \t{}", v.text("kind")))),
            FS_TYPE,
            Row::Field("CachingMode", "cachingMode"),
            READ_ONLY,
        ],
    ),
    source(
        "photonPersistentDisk",
        "PhotonPersistentDisk (a Persistent Disk resource in photon platform)",
        &[Row::Field("PdID", "pdID"), FS_TYPE],
    ),
    source(
        "portworxVolume",
        "PortworxVolume (a Portworx Volume resource)",
        &[Row::Field("VolumeID", "volumeID")],
    ),
    source(
        "scaleIO",
        "ScaleIO (a persistent volume backed by a block device in ScaleIO)",
        &[
            Row::Field("Gateway", "gateway"),
            Row::Field("System", "system"),
            Row::Field("Protection Domain", "protectionDomain"),
            Row::Field("Storage Pool", "storagePool"),
            Row::Field("Storage Mode", "storageMode"),
            Row::Field("VolumeName", "volumeName"),
            FS_TYPE,
            READ_ONLY,
        ],
    ),
    source(
        "cephfs",
        "CephFS (a CephFS mount on the host that shares a pod's lifetime)",
        &[
            Row::Or("Monitors", "monitors", "[]"),
            Row::Field("Path", "path"),
            Row::Field("User", "user"),
            Row::Field("SecretFile", "secretFile"),
            Row::Line("SecretRef", |v| reference(v.at("secretRef"))),
            READ_ONLY,
        ],
    ),
    source(
        "storageos",
        "StorageOS (a StorageOS Persistent Disk resource)",
        &[
            Row::Field("VolumeName", "volumeName"),
            Row::Field("VolumeNamespace", "volumeNamespace"),
            FS_TYPE,
            READ_ONLY,
        ],
    ),
    source(
        "fc",
        "FC (a Fibre Channel disk)",
        &[
            Row::Joined("TargetWWNs", "targetWWNs", ", ", ""),
            Row::Or("LUN", "lun", "<none>"),
            FS_TYPE,
            READ_ONLY,
        ],
    ),
    source(
        "azureFile",
        "AzureFile (an Azure File Service mount on the host and bind mount to the pod)",
        &[
            Row::Field("SecretName", "secretName"),
            Row::Field("ShareName", "shareName"),
            READ_ONLY,
        ],
    ),
    source(
        "flexVolume",
        "FlexVolume (a generic volume resource that is provisioned/attached using an exec based plugin)",
        &[
            Row::Field("Driver", "driver"),
            FS_TYPE,
            Row::Line("SecretRef", |v| reference(v.at("secretRef"))),
            READ_ONLY,
            Row::Or("Options", "options", "map[]"),
        ],
    ),
    source(
        "flocker",
        "Flocker (a Flocker volume mounted by the Flocker agent)",
        &[
            Row::Field("DatasetName", "datasetName"),
            Row::Field("DatasetUUID", "datasetUUID"),
        ],
    ),
];

/// What only pods may have.
const POD: &[Source] = &[
    source(
        "emptyDir",
        "EmptyDir (a temporary directory that shares a pod's lifetime)",
        &[
            Row::Field("Medium", "medium"),
            Row::Line("SizeLimit", |v| {
                match api::quantity::Quantity::of(v.at("sizeLimit")) {
                    none if none.is_zero() || none.is_negative() => "<unset>".into(),
                    limit => limit.to_string(),
                }
            }),
        ],
    ),
    source(
        "gitRepo",
        "GitRepo (a volume that is pulled from git when the pod is created)",
        &[
            Row::Field("Repository", "repository"),
            Row::Field("Revision", "revision"),
        ],
    ),
    source(
        "secret",
        "Secret (a volume populated by a Secret)",
        &[
            Row::Field("SecretName", "secretName"),
            Row::Or("Optional", "optional", "false"),
        ],
    ),
    source(
        "configMap",
        "ConfigMap (a volume populated by a ConfigMap)",
        &[
            Row::Field("Name", "name"),
            Row::Or("Optional", "optional", "false"),
        ],
    ),
    source(
        "persistentVolumeClaim",
        "PersistentVolumeClaim (a reference to a PersistentVolumeClaim in the same namespace)",
        &[Row::Field("ClaimName", "claimName"), READ_ONLY],
    ),
    source(
        "ephemeral",
        "EphemeralVolume (an inline specification for a volume that gets created and deleted with the pod)",
        &[Row::Part(|v, page| {
            if v.has("volumeClaimTemplate") {
                page.nest(2, |page| {
                    super::storage::claim(v.at("volumeClaimTemplate"), false, page);
                });
            }
        })],
    ),
    source(
        "downwardAPI",
        "DownwardAPI (a volume populated by information about the pod)",
        &[Row::Part(|v, page| {
            page.line(2, "Items:");
            for item in v.list("items") {
                for field in ["fieldRef.fieldPath", "resourceFieldRef.resource"] {
                    if item.has(field) {
                        page.line(3, format!("{} -> {}", item.text(field), item.text("path")));
                    }
                }
            }
        })],
    ),
    source(
        "projected",
        "Projected (a volume that contains injected data from multiple sources)",
        &[Row::Part(projected)],
    ),
    source(
        "csi",
        "CSI (a Container Storage Interface (CSI) volume source)",
        &[
            Row::Field("Driver", "driver"),
            FS_TYPE,
            READ_ONLY,
            Row::Part(attributes),
        ],
    ),
    source(
        "image",
        "Image (a container image or OCI artifact)",
        &[
            Row::Field("Reference", "reference"),
            Row::Field("PullPolicy", "pullPolicy"),
        ],
    ),
];

/// What PersistentVolumes have of their own, or say differently.
const PERSISTENT: &[Source] = &[
    source(
        "glusterfs",
        "Glusterfs (a Glusterfs mount on the host that shares a pod's lifetime)",
        &[
            Row::Field("EndpointsName", "endpoints"),
            Row::Or("EndpointsNamespace", "endpointsNamespace", "<unset>"),
            Row::Field("Path", "path"),
            READ_ONLY,
        ],
    ),
    source(
        "scaleIO",
        "ScaleIO (a persistent volume backed by a block device in ScaleIO)",
        &[
            Row::Field("Gateway", "gateway"),
            Row::Field("System", "system"),
            Row::Field("Protection Domain", "protectionDomain"),
            Row::Field("Storage Pool", "storagePool"),
            Row::Field("Storage Mode", "storageMode"),
            Row::Field("VolumeName", "volumeName"),
            Row::Field("SecretName", "secretRef.name"),
            Row::Field("SecretNamespace", "secretRef.namespace"),
            FS_TYPE,
            READ_ONLY,
        ],
    ),
    source(
        "azureFile",
        "AzureFile (an Azure File Service mount on the host and bind mount to the pod)",
        &[
            Row::Field("SecretName", "secretName"),
            Row::Field("SecretNamespace", "secretNamespace"),
            Row::Field("ShareName", "shareName"),
            READ_ONLY,
        ],
    ),
    source(
        "local",
        "LocalVolume (a persistent volume backed by local storage on a node)",
        &[Row::Field("Path", "path")],
    ),
    source(
        "csi",
        "CSI (a Container Storage Interface (CSI) volume source)",
        &[
            Row::Field("Driver", "driver"),
            FS_TYPE,
            Row::Field("VolumeHandle", "volumeHandle"),
            READ_ONLY,
            Row::Part(attributes),
        ],
    ),
];

/// A pod's volumes.
pub fn of_pod(volumes: &[Value], space: &str, page: &mut Page) {
    if volumes.is_empty() {
        page.line(0, format!("{space}Volumes:\t<none>"));
        return;
    }
    page.line(0, format!("{space}Volumes:"));
    let indent = if space.is_empty() { "" } else { " " };
    for volume in volumes {
        page.line(1, format!("{indent}{}:", volume.text("name")));
        one(volume, [POD, SHARED], page);
    }
}

/// A PersistentVolume's source.
pub fn of_volume(spec: &Value, page: &mut Page) {
    one(spec, [PERSISTENT, SHARED], page);
}

fn one(holder: &Value, sources: [&[Source]; 2], page: &mut Page) {
    match sources.into_iter().flatten().find(|s| holder.has(s.field)) {
        Some(source) => {
            page.field(2, "Type", source.kind);
            page.rows(2, holder.at(source.field), source.rows);
        }
        None => page.line(1, "<unknown>"),
    }
}

fn projected(volume: &Value, page: &mut Page) {
    for source in volume.list("sources") {
        for (field, title) in [("secret", "SecretName"), ("configMap", "ConfigMapName")] {
            if source.has(field) {
                let from = source.at(field);
                page.field(2, title, from.text("name"));
                page.field(2, "Optional", from.flag("optional").to_string());
            }
        }
        if source.has("downwardAPI") {
            page.field(2, "DownwardAPI", "true");
        }
        if source.has("serviceAccountToken") {
            let seconds = source.at("serviceAccountToken.expirationSeconds");
            page.field(2, "TokenExpirationSeconds", shown(seconds));
        }
    }
}

fn attributes(source: &Value, page: &mut Page) {
    let attributes = pairs(source.at("volumeAttributes"));
    page.put(2, "VolumeAttributes:\t");
    if attributes.is_empty() {
        page.line(0, or_none(String::new()));
    }
    for (at, attribute) in attributes.iter().enumerate() {
        if at > 0 {
            page.put(2, "");
            page.put(2, "\t");
        }
        page.line(2, shortened(attribute, 140));
    }
}

/// A reference to a Secret as upstream's types print themselves.
fn reference(secret: &Value) -> String {
    if secret.is_null() {
        return "nil".into();
    }
    match secret.get("namespace") {
        Some(namespace) => format!(
            "&SecretReference{{Name:{},Namespace:{},}}",
            secret.text("name"),
            shown(namespace)
        ),
        None => format!("&LocalObjectReference{{Name:{},}}", secret.text("name")),
    }
}
