//! Properties of the codecs on arbitrary objects of the table.

use proptest::{
    collection::{btree_map, vec},
    option,
    prelude::*,
};
use schema::{Map, Value, decode, managed, proto};
use serde_json::json;

use crate::{TABLE, thing};

fn text() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9 \"\\\\/\u{e4}\u{1f600}]{1,8}"
}

fn object(fields: Vec<(&str, Option<Value>)>) -> Value {
    Value::Object(
        fields
            .into_iter()
            .filter_map(|(key, value)| Some((key.to_owned(), value?)))
            .collect::<Map<_, _>>(),
    )
}

prop_compose! {
    fn inner()(count in any::<i32>(), name in option::of(text())) -> Value {
        object(vec![("count", Some(json!(count))), ("name", name.map(Value::from))])
    }
}

prop_compose! {
    fn item()(name in text(), value in option::of(text()), inner in option::of(inner())) -> Value {
        object(vec![("name", Some(name.into())), ("value", value.map(Value::from)), ("inner", inner)])
    }
}

fn free() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(Value::from),
            btree_map(text(), inner, 0..3).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

prop_compose! {
    fn spec()(
        replicas in option::of(any::<i32>()),
        paused in any::<bool>(),
        note in text(),
        items in option::of(vec(item(), 1..3)),
        flags in option::of(vec(text(), 1..3)),
        limits in option::of(btree_map(text(), "[0-9]{1,3}(m|Ki|)", 1..3)),
        port in option::of(prop_oneof![any::<i32>().prop_map(Value::from), text().prop_map(Value::from)]),
    )(
        data in option::of(btree_map(text(), "([a-z]{4}){0,3}", 1..3)),
        free in option::of(free()),
        times in option::of((0i64..4_000_000_000, 0i32..1_000_000)),
        every in option::of(any::<i32>()),
        ratio in option::of(-1.0e9f64..1.0e9),
        big in option::of(any::<i64>()),
        rest in (option::of(text()), option::of(inner()), inner(), option::of(vec(any::<i64>(), 1..4)),
                 option::of(btree_map(text(), vec(text(), 0..3), 1..3)),
                 option::of(prop_oneof![any::<bool>().prop_map(Value::from), inner()])),
        known in Just((replicas, paused, note, items, flags, limits, port)),
    ) -> Value {
        let (replicas, paused, note, items, flags, limits, port) = known;
        let (host_path, empty, inner, numbers, extra, schema) = rest;
        let at = times.map(|(seconds, micros)| {
            let time = jiff::Timestamp::from_second(seconds).unwrap();
            format!("{}.{micros:06}Z", time.to_string().trim_end_matches('Z'))
        });
        object(vec![
            ("replicas", replicas.map(Value::from)),
            ("paused", paused.then_some(json!(true))),
            ("note", Some(note.into())),
            ("items", items.map(Value::from)),
            ("flags", flags.map(Value::from)),
            ("limits", limits.map(|l| json!(l))),
            ("port", port),
            ("data", data.map(|d| json!(d))),
            ("free", free),
            ("at", at.map(Value::from)),
            ("every", every.map(|s| json!(format!("{s}ns")))),
            ("ratio", ratio.map(Value::from)),
            ("big", big.map(Value::from)),
            ("hostPath", host_path.map(Value::from)),
            ("empty", empty),
            ("inner", Some(inner)),
            ("numbers", numbers.map(Value::from)),
            ("extra", extra.map(|e| json!(e))),
            ("schema", schema),
        ])
    }
}

proptest! {
    #[test]
    fn an_object_in_memory_decodes_as_its_text(spec in spec(), nothing in any::<bool>(), odd in free()) {
        let mut object = json!({"metadata": {"name": "x"}, "spec": spec});
        for odd in [None, Some(odd)] {
            if nothing {
                object["spec"]["inner"] = Value::Null;
            }
            if let Some(odd) = odd {
                object["spec"]["inner"] = odd;
            }
            let text = decode::json(&TABLE, thing(), object.to_string().as_bytes());
            prop_assert_eq!(decode::value(&TABLE, thing(), object.clone()), text);
        }
    }

    #[test]
    fn json_protobuf_and_yaml_agree(spec in spec()) {
        let object = json!({"metadata": {"name": "x"}, "spec": spec});
        let from_json = decode::json(&TABLE, thing(), object.to_string().as_bytes()).unwrap();
        prop_assert_eq!(&from_json.strict, &Vec::<String>::new());
        let mut expected = from_json.value;
        decode::normalize(&TABLE, thing(), &mut expected);

        let bytes = proto::encode(&TABLE, thing(), &expected).unwrap();
        let from_proto = proto::decode(&TABLE, thing(), &bytes).unwrap();
        prop_assert_eq!(&from_proto, &expected);
        prop_assert_eq!(proto::encode(&TABLE, thing(), &from_proto).unwrap(), bytes);

        // JSON is YAML.
        let from_yaml = decode::yaml(&TABLE, thing(), expected.to_string().as_bytes()).unwrap();
        prop_assert_eq!(from_yaml.value, expected);
    }

    #[test]
    fn no_bytes_panic(bytes in vec(any::<u8>(), 0..200)) {
        let _ = proto::decode(&TABLE, thing(), &bytes);
        let _ = decode::json(&TABLE, thing(), &bytes);
        let _ = decode::yaml(&TABLE, thing(), &bytes);
        let _ = proto::envelope::unwrap(&bytes);
    }

    #[test]
    fn sets_of_fields_read_back(spec in spec()) {
        let mut object = json!({"metadata": {"name": "x"}, "spec": spec});
        let writer = managed::Manager {
            name: "w".to_owned(),
            operation: managed::Operation::Update,
            api_version: "test/v1".to_owned(),
            subresource: String::new(),
            time: "2026-01-01T00:00:00Z".to_owned(),
        };
        managed::update(&TABLE, thing(), None, &mut object, &writer);
        let fields = &object["metadata"]["managedFields"][0]["fieldsV1"];
        let set = managed::Set::from_fields(fields).unwrap();
        prop_assert_eq!(&set.to_fields(), fields);
        for path in set.paths() {
            prop_assert!(set.contains(&path));
        }
        prop_assert!(set.clone().difference(&set).is_empty());
        prop_assert_eq!(set.intersection(&set), set.clone());
        prop_assert_eq!(set.clone().union(set.clone()), set);
    }

    #[test]
    fn applying_twice_is_applying_once(one in spec(), two in spec()) {
        let who = |name: &str| managed::Manager {
            name: name.to_owned(),
            operation: managed::Operation::Apply,
            api_version: "test/v1".to_owned(),
            subresource: String::new(),
            time: "2026-01-01T00:00:00Z".to_owned(),
        };
        let object = |spec: Value| json!({"metadata": {"name": "x", "uid": "u"}, "spec": spec});
        let (one, two) = (object(one), object(two));
        let Ok(first) = managed::apply(&TABLE, thing(), None, &one, &who("a"), false) else {
            // The same key twice in a list.
            return Ok(());
        };
        let again = managed::apply(&TABLE, thing(), Some(&first), &one, &who("a"), false).unwrap();
        prop_assert_eq!(&again, &first);
        let Ok(forced) = managed::apply(&TABLE, thing(), Some(&first), &two, &who("b"), true) else {
            return Ok(());
        };
        let twice = managed::apply(&TABLE, thing(), Some(&forced), &two, &who("b"), false).unwrap();
        prop_assert_eq!(twice, forced);
    }
}
