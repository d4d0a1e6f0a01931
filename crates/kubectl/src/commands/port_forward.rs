//! `kubectl port-forward`: local ports, each connection a stream of its own to the pod.

use std::net::SocketAddr;

use api::object::Object;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use serde_json::Value;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};

use crate::{
    error::{Error, Result, io, usage},
    flags::PortForward,
    object::pods,
    session::Session,
};

/// Runs it until it is interrupted.
pub async fn run(session: &Session, flags: &PortForward) -> Result<u8> {
    let service = match flags.target.split_once('/') {
        Some((kind, name)) => {
            let resource = session.mapping().await?.find(kind)?;
            if resource.plural == "services" && resource.group.is_empty() {
                let path = resource.object(&session.namespace, name);
                Some(session.get(&path).await?)
            } else {
                None
            }
        }
        None => None,
    };
    let pod = pods::of(session, &flags.target).await?.remove(0);
    if pod.text("status.phase") != "Running" {
        return Err(usage(format!(
            "unable to forward port because pod is not running. Current status={}",
            pod.text("status.phase")
        )));
    }
    let name = pod.text("metadata.name").to_string();
    let mut listening = Vec::new();
    for port in &flags.ports {
        let (local, remote) = pair(port, service.as_ref(), &pod)?;
        for address in &flags.address {
            let hosts: &[&str] = match address.as_str() {
                "localhost" => &["127.0.0.1", "::1"],
                address => &[address],
            };
            let mut taken = None;
            for host in hosts {
                match TcpListener::bind((*host, local)).await {
                    Ok(listener) => {
                        let at = listener.local_addr().map_err(io("listen"))?;
                        println!("Forwarding from {at} -> {remote}");
                        listening.push((listener, remote));
                        taken = Some(None);
                    }
                    Err(error) if taken.is_none() => taken = Some(Some((at(host, local), error))),
                    Err(_) => {}
                }
            }
            if let Some(Some((at, error))) = taken {
                return Err(usage(format!(
                    "unable to listen on any of the requested ports: [{at}: {error}]"
                )));
            }
        }
    }
    let api: Api<Pod> = Api::namespaced(session.client.clone(), pod.text("metadata.namespace"));
    let accepting = listening.into_iter().map(|(listener, remote)| {
        let (api, name) = (api.clone(), name.clone());
        async move {
            loop {
                let (stream, _) = listener.accept().await.map_err(io("accept"))?;
                println!("Handling connection for {}", port_of(&stream));
                let (api, name) = (api.clone(), name.clone());
                // A connection that breaks ends alone.
                tokio::spawn(async move {
                    if let Err(error) = forward(api, &name, remote, stream).await {
                        eprintln!("error: lost connection to pod: {error}");
                    }
                });
            }
        }
    });
    let accepting = futures::future::try_join_all(accepting);
    tokio::select! {
        ended = accepting => ended.map(|_: Vec<u8>| 0),
        _ = tokio::signal::ctrl_c() => Ok(0),
    }
}

fn at(host: &str, port: u16) -> String {
    format!("{host}:{port}")
}

fn port_of(stream: &TcpStream) -> u16 {
    stream.local_addr().as_ref().map_or(0, SocketAddr::port)
}

async fn forward(api: Api<Pod>, name: &str, port: u16, mut stream: TcpStream) -> Result<()> {
    let mut forwarder = api.portforward(name, &[port]).await?;
    let mut remote = forwarder
        .take_stream(port)
        .ok_or_else(|| Error::Connect(format!("no stream for port {port}")))?;
    // Either end may hang up first; that ends the connection and is no error.
    let _ = copy_bidirectional(&mut stream, &mut remote).await;
    drop(remote);
    if let Some(refused) = forwarder.take_error(port) {
        drop(forwarder);
        if let Some(text) = refused.await {
            eprintln!("error: an error occurred forwarding {port}: {text}");
        }
    }
    Ok(())
}

/// `LOCAL:REMOTE`; a Service's ports are looked up, and names too.
fn pair(text: &str, service: Option<&Value>, pod: &Value) -> Result<(u16, u16)> {
    let wrong = |port: &str| usage(format!("error parsing port {port:?} of {text:?}"));
    let (local, remote) = text.split_once(':').unwrap_or((text, text));
    let mut wanted = remote.to_string();
    let mut seen = remote.parse::<u16>().ok();
    if let Some(service) = service {
        let port = service
            .list("spec.ports")
            .iter()
            .find(|p| p.text("name") == remote || p.int("port") == remote.parse().ok())
            .ok_or_else(|| {
                usage(format!(
                    "Service {} does not have a service port {remote}",
                    service.text("metadata.name")
                ))
            })?;
        seen = port.int("port").and_then(|p| u16::try_from(p).ok());
        let target = match port.at("targetPort") {
            Value::String(name) => name.clone(),
            Value::Null => port.at("port").to_string(),
            number => number.to_string(),
        };
        wanted = match service.text("spec.clusterIP") {
            "None" => remote.to_string(),
            _ => target,
        };
    }
    let number = match wanted.parse::<u16>() {
        Ok(number) => number,
        Err(_) => pod
            .list("spec.containers")
            .iter()
            .flat_map(|c| c.list("ports"))
            .find(|p| p.text("name") == wanted)
            .and_then(|p| u16::try_from(p.int("containerPort")?).ok())
            .ok_or_else(|| {
                usage(format!(
                    "Pod '{}' does not have a named port '{wanted}'",
                    pod.text("metadata.name")
                ))
            })?,
    };
    let local = match local {
        "" => 0,
        _ if !text.contains(':') => seen.unwrap_or(number),
        local => local.parse().map_err(|_| wrong(local))?,
    };
    Ok((local, number))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::pair;

    #[test]
    fn ports_are_looked_up_where_they_have_names() {
        let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"ports": [{"name": "web", "containerPort": 8080}]}]}});
        let service = json!({"metadata": {"name": "s"}, "spec": {"clusterIP": "10.96.0.9", "ports": [{"name": "http", "port": 80, "targetPort": "web"}]}});
        for (text, of_service, want) in [
            ("8080", false, Some((8080, 8080))),
            ("9000:8080", false, Some((9000, 8080))),
            (":8080", false, Some((0, 8080))),
            ("web", false, Some((8080, 8080))),
            ("80", true, Some((80, 8080))),
            ("9000:http", true, Some((9000, 8080))),
            ("81", true, None),
            ("x:80", false, None),
            ("70000", false, None),
        ] {
            let got = pair(text, of_service.then_some(&service), &pod).ok();
            assert_eq!(got, want, "{text}");
        }
    }
}
