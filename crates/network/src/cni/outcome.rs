//! Results of ADD: the addresses in them, and the file in which they wait for CHECK and DEL.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::config::Network;
use crate::names;

/// What is kept of a sandbox: the network as it was configured when the sandbox joined it, and the
/// result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Kept {
    pub name: String,
    pub version: String,
    pub disable_check: bool,
    pub plugins: Vec<Map<String, Value>>,
    pub runtime: Map<String, Value>,
    pub result: Value,
}

impl Kept {
    pub fn new(network: &Network, runtime: &Map<String, Value>, result: Value) -> Self {
        Self {
            name: network.name.clone(),
            version: network.version.clone(),
            disable_check: network.disable_check,
            plugins: network.plugins.clone(),
            runtime: runtime.clone(),
            result,
        }
    }

    pub fn network(&self) -> Network {
        Network {
            name: self.name.clone(),
            version: self.version.clone(),
            disable_check: self.disable_check,
            plugins: self.plugins.clone(),
        }
    }
}

/// The addresses of the pod, in the order the plugins gave them.
pub(super) fn addresses(result: &Value) -> Vec<IpAddr> {
    let interfaces = result.get("interfaces").and_then(Value::as_array);
    let in_pod = |index: Option<&Value>| {
        let interface = index
            .and_then(Value::as_u64)
            .and_then(|n| interfaces?.get(usize::try_from(n).ok()?));
        // An address without an interface is the pod's; one of the host's interfaces has no sandbox.
        interface.is_none_or(|i| {
            i.get("sandbox")
                .and_then(Value::as_str)
                .is_some_and(|s| !s.is_empty())
        })
    };
    let parse = |text: &str| text.split('/').next().and_then(|ip| ip.parse().ok());
    let newer = result
        .get("ips")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    let newer = newer
        .filter(|ip| in_pod(ip.get("interface")))
        .filter_map(|ip| ip.get("address").and_then(Value::as_str).and_then(parse));
    // Before 0.3 there was one address per family.
    let older = ["ip4", "ip6"]
        .iter()
        .filter_map(|key| result.get(key)?.get("ip")?.as_str().and_then(parse));
    newer.chain(older).collect()
}

/// The directory of kept results.
#[derive(Debug)]
pub(super) struct Results {
    dir: PathBuf,
}

impl Results {
    pub fn open(dir: &Path) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        Ok(Self {
            dir: dir.to_owned(),
        })
    }

    fn path(&self, sandbox: &str) -> PathBuf {
        self.dir
            .join(format!("{:016x}.json", names::hash(&[sandbox])))
    }

    /// What is kept of a sandbox; a file that does not parse counts as none.
    pub fn get(&self, sandbox: &str) -> Option<Kept> {
        let bytes = fs::read(self.path(sandbox)).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// Keeps a result; written beside and renamed, so that a crash leaves the whole or nothing.
    pub fn put(&self, sandbox: &str, kept: &Kept) -> io::Result<()> {
        let path = self.path(sandbox);
        let draft = path.with_extension("tmp");
        fs::write(&draft, serde_json::to_vec(kept)?)?;
        fs::rename(&draft, &path)
    }

    pub fn remove(&self, sandbox: &str) -> io::Result<()> {
        match fs::remove_file(self.path(sandbox)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn addresses_of_the_pod_only() {
        let result = json!({
            "interfaces": [{"name": "cni0"}, {"name": "eth0", "sandbox": "/run/netns/x"}],
            "ips": [
                {"address": "192.0.2.1/24", "interface": 0},
                {"address": "10.1.0.5/24", "interface": 1},
                {"address": "fd00::5/64", "interface": 1},
                {"address": "10.2.0.5/24"},
            ],
        });
        let expected: Vec<IpAddr> = ["10.1.0.5", "fd00::5", "10.2.0.5"]
            .iter()
            .map(|ip| ip.parse().unwrap())
            .collect();
        assert_eq!(addresses(&result), expected);
        let old = json!({"ip4": {"ip": "10.3.0.5/16"}});
        assert_eq!(addresses(&old), ["10.3.0.5".parse::<IpAddr>().unwrap()]);
        assert!(addresses(&Value::Null).is_empty());
    }
}
