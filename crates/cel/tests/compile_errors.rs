//! What the parser and the checker say, to the letter.

use super::check;
use cel::{Environment, Program, Type};

#[test]
fn syntax() {
    check(&[
        (
            "object.x in [1, 2,",
            "COMPILE ERROR: <input>:1:19: Syntax error: missing ']' at '<EOF>'\n | object.x in [1, 2,\n | ..................^",
        ),
        (
            "'asdf'.contains('x'",
            "COMPILE ERROR: <input>:1:20: Syntax error: missing ')' at '<EOF>'\n | 'asdf'.contains('x'\n | ...................^",
        ),
        (
            "request.user = 'test'",
            "COMPILE ERROR: <input>:1:14: Syntax error: token recognition error at: '= '\n | request.user = 'test'\n | .............^\nERROR: <input>:1:16: Syntax error: extraneous input ''test'' expecting <EOF>\n | request.user = 'test'\n | ...............^",
        ),
        (
            "a! == 1",
            "COMPILE ERROR: <input>:1:2: Syntax error: mismatched input '!' expecting <EOF>\n | a! == 1\n | .^",
        ),
        (
            "1 +",
            "COMPILE ERROR: <input>:1:4: Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}\n | 1 +\n | ...^",
        ),
        (
            "",
            "COMPILE ERROR: <input>:1:1: Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}",
        ),
        (
            "self.true",
            "COMPILE ERROR: <input>:1:6: Syntax error: mismatched input 'true' expecting IDENTIFIER\n | self.true\n | .....^",
        ),
        (
            "namespace == 1",
            "COMPILE ERROR: <input>:1:1: reserved identifier: namespace\n | namespace == 1\n | ^",
        ),
        (
            "99999999999999999999",
            "COMPILE ERROR: <input>:1:1: invalid int literal\n | 99999999999999999999\n | ^",
        ),
        (
            "[1].all(1, true)",
            "COMPILE ERROR: <input>:1:9: argument must be a simple name\n | [1].all(1, true)\n | ........^",
        ),
        (
            "[1].map(1, true)",
            "COMPILE ERROR: <input>:1:9: argument is not an identifier\n | [1].map(1, true)\n | ........^",
        ),
        (
            "has(1)",
            "COMPILE ERROR: <input>:1:5: invalid argument to has() macro\n | has(1)\n | ....^",
        ),
        (
            "[1].all(i, i, true)",
            "COMPILE ERROR: <input>:1:12: duplicate variable name: i\n | [1].all(i, i, true)\n | ...........^",
        ),
    ]);
}

#[test]
fn types() {
    check(&[
        (
            "x",
            "COMPILE ERROR: <input>:1:1: undeclared reference to 'x' (in container '')\n | x\n | ^",
        ),
        (
            "1 + 'a'",
            "COMPILE ERROR: <input>:1:3: found no matching overload for '_+_' applied to '(int, string)'\n | 1 + 'a'\n | ..^",
        ),
        (
            "'a'.size(1)",
            "COMPILE ERROR: <input>:1:9: found no matching overload for 'size' applied to 'string.(int)'\n | 'a'.size(1)\n | ........^",
        ),
        (
            "nope(1)",
            "COMPILE ERROR: <input>:1:5: undeclared reference to 'nope' (in container '')\n | nope(1)\n | ....^",
        ),
        (
            "[1, 'a']",
            "COMPILE ERROR: <input>:1:5: expected type 'int' but found 'string'\n | [1, 'a']\n | ....^",
        ),
        (
            "{'a': 1, 'b': true}",
            "COMPILE ERROR: <input>:1:15: expected type 'int' but found 'bool'\n | {'a': 1, 'b': true}\n | ..............^",
        ),
        (
            "1 && true",
            "COMPILE ERROR: <input>:1:1: expected type 'bool' but found 'int'\n | 1 && true\n | ^",
        ),
        (
            "1.all(x, true)",
            "COMPILE ERROR: <input>:1:1: expression of type 'int' cannot be range of a comprehension (must be list, map, or dynamic)\n | 1.all(x, true)\n | ^",
        ),
        (
            "'a'.b",
            "COMPILE ERROR: <input>:1:4: type 'string' does not support field selection\n | 'a'.b\n | ...^",
        ),
        (
            "true ? 1 : 'a'",
            "COMPILE ERROR: <input>:1:6: found no matching overload for '_?_:_' applied to '(bool, int, string)'\n | true ? 1 : 'a'\n | .....^",
        ),
        (
            "[?1]",
            "COMPILE ERROR: <input>:1:3: expected type 'optional_type(int)' but found 'int'\n | [?1]\n | ..^",
        ),
        (
            "duration('x')",
            "COMPILE ERROR: <input>:1:10: invalid duration argument\n | duration('x')\n | .........^",
        ),
        (
            "timestamp('x')",
            "COMPILE ERROR: <input>:1:11: invalid timestamp argument\n | timestamp('x')\n | ..........^",
        ),
        (
            "[1, dyn('a')]",
            "COMPILE ERROR: <input>:1:8: expected type 'int' but found 'dyn'\n | [1, dyn('a')]\n | .......^",
        ),
        (
            "'ä' + x\n  + y",
            "COMPILE ERROR: <input>:1:7: undeclared reference to 'x' (in container '')\n | 'ä' + x\n | .．....^\nERROR: <input>:2:5: undeclared reference to 'y' (in container '')\n |   + y\n | ....^",
        ),
    ]);
}

#[test]
fn declared_variables() {
    let environment = Environment::new()
        .with("object", Type::Dyn)
        .with(
            "request",
            Type::object("kubernetes.AdmissionRequest", [("name", Type::String)]),
        )
        .with("authorizer", Type::authorizer())
        .with("authorizer.requestResource", Type::resource_check());
    for (text, expected) in [
        ("object.spec.replicas < 5", "bool"),
        ("object.a + 1", "int"),
        ("request.name", "string"),
        ("request.?name", "optional_type(string)"),
        (
            "authorizer.group('').resource('pods').check('get').allowed()",
            "bool",
        ),
        ("authorizer.requestResource.check('get').allowed()", "bool"),
        ("[object, object]", "list(dyn)"),
        ("object.all(x, x == 1)", "bool"),
        ("{}", "map(dyn, dyn)"),
        ("type(1)", "type(int)"),
    ] {
        let program = Program::compile(text, &environment).unwrap();
        assert_eq!(program.output().to_string(), expected, "{text}");
    }
    let error = Program::compile("request.nope", &environment).unwrap_err();
    assert_eq!(
        error.to_string(),
        "ERROR: <input>:1:8: undefined field 'nope'\n | request.nope\n | .......^"
    );
}
