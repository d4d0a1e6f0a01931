//! A netlink socket: sends requests, collects acknowledgements and dumps.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink,
    netlink::SocketAddrNetlink, sockopt,
};

use super::Error;
use super::message::{self, Message, Writer};

/// A dump or an acknowledgement that has not come after this long will not come.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Acknowledgements of one request wait here; above it the kernel answers `ENOBUFS`.
const RECEIVE_BUFFER: usize = 4 << 20;
/// One nftables transaction is one datagram; larger ones are refused by the kernel with `EMSGSIZE`.
const SEND_BUFFER: usize = 256 << 20;
/// Datagrams of a dump are at most 32 KiB.
const DATAGRAM: usize = 64 << 10;

/// Which part of the kernel a socket reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Links, addresses, routes, neighbours, queueing disciplines.
    Route,
    /// nftables and conntrack.
    Netfilter,
}

/// A socket in the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    sequence: u32,
}

impl Socket {
    /// Opens one.
    pub fn open(family: Family) -> Result<Self, Error> {
        let protocol = match family {
            Family::Route => None,
            Family::Netfilter => Some(netlink::NETFILTER),
        };
        let fail = |action| move |errno| Error::Socket { action, errno };
        let fd = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            protocol,
        )
        .map_err(fail("open"))?;
        rustix::net::bind(&fd, &SocketAddrNetlink::new(0, 0)).map_err(fail("bind"))?;
        sockopt::set_socket_timeout(&fd, sockopt::Timeout::Recv, Some(TIMEOUT))
            .map_err(fail("set timeout"))?;
        // Both need CAP_NET_ADMIN over the namespace's owner; without it the defaults still carry
        // small requests.
        let _ = sockopt::set_socket_recv_buffer_size_force(&fd, RECEIVE_BUFFER);
        if family == Family::Netfilter {
            let _ = sockopt::set_socket_send_buffer_size_force(&fd, SEND_BUFFER);
        }
        Ok(Self { fd, sequence: 0 })
    }

    /// Numbers for messages about to be written.
    pub fn next_sequence(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    /// Sends messages as one datagram.
    pub fn send(&self, bytes: &[u8]) -> Result<(), Error> {
        loop {
            match rustix::net::sendto(
                &self.fd,
                bytes,
                SendFlags::empty(),
                &SocketAddrNetlink::new(0, 0),
            ) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(errno) => {
                    return Err(Error::Socket {
                        action: "send",
                        errno,
                    });
                }
            }
        }
    }

    /// Receives datagrams and gives every message to `each` until that answers `true` (finished).
    pub fn receive(&self, mut each: impl FnMut(Message<'_>) -> bool) -> Result<(), Error> {
        let mut buffer = vec![0u8; DATAGRAM];
        loop {
            let length =
                match rustix::net::recv(self.fd.as_fd(), &mut buffer[..], RecvFlags::empty()) {
                    Ok((length, _)) => length,
                    Err(Errno::INTR) => continue,
                    Err(errno) => {
                        return Err(Error::Socket {
                            action: "receive",
                            errno,
                        });
                    }
                };
            for message in message::messages(&buffer[..length]) {
                if each(message) {
                    return Ok(());
                }
            }
        }
    }

    /// Sends one request that is acknowledged; `write` gets its sequence number.
    pub fn request(
        &mut self,
        what: &str,
        write: impl FnOnce(&mut Writer, u32),
    ) -> Result<(), Error> {
        let sequence = self.next_sequence();
        let mut writer = Writer::new();
        write(&mut writer, sequence);
        self.send(writer.bytes())?;
        let mut answer = None;
        self.receive(|message| {
            if message.sequence == sequence && message.kind == message::ERROR {
                answer = outcome(&message);
                return true;
            }
            false
        })?;
        match answer {
            Some(Ok(())) => Ok(()),
            Some(Err(errno)) => Err(Error::Refused {
                request: what.to_owned(),
                errno,
            }),
            None => Err(Error::Malformed {
                request: what.to_owned(),
            }),
        }
    }

    /// Sends one request and gives each object of the answer to `each`. Without `DUMP` among the
    /// flags of the request the answer is one object, and an acknowledgement must be asked for, as
    /// it marks the end.
    pub fn query(
        &mut self,
        what: &str,
        write: impl FnOnce(&mut Writer, u32),
        mut each: impl FnMut(Message<'_>),
    ) -> Result<(), Error> {
        let sequence = self.next_sequence();
        let mut writer = Writer::new();
        write(&mut writer, sequence);
        self.send(writer.bytes())?;
        let mut answer = Some(Ok(()));
        self.receive(|message| {
            if message.sequence != sequence {
                return false;
            }
            match message.kind {
                message::DONE => true,
                message::ERROR => {
                    answer = outcome(&message);
                    true
                }
                _ => {
                    each(message);
                    false
                }
            }
        })?;
        match answer {
            Some(Ok(())) => Ok(()),
            Some(Err(errno)) => Err(Error::Refused {
                request: what.to_owned(),
                errno,
            }),
            None => Err(Error::Malformed {
                request: what.to_owned(),
            }),
        }
    }

    /// Whether something is waiting to be read; used to collect the errors of a transaction.
    pub(crate) fn try_receive(&self, mut each: impl FnMut(Message<'_>)) -> Result<(), Error> {
        let mut buffer = vec![0u8; DATAGRAM];
        loop {
            match rustix::net::recv(self.fd.as_fd(), &mut buffer[..], RecvFlags::DONTWAIT) {
                Ok((length, _)) => message::messages(&buffer[..length]).for_each(&mut each),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(()),
                Err(errno) => {
                    return Err(Error::Socket {
                        action: "receive",
                        errno,
                    });
                }
            }
        }
    }
}

/// What an `NLMSG_ERROR` says: an acknowledgement or an error; none when it is malformed.
pub(crate) fn outcome(message: &Message<'_>) -> Option<Result<(), Errno>> {
    match i32::from_ne_bytes(message.body.get(0..4)?.try_into().ok()?) {
        0 => Some(Ok(())),
        number @ -4095..=-1 => Some(Err(Errno::from_raw_os_error(-number))),
        _ => None,
    }
}
