//! The language itself, expression by expression.

use super::check;

#[test]
fn literals() {
    check(&[
        ("1", "1"),
        ("-1", "-1"),
        ("--1", "1"),
        ("0x1F", "31"),
        ("-0x1F", "-31"),
        ("-9223372036854775808", "-9223372036854775808"),
        ("18446744073709551615u", "18446744073709551615u"),
        ("0xFFu", "255u"),
        ("1.5", "1.5"),
        ("-2.5e3", "-2500"),
        (".5", "0.5"),
        ("true", "true"),
        ("null", "null"),
        (r#""a\tb""#, r#""a\tb""#),
        (r#"'\u00e9\x41\101\U0001F600'"#, r#""éAA😀""#),
        (r#"r'\n'"#, r#""\\n""#),
        ("'''a\n'b'''", r#""a\n'b""#),
        (r#"b'\xff\101' == b'\377A'"#, "true"),
        ("[1, 2, 3,]", "[1, 2, 3]"),
        ("{'a': 1, 'b': 2,}", r#"{"a":1,"b":2}"#),
        ("// a comment\n1 // another\n", "1"),
        ("type(1) == int", "true"),
        ("type(type(1)) == type", "true"),
        ("type([]) == list && type({}) == map", "true"),
        ("type(null) == null_type", "true"),
        (
            "type(timestamp('2020-01-01T00:00:00Z')) == google.protobuf.Timestamp",
            "true",
        ),
    ]);
}

#[test]
fn arithmetic_and_its_limits() {
    check(&[
        ("1 + 2 * 3", "7"),
        ("(1 + 2) * 3", "9"),
        ("7 / 2", "3"),
        ("-7 / 2", "-3"),
        ("-7 % 3", "-1"),
        ("10 - 3 - 2", "5"),
        ("2.0 * 3.5", "7"),
        ("1.0 / 0.0", "+Inf"),
        ("5u - 3u", "2u"),
        ("1 / 0", "error: division by zero"),
        ("1 % 0", "error: modulus by zero"),
        ("1u / 0u", "error: division by zero"),
        ("9223372036854775807 + 1", "error: integer overflow"),
        ("-9223372036854775808 - 1", "error: integer overflow"),
        ("9223372036854775807 * 2", "error: integer overflow"),
        ("-9223372036854775808 / -1", "error: integer overflow"),
        ("-(-9223372036854775808)", "error: integer overflow"),
        ("3u - 5u", "error: unsigned integer overflow"),
        ("'a' + 'b'", r#""ab""#),
        ("b'a' + b'b' == b'ab'", "true"),
        ("[1] + [2, 3]", "[1, 2, 3]"),
        ("!true", "false"),
        ("!!true", "true"),
        ("duration('1h') + duration('1m') == duration('61m')", "true"),
        (
            "timestamp('2020-01-01T00:00:00Z') + duration('24h')",
            "2020-01-02T00:00:00Z",
        ),
        (
            "timestamp('2020-01-02T00:00:00Z') - timestamp('2020-01-01T00:00:00Z')",
            "86400s",
        ),
        (
            "timestamp('9999-12-31T23:59:59Z') + duration('1s')",
            "error: timestamp overflow",
        ),
    ]);
}

#[test]
fn order_and_equality_across_types_of_numbers() {
    check(&[
        ("1 < 2", "true"),
        ("1 < 1.5", "true"),
        ("2u > 1", "true"),
        ("-1 < 0u", "true"),
        (
            "1 == 1.0 || true",
            "COMPILE ERROR: <input>:1:3: found no matching overload for '_==_' applied to '(int, double)'\n | 1 == 1.0 || true\n | ..^",
        ),
        ("dyn(1) == 1.0", "true"),
        ("dyn(1) == 1u", "true"),
        ("dyn(1) == 'a'", "false"),
        ("dyn(1) != 'a'", "true"),
        ("dyn([1]) == [1.0]", "true"),
        ("{'a': 1} == {'a': 1}", "true"),
        ("{'a': 1} == {'a': 2}", "false"),
        ("dyn(null) == null", "true"),
        ("'a' < 'b' && b'a' < b'b'", "true"),
        ("false < true", "true"),
        ("dyn(9223372036854775807) == 9223372036854775808.0", "false"),
        ("duration('1s') < duration('2s')", "true"),
        ("dyn('a') < dyn(1)", "error: no such overload"),
        ("1 in [1, 2]", "true"),
        ("3 in [1, 2]", "false"),
        ("'a' in {'a': 1}", "true"),
        ("dyn(1.0) in [1, 2]", "true"),
        ("'b' in []", "false"),
        ("[1] in [[1], [2]]", "true"),
    ]);
}

#[test]
fn errors_are_absorbed_where_the_other_side_settles_it() {
    check(&[
        ("false && 1 / 0 == 1", "false"),
        ("1 / 0 == 1 && false", "false"),
        ("true || 1 / 0 == 1", "true"),
        ("1 / 0 == 1 || true", "true"),
        ("1 / 0 == 1 || false", "error: division by zero"),
        ("1 / 0 == 1 && true", "error: division by zero"),
        ("true ? 1 : 1 / 0", "1"),
        ("false ? 1 / 0 : 2", "2"),
        ("(1 / 0 == 1) ? 1 : 2", "error: division by zero"),
        ("[1, 0].exists(x, 1 / x == 1)", "true"),
        ("[0, 1].exists(x, 1 / x == 1)", "true"),
        ("[0, 2].all(x, 1 / x == 1)", "false"),
        ("[0, 1].all(x, 1 / x == 1)", "error: division by zero"),
        (
            "[0, 1].exists_one(x, 1 / x == 1)",
            "error: division by zero",
        ),
    ]);
}

#[test]
fn macros() {
    check(&[
        ("[1, 2, 3].all(x, x > 0)", "true"),
        ("[1, 2, 3].exists(x, x == 2)", "true"),
        ("[1, 2, 2].exists_one(x, x == 2)", "false"),
        ("[1, 2, 3].existsOne(x, x == 2)", "true"),
        ("[1, 2, 3].map(x, x * 2)", "[2, 4, 6]"),
        ("[1, 2, 3].map(x, x > 1, x * 2)", "[4, 6]"),
        ("[1, 2, 3].filter(x, x > 1)", "[2, 3]"),
        ("{'a': 1, 'b': 2}.all(k, k < 'c')", "true"),
        ("{'a': 1, 'b': 2}.map(k, k + '!')", "[a!, b!]"),
        ("[].all(x, x > 0)", "true"),
        ("[].exists(x, x > 0)", "false"),
        ("[[1, 2], [3]].map(l, l.map(x, x + 1))", "[[2, 3], [4]]"),
        ("[1, 2].map(x, [1, 2].map(y, x * y))", "[[1, 2], [2, 4]]"),
        ("[1, 2].map(x, [x, 7].filter(x, x > 1))", "[[7], [2, 7]]"),
        ("has({'a': 1}.a)", "true"),
        ("has({'a': 1}.b)", "false"),
        ("has({'a': {'b': 1}}.a.b)", "true"),
        ("{'a': 1}.b", "error: no such key: b"),
        ("{'a': 1}['b']", "error: no such key: b"),
        ("[1][1]", "error: index out of bounds: 1"),
        ("[1][-1]", "error: index out of bounds: -1"),
        ("{1: 'a', 2: 'b'}[2]", r#""b""#),
        ("{1u: 'a'}[dyn(1)]", r#""a""#),
        ("{true: 'a'}[true]", r#""a""#),
        ("size('äb')", "2"),
        ("size([1, 2]) + {'a': 1}.size() + b'abc'.size()", "6"),
        ("[1, 2].all(i, v, i < 2 && v > 0)", "true"),
        ("{'a': 1}.all(k, v, k == 'a' && v == 1)", "true"),
        ("['x', 'y'].exists(i, v, i == 1 && v == 'y')", "true"),
        ("[1, 2, 3].existsOne(i, v, i > 0 && v > 2)", "true"),
        ("[1, 2].transformList(i, v, i + v)", "[1, 3]"),
        ("[1, 2].transformList(i, v, i > 0, v)", "[2]"),
        (
            "{'a': 1, 'b': 2}.transformMap(k, v, v + 1)",
            r#"{"a":2,"b":3}"#,
        ),
        (
            "{'a': 1, 'b': 2}.transformMap(k, v, v > 1, v + 1)",
            r#"{"b":3}"#,
        ),
        (
            "{'a': 'x', 'b': 'y'}.transformMapEntry(k, v, {v: k})",
            r#"{"x":"a","y":"b"}"#,
        ),
        (
            "{'a': 'x', 'b': 'x'}.transformMapEntry(k, v, {v: k})",
            "error: insert failed: key x already exists",
        ),
    ]);
}

#[test]
fn conversions() {
    check(&[
        ("int('42')", "42"),
        ("int(3.9)", "3"),
        ("int(-3.9)", "-3"),
        ("int(5u)", "5"),
        (
            "int(dyn(1e19))",
            "COMPILE program instantiation failed: integer overflow",
        ),
        (
            "int(dyn(18446744073709551615u))",
            "COMPILE program instantiation failed: integer overflow",
        ),
        (
            "uint(dyn(-1))",
            "COMPILE program instantiation failed: unsigned integer overflow",
        ),
        ("uint('7')", "7u"),
        (
            "int(dyn('a'))",
            "COMPILE program instantiation failed: type conversion error from 'string' to 'int'",
        ),
        (
            "int('a')",
            "COMPILE program instantiation failed: type conversion error from 'string' to 'int'",
        ),
        ("double('1.5') + double(2)", "3.5"),
        (
            "string(1) + string(1.5) + string(true) + string(2u)",
            r#""11.5true2""#,
        ),
        ("string(b'abc')", r#""abc""#),
        (
            "string(dyn(b'\\xff'))",
            "COMPILE program instantiation failed: invalid UTF-8 in bytes, cannot convert to string",
        ),
        ("bytes('é') == b'\\xc3\\xa9'", "true"),
        ("bool('true') && !bool('0')", "true"),
        (
            "bool(dyn('yes'))",
            "COMPILE program instantiation failed: type conversion error from 'string' to 'bool'",
        ),
        ("string(duration('1h30m'))", r#""5400s""#),
        ("string(duration('1ms'))", r#""0.001s""#),
        (
            "string(timestamp('2009-02-13T23:31:30Z'))",
            r#""2009-02-13T23:31:30Z""#,
        ),
        ("int(timestamp('2009-02-13T23:31:30Z'))", "1234567890"),
        ("timestamp(1234567890)", "2009-02-13T23:31:30Z"),
        ("int(duration('1s'))", "1000000000"),
        ("dyn(1)", "1"),
        ("type('a')", "string"),
        (
            "timestamp(dyn('soon'))",
            "COMPILE program instantiation failed: type conversion error from 'string' to 'google.protobuf.Timestamp'",
        ),
    ]);
}

#[test]
fn times() {
    check(&[
        ("timestamp('2009-02-13T23:31:30Z').getFullYear()", "2009"),
        ("timestamp('2009-02-13T23:31:30Z').getMonth()", "1"),
        ("timestamp('2009-02-13T23:31:30Z').getDate()", "13"),
        ("timestamp('2009-02-13T23:31:30Z').getDayOfMonth()", "12"),
        ("timestamp('2009-02-13T23:31:30Z').getDayOfYear()", "43"),
        ("timestamp('2009-02-13T23:31:30Z').getDayOfWeek()", "5"),
        ("timestamp('2009-02-13T23:31:30Z').getHours()", "23"),
        (
            "timestamp('2009-02-13T23:31:30.5Z').getMilliseconds()",
            "500",
        ),
        ("timestamp('2009-02-13T23:31:30Z').getHours('+01:00')", "0"),
        ("timestamp('2009-02-13T23:31:30Z').getDate('+01:00')", "14"),
        ("timestamp('2009-02-13T23:31:30Z').getHours('-02:30')", "21"),
        (
            "timestamp('2009-02-13T23:31:30Z').getMinutes('-02:30')",
            "1",
        ),
        (
            "timestamp('2009-02-13T23:31:30Z').getHours('America/Phoenix')",
            "16",
        ),
        (
            "timestamp('2009-02-13T23:31:30Z').getHours('Nowhere/Land')",
            "error: unknown time zone Nowhere/Land",
        ),
        ("duration('3723s').getHours()", "1"),
        ("duration('3723s').getMinutes()", "62"),
        ("duration('3723.456s').getSeconds()", "3723"),
        ("duration('1.5s').getMilliseconds()", "1500"),
    ]);
}

#[test]
fn optional_values() {
    check(&[
        ("optional.of(1)", "optional(1)"),
        ("optional.none().hasValue()", "false"),
        ("optional.of(1).value()", "1"),
        (
            "optional.none().value()",
            "error: optional.none() dereference",
        ),
        ("optional.ofNonZeroValue('')", "optional.none()"),
        ("optional.ofNonZeroValue(1).orValue(2)", "1"),
        ("{'a': 1}.?a", "optional(1)"),
        ("{'a': 1}.?b", "optional.none()"),
        ("{'a': 1}[?'b'].orValue(7)", "7"),
        ("[1, 2][?1]", "optional(2)"),
        ("[1, 2][?5]", "optional.none()"),
        ("{'a': {'b': 1}}.?a.b", "optional(1)"),
        ("{'a': {'b': 1}}.?x.b", "optional.none()"),
        ("has({'a': {'b': 1}}.?a.b)", "true"),
        ("has({'a': {'b': 1}}.?a.c)", "false"),
        ("optional.none().or(optional.of(2)).value()", "2"),
        ("optional.of(1).optMap(x, x + 1)", "optional(2)"),
        ("optional.none().optMap(x, x + 1)", "optional.none()"),
        (
            "optional.of(1).optFlatMap(x, optional.of(x + 1))",
            "optional(2)",
        ),
        ("[?optional.of(1), ?optional.none(), 3]", "[1, 3]"),
        (
            "{?'a': optional.of(1), ?'b': optional.none()}",
            r#"{"a":1}"#,
        ),
        ("[1, 2].first()", "optional(1)"),
        ("[].last()", "optional.none()"),
        ("optional.unwrap([optional.of(1), optional.none()])", "[1]"),
        ("[optional.of(1), optional.none()].unwrapOpt()", "[1]"),
        ("optional.of(1) == optional.of(1)", "true"),
        ("optional.none() == optional.of(1)", "false"),
    ]);
}
