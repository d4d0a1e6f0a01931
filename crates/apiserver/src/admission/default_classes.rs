//! DefaultStorageClass and DefaultIngressClass: a claim or ingress that names no class gets the one
//! that is marked as default, the youngest where several are.

use api::meta;
use api::object::Object;
use api::status::Status;
use serde_json::Value;

use super::{Admission, Operation, Plugin};

/// See the module.
pub struct DefaultClasses;

impl Plugin for DefaultClasses {
    fn name(&self) -> &'static str {
        "DefaultClasses"
    }

    fn mutate(
        &self,
        admission: &Admission<'_>,
        object: &mut Value,
        _: Option<&Value>,
    ) -> Result<(), Status> {
        if admission.operation != Operation::Create {
            return Ok(());
        }
        if admission.is("", "persistentvolumeclaims") {
            let named = object.has("spec.storageClassName")
                || meta::annotation(object, "volume.beta.kubernetes.io/storage-class").is_some();
            if !named
                && let Some(class) = default(
                    admission,
                    ("storage.k8s.io", "storageclasses"),
                    &[
                        "storageclass.kubernetes.io/is-default-class",
                        "storageclass.beta.kubernetes.io/is-default-class",
                    ],
                )
            {
                object.set("spec.storageClassName", class);
            }
        } else if admission.is("networking.k8s.io", "ingresses") {
            let named = object.has("spec.ingressClassName")
                || meta::annotation(object, "kubernetes.io/ingress.class").is_some();
            if !named
                && let Some(class) = default(
                    admission,
                    ("networking.k8s.io", "ingressclasses"),
                    &["ingressclass.kubernetes.io/is-default-class"],
                )
            {
                object.set("spec.ingressClassName", class);
            }
        }
        Ok(())
    }
}

fn default(admission: &Admission<'_>, resource: (&str, &str), marks: &[&str]) -> Option<String> {
    let mut classes = admission.objects().values(resource.0, resource.1, None);
    classes.retain(|class| {
        marks
            .iter()
            .any(|mark| meta::annotation(class, mark) == Some("true"))
    });
    // Youngest first, then by name.
    classes.sort_by(|a, b| {
        let created = |v: &Value| v.text("metadata.creationTimestamp").to_owned();
        created(b)
            .cmp(&created(a))
            .then_with(|| meta::name(a).cmp(meta::name(b)))
    });
    classes.first().map(|class| meta::name(class).to_owned())
}
