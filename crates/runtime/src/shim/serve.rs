//! The shim's loop: one `epoll` over the socket, its clients, child ends and output.

use std::{
    collections::BTreeMap,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::event::{
    Timespec,
    epoll::{self, EventData, EventFlags},
};

use super::{
    create::{self, PodNamespaces},
    fault::{Fault, Step},
    handle::{Container, Exec},
    log::Stream,
    protocol::{Call, Event, Inbox, Message, Outbox, Reply, Request},
    spec::PodSpec,
};
use crate::sys::process;

/// Most clients at once; a further one is turned away.
const MAX_CLIENTS: usize = 16;
/// A client that lets this much of its replies wait is dropped.
const MAX_UNSENT: usize = 32 << 20;

/// What a token of the loop stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Watched {
    Listener,
    Signals,
    Client,
    Status(String),
    ExecStatus(u64),
    Output(String, Stream),
    Sink(String),
}

#[derive(Debug)]
struct Client {
    socket: OwnedFd,
    inbox: Inbox,
    outbox: Outbox,
}

/// Everything the shim knows.
pub(super) struct Shim {
    pub(super) pod: PodNamespaces,
    epoll: OwnedFd,
    next: u64,
    watched: BTreeMap<u64, Watched>,
    clients: BTreeMap<u64, Client>,
    pub(super) containers: BTreeMap<String, Container>,
    pub(super) execs: BTreeMap<u64, Exec>,
    pub(super) ending: bool,
}

/// Enters the pod's namespaces and serves until told to end.
pub(super) fn run(listener: OwnedFd, pod: &PodSpec) -> Result<(), Fault> {
    let signals = process::signal_descriptor().step(|| "watch for ended children".into())?;
    let entered = super::pod::enter(pod);
    create::nonblocking(&listener).step(|| "prepare the socket".into())?;
    let mut shim = Shim {
        pod: PodNamespaces::default(),
        epoll: epoll::create(epoll::CreateFlags::CLOEXEC).step(|| "make the event loop".into())?,
        next: 0,
        watched: BTreeMap::new(),
        clients: BTreeMap::new(),
        containers: BTreeMap::new(),
        execs: BTreeMap::new(),
        ending: false,
    };
    let fault = match entered {
        Ok(pod) => {
            shim.pod = pod;
            None
        }
        // Whoever asks first is told why; then there is no point in staying.
        Err(fault) => Some(fault),
    };
    let what = || "watch the socket".to_owned();
    shim.watch(listener.as_fd(), EventFlags::IN, Watched::Listener)
        .step(what)?;
    shim.watch(signals.as_fd(), EventFlags::IN, Watched::Signals)
        .step(what)?;
    process::trim_heap();
    shim.turn(&listener, &signals, fault)
}

impl Shim {
    /// Puts a descriptor under watch and gives its token.
    pub(super) fn watch(
        &mut self,
        fd: BorrowedFd<'_>,
        flags: EventFlags,
        what: Watched,
    ) -> rustix::io::Result<u64> {
        self.next += 1;
        epoll::add(&self.epoll, fd, EventData::new_u64(self.next), flags)?;
        self.watched.insert(self.next, what);
        Ok(self.next)
    }

    /// Changes what is waited for.
    pub(super) fn rewatch(&self, fd: BorrowedFd<'_>, token: u64, flags: EventFlags) {
        // Fails only for a descriptor not under watch, which then needs no change.
        let _ = epoll::modify(&self.epoll, fd, EventData::new_u64(token), flags);
    }

    /// Forgets a token; its descriptor leaves the loop when it is closed, or here.
    pub(super) fn unwatch(&mut self, fd: Option<BorrowedFd<'_>>, token: u64) {
        self.watched.remove(&token);
        if let Some(fd) = fd {
            let _ = epoll::delete(&self.epoll, fd);
        }
    }

