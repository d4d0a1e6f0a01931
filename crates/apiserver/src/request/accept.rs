//! Content negotiation: the encodings this server writes, and what shape of answer is asked for.

/// How an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Encoding {
    /// `application/json`.
    #[default]
    Json,
    /// `application/yaml`.
    Yaml,
    /// `application/vnd.kubernetes.protobuf`.
    Protobuf,
}

/// Which transformation of the objects is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Shape {
    /// The objects themselves.
    #[default]
    Object,
    /// `meta.k8s.io/v1 Table`.
    Table,
    /// `PartialObjectMetadata` or `PartialObjectMetadataList`.
    Metadata,
    /// `apidiscovery.k8s.io/v2 APIGroupDiscoveryList`.
    Discovery,
}

/// What the client accepts, decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Accept {
    /// How the answer is written.
    pub encoding: Encoding,
    /// Which transformation is asked for.
    pub shape: Shape,
    /// It is asked for in `meta.k8s.io/v1beta1`.
    pub beta: bool,
}

impl Accept {
    /// The `apiVersion` of tables and of metadata alone.
    pub fn meta_version(self) -> &'static str {
        if self.beta {
            "meta.k8s.io/v1beta1"
        } else {
            "meta.k8s.io/v1"
        }
    }
}

/// A header of Corten's own: whoever sends it does not read `metadata.managedFields`, and a watch in
/// JSON leaves them out where that costs nothing. Other servers pay it no heed.
pub const WITHOUT_MANAGERS: http::HeaderName =
    http::HeaderName::from_static("corten-without-managers");

/// The media types an object can be answered in, as upstream lists them in a 406.
pub const SUPPORTED: &str =
    "application/json, application/yaml, application/vnd.kubernetes.protobuf";

impl Encoding {
    /// The `Content-Type` of an object.
    pub fn content_type(self) -> &'static str {
        match self {
            Encoding::Json => "application/json",
            Encoding::Yaml => "application/yaml",
            Encoding::Protobuf => "application/vnd.kubernetes.protobuf",
        }
    }

    /// The `Content-Type` of a watch.
    pub fn watch_type(self) -> &'static str {
        match self {
            Encoding::Json => "application/json",
            Encoding::Yaml => "application/yaml;stream=watch",
            Encoding::Protobuf => "application/vnd.kubernetes.protobuf;stream=watch",
        }
    }
}

/// The `Accept` header but for objects in protobuf; nothing acceptable where only those are.
pub fn without_protobuf(headers: &http::HeaderMap) -> Option<String> {
    let text = headers.get(http::header::ACCEPT)?.to_str().ok()?;
    let rest: Vec<&str> = text
        .split(',')
        .filter(|clause| !clause.contains("vnd.kubernetes.protobuf") || clause.contains("as="))
        .collect();
    Some(if rest.is_empty() {
        "none/none".to_owned()
    } else {
        rest.join(",")
    })
}

/// Decides by the `Accept` header (first acceptable clause by quality); none when nothing fits.
/// `shapes` are those the endpoint can answer beside the object itself.
pub fn negotiate(header: Option<&str>, shapes: &[Shape]) -> Option<Accept> {
    let Some(header) = header.filter(|h| !h.trim().is_empty()) else {
        return Some(Accept::default());
    };
    let mut best: Option<(u32, Accept)> = None;
    for clause in header.split(',') {
        let mut parts = clause.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default().to_ascii_lowercase();
        let encoding = match media.as_str() {
            "*/*" | "application/*" | "application/json" => Encoding::Json,
            "application/yaml" | "application/x-yaml" | "text/yaml" => Encoding::Yaml,
            "application/vnd.kubernetes.protobuf" => Encoding::Protobuf,
            _ => continue,
        };
        let (mut kind, mut group, mut version, mut quality) = ("", "", "", 1000u32);
        for part in parts {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            match key {
                "as" => kind = value,
                "g" => group = value,
                "v" => version = value,
                "q" => {
                    quality = value
                        .parse::<f32>()
                        .map_or(0, |q| (q.clamp(0.0, 1.0) * 1000.0) as u32);
                }
                _ => {}
            }
        }
        let shape = match (kind, group, version) {
            ("", _, _) => Shape::Object,
            ("Table", "meta.k8s.io", "v1" | "v1beta1") => Shape::Table,
            (
                "PartialObjectMetadata" | "PartialObjectMetadataList",
                "meta.k8s.io",
                "v1" | "v1beta1",
            ) => Shape::Metadata,
            ("APIGroupDiscoveryList", "apidiscovery.k8s.io", "v2") => Shape::Discovery,
            _ => continue,
        };
        if shape != Shape::Object && !shapes.contains(&shape) {
            continue;
        }
        // A table in protobuf is asked for by nobody; JSON clients list it first anyway.
        if shape == Shape::Table && encoding == Encoding::Protobuf {
            continue;
        }
        if quality > 0 && best.is_none_or(|(q, _)| quality > q) {
            let beta = shape != Shape::Object && version == "v1beta1";
            best = Some((
                quality,
                Accept {
                    encoding,
                    shape,
                    beta,
                },
            ));
        }
    }
    best.map(|(_, accept)| accept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_acceptable_clause_of_the_best_quality_wins() {
        let all = [Shape::Table, Shape::Metadata];
        let json = Some(Accept::default());
        let table = Some(Accept {
            encoding: Encoding::Json,
            shape: Shape::Table,
            beta: false,
        });
        let beta = Some(Accept {
            encoding: Encoding::Yaml,
            shape: Shape::Metadata,
            beta: true,
        });
        let protobuf = Some(Accept {
            encoding: Encoding::Protobuf,
            shape: Shape::Object,
            beta: false,
        });
        let kubectl = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        let cases = [
            (None, &all[..], json),
            (Some("*/*"), &all, json),
            (Some(kubectl), &all, table),
            (Some(kubectl), &[], json),
            (
                Some("application/vnd.kubernetes.protobuf,application/json"),
                &all,
                protobuf,
            ),
            (
                Some("application/json;q=0.5,application/vnd.kubernetes.protobuf"),
                &all,
                protobuf,
            ),
            (Some("text/html"), &all, None),
            (
                Some("application/yaml;as=PartialObjectMetadata;v=v1beta1;g=meta.k8s.io"),
                &all,
                beta,
            ),
            (
                Some("application/json;as=Table;v=v9;g=meta.k8s.io"),
                &all,
                None,
            ),
        ];
        for (header, shapes, expected) in cases {
            assert_eq!(negotiate(header, shapes), expected, "{header:?}");
        }
    }
}
