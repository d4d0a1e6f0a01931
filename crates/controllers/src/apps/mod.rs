//! Group `apps`, and ReplicationController, which is a ReplicaSet by an older name.

pub(crate) mod daemonset;
pub(crate) mod deployment;
mod history;
pub(crate) mod replicas;
pub(crate) mod statefulset;
