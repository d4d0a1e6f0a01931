//! What evaluations cost, and what expressions are estimated to cost: the numbers that upstream's own
//! tests hold stable.

use cel::{Activation, Budget, Declared, Environment, Program, SizeHints};
use serde_json::{Value as Json, json};

fn program(text: &str, declared: &Declared) -> Program {
    let environment = Environment::new().with("self", declared.ty().clone());
    Program::compile(text, &environment).unwrap_or_else(|error| panic!("{error}"))
}

/// Checks that each rule holds for the object and costs what it costs upstream.
fn check(schema: Json, object: Json, cases: &[(&str, i64)]) {
    let declared = Declared::from_schema(&schema, true, "selfType").unwrap();
    let mut wrong = Vec::new();
    for (text, expected) in cases {
        let program = program(text, &declared);
        let mut activation = Activation::new();
        activation.set_typed("self", &object, &declared);
        let mut budget = Budget::new(1_000_000);
        let outcome = program.evaluate(&activation, &mut budget);
        let cost = 1_000_000 - budget.remaining();
        if cost != *expected || !outcome.as_ref().is_ok_and(|value| value.is_true()) {
            wrong.push(format!(
                "{text}: {outcome:?} at {cost}, expected {expected}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn fields(fields: &[(&str, Json)]) -> Json {
    let properties: serde_json::Map<String, Json> = fields
        .iter()
        .map(|(name, schema)| ((*name).to_owned(), schema.clone()))
        .collect();
    json!({"type": "object", "properties": properties})
}

fn of(kind: &str) -> Json {
    json!({"type": kind})
}

fn format(format: &str) -> Json {
    json!({"type": "string", "format": format})
}

fn list(items: Json) -> Json {
    json!({"type": "array", "items": items})
}

fn map(values: Json) -> Json {
    json!({"type": "object", "additionalProperties": values})
}

#[test]
fn scalars() {
    check(
        fields(&[
            ("val1", of("integer")),
            ("val2", of("integer")),
            ("val4", of("number")),
        ]),
        json!({"val1": 5, "val2": 5, "val4": 10.0}),
        &[
            ("self.val1 == self.val2", 5),
            ("type(self.val1) == int", 4),
            ("double(self.val1) < self.val4", 6),
            ("self.val1 < int(self.val4)", 6),
            ("double(5) < 10.0", 1),
            ("double(self.val1) < 10.0", 4),
            ("self.val4 == 10.0", 3),
        ],
    );
    check(
        fields(&[("val1", of("boolean")), ("val4", of("boolean"))]),
        json!({"val1": true, "val4": false}),
        &[
            ("self.val1 != self.val4", 5),
            ("type(self.val1) == bool", 4),
        ],
    );
}

#[test]
fn texts() {
    check(
        fields(&[("val1", of("string"))]),
        json!({"val1": "Rook takes 👑"}),
        &[
            ("self.val1.startsWith('Rook')", 4),
            ("!self.val1.startsWith('knight')", 5),
            ("self.val1.matches('^[^0-9]*$')", 8),
            ("!self.val1.matches('^[0-9]*$')", 7),
            ("type(self.val1) == string", 4),
            ("size(self.val1) == 12", 4),
            ("self.val1.charAt(3) == 'k'", 4),
            ("self.val1.indexOf('o') == 1", 4),
            ("self.val1.indexOf('o', 2) == 2", 4),
            ("self.val1.replace(' ', 'x') == 'Rookxtakesx👑'", 7),
            ("self.val1.replace(' ', 'x', 1) == 'Rookxtakes 👑'", 7),
            ("self.val1.split(' ') == ['Rook', 'takes', '👑']", 6),
            ("self.val1.split(' ', 2) == ['Rook', 'takes 👑']", 6),
            ("self.val1.substring(5) == 'takes 👑'", 5),
            ("self.val1.substring(0, 4) == 'Rook'", 5),
            ("self.val1.substring(4, 10).trim() == 'takes'", 6),
            ("self.val1.upperAscii() == 'ROOK TAKES 👑'", 6),
            ("self.val1.lowerAscii() == self.val1.lowerAscii()", 10),
            (
                "'%d %s %f %s %s'.format([1, 'abc', 1.0, duration('1m'), timestamp('2000-01-01T00:00:00.000Z')]) == '1 abc 1.000000 60s 2000-01-01T00:00:00Z'",
                6,
            ),
            ("'%e'.format([3.14]) == '3.140000\u{202f}×\u{202f}10⁰⁰'", 3),
            ("'%o %o %o'.format([7, 8, 9]) == '7 10 11'", 2),
            ("'%b %b %b'.format([7, 8, 9]) == '111 1000 1001'", 3),
        ],
    );
    check(
        fields(&[("val1", format("byte")), ("val2", format("byte"))]),
        json!({"val1": "QUI=", "val2": "QUI="}),
        &[
            ("self.val1 == self.val2", 5),
            ("self.val1 == b'AB'", 3),
            ("size(self.val1) == 2", 4),
        ],
    );
}

#[test]
fn times_and_conversions() {
    check(
        fields(&[
            ("val1", format("duration")),
            ("val2", format("date")),
            ("val3", format("date-time")),
        ]),
        json!({"val1": "1h2m3s4ms", "val2": "1997-07-16", "val3": "2011-08-18T19:03:37.010000000+01:00"}),
        &[
            ("self.val1 == duration('1h2m') + duration('3s4ms')", 4),
            ("self.val1.getHours() == 1", 4),
            ("type(self.val1) == google.protobuf.Duration", 4),
            ("self.val2.getDate() == 16", 4),
            (
                "self.val3 == timestamp('2011-08-18T00:00:00.000+01:00') + duration('19h3m37s10ms')",
                4,
            ),
            ("self.val3.getDate('01:00') == 18", 4),
        ],
    );
    check(
        fields(&[
            ("val1", of("integer")),
            ("val4", of("number")),
            ("val6", of("string")),
            ("val7", format("byte")),
            ("val8", of("string")),
            ("val9", format("duration")),
            ("val10", of("string")),
            ("val11", format("date-time")),
            ("val12", of("string")),
            ("val13", format("date")),
        ]),
        json!({"val1": 10, "val4": 10.5, "val6": "MTA=", "val7": "TVRBPQ==", "val8": "3723.004s",
            "val9": "1h2m3s4ms", "val10": "2011-08-18T19:03:37.01+01:00",
            "val11": "2011-08-18T19:03:37.01+01:00", "val12": "2011-08-18T00:00:00Z", "val13": "2011-08-18"}),
        &[
            ("bytes(self.val6) == self.val7", 6),
            ("string(self.val4) == '10.5'", 4),
            ("duration(self.val8) == self.val9", 6),
            ("timestamp(self.val10) == self.val11", 6),
            ("string(self.val11) == self.val10", 8),
            ("timestamp(self.val12) == self.val13", 6),
            ("string(self.val13) == self.val12", 7),
        ],
    );
}

#[test]
fn lists() {
    let numbers = || list(of("integer"));
    check(
        fields(&[("val1", numbers()), ("val2", numbers())]),
        json!({"val1": [1, 2, 3], "val2": [1, 2, 3]}),
        &[
            ("1 in self.val1", 5),
            ("self.val2[0] in self.val1", 8),
            ("!(0 in self.val1)", 6),
            ("self.val1 + self.val2 == [1, 2, 3, 1, 2, 3]", 6),
            ("self.val1 + [4, 5] == [1, 2, 3, 4, 5]", 4),
            ("has(self.val1)", 1),
            ("has(self.val1) && has(self.val2)", 2),
        ],
    );
    let set =
        |items: Json| json!({"type": "array", "items": items, "x-kubernetes-list-type": "set"});
    check(
        fields(&[
            ("val1", set(of("string"))),
            ("val2", set(of("string"))),
            ("val3", set(of("integer"))),
        ]),
        json!({"val1": ["a", "b", "c"], "val2": ["a", "c", "b"], "val3": (0..1000).map(|_| 1).collect::<Vec<_>>()}),
        &[
            ("self.val1 == ['c', 'b', 'a']", 3),
            ("self.val1 == self.val2", 5),
            ("'a' in self.val1", 5),
            ("!('x' in self.val1)", 6),
            ("self.val1 + self.val2 == ['a', 'b', 'c']", 6),
            ("self.val1 + ['c', 'd'] == ['a', 'b', 'c', 'd']", 4),
            ("sets.contains(self.val1, ['a'])", 6),
            ("sets.equivalent(self.val1, ['a', 'b', 'c'])", 21),
            ("sets.intersects(self.val1, ['a'])", 6),
            ("sets.contains(self.val3, [1])", 1003),
            ("!sets.equivalent(self.val3, [1, 2, 3])", 6004),
        ],
    );
    check(
        fields(&[("array", numbers())]),
        json!({"array": [1, 1, 2, 2, 3, 3, 4, 5]}),
        &[
            ("2 in self.array", 10),
            ("self.array.all(e, e > 0)", 43),
            ("self.array.exists(e, e > 2)", 36),
            ("self.array.exists_one(e, e > 4)", 22),
            ("!self.array.all(e, e < 2)", 21),
            ("!self.array.exists(e, e < 0)", 52),
            ("!self.array.exists_one(e, e == 2)", 25),
            ("size(self.array.filter(e, e%2 == 0)) == 3", 68),
            (
                "self.array.map(e, e * 20).filter(e, e > 50).exists(e, e == 60)",
                194,
            ),
            ("size(self.array) == 8", 4),
            ("self.array.all(i, e, e > 0)", 43),
            ("self.array.exists(i, e, e > 2)", 36),
            ("self.array.existsOne(i, e, e > 4)", 22),
            (
                "self.array.transformList(i, e, e > 2, e * 2).size() > 0",
                77,
            ),
            ("self.array.transformList(i, e, e * 2).size() > 0", 117),
        ],
    );
}

#[test]
fn lists_of_keyed_objects() {
    let object = fields(&[
        ("k", of("string")),
        ("v", of("string")),
        ("v2", of("string")),
    ]);
    let keyed = json!({"type": "array", "items": object, "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["k"]});
    check(
        fields(&[("objs", list(keyed.clone()))]),
        json!({"objs": [
            [{"k": "a", "v": "1"}, {"k": "b", "v": "2"}],
            [{"k": "b", "v": "2"}, {"k": "a", "v": "1"}],
            [{"k": "b", "v": "3"}, {"k": "a", "v": "1"}],
            [{"k": "c", "v": "4"}],
        ]}),
        &[
            ("self.objs[0] == self.objs[1]", 7),
            ("self.objs[0] + self.objs[2] == self.objs[2]", 11),
            ("self.objs[2] + self.objs[0] == self.objs[0]", 11),
            ("self.objs[0] == [self.objs[0][0], self.objs[0][1]]", 22),
            ("self.objs[0] == [self.objs[0][1], self.objs[0][0]]", 22),
            (
                "self.objs[2] + [self.objs[0][0], self.objs[0][1]] == self.objs[0]",
                26,
            ),
            ("size(self.objs[0] + [self.objs[3][0]]) == 3", 20),
        ],
    );
    check(
        fields(&[("listMap", keyed)]),
        json!({"listMap": [
            {"k": "a1", "v": "b1"}, {"k": "a2", "v": "b2"}, {"k": "a3", "v": "b3", "v2": "z"},
        ]}),
        &[
            ("has(self.listMap[0].v)", 3),
            ("self.listMap.all(m, m.k.startsWith('a'))", 21),
            ("self.listMap.all(m, !has(m.v2) || m.v2 == 'z')", 21),
            ("self.listMap.exists(m, m.k.endsWith('1'))", 13),
            ("self.listMap.exists_one(m, m.k == 'a3')", 15),
            ("!self.listMap.all(m, m.k.endsWith('1'))", 18),
            ("!self.listMap.exists(m, m.v == 'x')", 25),
            ("!self.listMap.exists_one(m, m.k.startsWith('a'))", 20),
            ("size(self.listMap.filter(m, m.k == 'a1')) == 1", 27),
            ("self.listMap.exists(m, m.k == 'a1' && m.v == 'b1')", 16),
            ("self.listMap.map(m, m.v).exists(v, v == 'b1')", 55),
            ("self.listMap.exists(m, has(m.v2) && m.v2 == 'z')", 21),
            ("!self.listMap.all(m, has(m.v2) && m.v2 != 'z')", 10),
            ("self.listMap.exists_one(m, has(m.v2) && m.v2 == 'z')", 12),
            (
                "self.listMap.filter(m, has(m.v2) && m.v2 == 'z').size() == 1",
                24,
            ),
            (
                "self.listMap.map(m, has(m.v2) && m.v2 == 'z', m.v2).size() == 1",
                25,
            ),
            (
                "self.listMap.filter(m, has(m.v2) && m.v2 == 'z').map(m, m.v2).size() == 1",
                39,
            ),
            ("self.listMap.exists(m, m.v2 == 'z')", 24),
            ("!self.listMap.all(m, m.v2 != 'z')", 22),
            ("!self.listMap.all(i, m, has(m.v2) && m.v2 != 'z')", 10),
            (
                "self.listMap.transformList(i, m, has(m.v2) && m.v2 == 'z', m.v2).size() == 1",
                25,
            ),
            ("self.listMap.transformList(i, m, m.v).size() == 3", 47),
        ],
    );
}

#[test]
fn maps_and_objects() {
    check(
        fields(&[("val", map(of("integer")))]),
        json!({"val": {"b": 1, "d": 2}}),
        &[
            ("!('a' in self.val)", 4),
            ("'b' in self.val", 3),
            ("!has(self.val.a)", 3),
            ("has(self.val.b)", 2),
            ("self.val.all(k, self.val[k] > 0)", 17),
            ("!self.val.exists(k, self.val[k] == 3)", 20),
            ("self.val.exists_one(k, self.val[k] == 2)", 14),
            ("!self.val.exists_one(k, self.val[k] > 0)", 17),
            ("size(self.val) == 2", 4),
            ("size(self.val.filter(k, self.val[k] > 1)) == 1", 26),
            ("self.val.all(k, v, v > 0)", 13),
            ("!self.val.exists(k, v, v == 3)", 16),
            ("self.val.existsOne(k, v, v == 2)", 10),
            ("self.val.transformMap(k, v, v > 1, v + 1).size() == 1", 14),
            ("self.val.transformMap(k, v, v + 1).size() == 2", 15),
            (
                "self.val.transformMapEntry(k, v, v > 1, {k + '2': v + 1}).size() == 1",
                45,
            ),
            (
                "self.val.transformMapEntry(k, v, {k + '2': v + 1}).size() == 2",
                77,
            ),
        ],
    );
    let inner = fields(&[("c1", of("integer"))]);
    check(
        fields(&[
            ("a", fields(&[("b", of("integer")), ("c", of("integer"))])),
            (
                "a1",
                fields(&[("b1", inner), ("d2", fields(&[("e2", of("integer"))]))]),
            ),
        ]),
        json!({"a": {"b": 1, "d": null}, "a1": {"b1": {"c1": 4}}}),
        &[
            ("has(self.a.b)", 2),
            ("has(self.a1.b1.c1)", 3),
            ("!(has(self.a1.d2) && has(self.a1.d2.e2))", 3),
            ("!has(self.a1.d2)", 3),
        ],
    );
    check(
        fields(&[
            ("spec", fields(&[("field1", of("string"))])),
            ("something", json!({"x-kubernetes-int-or-string": true})),
        ]),
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "foo", "generateName": "pickItForMe"},
            "spec": {"field1": "a"}, "something": "25%"}),
        &[
            ("self.kind == 'Pod'", 3),
            ("self.metadata.name == 'foo'", 4),
            ("self.metadata.generateName == 'pickItForMe'", 5),
            ("self.spec.field1 == 'a'", 4),
            (
                "type(self.something) == int ? self.something == 1 : self.something == '25%'",
                7,
            ),
            (
                "type(self.something) == string && self.something == '25%'",
                7,
            ),
        ],
    );
    check(
        fields(&[(
            "enumStr",
            json!({"type": "string", "enum": ["Pending", "Bound"]}),
        )]),
        json!({"enumStr": "Pending"}),
        &[
            ("self.enumStr == 'Pending'", 3),
            ("self.enumStr in ['Pending', 'Available']", 2),
        ],
    );
}

#[test]
fn estimates() {
    let sized = |mut schema: Json, key: &str, most: u64| {
        schema[key] = most.into();
        schema
    };
    for (schema, text, most) in [
        (list(of("number")), "self.all(x, true)", 4_718_591),
        (
            sized(list(of("number")), "maxItems", 10),
            "self.all(x, true)",
            32,
        ),
        (list(of("string")), "self.all(x, true)", 3_145_727),
        (
            sized(list(of("string")), "maxItems", 20),
            "self.all(x, true)",
            62,
        ),
        (list(of("boolean")), "self.all(x, true)", 1_887_437),
        (list(list(of("number"))), "self.all(x, true)", 3_145_727),
        (map(of("number")), "self.all(x, true)", 1_348_169),
        (
            sized(map(of("number")), "maxProperties", 10),
            "self.all(x, true)",
            32,
        ),
        (map(of("string")), "self.all(x, true)", 1_179_647),
        (map(of("boolean")), "self.all(x, true)", 943_718),
        (of("string"), "self.contains('test')", 314_574),
        (
            sized(of("string"), "maxLength", 10),
            "self.contains('test')",
            5,
        ),
        (of("string"), "self.startsWith('test')", 2),
        (of("string"), "self.endsWith('test')", 2),
        (
            of("string"),
            "size(self + 'hello') > size('hello')",
            314_578,
        ),
        (list(of("number")), "self[1] == 0.0", 2),
        (list(of("string")), "self[1] == self[1]", 314_577),
        (
            sized(list(of("number")), "maxItems", 10),
            "self.all(x, self.all(y, true))",
            352,
        ),
    ] {
        let declared = Declared::from_schema(&schema, false, "selfType").unwrap();
        let estimate = program(text, &declared).cost_estimate(&*declared);
        assert_eq!(estimate.max, most, "{text} of {schema}");
        assert!(estimate.min <= estimate.max);
    }
}

#[test]
fn library_calls() {
    let nothing: &dyn SizeHints = &();
    for (text, min, max, actual) in [
        ("url('https:://kubernetes.io/').getScheme()", 4, 4, Some(4)),
        (
            "authorizer.path('/healthz').check('get').allowed()",
            350_003,
            350_003,
            None,
        ),
        (
            "authorizer.serviceAccount('default', 'myserviceaccount').path('/healthz').check('get').allowed()",
            350_004,
            350_004,
            None,
        ),
        (
            "authorizer.group('admissionregistration.k8s.io').resource('x').check('create').reason()",
            350_004,
            350_004,
            None,
        ),
        ("sets.contains([1, 2], [1])", 23, 23, Some(3)),
        ("[1, 2, 3].slice(0, 2)", 23, 23, Some(13)),
    ] {
        let environment = Environment::new().with("authorizer", cel::Type::authorizer());
        let program = Program::compile(text, &environment).unwrap();
        let estimate = program.cost_estimate(nothing);
        assert_eq!((estimate.min, estimate.max), (min, max), "{text}");
        if let Some(actual) = actual {
            let mut budget = Budget::new(1_000_000);
            let _ = program.evaluate(&Activation::new(), &mut budget);
            assert_eq!(1_000_000 - budget.remaining(), actual, "{text}");
        }
    }
}

#[test]
fn limits_end_an_evaluation_whatever_absorbs_errors() {
    let environment = Environment::new().with("list", cel::Type::Dyn);
    let numbers = Json::from((0..1000).collect::<Vec<i64>>());
    let text = "list.all(a, list.all(b, list.all(c, a + b + c >= 0))) || true";
    let program = Program::compile(text, &environment).unwrap();
    let mut activation = Activation::new();
    activation.set_json("list", &numbers);
    let mut budget = Budget::default();
    assert_eq!(
        program.evaluate(&activation, &mut budget).unwrap_err(),
        cel::EvalError::CallCost
    );
    let mut small = Budget::new(10);
    let short = Program::compile("list.all(a, a >= 0)", &environment).unwrap();
    assert_eq!(
        short.evaluate(&activation, &mut small).unwrap_err(),
        cel::EvalError::Budget
    );
    assert_eq!(small.remaining(), -1);
}
