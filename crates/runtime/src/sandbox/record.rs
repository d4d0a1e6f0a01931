//! What the server remembers of a sandbox, in memory and in its state directory.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use cri::v1;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::{
    container::record::{decode, encode},
    shim::client::ShimClient,
};

/// File in a sandbox's state directory.
pub const FILE: &str = "sandbox.json";

/// The part that changes over a sandbox's life.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Life {
    /// When it was created, in nanoseconds since 1970.
    pub created_at: i64,
    /// Whether it is furnished and its shim alive.
    pub ready: bool,
    /// Addresses, the primary one first.
    pub addresses: Vec<IpAddr>,
    /// Whether a PodNetwork ADD may have happened that no DEL has followed.
    pub attached: bool,
}

/// The part that rests in a file.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Saved {
    id: String,
    config: String,
    runtime_handler: String,
    netns: Option<PathBuf>,
    shm: Option<PathBuf>,
    life: Life,
}

/// A sandbox the server knows.
#[derive(Debug)]
pub struct Sandbox {
    /// Sandbox id.
    pub id: String,
    /// State directory.
    pub directory: PathBuf,
    /// What it was made from.
    pub config: Mutex<v1::PodSandboxConfig>,
    /// As asked for.
    pub runtime_handler: String,
    /// Where its own network namespace is pinned.
    pub netns: Option<PathBuf>,
    /// Where its own shared memory is mounted.
    pub shm: Option<PathBuf>,
    /// Its life.
    pub life: Mutex<Life>,
    /// The connection to its shim.
    pub shim: Mutex<Option<Arc<ShimClient>>>,
    /// One stop or removal at a time.
    pub busy: tokio::sync::Mutex<()>,
}

impl Sandbox {
    /// Writes the record.
    pub fn save(&self) -> std::io::Result<()> {
        let saved = Saved {
            id: self.id.clone(),
            config: encode(&*self.config.lock()),
            runtime_handler: self.runtime_handler.clone(),
            netns: self.netns.clone(),
            shm: self.shm.clone(),
            life: self.life.lock().clone(),
        };
        crate::state::write(&self.directory.join(FILE), &serde_json::to_vec(&saved)?)
    }

    /// Reads the record of a state directory.
    pub fn load(directory: &Path) -> Option<Self> {
        let text = std::fs::read(directory.join(FILE)).ok()?;
        let saved: Saved = serde_json::from_slice(&text).ok()?;
        Some(Self {
            config: Mutex::new(decode(&saved.config)?),
            id: saved.id,
            directory: directory.to_owned(),
            runtime_handler: saved.runtime_handler,
            netns: saved.netns,
            shm: saved.shm,
            life: Mutex::new(saved.life),
            shim: Mutex::new(None),
            busy: tokio::sync::Mutex::default(),
        })
    }

    /// Whether containers can be started in it.
    pub fn is_ready(&self) -> bool {
        self.life.lock().ready
    }

    /// The connection to its shim, if there is one.
    pub fn shim(&self) -> Option<Arc<ShimClient>> {
        self.shim.lock().clone()
    }
}
