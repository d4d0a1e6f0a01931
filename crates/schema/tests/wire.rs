//! Protobuf by hand.

use schema::proto::{self, ProtoError, envelope};
use serde_json::json;

use crate::{TABLE, thing};

#[test]
fn plain_values_are_written_even_when_zero() {
    // metadata {name ""}, spec {paused, note, source {hostPath ""}, inner {count, name ""}}.
    let bytes = proto::encode(&TABLE, thing(), &json!({})).unwrap();
    assert_eq!(
        bytes,
        [
            0x0a, 2, 0x0a, 0, //
            0x12, 15, 0x10, 0, 0x1a, 0, 0x72, 2, 0x0a, 0, 0x8a, 1, 4, 0x08, 0, 0x12, 0
        ]
    );
    assert_eq!(
        proto::decode(&TABLE, thing(), &bytes).unwrap(),
        json!({"metadata": {}, "spec": {"note": "", "inner": {"count": 0}}})
    );
}

#[test]
fn packed_numbers_and_unknown_fields_are_read() {
    // spec.numbers packed [1, 300], then field 100 of each wire type.
    let spec = [
        0x92, 1, 3, 1, 0xac, 2, 0xa0, 6, 1, 0xa2, 6, 1, 7, 0xa5, 6, 0, 0, 0, 0, 0xa1, 6, 0, 0, 0,
        0, 0, 0, 0, 0,
    ];
    let mut bytes = vec![0x12, spec.len() as u8];
    bytes.extend(spec);
    assert_eq!(
        proto::decode(&TABLE, thing(), &bytes).unwrap(),
        json!({"spec": {"numbers": [1, 300]}})
    );
}

#[test]
fn broken_messages_are_refused() {
    let decode = |bytes: &[u8]| proto::decode(&TABLE, thing(), bytes).unwrap_err();
    assert_eq!(decode(&[0x12, 5, 1]), ProtoError::Truncated);
    assert_eq!(decode(&[0x80]), ProtoError::Truncated);
    assert_eq!(decode(&[0x00, 1]), ProtoError::Illegal);
    assert_eq!(decode(&[0x13]), ProtoError::Illegal);
    assert_eq!(
        decode(&[0x12, 2, 0x0a, 0]).to_string(),
        "proto: wrong wire type 2 for field spec.replicas"
    );
    let wrong = proto::encode(&TABLE, thing(), &json!({"spec": {"replicas": "1"}})).unwrap_err();
    assert_eq!(wrong.to_string(), "spec.replicas: expected a whole number");
}

#[test]
fn envelopes_open_and_close() {
    let wrapped = envelope::wrap("apps/v1", "Deployment", b"abc");
    let open = envelope::unwrap(&wrapped).unwrap();
    assert_eq!(
        (open.api_version, open.kind, open.raw),
        ("apps/v1", "Deployment", &b"abc"[..])
    );
    assert_eq!(envelope::unwrap(b"{}").unwrap_err(), ProtoError::NoEnvelope);
    let event = envelope::watch_event("ADDED", &wrapped);
    let open = envelope::unwrap(&event).unwrap();
    assert_eq!((open.api_version, open.kind), ("v1", "WatchEvent"));
    assert!(open.raw.ends_with(&wrapped));
}

#[test]
fn lists_are_put_together_from_encoded_items() {
    assert_eq!(
        proto::list(b"m", [&b"ab"[..], b"c"]),
        b"\x0a\x01m\x12\x02ab\x12\x01c"
    );
}
