//! Files of one volume that would lie at, or within, one another.

use schema::Value;

use crate::object::Object;

/// A path, and where it comes from when that has to be told.
struct Place {
    path: String,
    from: String,
}

impl Place {
    fn new(path: &str, from: impl Into<String>) -> Self {
        Place {
            path: path.trim_end_matches('/').to_owned(),
            from: from.into(),
        }
    }

    fn shown(&self) -> String {
        if self.from.is_empty() {
            format!("{:?}", self.path)
        } else {
            format!("{:?} ({})", self.path, self.from)
        }
    }

    fn meets(&self, other: &Place) -> bool {
        let (own, theirs) = (format!("{}/", self.path), format!("{}/", other.path));
        !self.path.is_empty()
            && !other.path.is_empty()
            && (own.starts_with(&theirs) || theirs.starts_with(&own))
    }
}

/// Warns of overlaps within each volume.
pub fn overlaps(volumes: &[Value], warnings: &mut Vec<String>) {
    for volume in volumes {
        let name = volume.text("name");
        for (kind, named) in [
            ("configMap", Some(("ConfigMap", "name"))),
            ("secret", Some(("Secret", "secretName"))),
            ("downwardAPI", None),
        ] {
            let source = volume.at(kind);
            let shown = match named {
                Some((kind, field)) => format!("{kind} {:?}", source.text(field)),
                None => "DownwardAPI".to_owned(),
            };
            check(name, &shown, items(source, ""), warnings);
        }
        if volume.has("projected") {
            let mut places = Vec::new();
            for source in volume.list("projected.sources") {
                if source.as_object().is_none_or(|map| map.is_empty()) {
                    warnings.push(format!(
                        "volume {name:?} (Projected) has no sources provided"
                    ));
                    continue;
                }
                places.extend(projected(source));
            }
            check(name, "Projected", places, warnings);
        }
    }
}

fn items(source: &Value, from: &str) -> Vec<Place> {
    let items = source.list("items").iter();
    items
        .map(|item| Place::new(item.text("path"), from))
        .collect()
}

fn projected(source: &Value) -> Vec<Place> {
    if source.has("configMap.items") {
        let source = source.at("configMap");
        return items(source, &format!("ConfigMap {:?}", source.text("name")));
    }
    if source.has("secret.items") {
        let source = source.at("secret");
        return items(source, &format!("Secret {:?}", source.text("name")));
    }
    if source.has("downwardAPI.items") {
        return items(source.at("downwardAPI"), "DownwardAPI");
    }
    if source.has("serviceAccountToken") {
        let path = source.text("serviceAccountToken.path");
        return vec![Place::new(path, "ServiceAccountToken")];
    }
    if source.has("clusterTrustBundle") {
        let bundle = source.at("clusterTrustBundle");
        let name = if bundle.has("name") {
            bundle.text("name")
        } else {
            bundle.text("signerName")
        };
        let from = format!("ClusterTrustBundle {name:?}");
        return vec![Place::new(bundle.text("path"), from)];
    }
    let certificate = source.at("podCertificate");
    [
        ("certificateChainPath", "PodCertificate chain"),
        ("keyPath", "PodCertificate key"),
        ("credentialBundlePath", "PodCertificate credential bundle"),
    ]
    .into_iter()
    .filter(|(field, _)| !certificate.text(field).is_empty())
    .map(|(field, from)| Place::new(certificate.text(field), from))
    .collect()
}

fn check(volume: &str, shown: &str, places: Vec<Place>, warnings: &mut Vec<String>) {
    for (index, place) in places.iter().enumerate() {
        for other in places[..index].iter().filter(|other| place.meets(other)) {
            warnings.push(format!(
                "volume {volume:?} ({shown}): overlapping paths: {} with {}",
                place.shown(),
                other.shown()
            ));
        }
    }
}
