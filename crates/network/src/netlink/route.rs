//! Links, addresses, routes and neighbours (rtnetlink).
//!
//! Written on [`super::message`] like nftables is, so that one blocking call of some microseconds
//! does what an async connection with its own task would.

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsRawFd, BorrowedFd};

use ipnet::IpNet;
use rustix::io::Errno;

use super::Error;
use super::message::{self, Writer, flags};
use super::socket::{Family, Socket};

const NEWLINK: u16 = 16;
const DELLINK: u16 = 17;
const GETLINK: u16 = 18;
const NEWADDR: u16 = 20;
const DELADDR: u16 = 21;
const GETADDR: u16 = 22;
const DELROUTE: u16 = 25;
const NEWROUTE: u16 = 24;
const GETROUTE: u16 = 26;
const NEWNEIGH: u16 = 28;
const DELNEIGH: u16 = 29;
const NEWQDISC: u16 = 36;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_NET_NS_FD: u16 = 28;
const INFO_KIND: u16 = 1;
const INFO_DATA: u16 = 2;
const INFO_SLAVE_KIND: u16 = 4;
const INFO_SLAVE_DATA: u16 = 5;
const VETH_INFO_PEER: u16 = 1;
const BRPORT_MODE: u16 = 4;
const UP: u32 = 1;

/// The loopback interface's index in every namespace.
pub const LOOPBACK: u32 = 1;

/// An interface as the kernel reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its index.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Whether it is administratively up.
    pub up: bool,
    /// Index of the bridge it is a port of.
    pub master: Option<u32>,
    /// Its MTU.
    pub mtu: u32,
    /// Its hardware address; zeros when it has none of six bytes.
    pub mac: [u8; 6],
    /// Its kind (`bridge`, `veth`); empty for hardware.
    pub kind: String,
}

/// One end of a veth pair to be made.
#[derive(Clone, Copy, Debug)]
pub struct Veth<'a> {
    /// Name of the host's end.
    pub host: &'a str,
    /// Bridge that takes the host's end as a port.
    pub master: u32,
    /// Name of the pod's end.
    pub pod: &'a str,
    /// Hardware address of the pod's end.
    pub mac: [u8; 6],
    /// The pod's namespace.
    pub namespace: BorrowedFd<'a>,
    /// MTU of both ends.
    pub mtu: u32,
}

/// An rtnetlink socket in one network namespace.
#[derive(Debug)]
pub struct Route(Socket);

fn link_header(w: &mut Writer, index: u32, flags: u32, change: u32) {
    w.raw(&[0; 4]);
    w.raw(&index.to_ne_bytes());
    w.raw(&flags.to_ne_bytes());
    w.raw(&change.to_ne_bytes());
}

fn octets(address: &IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

fn family(address: &IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => libc::AF_INET as u8,
        IpAddr::V6(_) => libc::AF_INET6 as u8,
    }
}

fn address_of(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(IpAddr::from(v4));
    }
    <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from)
}

fn number(bytes: &[u8]) -> Option<u32> {
    bytes.try_into().ok().map(u32::from_ne_bytes)
}

fn existing_is_fine(result: Result<(), Error>) -> Result<(), Error> {
    match result {
        Err(error) if error.errno() == Some(Errno::EXIST) => Ok(()),
        other => other,
    }
}

impl Route {
    /// Opens a socket in the calling thread's namespace.
    pub fn open() -> Result<Self, Error> {
        Socket::open(Family::Route).map(Self)
    }

