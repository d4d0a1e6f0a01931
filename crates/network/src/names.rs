//! Names of the kernel objects an instance owns, derived from its id.
//!
//! Interface names end at 15 bytes, so everything that must fit there is a short prefix and a hash.

/// The longest interface name the kernel takes (`IFNAMSIZ` less its NUL).
pub const INTERFACE_NAME_MAX: usize = 15;

const BRIDGE_PREFIX: &str = "corten-";

/// 64-bit FNV-1a: stable across versions and architectures, which a name on disk or in the kernel
/// must be.
pub(crate) fn hash(parts: &[&str]) -> u64 {
    let mut value: u64 = 0xcbf2_9ce4_8422_2325;
    for part in parts {
        for byte in part.bytes().chain([0]) {
            value = (value ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    value
}

/// The bridge of an instance; long ids are hashed.
#[must_use]
pub fn bridge(instance: &str) -> String {
    let room = INTERFACE_NAME_MAX - BRIDGE_PREFIX.len();
    let plain = instance
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if plain && !instance.is_empty() && instance.len() <= room {
        format!("{BRIDGE_PREFIX}{instance}")
    } else {
        let digest = format!("{:016x}", hash(&[instance]));
        format!("{BRIDGE_PREFIX}{}", &digest[..room])
    }
}

/// The host's end of a sandbox's veth pair.
#[must_use]
pub fn host_veth(instance: &str, sandbox: &str) -> String {
    // 44 bits: with a thousand pods on a node the chance of two equal names is below 1e-7.
    let digest = format!("{:016x}", hash(&[instance, sandbox]));
    format!("veth{}", &digest[..11])
}

/// The nftables table of the pod network.
#[must_use]
pub fn pods_table(instance: &str) -> String {
    table(instance, "pods")
}

/// The nftables table of the service proxy.
#[must_use]
pub fn services_table(instance: &str) -> String {
    table(instance, "services")
}

fn table(instance: &str, part: &str) -> String {
    let safe: String = instance
        .chars()
        .take(64)
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '-' {
                c
            } else {
                '_'
            }
        })
        .collect();
    if safe == instance {
        format!("corten-{safe}-{part}")
    } else {
        format!("corten-{safe}-{:08x}-{part}", hash(&[instance]) as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bridge_names_fit_and_differ() {
        for id in [
            "a",
            "default",
            "12345678",
            "123456789",
            "a-very-long-instance-id",
            "ü",
            "",
        ] {
            assert!(bridge(id).len() <= INTERFACE_NAME_MAX, "{id}");
        }
        assert_eq!(bridge("prod"), "corten-prod");
        assert_ne!(bridge("123456789"), bridge("123456780"));
    }

    #[test]
    fn veth_names_depend_on_instance_and_sandbox() {
        assert_eq!(host_veth("a", "b").len(), INTERFACE_NAME_MAX);
        assert_ne!(host_veth("a", "b"), host_veth("ab", ""));
        assert_ne!(host_veth("a", "x"), host_veth("b", "x"));
    }

    #[test]
    fn tables_of_similar_ids_differ() {
        assert_eq!(pods_table("x1"), "corten-x1-pods");
        assert_ne!(pods_table("x.1"), pods_table("x_1"));
    }
}
