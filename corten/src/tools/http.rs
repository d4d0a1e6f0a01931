//! `echo`, an HTTP/1.1 server that answers with what it was asked, and `get`, a client.

use std::{
    fmt::Write as _,
    io::{self, BufRead, BufReader, Read, Write},
    net::TcpStream,
    time::Duration,
};

use super::{
    Outcome,
    files::host_name,
    net::{listen, serve},
    number, options,
};

/// Longest request head that is read; a longer one ends the connection.
const HEAD: u64 = 64 * 1024;

/// Answers every request with hostname, address, request line, headers and body length.
pub fn echo(arguments: &[String]) -> Outcome {
    let ([port], _) = options(arguments, ["port"])?;
    let port = number(port, 8080)?;
    let listener = listen(port)?;
    println!("listening on port {port}");
    serve(&listener, answer)
}

fn answer(stream: TcpStream) -> io::Result<()> {
    let mut out = stream.try_clone()?;
    let local = stream.local_addr()?;
    let peer = stream.peer_addr()?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = String::new();
        let mut length = 0_u64;
        let mut close = false;
        loop {
            let mut line = String::new();
            if reader.by_ref().take(HEAD).read_line(&mut line)? == 0 || head.len() as u64 > HEAD {
                return Ok(());
            }
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(':') {
                match name.to_ascii_lowercase().as_str() {
                    "content-length" => length = value.trim().parse().unwrap_or_default(),
                    "connection" => close = value.trim().eq_ignore_ascii_case("close"),
                    _ => {}
                }
            }
            head.push_str(line);
            head.push('\n');
        }
        let got = io::copy(&mut reader.by_ref().take(length), &mut io::sink())?;
        let mut body = String::new();
        // Writing into a String cannot fail.
        let _ = write!(
            body,
            "hostname: {}\naddress: {}\npeer: {}\nbody: {got} bytes\n\n{head}",
            host_name(),
            local.ip().to_canonical(),
            peer.ip().to_canonical()
        );
        let connection = if close { "close" } else { "keep-alive" };
        write!(
            out,
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\nConnection: {connection}\r\n\r\n{body}",
            body.len()
        )?;
        out.flush()?;
        if close {
            return Ok(());
        }
    }
}

/// Fetches an `http://` address; the exit code is 0 for a 2xx answer and 22 otherwise.
pub fn get(arguments: &[String]) -> Outcome {
    let ([header, timeout], rest) = options(arguments, ["header", "timeout"])?;
    let url = rest.first().ok_or("which address?")?;
    let after = url
        .strip_prefix("http://")
        .ok_or("only http:// addresses")?;
    let (authority, path) = after.split_at(after.find('/').unwrap_or(after.len()));
    let path = if path.is_empty() { "/" } else { path };
    let with_port = if authority
        .rsplit_once(':')
        .is_some_and(|(_, p)| p.parse::<u16>().is_ok())
    {
        authority.to_string()
    } else {
        format!("{authority}:80")
    };
    let fail = |e: io::Error| format!("{url}: {e}");
    let limit = Duration::from_secs_f64(number(timeout, 10.0)?);
    let addresses = std::net::ToSocketAddrs::to_socket_addrs(&with_port.as_str()).map_err(fail)?;
    let mut last = None;
    let mut stream = None;
    for address in addresses {
        match TcpStream::connect_timeout(&address, limit) {
            Ok(connected) => {
                stream = Some(connected);
                break;
            }
            Err(error) => last = Some(error),
        }
    }
    let mut stream = stream.ok_or_else(|| {
        format!(
            "{url}: {}",
            last.map_or("no address".into(), |e| e.to_string())
        )
    })?;
    stream.set_read_timeout(Some(limit)).map_err(fail)?;
    let extra = header.map(|h| format!("{h}\r\n")).unwrap_or_default();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: corten-tools\r\nConnection: close\r\n{extra}\r\n").map_err(fail)?;
    let mut reader = BufReader::new(stream);
    let mut status = String::new();
    reader.read_line(&mut status).map_err(fail)?;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).map_err(fail)? == 0 || line.trim_end().is_empty() {
            break;
        }
    }
    io::copy(&mut reader, &mut io::stdout().lock()).map_err(fail)?;
    let good = status
        .split(' ')
        .nth(1)
        .is_some_and(|code| code.starts_with('2'));
    if !good {
        eprintln!("{}", status.trim_end());
    }
    Ok(if good { 0 } else { 22 })
}