    /// The link of that name, if there is one.
    pub fn link(&mut self, name: &str) -> Result<Option<Link>, Error> {
        let mut found = None;
        let result = self.0.query(
            &format!("get link {name}"),
            |w, seq| {
                w.message(GETLINK, flags::REQUEST | flags::ACK, seq, |w| {
                    link_header(w, 0, 0, 0);
                    w.string(IFLA_IFNAME, name);
                });
            },
            |message| found = parse_link(message.body),
        );
        match result {
            Ok(()) => Ok(found),
            Err(error) if error.errno() == Some(Errno::NODEV) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All links.
    pub fn links(&mut self) -> Result<Vec<Link>, Error> {
        let mut links = Vec::new();
        self.0.query(
            "list links",
            |w, seq| {
                w.message(GETLINK, flags::REQUEST | flags::DUMP, seq, |w| {
                    link_header(w, 0, 0, 0)
                })
            },
            |message| links.extend(parse_link(message.body)),
        )?;
        Ok(links)
    }

    /// Makes a bridge; one that exists is left as it is.
    pub fn add_bridge(&mut self, name: &str, mac: [u8; 6], mtu: u32) -> Result<(), Error> {
        existing_is_fine(self.0.request(&format!("create bridge {name}"), |w, seq| {
            w.message(
                NEWLINK,
                flags::REQUEST | flags::ACK | flags::CREATE | flags::EXCL,
                seq,
                |w| {
                    link_header(w, 0, UP, UP);
                    w.string(IFLA_IFNAME, name);
                    w.attr(IFLA_ADDRESS, &mac);
                    w.u32(IFLA_MTU, mtu);
                    w.nested(IFLA_LINKINFO, |w| w.string(INFO_KIND, "bridge"));
                },
            );
        }))
    }

    /// Makes a veth pair with the peer directly in its namespace: moving it afterwards costs ten
    /// times as much.
    pub fn add_veth(&mut self, veth: &Veth<'_>) -> Result<(), Error> {
        self.0
            .request(&format!("create veth {}", veth.host), |w, seq| {
                w.message(
                    NEWLINK,
                    flags::REQUEST | flags::ACK | flags::CREATE | flags::EXCL,
                    seq,
                    |w| {
                        link_header(w, 0, UP, UP);
                        w.string(IFLA_IFNAME, veth.host);
                        w.u32(IFLA_MTU, veth.mtu);
                        w.u32(IFLA_MASTER, veth.master);
                        w.nested(IFLA_LINKINFO, |w| {
                            w.string(INFO_KIND, "veth");
                            w.nested(INFO_DATA, |w| {
                                w.nested(VETH_INFO_PEER, |w| {
                                    // The peer cannot come up yet: it is made before the ends know
                                    // each other.
                                    link_header(w, 0, 0, 0);
                                    w.string(IFLA_IFNAME, veth.pod);
                                    w.attr(IFLA_ADDRESS, &veth.mac);
                                    w.u32(IFLA_MTU, veth.mtu);
                                    w.u32(IFLA_NET_NS_FD, veth.namespace.as_raw_fd() as u32);
                                });
                            });
                        });
                    },
                );
            })
    }

    /// Lets a bridge port send frames back out where they came from: needed when a pod reaches
    /// itself through a service on a kernel that hands bridged frames to the packet filter.
    pub fn set_hairpin(&mut self, name: &str) -> Result<(), Error> {
        self.0.request(&format!("set hairpin on {name}"), |w, seq| {
            w.message(NEWLINK, flags::REQUEST | flags::ACK, seq, |w| {
                link_header(w, 0, 0, 0);
                w.string(IFLA_IFNAME, name);
                w.nested(IFLA_LINKINFO, |w| {
                    w.string(INFO_SLAVE_KIND, "bridge");
                    w.nested(INFO_SLAVE_DATA, |w| w.u8(BRPORT_MODE, 1));
                });
            });
        })
    }

    /// Sets a link up.
    pub fn set_up(&mut self, index: u32) -> Result<(), Error> {
        self.0.request(&format!("set link {index} up"), |w, seq| {
            w.message(NEWLINK, flags::REQUEST | flags::ACK, seq, |w| {
                link_header(w, index, UP, UP)
            });
        })
    }

    /// Removes a link; one that is gone already is fine.
    pub fn delete_link(&mut self, name: &str) -> Result<(), Error> {
        let result = self.0.request(&format!("delete link {name}"), |w, seq| {
            w.message(DELLINK, flags::REQUEST | flags::ACK, seq, |w| {
                link_header(w, 0, 0, 0);
                w.string(IFLA_IFNAME, name);
            });
        });
        match result {
            Err(error) if error.errno() == Some(Errno::NODEV) => Ok(()),
            other => other,
        }
    }

    /// Gives a link an address; one it has already is fine.
    pub fn add_address(&mut self, index: u32, address: IpAddr, prefix: u8) -> Result<(), Error> {
        existing_is_fine(self.0.request(
            &format!("add address {address}/{prefix} to link {index}"),
            |w, seq| {
                w.message(
                    NEWADDR,
                    flags::REQUEST | flags::ACK | flags::CREATE | flags::EXCL,
                    seq,
                    |w| {
                        w.raw(&[family(&address), prefix, 0, 0]);
                        w.raw(&index.to_ne_bytes());
                        w.attr(2, &octets(&address));
                        w.attr(1, &octets(&address));
                        if let IpAddr::V4(v4) = address
                            && prefix < 31
                        {
                            let broadcast = u32::from(v4) | (u32::MAX >> prefix);
                            w.attr(4, &Ipv4Addr::from(broadcast).octets());
                        }
                    },
                );
            },
        ))
    }

    /// Takes an address from a link; one that is gone already is fine.
    pub fn delete_address(&mut self, index: u32, address: IpAddr) -> Result<(), Error> {
        let what = format!("delete address {address} of link {index}");
        let result = self.0.request(&what, |w, seq| {
            w.message(DELADDR, flags::REQUEST | flags::ACK, seq, |w| {
                w.raw(&[family(&address), 0, 0, 0]);
                w.raw(&index.to_ne_bytes());
                w.attr(2, &octets(&address));
            });
        });
        match result {
            Err(error) if matches!(error.errno(), Some(Errno::ADDRNOTAVAIL | Errno::NODEV)) => {
                Ok(())
            }
            other => other,
        }
    }

    /// The addresses of a link, or of all links.
    pub fn addresses(&mut self, index: Option<u32>) -> Result<Vec<IpAddr>, Error> {
        let mut found = Vec::new();
        self.0.query(
            "list addresses",
            |w, seq| {
                w.message(GETADDR, flags::REQUEST | flags::DUMP, seq, |w| {
                    w.raw(&[0; 8])
                })
            },
            |message| {
                let of = message.body.get(4..8).and_then(number);
                if index.is_some() && of != index {
                    return;
                }
                let attributes = message.body.get(8..).unwrap_or_default();
                let local = message::find(attributes, 2).or_else(|| message::find(attributes, 1));
                found.extend(local.and_then(address_of));
            },
        )?;
        Ok(found)
    }

    /// A route to `target` out of a link, through `gateway` when given; one that exists is replaced.
    pub fn set_route(
        &mut self,
        target: IpNet,
        index: u32,
        gateway: Option<IpAddr>,
    ) -> Result<(), Error> {
        let what = format!("set route to {target} on link {index}");
        self.0.request(&what, |w, seq| {
            w.message(
                NEWROUTE,
                flags::REQUEST | flags::ACK | flags::CREATE | flags::REPLACE,
                seq,
                |w| {
                    let scope = if gateway.is_some() { 0 } else { 253 };
                    // family, prefix, source prefix, tos, table main, protocol boot, scope,
                    // unicast, flags.
                    w.raw(&[
                        family(&target.addr()),
                        target.prefix_len(),
                        0,
                        0,
                        254,
                        3,
                        scope,
                        1,
                    ]);
                    w.raw(&0u32.to_ne_bytes());
                    if target.prefix_len() > 0 {
                        w.attr(1, &octets(&target.network()));
                    }
                    if let Some(gateway) = gateway {
                        w.attr(5, &octets(&gateway));
                    }
                    w.u32(4, index);
                },
            );
        })
    }

    /// A route to `target` through a neighbour, out of whichever link leads to it; one that exists
    /// is replaced. The kernel refuses a gateway that no link leads to.
    pub fn set_gateway(&mut self, target: IpNet, gateway: IpAddr) -> Result<(), Error> {
        let what = format!("set route to {target} through {gateway}");
        self.0.request(&what, |w, seq| {
            let kind = flags::REQUEST | flags::ACK | flags::CREATE | flags::REPLACE;
            w.message(NEWROUTE, kind, seq, |w| {
                // As in `set_route`; the scope is the universe.
                w.raw(&[
                    family(&target.addr()),
                    target.prefix_len(),
                    0,
                    0,
                    254,
                    3,
                    0,
                    1,
                ]);
                w.raw(&0u32.to_ne_bytes());
                w.attr(1, &octets(&target.network()));
                w.attr(5, &octets(&gateway));
            });
        })
    }

    /// Takes the route to `target` away; one that is gone already is fine.
    pub fn delete_route(&mut self, target: IpNet) -> Result<(), Error> {
        let what = format!("delete route to {target}");
        let result = self.0.request(&what, |w, seq| {
            w.message(DELROUTE, flags::REQUEST | flags::ACK, seq, |w| {
                // Any scope, protocol and type.
                w.raw(&[
                    family(&target.addr()),
                    target.prefix_len(),
                    0,
                    0,
                    254,
                    0,
                    255,
                    0,
                ]);
                w.raw(&0u32.to_ne_bytes());
                w.attr(1, &octets(&target.network()));
            });
        });
        match result {
            Err(error) if error.errno() == Some(Errno::SRCH) => Ok(()),
            other => other,
        }
    }

    /// Index of the link that carries the default route.
    pub fn default_link(&mut self) -> Result<Option<u32>, Error> {
        let mut found = None;
        self.0.query(
            "list routes",
            |w, seq| {
                w.message(GETROUTE, flags::REQUEST | flags::DUMP, seq, |w| {
                    w.raw(&[libc::AF_INET as u8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
                });
            },
            |message| {
                // Prefix length 0 in the main table.
                if message.body.first() == Some(&(libc::AF_INET as u8))
                    && message.body.get(1) == Some(&0)
                    && message.body.get(4) == Some(&254)
                {
                    let attributes = message.body.get(12..).unwrap_or_default();
                    found = found.or(message::find(attributes, 4).and_then(number));
                }
            },
        )?;
        Ok(found)
    }

    /// A permanent neighbour: saves the address resolution of a pod's first packet, and cannot go stale
    /// when an address is used again.
    pub fn set_neighbour(
        &mut self,
        index: u32,
        address: IpAddr,
        mac: [u8; 6],
    ) -> Result<(), Error> {
        self.0.request(
            &format!("set neighbour {address} on link {index}"),
            |w, seq| {
                w.message(
                    NEWNEIGH,
                    flags::REQUEST | flags::ACK | flags::CREATE | flags::REPLACE,
                    seq,
                    |w| {
                        w.raw(&[family(&address), 0, 0, 0]);
                        w.raw(&index.to_ne_bytes());
                        w.raw(&0x80u16.to_ne_bytes());
                        w.raw(&[0, 0]);
                        w.attr(1, &octets(&address));
                        w.attr(2, &mac);
                    },
                );
            },
        )
    }

    /// Forgets a neighbour; one that is gone already is fine.
    pub fn delete_neighbour(&mut self, index: u32, address: IpAddr) -> Result<(), Error> {
        let result = self.0.request(
            &format!("delete neighbour {address} on link {index}"),
            |w, seq| {
                w.message(DELNEIGH, flags::REQUEST | flags::ACK, seq, |w| {
                    w.raw(&[family(&address), 0, 0, 0]);
                    w.raw(&index.to_ne_bytes());
                    w.raw(&[0; 4]);
                    w.attr(1, &octets(&address));
                });
            },
        );
        match result {
            Err(error) if matches!(error.errno(), Some(Errno::NOENT | Errno::NODEV)) => Ok(()),
            other => other,
        }
    }
}

impl Route {
    /// Limits what leaves by a link to `rate` bytes per second, with a token bucket; an earlier
    /// limit is replaced.
    pub fn limit_rate(&mut self, index: u32, rate: u64) -> Result<(), Error> {
        const OPTIONS: u16 = 2;
        // A tenth of a second's worth may go at once, and a quarter waits; both hold some large
        // packets.
        let burst = u32::try_from(rate / 10).unwrap_or(u32::MAX).max(128 << 10);
        let waiting = u32::try_from(rate / 4).unwrap_or(u32::MAX).max(256 << 10);
        self.0
            .request(&format!("limit the rate of link {index}"), |w, seq| {
                w.message(
                    NEWQDISC,
                    flags::REQUEST | flags::ACK | flags::CREATE | flags::REPLACE,
                    seq,
                    |w| {
                        w.raw(&[0; 4]);
                        w.raw(&index.to_ne_bytes());
                        w.raw(&0u32.to_ne_bytes());
                        w.raw(&u32::MAX.to_ne_bytes());
                        w.raw(&0u32.to_ne_bytes());
                        w.string(1, "tbf");
                        w.nested(OPTIONS, |w| {
                            // `struct tc_tbf_qopt`: rate, peak rate, limit, buffer, mtu. The link layer is Ethernet,
                            // and a rate that does not fit stands in an attribute of its own.
                            let mut parameters = vec![0u8; 36];
                            parameters[1] = 1;
                            let short = u32::try_from(rate).unwrap_or(u32::MAX);
                            parameters[8..12].copy_from_slice(&short.to_ne_bytes());
                            parameters[24..28].copy_from_slice(&waiting.to_ne_bytes());
                            w.attr(1, &parameters);
                            w.attr(4, &rate.to_ne_bytes());
                            w.u32(6, burst);
                        });
                    },
                );
            })
    }
}

fn parse_link(body: &[u8]) -> Option<Link> {
    let attributes = body.get(16..)?;
    let kind =
        message::find(attributes, IFLA_LINKINFO).and_then(|info| message::find(info, INFO_KIND));
    Some(Link {
        index: number(body.get(4..8)?)?,
        name: message::find(attributes, IFLA_IFNAME)
            .and_then(message::text)?
            .to_owned(),
        up: number(body.get(8..12)?)? & UP != 0,
        master: message::find(attributes, IFLA_MASTER).and_then(number),
        mtu: message::find(attributes, IFLA_MTU)
            .and_then(number)
            .unwrap_or(0),
        mac: message::find(attributes, IFLA_ADDRESS)
            .and_then(|mac| mac.try_into().ok())
            .unwrap_or_default(),
        kind: kind.and_then(message::text).unwrap_or_default().to_owned(),
    })
}
