//! What an extender is asked, and what its answers do.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    sync::Arc,
};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Extenders, Opinion, duration};
use crate::{
    cache::{PodInfo, class::Classes, tests},
    framework::config::Extender,
};

/// An extender that answers each path with what is given for it, and hands back what it was asked.
fn serve(answers: Vec<(&'static str, Value)>) -> (String, std::thread::JoinHandle<Vec<Value>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/ext", listener.local_addr().unwrap());
    let thread = std::thread::spawn(move || {
        let mut asked = Vec::new();
        let mut left = answers.len();
        while left > 0 {
            let (stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream);
            while left > 0 {
                let (mut first, mut length) = (String::new(), 0);
                if reader.read_line(&mut first).unwrap() == 0 {
                    break;
                }
                loop {
                    let mut line = String::new();
                    reader.read_line(&mut line).unwrap();
                    let line = line.to_ascii_lowercase();
                    if let Some(value) = line.strip_prefix("content-length:") {
                        length = value.trim().parse().unwrap();
                    }
                    if line.trim().is_empty() {
                        break;
                    }
                }
                let mut body = vec![0; length];
                reader.read_exact(&mut body).unwrap();
                asked.push(serde_json::from_slice(&body).unwrap());
                let path = first.split(' ').nth(1).unwrap();
                let answer = answers.iter().find(|(p, _)| path == format!("/ext/{p}"));
                let text = answer.map_or("{}".to_owned(), |(_, v)| v.to_string());
                let head = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
                    text.len()
                );
                let stream = reader.get_mut();
                stream.write_all(head.as_bytes()).unwrap();
                stream.write_all(text.as_bytes()).unwrap();
                left -= 1;
            }
        }
        asked
    });
    (url, thread)
}

fn pod() -> PodInfo {
    let pod = tests::pod("p", tests::asking("1"));
    PodInfo::new(pod, &mut Classes::default())
}

fn settings(url: &str) -> Extender {
    Extender {
        url_prefix: url.to_owned(),
        weight: 2,
        node_cache_capable: true,
        ..Extender::default()
    }
}

fn nodes() -> Vec<(Arc<str>, i64)> {
    vec![("a".into(), 100), ("b".into(), 50), ("c".into(), 10)]
}

#[tokio::test]
async fn nodes_are_left_out_and_scores_added() {
    let (url, server) = serve(vec![
        (
            "filter",
            json!({"NodeNames": ["a", "b"], "FailedNodes": {"c": "too far"}}),
        ),
        (
            "prioritize",
            json!([{"Host": "a", "Score": 1}, {"Host": "b", "Score": 10}]),
        ),
    ]);
    let extender = Extender {
        filter_verb: "filter".into(),
        prioritize_verb: "prioritize".into(),
        ..settings(&url)
    };
    let extenders = Extenders::new(&[extender]).await.unwrap();
    let pod = pod();
    assert!(extenders.concern(&pod));
    let opinion = extenders.ask(&pod, nodes(), |_| None).await.unwrap();
    let want = Opinion {
        nodes: vec![("a".into(), 120), ("b".into(), 250)],
        refused: [("c".to_owned(), "too far".to_owned())].into(),
    };
    assert_eq!(opinion, want);
    let asked = server.join().unwrap();
    assert_eq!(asked[0]["NodeNames"], json!(["a", "b", "c"]));
    assert_eq!(asked[0]["Pod"]["metadata"]["name"], "p");
    assert_eq!(asked[1]["NodeNames"], json!(["a", "b"]));
}

#[tokio::test]
async fn one_that_fails_counts_unless_it_may_be_ignored() {
    let nobody = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    for ignorable in [false, true] {
        let extender = Extender {
            filter_verb: "filter".into(),
            ignorable,
            ..settings(&format!("http://{nobody}"))
        };
        let extenders = Extenders::new(&[extender]).await.unwrap();
        let opinion = extenders.ask(&pod(), nodes(), |_| None).await;
        assert_eq!(opinion.is_ok(), ignorable);
    }
}

#[tokio::test]
async fn it_binds_where_it_says_it_does() {
    let (url, server) = serve(vec![("bind", json!({"Error": ""}))]);
    let extender = Extender {
        bind_verb: "bind".into(),
        ..settings(&url)
    };
    let extenders = Extenders::new(&[extender]).await.unwrap();
    assert!(extenders.bind(&pod(), "b").await.unwrap());
    let asked = server.join().unwrap();
    assert_eq!(
        asked[0],
        json!({"PodName": "p", "PodNamespace": "default", "PodUID": "p", "Node": "b"})
    );
    assert!(!Extenders::default().bind(&pod(), "b").await.unwrap());
}

#[test]
fn durations_are_gos() {
    let cases = [
        ("5s", Some(5_000)),
        ("1m30s", Some(90_000)),
        ("1.5s", Some(1_500)),
        ("100ms", Some(100)),
        ("", None),
        ("5", None),
        ("s", None),
        ("5 s", None),
        ("-5s", None),
    ];
    for (text, want) in cases {
        let got = duration(text).map(|d| d.as_millis());
        assert_eq!(got, want, "{text}");
    }
}

proptest! {
    #[test]
    fn no_text_is_too_strange_for_a_duration(text in "\\PC{0,12}") {
        let _ = duration(&text);
    }
}
