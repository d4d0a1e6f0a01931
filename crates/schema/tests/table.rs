//! Reading tables, and adding to them.

use schema::{
    Table,
    constraint::Constraints,
    decode,
    table::{Field, Kind, Part, Presence, Scalar, Shape, Struct, TableError, Ty, Type},
};

use crate::TABLE;

#[test]
fn inlined_fields_are_found_by_name_and_nested_by_tag() {
    let spec = TABLE
        .fields(TABLE.id("test.v1.ThingSpec").unwrap())
        .unwrap();
    let host_path = spec.field("hostPath").unwrap();
    assert_eq!(host_path.inline_of, [14]);
    assert_eq!(
        spec.by_tag(14),
        Some(Part::Inline(TABLE.id("test.v1.Source").unwrap()))
    );
    assert!(spec.field("source").is_none());
    assert_eq!(spec.by_tag(99), None);
}

#[test]
fn every_field_is_found_and_nothing_else() {
    for (_, ty) in TABLE.iter() {
        let Shape::Struct(fields) = &ty.shape else {
            continue;
        };
        for (place, field) in fields.fields().iter().enumerate() {
            assert_eq!(
                fields.place(&field.name),
                Some(place),
                "{} {}",
                ty.name,
                field.name
            );
            for near in [
                format!("{}x", field.name),
                field.name[1..].to_owned(),
                field.name.to_uppercase(),
            ] {
                let found = fields.field(&near).map(|field| &*field.name);
                assert!(found.is_none_or(|name| name == near), "{near}");
            }
        }
    }
}

#[test]
fn presence_and_forms_are_read() {
    let spec = TABLE
        .fields(TABLE.id("test.v1.ThingSpec").unwrap())
        .unwrap();
    for (name, presence) in [
        ("replicas", Presence::Optional),
        ("paused", Presence::OmitZero),
        ("note", Presence::Always),
    ] {
        assert_eq!(spec.field(name).unwrap().presence, presence, "{name}");
    }
    assert!(matches!(
        TABLE.kind(&spec.field("free").unwrap().ty),
        Kind::Scalar(Scalar::Any)
    ));
}

#[test]
fn broken_rows_are_named() {
    let error = |row: &str| Table::parse(&format!("header\n{row}\n")).unwrap_err();
    assert!(matches!(
        error("a\tb"),
        TableError::Columns { line: 2, found: 2 }
    ));
    let missing = "a.v1.A\tb\t1\tno.v1.Such\t\t\t\t\t\t\t\t\t\t";
    assert_eq!(
        error(missing).to_string(),
        "field b of type a.v1.A has the unknown type \"no.v1.Such\""
    );
    let presence = "a.v1.A\tb\t1\tstring\t\t\t\t\t\t\t\t\t\tsometimes";
    assert_eq!(
        error(presence).to_string(),
        "field b of type a.v1.A: column presence has \"sometimes\""
    );
}

#[test]
fn types_can_be_added_and_replaced() {
    let mut table = TABLE.clone();
    let mut value = Field::new("value", Ty::Scalar(Scalar::String));
    value.constraints = Some(Box::new(Constraints {
        nullable: true,
        ..Constraints::default()
    }));
    let meta = Field::new("metadata", Ty::Ref(table.id("meta.v1.ObjectMeta").unwrap()));
    let mut custom = Type {
        name: "example.v1.Custom".into(),
        shape: Shape::Struct(Struct::new(vec![value, meta], Vec::new(), true)),
        atomic: false,
    };
    let id = table.insert(custom.clone());
    assert_eq!(table.id("example.v1.Custom"), Some(id));
    let decoded = decode::json(
        &table,
        id,
        br#"{"metadata":{"name":"x","labels":null},"value":null,"other":{"a":null}}"#,
    )
    .unwrap();
    assert_eq!(decoded.strict, Vec::<String>::new());
    assert_eq!(
        decoded.value,
        serde_json::json!({"metadata": {"name": "x"}, "value": null, "other": {"a": null}})
    );
    custom.shape = Shape::Struct(Struct::default());
    assert_eq!(table.insert(custom), id);
    let decoded = decode::json(&table, id, br#"{"value":"x"}"#).unwrap();
    assert_eq!(decoded.strict, ["unknown field \"value\""]);
}