    fn turn(
        &mut self,
        listener: &OwnedFd,
        signals: &OwnedFd,
        fault: Option<Fault>,
    ) -> Result<(), Fault> {
        let mut events: Vec<epoll::Event> = Vec::with_capacity(64);
        loop {
            events.clear();
            let timeout = self.patience();
            match epoll::wait(
                &self.epoll,
                rustix::buffer::spare_capacity(&mut events),
                timeout.as_ref(),
            ) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error).step(|| "wait for events".into()),
            }
            if events.is_empty() {
                self.drop_stalled();
            }
            for event in &events {
                let token = event.data.u64();
                // An earlier event of this round may have ended this one's subject.
                let Some(what) = self.watched.get(&token).cloned() else {
                    continue;
                };
                match what {
                    Watched::Listener => self.accept(listener),
                    Watched::Signals => {
                        let mut buffer = [0_u8; 1024];
                        while rustix::io::read(signals, &mut buffer).is_ok() {}
                        self.reap();
                    }
                    Watched::Client => self.converse(token, fault.as_ref()),
                    Watched::Status(container) => self.hear_container(&container, token),
                    Watched::ExecStatus(exec) => self.hear_exec(exec, token),
                    Watched::Output(container, stream) => self.pump(&container, stream),
                    Watched::Sink(container) => self.flush(&container, token),
                }
            }
            if self.ending || (fault.is_some() && self.clients.is_empty() && self.next > 2) {
                self.flush_clients();
                return Ok(());
            }
        }
    }

    /// How long the loop may sleep: for ever, unless an attached client has stalled.
    fn patience(&self) -> Option<Timespec> {
        let stalled = self.containers.values().any(Container::is_held_back);
        stalled.then_some(Timespec {
            tv_sec: 30,
            tv_nsec: 0,
        })
    }

    fn accept(&mut self, listener: &OwnedFd) {
        use rustix::net::{SocketFlags, accept_with};
        while let Ok(socket) = accept_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
            if self.clients.len() >= MAX_CLIENTS {
                continue;
            }
            let Ok(token) = self.watch(socket.as_fd(), EventFlags::IN, Watched::Client) else {
                continue;
            };
            self.clients.insert(
                token,
                Client {
                    socket,
                    inbox: Inbox::default(),
                    outbox: Outbox::default(),
                },
            );
        }
    }

    fn converse(&mut self, token: u64, fault: Option<&Fault>) {
        let mut calls = Vec::new();
        let mut alive = true;
        if let Some(client) = self.clients.get_mut(&token) {
            loop {
                match client.inbox.receive(client.socket.as_fd()) {
                    Ok(true) => {}
                    Ok(false) => {
                        alive = false;
                        break;
                    }
                    Err(rustix::io::Errno::AGAIN) => break,
                    Err(rustix::io::Errno::INTR) => {}
                    Err(_) => {
                        alive = false;
                        break;
                    }
                }
            }
            loop {
                match client.inbox.next_frame::<Call>() {
                    Ok(Some((call, _))) => calls.push(call),
                    Ok(None) => break,
                    Err(error) => {
                        eprintln!("shim: client dropped: {error}");
                        alive = false;
                        break;
                    }
                }
            }
        }
        for Call { id, request } in calls {
            match fault {
                Some(fault) => self.reply(token, id, Reply::Failed(fault.to_string()), Vec::new()),
                None => self.answer(token, id, request),
            }
        }
        if alive {
            self.push_out(token);
        } else {
            self.forget(token);
        }
    }

    fn answer(&mut self, token: u64, id: u64, request: Request) {
        match self.handle(token, id, request) {
            Ok(Some((reply, fds))) => self.reply(token, id, reply, fds),
            // The reply follows when the child has told how it went.
            Ok(None) => {}
            Err(fault) => self.reply(token, id, Reply::Failed(fault.to_string()), Vec::new()),
        }
    }

    /// Sends a reply to one client.
    pub(super) fn reply(&mut self, client: u64, id: u64, reply: Reply, fds: Vec<OwnedFd>) {
        if let Some(client) = self.clients.get_mut(&client) {
            // Our own types always serialize.
            let _ = client.outbox.push(&Message::Reply(id, reply), fds);
        }
        self.push_out(client);
    }

    /// Sends an event to every client. Nobody there is fine: the state keeps what happened.
    pub(super) fn announce(&mut self, event: Event) {
        let message = Message::Event(event);
        let tokens: Vec<u64> = self.clients.keys().copied().collect();
        for token in tokens {
            if let Some(client) = self.clients.get_mut(&token) {
                let _ = client.outbox.push(&message, Vec::new());
            }
            self.push_out(token);
        }
    }

    fn push_out(&mut self, token: u64) {
        let Some(client) = self.clients.get_mut(&token) else {
            return;
        };
        if client.outbox.send(client.socket.as_fd()).is_err()
            || client.outbox.waiting() > MAX_UNSENT
        {
            self.forget(token);
            return;
        }
        let mut flags = EventFlags::IN;
        if !client.outbox.is_empty() {
            flags |= EventFlags::OUT;
        }
        if let Some(client) = self.clients.get(&token) {
            self.rewatch(client.socket.as_fd(), token, flags);
        }
    }

    fn forget(&mut self, token: u64) {
        self.watched.remove(&token);
        self.clients.remove(&token);
        process::trim_heap();
    }

    /// Before the end: gives the last replies a moment to leave.
    fn flush_clients(&mut self) {
        for client in self.clients.values_mut() {
            let _ = client.outbox.send(client.socket.as_fd());
        }
    }
}
