//! The pod network by CNI plugins, when the machine has a network configured for them.
//!
//! Speaks the Container Network Interface 0.3 to 1.1: chained plugins, capabilities, results kept
//! for CHECK and DEL. A sandbox is taken down with the configuration it was set up with, whatever
//! the directory says by then.

mod config;
mod outcome;
mod plugin;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use runtime::network::{Attached, Attachment, NetworkError, PodNetwork};
use serde_json::{Map, Value, json};

use crate::netlink::{self, netns, route};
pub use config::ConfigError;
use config::{Network, at_least};
use outcome::{Kept, Results, addresses};
use plugin::{Environment, PluginError};

/// Where things are.
#[derive(Clone, Debug)]
pub struct Config {
    /// Network configurations; `/etc/cni/net.d` by default.
    pub conf_dir: PathBuf,
    /// Plugins' programs, searched in order; `/opt/cni/bin` and Debian's `/usr/lib/cni` by default.
    pub bin_dirs: Vec<PathBuf>,
    /// Directory for results; made when absent.
    pub state_dir: PathBuf,
    /// Name of the pod's interface.
    pub interface: String,
}

impl Config {
    /// The usual places, with results under `state_dir`.
    #[must_use]
    pub fn new(state_dir: PathBuf) -> Self {
        Self {
            conf_dir: "/etc/cni/net.d".into(),
            bin_dirs: vec!["/opt/cni/bin".into(), "/usr/lib/cni".into()],
            state_dir,
            interface: "eth0".to_owned(),
        }
    }
}

/// Whether a directory holds a usable network configuration.
pub fn configured(conf_dir: &Path) -> Result<(), ConfigError> {
    Network::load(conf_dir).map(|_| ())
}

/// Why the network cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("CNI: state directory {path}: {source}")]
pub struct OpenError {
    path: String,
    source: std::io::Error,
}

/// The pod network by plugins.
#[derive(Debug)]
pub struct Cni {
    config: Config,
    results: Results,
    ranges: Mutex<Vec<String>>,
}

impl Cni {
    /// Opens the network. A configuration need not exist yet: until it does, the network is not ready.
    pub fn open(config: Config) -> Result<Arc<Self>, OpenError> {
        let dir = config.state_dir.join("results");
        let results = Results::open(&dir).map_err(|source| OpenError {
            path: dir.display().to_string(),
            source,
        })?;
        Ok(Arc::new(Self {
            config,
            results,
            ranges: Mutex::default(),
        }))
    }

    fn environment(&self, attachment: &Attachment) -> Environment {
        let Attachment {
            sandbox_id,
            namespace,
            name,
            uid,
            ..
        } = attachment;
        Environment {
            container_id: sandbox_id.clone(),
            netns: attachment.netns.display().to_string(),
            interface: self.config.interface.clone(),
            args: format!(
                "IgnoreUnknown=1;K8S_POD_NAMESPACE={namespace};K8S_POD_NAME={name};\
                 K8S_POD_INFRA_CONTAINER_ID={sandbox_id};K8S_POD_UID={uid}"
            ),
        }
    }

    async fn run(
        &self,
        network: &Network,
        plugin: &Map<String, Value>,
        command: &str,
        environment: &Environment,
        runtime: &Map<String, Value>,
        previous: Option<&Value>,
    ) -> Result<Value, PluginError> {
        let kind = plugin
            .get("type")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let input = network.input(plugin, runtime, previous);
        plugin::run(kind, &self.config.bin_dirs, command, environment, &input).await
    }

    async fn join(&self, attachment: &Attachment) -> Result<Attached, String> {
        if let Some(kept) = self.results.get(&attachment.sandbox_id) {
            return Ok(Attached {
                addresses: addresses(&kept.result),
            });
        }
        let network = Network::load(&self.config.conf_dir).map_err(|e| e.to_string())?;
        netlink::blocking(|| loopback_up(&attachment.netns)).map_err(|e| e.to_string())?;
        let environment = self.environment(attachment);
        let runtime = runtime_config(attachment, &self.ranges.lock());
        let mut result = Value::Null;
        for plugin in &network.plugins {
            let previous = (!result.is_null()).then_some(&result);
            match self
                .run(&network, plugin, "ADD", &environment, &runtime, previous)
                .await
            {
                Ok(next) => result = next,
                Err(error) => {
                    // The specification asks for DEL after a failed ADD; it copes with what was not
                    // made.
                    let kept = Kept::new(&network, &runtime, result);
                    if let Err(later) = self.leave(&environment, &kept).await {
                        tracing::warn!(sandbox = attachment.sandbox_id, error = %later, "could not undo a failed ADD");
                    }
                    return Err(error.to_string());
                }
            }
        }
        let attached = Attached {
            addresses: addresses(&result),
        };
        let kept = Kept::new(&network, &runtime, result);
        if let Err(error) = self.results.put(&attachment.sandbox_id, &kept) {
            let _ = self.leave(&environment, &kept).await;
            return Err(format!("keep the result: {error}"));
        }
        if attached.addresses.is_empty() {
            tracing::warn!(
                network = network.name,
                sandbox = attachment.sandbox_id,
                "plugins gave the pod no address"
            );
        }
        Ok(attached)
    }

    /// DEL in reverse order. All plugins are run; the first failure is told.
    async fn leave(&self, environment: &Environment, kept: &Kept) -> Result<(), PluginError> {
        let network = kept.network();
        let previous = (!kept.result.is_null()).then_some(&kept.result);
        let mut first = None;
        for plugin in network.plugins.iter().rev() {
            if let Err(error) = self
                .run(
                    &network,
                    plugin,
                    "DEL",
                    environment,
                    &kept.runtime,
                    previous,
                )
                .await
            {
                first.get_or_insert(error);
            }
        }
        first.map_or(Ok(()), Err)
    }

