//! What the server remembers of a container, in memory and in its state directory.

use std::path::{Path, PathBuf};

use cri::v1;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::shim::{
    protocol::Started,
    spec::{Exit, ProcessSpec},
};

/// File in a container's state directory.
pub const FILE: &str = "container.json";

/// The part that changes over a container's life.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Life {
    /// When it was created, in nanoseconds since 1970.
    pub created_at: i64,
    /// How it started.
    pub started: Option<StartedRecord>,
    /// How it ended.
    pub exit: Option<Exit>,
    /// Why it could not be started or is in this state.
    pub failure: Option<Failure>,
}

/// A start that succeeded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartedRecord {
    /// First process.
    pub pid: i32,
    /// User, group, groups.
    pub identity: crate::shim::spec::Identity,
    /// When.
    pub at: i64,
}

impl From<Started> for StartedRecord {
    fn from(started: Started) -> Self {
        Self {
            pid: started.pid,
            identity: started.identity,
            at: started.at,
        }
    }
}

/// A reason with its message.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// One word.
    pub reason: String,
    /// For people.
    pub message: String,
}

/// The part that rests in a file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Saved {
    /// Container id.
    pub id: String,
    /// Sandbox id.
    pub sandbox: String,
    /// `ContainerConfig` in the protocol's own encoding, base64.
    pub config: String,
    /// Image id.
    pub image: String,
    /// Repository digest, or the image id without one.
    pub image_ref: String,
    /// What its execs are made like.
    pub process: ProcessSpec,
    /// Control group.
    pub cgroup: String,
    /// Log file.
    pub log_path: Option<PathBuf>,
    /// Signal that asks it to end.
    pub stop_signal: i32,
    /// Its life so far.
    pub life: Life,
}

/// A container the server knows.
#[derive(Debug)]
pub struct Container {
    /// Container id.
    pub id: String,
    /// Sandbox id.
    pub sandbox: String,
    /// State directory.
    pub directory: PathBuf,
    /// What it was made from.
    pub config: Mutex<v1::ContainerConfig>,
    /// Image id.
    pub image: String,
    /// Repository digest, or the image id without one.
    pub image_ref: String,
    /// What its execs are made like.
    pub process: ProcessSpec,
    /// Control group.
    pub cgroup: String,
    /// Log file.
    pub log_path: Option<PathBuf>,
    /// Signal that asks it to end.
    pub stop_signal: i32,
    /// Its life; whoever waits for its end watches this.
    pub life: watch::Sender<Life>,
    /// One start, stop or removal at a time.
    pub busy: tokio::sync::Mutex<()>,
}

impl Container {
    /// Takes up what was saved.
    pub fn from_saved(saved: Saved, directory: PathBuf) -> Option<Self> {
        Some(Self {
            config: Mutex::new(decode(&saved.config)?),
            id: saved.id,
            sandbox: saved.sandbox,
            directory,
            image: saved.image,
            image_ref: saved.image_ref,
            process: saved.process,
            cgroup: saved.cgroup,
            log_path: saved.log_path,
            stop_signal: saved.stop_signal,
            life: watch::Sender::new(saved.life),
            busy: tokio::sync::Mutex::default(),
        })
    }

    /// Writes the record.
    pub fn save(&self) -> std::io::Result<()> {
        let saved = Saved {
            id: self.id.clone(),
            sandbox: self.sandbox.clone(),
            config: encode(&*self.config.lock()),
            image: self.image.clone(),
            image_ref: self.image_ref.clone(),
            process: self.process.clone(),
            cgroup: self.cgroup.clone(),
            log_path: self.log_path.clone(),
            stop_signal: self.stop_signal,
            life: self.life.borrow().clone(),
        };
        let text = serde_json::to_vec(&saved)?;
        crate::state::write(&self.directory.join(FILE), &text)
    }

    /// Reads the record of a state directory.
    pub fn load(directory: &Path) -> Option<Self> {
        let text = std::fs::read(directory.join(FILE)).ok()?;
        Self::from_saved(serde_json::from_slice(&text).ok()?, directory.to_owned())
    }

    /// Where it is in its life.
    pub fn state(&self) -> v1::ContainerState {
        let life = self.life.borrow();
        match (&life.started, &life.exit) {
            (_, Some(_)) => v1::ContainerState::ContainerExited,
            (Some(_), None) => v1::ContainerState::ContainerRunning,
            (None, None) => v1::ContainerState::ContainerCreated,
        }
    }

    /// Whether its first process runs.
    pub fn is_running(&self) -> bool {
        self.state() == v1::ContainerState::ContainerRunning
    }

    /// Waits for its end; at once when it does not run.
    pub async fn ended(&self) {
        let mut life = self.life.subscribe();
        // The sender lives in `self`, so waiting cannot fail.
        let _ = life
            .wait_for(|l| l.started.is_none() || l.exit.is_some())
            .await;
    }
}

/// A protocol message as text.
pub fn encode<M: prost_message::Message>(message: &M) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(message.encode_to_vec())
}

/// A protocol message out of text.
pub fn decode<M: prost_message::Message + Default>(text: &str) -> Option<M> {
    use base64::Engine;
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(text)
        .ok()?;
    M::decode(bytes.as_slice()).ok()
}

use cri::message as prost_message;
