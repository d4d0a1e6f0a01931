//! The group certificates.k8s.io.

mod bundle;
mod pem;
mod pod_request;
mod signing_request;

pub use bundle::{
    update as update_bundle, validate as validate_bundle, validate_after as validate_bundle_after,
};
pub use pod_request::PodRequest;
pub use signing_request::SigningRequest;
