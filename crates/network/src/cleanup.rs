//! Takes an instance's kernel objects away, for uninstalling and for tests.

use crate::names;
use crate::netlink::nft::{self, Family};
use crate::netlink::route::Route;
use crate::netlink::socket::{self, Socket};

/// Something that could not be removed.
#[derive(Debug, thiserror::Error)]
#[error("clean up the network of instance {instance}: {source}")]
pub struct CleanupError {
    instance: String,
    source: crate::netlink::Error,
}

/// Removes the bridge with its ports and the tables of an instance. What is not there is fine; what
/// belongs to others is not touched.
pub fn cleanup(instance: &str) -> Result<(), CleanupError> {
    let fail = |source| CleanupError {
        instance: instance.to_owned(),
        source,
    };
    let mut route = Route::open().map_err(fail)?;
    let bridge = names::bridge(instance);
    if let Some(link) = route.link(&bridge).map_err(fail)? {
        for port in route
            .links()
            .map_err(fail)?
            .into_iter()
            .filter(|l| l.master == Some(link.index))
        {
            route.delete_link(&port.name).map_err(fail)?;
        }
        route.delete_link(&bridge).map_err(fail)?;
    }
    let mut socket = Socket::open(socket::Family::Netfilter).map_err(fail)?;
    for table in [names::pods_table(instance), names::services_table(instance)] {
        for family in [Family::V4, Family::V6] {
            nft::delete_table(&mut socket, family, &table).map_err(fail)?;
        }
    }
    Ok(())
}
