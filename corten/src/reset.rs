//! `corten reset`: ends every pod of a data directory, and takes away what the cluster left on this
//! machine: mounts, cgroups, interfaces, rules, and the directory's content.

use std::{
    fs,
    io::{IsTerminal, Write},
    path::Path,
    task::Poll,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use cri::v1;
use network::bridge;
use runtime::Runtime;
use rustix::{
    mount::{UnmountFlags, unmount},
    process::{Pid, Signal, kill_process},
};
use tokio_util::sync::CancellationToken;

use crate::{lock, server, settings::ResetSettings};

/// Runs it.
pub async fn run(settings: ResetSettings) -> Result<()> {
    let data = settings.data.data_dir;
    if !data.exists() {
        println!("{}: nothing is there", data.display());
        return Ok(());
    }
    if !settings.yes {
        confirm(&data)?;
    }
    let held = lock::take(&data)?;
    let instance = server::instance(&data);
    end_pods(&data, &instance).await?;
    network::cleanup(&instance).context("take the network down")?;
    unmount_below(&data)?;
    remove_cgroups(&instance)?;
    for entry in fs::read_dir(&data).with_context(|| data.display().to_string())? {
        let path = entry?.path();
        let removed = if path.is_dir() && !path.is_symlink() {
            fs::remove_dir_all(&path)
        } else {
            fs::remove_file(&path)
        };
        removed.with_context(|| format!("remove {}", path.display()))?;
    }
    drop(held);
    println!("{}: reset", data.display());
    Ok(())
}

fn confirm(data: &Path) -> Result<()> {
    if !std::io::stdin().is_terminal() {
        bail!(
            "this removes every object and pod of {}: say so with --yes",
            data.display()
        );
    }
    print!(
        "This removes every object and pod of {}. Type yes to go on: ",
        data.display()
    );
    std::io::stdout().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    if answer.trim() != "yes" {
        bail!("nothing was changed");
    }
    Ok(())
}

async fn end_pods(data: &Path, instance: &str) -> Result<()> {
    let state = data.join("run/runtime");
    if !state.exists() {
        return Ok(());
    }
    let network = bridge::Bridge::open(bridge::Config {
        instance: instance.to_owned(),
        state_dir: data.join("run/network"),
        pod_cidrs: Vec::new(),
        cluster_cidrs: Vec::new(),
        service_cidrs: Vec::new(),
        mtu: None,
    })?;
    let config = runtime::Config {
        root: data.join("runtime"),
        state_dir: state,
        cgroup_parent: server::cgroup_root(instance),
        shim: std::env::current_exe()?,
    };
    let runtime = Runtime::open(config, network).await?;
    let socket = data.join("run/reset.sock");
    let shutdown = CancellationToken::new();
    let mut serving = runtime.serve(&socket, shutdown.clone());
    // The socket is bound in the first step.
    if let Poll::Ready(ended) =
        std::future::poll_fn(|cx| Poll::Ready(serving.as_mut().poll(cx))).await
    {
        ended?;
    }
    let serving = tokio::spawn(serving);
    let (mut client, _) = cri::client::connect(&socket).await?;
    let all = client
        .list_pod_sandbox(v1::ListPodSandboxRequest::default())
        .await?
        .into_inner()
        .items;
    for sandbox in all {
        client
            .stop_pod_sandbox(v1::StopPodSandboxRequest {
                pod_sandbox_id: sandbox.id.clone(),
            })
            .await?;
        client
            .remove_pod_sandbox(v1::RemovePodSandboxRequest {
                pod_sandbox_id: sandbox.id,
            })
            .await?;
    }
    shutdown.cancel();
    // The server ends when told to; if it does not, the process is about to.
    let _ = tokio::time::timeout(Duration::from_secs(5), serving).await;
    Ok(())
}

fn unmount_below(data: &Path) -> Result<()> {
    let data = data.canonicalize()?;
    let mounts = fs::read_to_string("/proc/self/mounts").context("/proc/self/mounts")?;
    // The last mounted first.
    for line in mounts.lines().rev() {
        let point = line
            .split(' ')
            .nth(1)
            .unwrap_or_default()
            .replace("\\040", " ");
        if Path::new(&point).starts_with(&data) && Path::new(&point) != data {
            unmount(point.as_str(), UnmountFlags::DETACH)
                .with_context(|| format!("unmount {point}"))?;
        }
    }
    Ok(())
}

/// Removes the cluster's empty cgroups of either version.
fn remove_cgroups(instance: &str) -> Result<()> {
    let name = server::cgroup_root(instance);
    let root = Path::new("/sys/fs/cgroup");
    let mut tops = vec![root.join(&name)];
    if let Ok(entries) = fs::read_dir(root) {
        tops.extend(entries.flatten().map(|e| e.path().join(&name)));
    }
    for top in tops.iter().filter(|t| t.is_dir()) {
        remove_cgroup(top).with_context(|| format!("remove cgroup {}", top.display()))?;
    }
    Ok(())
}

fn remove_cgroup(dir: &Path) -> std::io::Result<()> {
    // What is left here has outlived its shim, which only somebody else can have killed.
    for process in fs::read_to_string(dir.join("cgroup.procs"))?.lines() {
        if let Some(pid) = process.parse().ok().and_then(Pid::from_raw) {
            // It may be gone by now.
            let _ = kill_process(pid, Signal::KILL);
        }
    }
    for entry in fs::read_dir(dir)?.flatten().filter(|e| e.path().is_dir()) {
        remove_cgroup(&entry.path())?;
    }
    // A killed process leaves its cgroup a moment later.
    let mut tries = 0;
    loop {
        match fs::remove_dir(dir) {
            Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy && tries < 50 => {
                tries += 1;
                std::thread::sleep(Duration::from_millis(20));
            }
            other => return other,
        }
    }
}
