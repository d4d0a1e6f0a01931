//! Kubernetes' libraries and the extensions it takes over from cel-go, function by function.

use super::check;

#[test]
fn strings() {
    check(&[
        ("'hello'.charAt(1)", r#""e""#),
        ("'hello'.charAt(5)", r#""""#),
        ("'hello'.charAt(6)", "error: index out of range: 6"),
        ("'hello'.indexOf('l')", "2"),
        ("'hello'.indexOf('l', 3)", "3"),
        ("'hello'.indexOf('x')", "-1"),
        ("'hello'.indexOf('')", "0"),
        ("'hello'.indexOf('l', -1)", "error: index out of range: -1"),
        ("'äöü'.indexOf('ü')", "2"),
        ("'hello'.lastIndexOf('l')", "3"),
        ("'hello'.lastIndexOf('l', 2)", "2"),
        ("'hello'.lastIndexOf('')", "5"),
        ("'hello mellow'.lastIndexOf('ello', 6)", "1"),
        ("'TaCo'.lowerAscii()", r#""taco""#),
        ("'TäCo'.upperAscii()", r#""TäCO""#),
        ("'a-b-c'.replace('-', '+')", r#""a+b+c""#),
        ("'a-b-c'.replace('-', '+', 1)", r#""a+b-c""#),
        ("'ab'.replace('', '_')", r#""_a_b_""#),
        ("'a,b,c'.split(',')", "[a, b, c]"),
        ("'a,b,c'.split(',', 2)", "[a, b,c]"),
        ("'a,b,c'.split(',', 0)", "[]"),
        ("'ab'.split('')", "[a, b]"),
        ("'tacocat'.substring(4)", r#""cat""#),
        ("'tacocat'.substring(0, 4)", r#""taco""#),
        ("'tacocat'.substring(8)", "error: index out of range: 8"),
        (
            "'tacocat'.substring(3, 2)",
            "error: invalid substring range. start: 3, end: 2",
        ),
        ("'  x \\n'.trim()", r#""x""#),
        ("['a', 'b'].join()", r#""ab""#),
        ("['a', 'b'].join('-')", r#""a-b""#),
        ("strings.quote('a\"\\n')", r#""\"a\\\"\\n\"""#),
        (
            "'abc'.contains('b') && 'abc'.startsWith('a') && 'abc'.endsWith('c')",
            "true",
        ),
    ]);
}

#[test]
fn formats_of_strings() {
    check(&[
        ("'%s is %d'.format(['a', 7])", r#""a is 7""#),
        ("'%%'.format([])", r#""%""#),
        ("'%s'.format([[1, 'a', 2.5]])", r#""[1, \"a\", 2.500000]""#),
        (
            "'%s'.format([{'k': 1, 'a': true}])",
            r#""{\"a\":true, \"k\":1}""#,
        ),
        ("'%.2f'.format([3.14159])", r#""3.14""#),
        ("'%f'.format([1234.5])", r#""1,234.500000""#),
        (
            "'%.6e'.format([1052.032911275])",
            "\"1.052033\\u{202f}×\\u{202f}10⁰³\"",
        ),
        ("'%b'.format([5])", r#""101""#),
        ("'%b'.format([true])", r#""1""#),
        ("'%x %X'.format([255, 255])", r#""ff FF""#),
        ("'%x'.format(['Hello'])", r#""48656c6c6f""#),
        ("'%o'.format([8])", r#""10""#),
        ("'%x'.format([-255])", r#""-ff""#),
        ("'%s'.format([duration('90s')])", r#""90s""#),
        ("'%s'.format([null])", r#""null""#),
        ("'%s'.format([int])", r#""int""#),
        (
            "'%d'.format([dyn('a')])",
            "error: error during formatting: decimal clause can only be used on integers, was given string",
        ),
        (
            "'%d'.format(['a'])",
            "COMPILE ERROR: <input>:1:14: error during formatting: decimal clause can only be used on integers, was given string\n | '%d'.format(['a'])\n | .............^",
        ),
        (
            "'%s'.format(['a', 'b'])",
            "COMPILE ERROR: <input>:1:12: too many arguments supplied to string.format (expected 1, got 2)\n | '%s'.format(['a', 'b'])\n | ...........^",
        ),
        (
            "'%s %s'.format(['a'])",
            "COMPILE ERROR: <input>:1:15: index 1 out of range\n | '%s %s'.format(['a'])\n | ..............^",
        ),
        (
            "'%z'.format(['a'])",
            "COMPILE ERROR: <input>:1:12: could not parse formatting clause: unrecognized formatting clause \"z\"\n | '%z'.format(['a'])\n | ...........^",
        ),
    ]);
}

#[test]
fn lists() {
    check(&[
        ("[1, 2, 3].isSorted()", "true"),
        ("['b', 'a'].isSorted()", "false"),
        ("[1, 2, 3].sum()", "6"),
        ("[1.5, 2.5].sum()", "4"),
        ("[].sum() == 0", "true"),
        ("[duration('1m'), duration('1s')].sum()", "61s"),
        ("[3, 1, 2].min()", "1"),
        ("['b', 'a'].max()", r#""b""#),
        (
            "[1].filter(x, x > 1).max()",
            "error: max called on empty list",
        ),
        ("[1, 2, 1].indexOf(1)", "0"),
        ("[1, 2, 1].lastIndexOf(1)", "2"),
        ("['a'].indexOf('x')", "-1"),
        ("[1, 2, 3, 4].slice(1, 3)", "[2, 3]"),
        (
            "[1].slice(0, 2)",
            "error: cannot slice(0, 2), list is length 1",
        ),
        (
            "[1].slice(-1, 0)",
            "error: cannot slice(-1, 0), negative indexes not supported",
        ),
        ("[[1], [2, 3]].flatten()", "[1, 2, 3]"),
        ("dyn([[1], [2, 3]]).flatten(2)", "[1, 2, 3]"),
        ("[3, 1, 2].sort()", "[1, 2, 3]"),
        ("['b', 'a'].sort()", "[a, b]"),
        ("[{'n': 2}, {'n': 1}].sortBy(e, e.n).map(e, e.n)", "[1, 2]"),
        ("lists.range(4)", "[0, 1, 2, 3]"),
        ("[1, 2, 3].reverse()", "[3, 2, 1]"),
        ("[1, 2, 2, 1].distinct()", "[1, 2]"),
        ("sets.contains([1, 2, 3], [1, 2])", "true"),
        ("sets.equivalent([1, 2, 1], [2, 1])", "true"),
        ("sets.intersects([1], [2, 1])", "true"),
        ("sets.intersects([1], [2])", "false"),
    ]);
}

#[test]
fn patterns() {
    check(&[
        ("'abc'.matches('^a.c$')", "true"),
        ("matches('abc', 'b')", "true"),
        ("'abc 123'.find('[0-9]+')", r#""123""#),
        ("'abc'.find('[0-9]+')", r#""""#),
        ("'123 abc 456'.findAll('[0-9]+')", "[123, 456]"),
        ("'123 abc 456'.findAll('[0-9]+', 1)", "[123]"),
        ("'123 abc 456'.findAll('[0-9]+', 0)", "[]"),
        (
            "'a'.matches('(')",
            "COMPILE ERROR: <input>:1:13: invalid matches argument\n | 'a'.matches('(')\n | ............^",
        ),
    ]);
}

#[test]
fn urls() {
    check(&[
        (
            "url('https://example.com:80/a?b=c').getScheme()",
            r#""https""#,
        ),
        (
            "url('https://example.com:80/a').getHost()",
            r#""example.com:80""#,
        ),
        ("url('https://[::1]:80/').getHostname()", r#""::1""#),
        ("url('https://example.com:80/').getPort()", r#""80""#),
        ("url('https://example.com').getPort()", r#""""#),
        ("url('/path').getHost()", r#""""#),
        (
            "url('https://example.com/with space/').getEscapedPath()",
            r#""/with%20space/""#,
        ),
        (
            "url('https://example.com/?k=a&k=b&x=').getQuery()",
            r#"{"k":["a","b"],"x":[""]}"#,
        ),
        (
            "url('https://example.com/') == url('https://example.com/')",
            "true",
        ),
        ("isURL('https://a:80/b')", "true"),
        ("isURL('../relative')", "false"),
        ("isURL('https://a:x/')", "false"),
        (
            "url('../relative')",
            "error: URL parse error during conversion from string: parse \"../relative\": invalid URI for request",
        ),
    ]);
}

#[test]
fn addresses() {
    check(&[
        ("ip('10.0.0.1').family()", "4"),
        ("ip('::1').isLoopback()", "true"),
        ("ip('0.0.0.0').isUnspecified()", "true"),
        ("ip('169.254.1.1').isLinkLocalUnicast()", "true"),
        ("ip('224.0.0.1').isLinkLocalMulticast()", "true"),
        ("ip('8.8.8.8').isGlobalUnicast()", "true"),
        ("ip('255.255.255.255').isGlobalUnicast()", "false"),
        ("isIP('256.0.0.1')", "false"),
        ("isIP('::ffff:1.2.3.4')", "false"),
        ("isIP('fe80::1%eth0')", "false"),
        ("ip.isCanonical('::ABCD')", "false"),
        ("ip.isCanonical('::abcd')", "true"),
        ("ip('127.0.0.1') == ip('127.0.0.1')", "true"),
        ("string(ip('127.0.0.1'))", r#""127.0.0.1""#),
        ("type(ip('::1')) == net.IP", "true"),
        ("cidr('192.168.0.0/24').containsIP('192.168.0.7')", "true"),
        (
            "cidr('192.168.0.0/24').containsIP(ip('192.169.0.7'))",
            "false",
        ),
        (
            "cidr('192.168.0.0/16').containsCIDR('192.168.10.0/24')",
            "true",
        ),
        (
            "cidr('192.168.0.0/24').containsCIDR(cidr('192.168.0.0/23'))",
            "false",
        ),
        (
            "cidr('192.168.1.5/24').masked() == cidr('192.168.1.0/24')",
            "true",
        ),
        ("cidr('192.168.1.5/24').ip() == ip('192.168.1.5')", "true"),
        ("cidr('::/0').prefixLength()", "0"),
        ("string(cidr('10.0.0.0/8'))", r#""10.0.0.0/8""#),
        ("isCIDR('10.0.0.0/33')", "false"),
        ("isCIDR('10.0.0.0/08')", "false"),
        (
            "ip('nope')",
            "error: IP Address \"nope\" parse error during conversion from string: ParseAddr(\"nope\"): unable to parse IP",
        ),
    ]);
}

#[test]
fn quantities() {
    check(&[
        ("quantity('1Gi').isGreaterThan(quantity('1G'))", "true"),
        ("quantity('500m').isLessThan(quantity('1'))", "true"),
        ("quantity('1k').compareTo(quantity('1000'))", "0"),
        ("quantity('1k') == quantity('1000')", "true"),
        ("quantity('50k').asInteger()", "50000"),
        (
            "quantity('50m').asInteger()",
            "error: cannot convert value to integer",
        ),
        ("quantity('50m').isInteger()", "false"),
        ("quantity('1500m').asApproximateFloat()", "1.5"),
        ("sign(quantity('-1'))", "-1"),
        (
            "quantity('50k').add(quantity('20')) == quantity('50020')",
            "true",
        ),
        ("quantity('50k').sub(20) == quantity('49980')", "true"),
        ("isQuantity('1.3Zi') || isQuantity('a')", "false"),
        (
            "quantity('a')",
            "error: quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
    ]);
}

#[test]
fn versions() {
    check(&[
        ("semver('1.2.3').major()", "1"),
        ("semver('1.2.3').isLessThan(semver('1.10.0'))", "true"),
        ("semver('1.0.0-alpha').isLessThan(semver('1.0.0'))", "true"),
        (
            "semver('1.0.0-alpha.1').compareTo(semver('1.0.0-alpha.beta'))",
            "-1",
        ),
        ("semver('1.0.0+a') == semver('1.0.0+b')", "true"),
        ("isSemver('v1.0.0')", "false"),
        ("isSemver('v1.0', true)", "true"),
        ("semver('v01.2', true).patch()", "0"),
        ("isSemver('01.0.0')", "false"),
        ("semver('1')", "error: No Major.Minor.Patch elements found"),
    ]);
}

#[test]
fn named_formats() {
    check(&[
        (
            "format.dns1123Label().validate('my-name')",
            "optional.none()",
        ),
        ("format.dns1123Label().validate('My').hasValue()", "true"),
        (
            "format.dns1123LabelPrefix().validate('name-')",
            "optional.none()",
        ),
        (
            "format.named('labelValue').value().validate('a b').hasValue()",
            "true",
        ),
        ("format.named('nope')", "optional.none()"),
        (
            "format.uuid().validate('x').value()",
            "[does not match the UUID format]",
        ),
        (
            "format.uuid().validate('123e4567-e89b-12d3-a456-426614174000')",
            "optional.none()",
        ),
        (
            "format.date().validate('2024-02-30').value()",
            "[invalid date]",
        ),
        (
            "format.datetime().validate('2024-02-28T10:00:00Z')",
            "optional.none()",
        ),
        ("format.byte().validate('aGk=')", "optional.none()"),
        ("format.uri().validate('https://a/b')", "optional.none()"),
        (
            "format.qualifiedName().validate('a.b/c')",
            "optional.none()",
        ),
    ]);
}

#[test]
fn mutations() {
    check(&[
        ("jsonpatch.escapeKey('a/b~c')", r#""a~1b~0c""#),
        ("JSONPatch{op: 'add', path: '/a', value: 1}.op", r#""add""#),
        (
            "JSONPatch{op: 1}",
            "COMPILE ERROR: <input>:1:13: expected type of field 'op' is 'string' but provided type is 'int'\n | JSONPatch{op: 1}\n | ............^",
        ),
        (
            "JSONPatch{nope: 1}",
            "COMPILE ERROR: <input>:1:15: undefined field 'nope'\n | JSONPatch{nope: 1}\n | ..............^",
        ),
        ("Object{spec: Object.spec{replicas: 3}}.spec.replicas", "3"),
        ("has(Object{spec: Object.spec{}}.spec)", "true"),
        ("has(Object{?spec: optional.none()}.spec)", "false"),
    ]);
}
