//! `tcp-echo`, `udp-echo` and `resolve`.

use std::{
    io,
    net::{Ipv6Addr, TcpListener, TcpStream, ToSocketAddrs, UdpSocket},
    thread,
};

use super::{Outcome, number, options};

/// How many connections are served at once; further ones wait in the kernel's backlog.
const CONNECTIONS: usize = 256;

/// Listens on every address of both families, or of IPv4 alone where there is no other.
pub fn listen(port: u16) -> Result<TcpListener, String> {
    TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))
        .or_else(|_| TcpListener::bind(("0.0.0.0", port)))
        .map_err(|e| format!("listen on TCP port {port}: {e}"))
}

/// Serves each connection on a thread of its own, at most [`CONNECTIONS`] at once.
pub fn serve(listener: &TcpListener, handle: fn(TcpStream) -> io::Result<()>) -> Outcome {
    let (give, take) = std::sync::mpsc::sync_channel::<()>(CONNECTIONS);
    let take = std::sync::Arc::new(std::sync::Mutex::new(take));
    for stream in listener.incoming() {
        let stream = stream.map_err(|e| format!("accept: {e}"))?;
        // A full channel makes this wait until a connection has ended.
        give.send(()).map_err(|e| e.to_string())?;
        let take = take.clone();
        thread::Builder::new()
            .stack_size(128 * 1024)
            .spawn(move || {
                // A peer that goes away is its own affair.
                let _ = handle(stream);
                if let Ok(take) = take.lock() {
                    let _ = take.try_recv();
                }
            })
            .map_err(|e| format!("start a thread: {e}"))?;
    }
    Ok(0)
}

/// Sends back what comes over TCP.
pub fn tcp_echo(arguments: &[String]) -> Outcome {
    let ([port], _) = options(arguments, ["port"])?;
    serve(&listen(number(port, 7)?)?, |mut stream| {
        let mut back = stream.try_clone()?;
        io::copy(&mut stream, &mut back).map(drop)
    })
}

/// Sends back what comes over UDP.
pub fn udp_echo(arguments: &[String]) -> Outcome {
    let ([port], _) = options(arguments, ["port"])?;
    let port: u16 = number(port, 7)?;
    let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port))
        .or_else(|_| UdpSocket::bind(("0.0.0.0", port)))
        .map_err(|e| format!("listen on UDP port {port}: {e}"))?;
    let mut datagram = vec![0; 65_536];
    loop {
        let (length, peer) = socket
            .recv_from(&mut datagram)
            .map_err(|e| format!("receive: {e}"))?;
        // A datagram that cannot be sent back is lost, as datagrams are.
        let _ = socket.send_to(&datagram[..length], peer);
    }
}

/// Prints the addresses of a name, one a line.
pub fn resolve(arguments: &[String]) -> Outcome {
    let name = arguments.first().ok_or("which name?")?;
    let mut addresses: Vec<_> = (name.as_str(), 0)
        .to_socket_addrs()
        .map_err(|e| format!("{name}: {e}"))?
        .map(|a| a.ip())
        .collect();
    addresses.sort();
    addresses.dedup();
    for address in addresses {
        println!("{address}");
    }
    Ok(0)
}