    async fn part(&self, attachment: &Attachment) -> Result<(), String> {
        let kept = match self.results.get(&attachment.sandbox_id) {
            Some(kept) => kept,
            // Never joined, or the result was lost: plugins find what they made by the sandbox's id.
            None => match Network::load(&self.config.conf_dir) {
                Ok(network) => {
                    let runtime = runtime_config(attachment, &self.ranges.lock());
                    Kept::new(&network, &runtime, Value::Null)
                }
                Err(_) => return Ok(()),
            },
        };
        let mut environment = self.environment(attachment);
        if !attachment.netns.exists() {
            // The specification's way to say that the namespace is gone.
            environment.netns = String::new();
        }
        self.leave(&environment, &kept)
            .await
            .map_err(|e| e.to_string())?;
        self.results
            .remove(&attachment.sandbox_id)
            .map_err(|e| format!("remove the result: {e}"))
    }

    async fn inspect(&self, attachment: &Attachment) -> Result<(), String> {
        let kept = self
            .results
            .get(&attachment.sandbox_id)
            .ok_or("it has not joined the network")?;
        let network = kept.network();
        if network.disable_check || !at_least(&network.version, "0.4.0") {
            return Ok(());
        }
        let environment = self.environment(attachment);
        for plugin in &network.plugins {
            let previous = Some(&kept.result);
            let checked = self
                .run(
                    &network,
                    plugin,
                    "CHECK",
                    &environment,
                    &kept.runtime,
                    previous,
                )
                .await;
            checked.map_err(|e| e.to_string())?;
        }
        Ok(())
    }

    async fn status(&self) -> Result<(), String> {
        let network = Network::load(&self.config.conf_dir).map_err(|e| e.to_string())?;
        for plugin in &network.plugins {
            let kind = plugin
                .get("type")
                .and_then(Value::as_str)
                .unwrap_or_default();
            plugin::find(kind, &self.config.bin_dirs).map_err(|e| e.to_string())?;
            if at_least(&network.version, "1.1.0") {
                let environment = Environment::default();
                match self
                    .run(&network, plugin, "STATUS", &environment, &Map::new(), None)
                    .await
                {
                    // Plugins older than the command, though not than their configuration, call it
                    // unknown.
                    Ok(_) | Err(PluginError::Failed { code: 4, .. }) => {}
                    Err(error) => return Err(error.to_string()),
                }
            }
        }
        Ok(())
    }
}

fn loopback_up(path: &Path) -> Result<(), netlink::Error> {
    let namespace = netns::open(path)?;
    netns::within(path, &namespace, route::Route::open)?.set_up(route::LOOPBACK)
}

/// What the runtime has for plugins that declare the capability.
fn runtime_config(attachment: &Attachment, ranges: &[String]) -> Map<String, Value> {
    let mut config = Map::new();
    let ports: Vec<Value> = attachment
        .port_mappings
        .iter()
        .filter(|mapping| mapping.host_port != 0)
        .map(|mapping| {
            let ip = mapping.host_ip.filter(|ip| !ip.is_unspecified());
            json!({
                "hostPort": mapping.host_port,
                "containerPort": mapping.container_port,
                "protocol": mapping.protocol.to_ascii_lowercase(),
                "hostIP": ip.map(|ip: IpAddr| ip.to_string()).unwrap_or_default(),
            })
        })
        .collect();
    if !ports.is_empty() {
        config.insert("portMappings".to_owned(), ports.into());
    }
    let limits = attachment.bandwidth;
    if limits.ingress > 0 || limits.egress > 0 {
        let mut rates = Map::new();
        for (name, rate) in [("ingress", limits.ingress), ("egress", limits.egress)] {
            if rate > 0 {
                rates.insert(format!("{name}Rate"), rate.into());
                // Upstream's: no limit on the burst but the field's.
                rates.insert(format!("{name}Burst"), i32::MAX.into());
            }
        }
        config.insert("bandwidth".to_owned(), rates.into());
    }
    if !ranges.is_empty() {
        let sets: Vec<Value> = ranges
            .iter()
            .map(|range| json!([{"subnet": range}]))
            .collect();
        config.insert("ipRanges".to_owned(), sets.into());
    }
    config
}

fn error(operation: &'static str, attachment: &Attachment) -> impl FnOnce(String) -> NetworkError {
    let sandbox = attachment.sandbox_id.clone();
    move |reason| NetworkError {
        operation,
        sandbox,
        reason,
    }
}

#[async_trait]
impl PodNetwork for Cni {
    async fn ready(&self) -> Result<(), String> {
        self.status().await
    }

    async fn add(&self, attachment: &Attachment) -> Result<Attached, NetworkError> {
        self.join(attachment)
            .await
            .map_err(error("add", attachment))
    }

    async fn check(&self, attachment: &Attachment) -> Result<(), NetworkError> {
        self.inspect(attachment)
            .await
            .map_err(error("check", attachment))
    }

    async fn del(&self, attachment: &Attachment) -> Result<(), NetworkError> {
        self.part(attachment)
            .await
            .map_err(error("del", attachment))
    }

    async fn set_pod_cidrs(&self, cidrs: &[String]) -> Result<(), String> {
        *self.ranges.lock() = cidrs.to_vec();
        Ok(())
    }
}
