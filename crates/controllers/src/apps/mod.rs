//! Group `apps`, and ReplicationController, which is a ReplicaSet by an older name.

pub(crate) mod deployment;
pub(crate) mod replicas;
