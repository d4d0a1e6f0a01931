//! Selectors of lists and watches.

use std::sync::Arc;

use api::fields::FieldSelector;
use api::labels::Selector;
use api::status::Status;
use store::Entry;

use super::call::Call;
use super::serialize;
use crate::endpoint::Endpoint;

/// What a list or watch selects.
pub struct Selection {
    labels: Selector,
    fields: FieldSelector,
    /// Terms on fields that objects have only when converted to the version asked for.
    converted: FieldSelector,
    /// The object's name, from the path or a field selector.
    pub name: Option<String>,
}

impl Selection {
    /// From the query.
    pub fn read(call: &Call) -> Result<Selection, Status> {
        let labels = match call.query.get("labelSelector") {
            Some(text) => Selector::parse(text).map_err(|e| Status::bad_request(e.to_string()))?,
            None => Selector::everything(),
        };
        let fields = match call.query.get("fieldSelector") {
            Some(text) => {
                FieldSelector::parse(text).map_err(|e| Status::bad_request(e.to_string()))?
            }
            None => FieldSelector::everything(),
        };
        let resource = &*call.endpoint.resource;
        let fields = fields
            .rename(|name| match name {
                "metadata.name" => Some("metadata.name"),
                "metadata.namespace" => Some("metadata.namespace"),
                name => api::convert::field_name(resource, name),
            })
            .map_err(|e| Status::bad_request(e.to_string()))?;
        let path_name = (call.info.verb == "watch" && !call.info.name.is_empty())
            .then(|| call.info.name.clone());
        let name = fields
            .exact("metadata.name")
            .map(str::to_owned)
            .or(path_name);
        let (fields, converted) = if call.endpoint.selects_converted {
            fields.partition(|name| name.starts_with("metadata."))
        } else {
            (fields, FieldSelector::everything())
        };
        Ok(Selection {
            labels,
            fields,
            converted,
            name,
        })
    }

    /// Everything is selected.
    pub fn is_everything(&self) -> bool {
        self.labels.is_everything()
            && self.fields.is_everything()
            && self.converted.is_everything()
            && self.name.is_none()
    }

    /// Is this object selected, also by what it is in the version asked for?
    pub async fn selects(&self, endpoint: &Endpoint, entry: &Arc<Entry>) -> Result<bool, Status> {
        if !self.matches(entry) {
            return Ok(false);
        }
        let left = self.narrow(endpoint, vec![entry.clone()]).await?;
        Ok(!left.is_empty())
    }

    /// Those that are selected by what they are in the version asked for.
    pub async fn narrow(
        &self,
        endpoint: &Endpoint,
        entries: Vec<Arc<Entry>>,
    ) -> Result<Vec<Arc<Entry>>, Status> {
        if self.converted.is_everything() || entries.is_empty() {
            return Ok(entries);
        }
        let objects = serialize::live_all(endpoint, &entries).await?;
        let strategy = &endpoint.resource.strategy;
        let selected = entries.into_iter().zip(objects).filter(|(_, object)| {
            let fields = strategy.fields(object);
            let fields = fields.iter().map(|(name, value)| (*name, value.as_str()));
            self.converted.matches(fields)
        });
        Ok(selected.map(|(entry, _)| entry).collect())
    }

    /// The labels that must have one value each.
    pub fn exact_labels(&self) -> Vec<(&str, &str)> {
        self.labels
            .requirements()
            .iter()
            .filter_map(|requirement| {
                let key = &*requirement.key;
                self.labels.exact(key).map(|value| (key, value))
            })
            .collect()
    }

    /// A selectable field that must have one value; the first where there are several.
    pub fn exact_field(&self, known: &[&'static str]) -> Option<(&'static str, &str)> {
        known
            .iter()
            .find_map(|field| self.fields.exact(field).map(|value| (*field, value)))
    }

    /// Is this object selected?
    pub fn matches(&self, entry: &Entry) -> bool {
        if self
            .name
            .as_deref()
            .is_some_and(|name| name != entry.key.name())
        {
            return false;
        }
        (self.labels.is_everything() || self.labels.matches_with(|key| entry.attributes.label(key)))
            && (self.fields.is_everything()
                || self.fields.matches_with(|field| match field {
                    "metadata.name" => Some(entry.key.name()),
                    "metadata.namespace" => Some(entry.key.namespace().unwrap_or("")),
                    field => entry.attributes.field(field),
                }))
    }
}
