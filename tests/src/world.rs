//! Two network namespaces joined by a cable: the node's, and the outside world's.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

/// The node's address.
pub const NODE: &str = "192.0.2.2";
/// The second node's address, where there is one.
pub const SECOND: &str = "192.0.2.3";
/// The outside world's address, the node's gateway.
pub const OUTSIDE: &str = "192.0.2.1";

static MADE: AtomicU32 = AtomicU32::new(0);

/// See the module. Removed when dropped.
#[derive(Debug)]
pub struct World {
    name: String,
}

impl World {
    /// Makes both namespaces.
    pub fn make() -> World {
        let name = format!(
            "corten-t{}-{}",
            std::process::id(),
            MADE.fetch_add(1, Ordering::Relaxed)
        );
        let world = World { name };
        let (node, outside) = (world.node(), world.outside());
        run(&[
            format!("netns add {node}"),
            format!("netns add {outside}"),
            format!("-n {node} link set lo up"),
            format!("-n {outside} link set lo up"),
            format!("-n {node} link add eth0 type veth peer name eth0 netns {outside}"),
            format!("-n {node} address add {NODE}/24 dev eth0"),
            format!("-n {outside} address add {OUTSIDE}/24 dev eth0"),
            format!("-n {node} link set eth0 up"),
            format!("-n {outside} link set eth0 up"),
            format!("-n {node} route add default via {OUTSIDE}"),
        ]);
        world
    }

    /// Adds a second node's namespace, with the address [`SECOND`], on the same cable.
    pub fn add_second(&self) {
        let (second, outside) = (self.second(), self.outside());
        run(&[
            format!("netns add {second}"),
            format!("-n {second} link set lo up"),
            format!("-n {outside} link add br0 type bridge"),
            format!("-n {outside} address del {OUTSIDE}/24 dev eth0"),
            format!("-n {outside} link set eth0 master br0"),
            format!("-n {outside} address add {OUTSIDE}/24 dev br0"),
            format!("-n {outside} link set br0 up"),
            format!("-n {second} link add eth0 type veth peer name eth1 netns {outside}"),
            format!("-n {outside} link set eth1 master br0"),
            format!("-n {outside} link set eth1 up"),
            format!("-n {second} address add {SECOND}/24 dev eth0"),
            format!("-n {second} link set eth0 up"),
            format!("-n {second} route add default via {OUTSIDE}"),
        ]);
    }

    fn second(&self) -> String {
        format!("{}-s", self.name)
    }

    fn node(&self) -> String {
        format!("{}-n", self.name)
    }

    fn outside(&self) -> String {
        format!("{}-o", self.name)
    }

    /// A command that runs beside the node's network.
    pub fn on_node(&self, program: impl Into<PathBuf>) -> Command {
        within(&self.node(), program.into())
    }

    /// Does something on a thread of its own that is in the node's network.
    pub fn visit_node<T: Send + 'static>(&self, what: impl FnOnce() -> T + Send + 'static) -> T {
        use std::os::fd::AsFd;
        let namespace = std::fs::File::open(format!("/run/netns/{}", self.node())).expect("netns");
        let visit = std::thread::spawn(move || {
            let kind = rustix::thread::LinkNameSpaceType::Network;
            rustix::thread::move_into_link_name_space(namespace.as_fd(), Some(kind))
                .expect("enter the node's network");
            what()
        });
        visit.join().expect("the visit")
    }

    /// A command that runs beside the second node's network.
    pub fn on_second(&self, program: impl Into<PathBuf>) -> Command {
        within(&self.second(), program.into())
    }

    /// A command that runs in the outside world.
    pub fn on_outside(&self, program: impl Into<PathBuf>) -> Command {
        within(&self.outside(), program.into())
    }
}

/// Runs `ip` with each of the lines.
fn run(lines: &[String]) {
    for line in lines {
        let out = ip(line);
        assert!(
            out.status.success(),
            "ip {line}: {}",
            String::from_utf8_lossy(&out.stderr)
        );
    }
}

fn within(namespace: &str, program: PathBuf) -> Command {
    let mut command = Command::new("nsenter");
    command
        .arg(format!("--net=/run/netns/{namespace}"))
        .arg("--")
        .arg(program);
    command
}

fn ip(line: &str) -> std::process::Output {
    let program = crate::find("ip").expect("ip");
    Command::new(program)
        .args(line.split(' '))
        .stdin(Stdio::null())
        .output()
        .expect("run ip")
}

impl Drop for World {
    fn drop(&mut self) {
        // The second is not always there; that is then all that is said of it.
        for namespace in [self.second(), self.node(), self.outside()] {
            ip(&format!("netns delete {namespace}"));
        }
    }
}
