//! Quantities (`100m`, `1.5Gi`, `12e6`): exact, compared and added without loss, written in the one
//! canonical form that upstream writes.
//!
//! A quantity is held as billionths in an `i128`: upstream knows nothing finer than a billionth and
//! nothing greater than 2^63-1, so every quantity fits.

use std::{
    cmp::Ordering,
    fmt,
    hash::{Hash, Hasher},
    iter::Sum,
    ops::{Add, AddAssign, Neg, Sub, SubAssign},
    str::FromStr,
};

use schema::{
    Value,
    table::{Kind, Scalar, Table, Ty, TypeId},
};

const NANOS: i128 = 1_000_000_000;
/// Greatest amount; what is beyond it counts as it.
const MAX: i128 = i64::MAX as i128 * NANOS;

/// How a quantity likes to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `1500m`, `2k`.
    Decimal,
    /// `1536Mi`.
    Binary,
    /// `12e6`.
    Exponent,
}

/// An amount and how it likes to be written. Equal when the amounts are.
#[derive(Clone, Copy, Debug)]
pub struct Quantity {
    nanos: i128,
    format: Format,
}

/// What is wrong with a quantity's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// Not of the form at all.
    #[error(
        "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
    )]
    Format,
    /// More than one dot, or no digit.
    #[error("unable to parse numeric part of quantity")]
    Numeric,
    /// No such suffix.
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

impl Quantity {
    /// Nothing.
    pub const ZERO: Quantity = Quantity {
        nanos: 0,
        format: Format::Decimal,
    };

    /// A whole number.
    pub fn new(value: i64, format: Format) -> Self {
        Quantity {
            nanos: i128::from(value) * NANOS,
            format,
        }
    }

    /// Thousandths.
    pub fn from_millis(millis: i64) -> Self {
        Quantity {
            nanos: i128::from(millis) * 1_000_000,
            format: Format::Decimal,
        }
    }

    /// Bytes.
    pub fn from_bytes(bytes: i64) -> Self {
        Quantity::new(bytes, Format::Binary)
    }

    /// From a JSON string or number.
    pub fn from_value(value: &Value) -> Result<Self, QuantityError> {
        match value {
            Value::String(text) => text.parse(),
            Value::Number(number) => number.to_string().parse(),
            _ => Err(QuantityError::Format),
        }
    }

    /// From a JSON value; what cannot be read counts as nothing.
    pub fn of(value: &Value) -> Self {
        Quantity::from_value(value).unwrap_or(Quantity::ZERO)
    }

    /// Whole units, rounded away from zero.
    pub fn value(&self) -> i64 {
        clamp(divide_up(self.nanos, NANOS))
    }

    /// Thousandths, rounded away from zero.
    pub fn millis(&self) -> i64 {
        clamp(divide_up(self.nanos, 1_000_000))
    }

    /// Billionths.
    pub fn nanos(&self) -> i128 {
        self.nanos
    }

    /// As a floating-point number.
    pub fn as_f64(&self) -> f64 {
        self.nanos as f64 / NANOS as f64
    }

    /// How it likes to be written.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Is it nothing?
    pub fn is_zero(&self) -> bool {
        self.nanos == 0
    }

    /// Is it less than nothing?
    pub fn is_negative(&self) -> bool {
        self.nanos < 0
    }

    /// Is it a whole number?
    pub fn is_whole(&self) -> bool {
        self.nanos % NANOS == 0
    }

    fn with(self, nanos: i128) -> Self {
        Quantity {
            nanos: nanos.clamp(-MAX, MAX),
            format: self.format,
        }
    }
}

/// Rounds away from zero.
fn divide_up(value: i128, by: i128) -> i128 {
    let quotient = value / by;
    if value % by == 0 {
        quotient
    } else {
        quotient + value.signum()
    }
}

fn clamp(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}

/// (factor as numerator, denominator) and format of a suffix.
fn suffix(text: &str) -> Result<(Factor, Format), QuantityError> {
    let decimal = |power: i32| Ok((Factor::Ten(power), Format::Decimal));
    let binary = |power: u32| Ok((Factor::Two(power), Format::Binary));
    match text {
        "" => decimal(0),
        "n" => decimal(-9),
        "u" => decimal(-6),
        "m" => decimal(-3),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        "Ki" => binary(10),
        "Mi" => binary(20),
        "Gi" => binary(30),
        "Ti" => binary(40),
        "Pi" => binary(50),
        "Ei" => binary(60),
        _ => {
            let power = text.strip_prefix(['e', 'E']).ok_or(QuantityError::Suffix)?;
            let power: i64 = power
                .strip_prefix('+')
                .unwrap_or(power)
                .parse()
                .map_err(|_| QuantityError::Suffix)?;
            // Beyond these every number is zero-like or too great anyway.
            Ok((Factor::Ten(power.clamp(-400, 400) as i32), Format::Exponent))
        }
    }
}

enum Factor {
    Ten(i32),
    Two(u32),
}

impl FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let (negative, rest) = match text.as_bytes().first() {
            None => return Err(QuantityError::Format),
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        let end = rest
            .bytes()
            .position(|byte| !byte.is_ascii_digit() && byte != b'.')
            .unwrap_or(rest.len());
        let (number, tail) = rest.split_at(end);
        if number.is_empty() {
            return Err(QuantityError::Format);
        }
        let letters =
            tail.trim_start_matches(['e', 'E', 'i', 'n', 'u', 'm', 'k', 'K', 'M', 'G', 'T', 'P']);
        let digits = letters.strip_prefix(['+', '-']).unwrap_or(letters);
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(QuantityError::Format);
        }
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if fraction.contains('.') || (whole.is_empty() && fraction.is_empty()) {
            return Err(QuantityError::Numeric);
        }
        let (factor, format) = suffix(tail)?;
        let nanos = amount(
            whole.trim_start_matches('0'),
            fraction.trim_end_matches('0'),
            &factor,
        );
        Ok(Quantity {
            nanos: if negative { -nanos } else { nanos },
            format,
        })
    }
}

/// `whole.fraction × factor` in billionths, rounded up and capped.
fn amount(whole: &str, fraction: &str, factor: &Factor) -> i128 {
    // Digits beyond these cannot change the result but by rounding.
    const DIGITS: usize = 28;
    let mut mantissa: i128 = 0;
    let mut taken = 0;
    let mut lost = false;
    let mut power: i32 = 9 - i32::try_from(fraction.len()).unwrap_or(i32::MAX / 2);
    for digit in whole.bytes().chain(fraction.bytes()) {
        if taken == 0 && digit == b'0' {
            continue;
        }
        if taken < DIGITS {
            mantissa = mantissa * 10 + i128::from(digit - b'0');
            taken += 1;
        } else {
            lost |= digit != b'0';
            power = power.saturating_add(1);
        }
    }
    if mantissa == 0 {
        return 0;
    }
    let mut exact_twos = 0;
    match factor {
        Factor::Ten(ten) => power = power.saturating_add(*ten),
        Factor::Two(two) => exact_twos = *two,
    }
    // Divide by the tens first where that loses nothing, so that the doubling cannot overflow needlessly.
    while power < 0 && mantissa % 10 == 0 {
        mantissa /= 10;
        power += 1;
    }
    for _ in 0..exact_twos {
        if power < 0 && mantissa % 5 == 0 {
            // 2/10 = 1/5
            mantissa /= 5;
            power += 1;
            continue;
        }
        match mantissa.checked_mul(2) {
            Some(doubled) if power >= 0 || doubled < i128::MAX / 4 => mantissa = doubled,
            _ if power < 0 => {
                lost |= mantissa % 5 != 0;
                mantissa /= 5;
                power += 1;
            }
            _ => return MAX,
        }
        if power >= 0 && mantissa > MAX {
            return MAX;
        }
    }
    while power > 0 {
        mantissa = mantissa.saturating_mul(10);
        power -= 1;
        if mantissa > MAX {
            return MAX;
        }
    }
    while power < 0 && mantissa > 0 {
        lost |= mantissa % 10 != 0;
        mantissa /= 10;
        power += 1;
    }
    (mantissa + i128::from(lost)).min(MAX)
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nanos == 0 {
            return f.write_str("0");
        }
        let small = self.nanos.abs() < 1024 * NANOS;
        if self.format == Format::Binary && !small && self.is_whole() {
            const SUFFIXES: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
            let mut number = self.nanos / NANOS;
            let mut power = 0;
            while number % 1024 == 0 && power < 6 {
                number /= 1024;
                power += 1;
            }
            return write!(f, "{number}{}", SUFFIXES[power]);
        }
        let mut number = self.nanos;
        let mut power = -9;
        while number % 1000 == 0 && power < 18 {
            number /= 1000;
            power += 3;
        }
        if self.format == Format::Exponent {
            return if power == 0 {
                write!(f, "{number}")
            } else {
                write!(f, "{number}e{power}")
            };
        }
        const SUFFIXES: [&str; 10] = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];
        write!(f, "{number}{}", SUFFIXES[((power + 9) / 3) as usize])
    }
}

impl From<Quantity> for Value {
    fn from(quantity: Quantity) -> Value {
        Value::String(quantity.to_string())
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

impl Hash for Quantity {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.nanos.hash(state);
    }
}

impl Default for Quantity {
    fn default() -> Self {
        Quantity::ZERO
    }
}

/// The sum keeps the format of the left side, unless that is nothing (as upstream).
impl Add for Quantity {
    type Output = Quantity;
    fn add(self, other: Quantity) -> Quantity {
        let format = if self.is_zero() {
            other.format
        } else {
            self.format
        };
        Quantity {
            format,
            ..self.with(self.nanos + other.nanos)
        }
    }
}

impl AddAssign for Quantity {
    fn add_assign(&mut self, other: Quantity) {
        *self = *self + other;
    }
}

impl Sub for Quantity {
    type Output = Quantity;
    fn sub(self, other: Quantity) -> Quantity {
        self + -other
    }
}

impl SubAssign for Quantity {
    fn sub_assign(&mut self, other: Quantity) {
        *self = *self - other;
    }
}

impl Neg for Quantity {
    type Output = Quantity;
    fn neg(self) -> Quantity {
        self.with(-self.nanos)
    }
}

impl Sum for Quantity {
    fn sum<I: Iterator<Item = Quantity>>(quantities: I) -> Quantity {
        quantities.fold(Quantity::ZERO, Add::add)
    }
}

/// Which fields of which types lead to quantities, so that the walk to them passes everything else by.
#[derive(Debug, Default)]
pub struct Paths {
    /// By type: the fields that are or hold quantities.
    fields: Vec<Vec<(Box<str>, Ty)>>,
}

/// Is this, or does it hold, a quantity?
fn reaches(table: &Table, ty: &Ty, leads: &[bool]) -> bool {
    match table.kind(ty) {
        Kind::Scalar(scalar) => scalar == Scalar::Quantity,
        Kind::List(item) | Kind::Map(item) => reaches(table, item, leads),
        Kind::Struct(id, _) => leads[id.0 as usize],
        Kind::Either(_) => false,
    }
}

impl Paths {
    /// Finds them in a table.
    pub fn new(table: &Table) -> Self {
        let mut leads = vec![false; table.iter().count()];
        // At most one round per nesting depth.
        loop {
            let mut grown = false;
            for (id, _) in table.iter() {
                if let Some(fields) = table.fields(id)
                    && !leads[id.0 as usize]
                    && fields
                        .fields()
                        .iter()
                        .any(|field| reaches(table, &field.ty, &leads))
                {
                    leads[id.0 as usize] = true;
                    grown = true;
                }
            }
            if !grown {
                break;
            }
        }
        let of_type = |id: TypeId| {
            let fields = table.fields(id).map_or(&[][..], |fields| fields.fields());
            let fields = fields
                .iter()
                .filter(|field| reaches(table, &field.ty, &leads));
            fields
                .map(|field| (field.name.clone(), field.ty.clone()))
                .collect()
        };
        Paths {
            fields: table.iter().map(|(id, _)| of_type(id)).collect(),
        }
    }

    /// Writes every quantity of an object in its canonical form. The first one that is none is the error;
    /// those are left as they are.
    pub fn canonicalize(&self, ty: TypeId, object: &mut Value) -> Result<(), QuantityError> {
        let (Some(fields), Value::Object(map)) = (self.fields.get(ty.0 as usize), object) else {
            return Ok(());
        };
        let mut result = Ok(());
        for (name, ty) in fields {
            if let Some(value) = map.get_mut(&**name) {
                result = result.and(self.walk(ty, value));
            }
        }
        result
    }

    fn walk(&self, ty: &Ty, value: &mut Value) -> Result<(), QuantityError> {
        match (ty, value) {
            (Ty::List(item), Value::Array(items)) => self.walk_all(item, items.iter_mut()),
            (Ty::Map(item), Value::Object(map)) => {
                // Maps of quantities are resource lists, which know nothing finer than a thousandth.
                map.values_mut().for_each(round_up_to_millis);
                self.walk_all(item, map.values_mut())
            }
            (Ty::Ref(id), value) if value.is_object() => self.canonicalize(*id, value),
            // A reference that is no object is to the type named Quantity itself.
            (Ty::Ref(_) | Ty::Scalar(Scalar::Quantity), value) => canonicalize(value),
            _ => Ok(()),
        }
    }

    /// Every one is written, also after a bad one.
    fn walk_all<'a>(
        &self,
        ty: &Ty,
        values: impl Iterator<Item = &'a mut Value>,
    ) -> Result<(), QuantityError> {
        let mut result = Ok(());
        for value in values {
            let this = self.walk(ty, value);
            result = result.and(this);
        }
        result
    }
}

fn round_up_to_millis(value: &mut Value) {
    const MILLI: i128 = 1_000_000;
    // Only a fraction, or a suffix for one, can be finer.
    let fine = value
        .as_str()
        .is_some_and(|text| text.contains(['.', 'n', 'u', 'e', 'E']))
        || value.is_f64();
    if !fine {
        return;
    }
    if let Ok(quantity) = Quantity::from_value(value)
        && quantity.nanos % MILLI != 0
    {
        *value = quantity
            .with(divide_up(quantity.nanos, MILLI) * MILLI)
            .into();
    }
}

fn canonicalize(value: &mut Value) -> Result<(), QuantityError> {
    if value.is_null() {
        return Ok(());
    }
    let text = Quantity::from_value(value)?.to_string();
    if value.as_str() != Some(&text) {
        *value = Value::String(text);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn canonical_forms() {
        let cases = [
            ("0", "0"),
            ("0m", "0"),
            ("0Gi", "0"),
            ("1", "1"),
            ("1000m", "1"),
            ("1500m", "1500m"),
            ("0.5", "500m"),
            (".5", "500m"),
            ("5.", "5"),
            ("100m", "100m"),
            ("1.5Gi", "1536Mi"),
            ("1024Mi", "1Gi"),
            ("1000Ki", "1000Ki"),
            ("100Ki", "100Ki"),
            ("0.1Ki", "102400m"),
            ("1Ki", "1Ki"),
            ("1023", "1023"),
            ("1024", "1024"),
            ("1000", "1k"),
            ("1e3", "1e3"),
            ("1E3", "1e3"),
            ("12e6", "12e6"),
            ("1e-3", "1e-3"),
            ("1E", "1E"),
            ("+1", "1"),
            ("-1500m", "-1500m"),
            ("-2Gi", "-2Gi"),
            ("1n", "1n"),
            ("0.1n", "1n"),
            ("0.000000000001", "1n"),
            ("123456789", "123456789"),
            ("100000", "100k"),
            ("9223372036854775807", "9223372036854775807"),
            ("99999999999999999999", "9223372036854775807"),
            ("10Ei", "9223372036854775807"),
            ("8191Pi", "8191Pi"),
            ("0.5Ei", "512Pi"),
        ];
        for (text, canonical) in cases {
            let quantity: Quantity = text.parse().unwrap();
            assert_eq!(quantity.to_string(), canonical, "{text}");
        }
    }

    #[test]
    fn resource_lists_are_canonical() {
        let catalog = crate::catalog::builtin();
        let mut pod = serde_json::json!({"spec": {"containers": [{"resources": {
            "limits": {"cpu": 0.5, "memory": "1024Mi", "x/y": "bad"}, "requests": {"cpu": "100500u"}}}]}});
        let ty = catalog.type_of("", "v1", "Pod").unwrap();
        assert!(catalog.quantities.canonicalize(ty, &mut pod).is_err());
        let expected = serde_json::json!({"limits": {"cpu": "500m", "memory": "1Gi", "x/y": "bad"}, "requests": {"cpu": "101m"}});
        assert_eq!(pod["spec"]["containers"][0]["resources"], expected);
    }

    #[test]
    fn bad_forms() {
        for text in [
            "", "-", "a", "1 Gi", "1.1.1", ".", "1Kx", "1i", "1e", "0x1", "1ki", "--1", "1e3.5",
            "1mm",
        ] {
            assert!(text.parse::<Quantity>().is_err(), "{text}");
        }
    }

    #[test]
    fn values_round_up() {
        let of = |text: &str| text.parse::<Quantity>().unwrap();
        assert_eq!(of("1500m").value(), 2);
        assert_eq!(of("-1500m").value(), -2);
        assert_eq!(of("1500m").millis(), 1500);
        assert_eq!(of("1u").millis(), 1);
        assert_eq!(of("1Gi").value(), 1 << 30);
        assert_eq!((of("1Gi") + of("512Mi")).to_string(), "1536Mi");
        assert_eq!((of("2") - of("500m")).to_string(), "1500m");
        assert!(of("1Gi") > of("1G"));
        assert_eq!(of("1"), of("1000m"));
    }

    proptest! {
        #[test]
        fn canonical_is_a_fixed_point(text in "[+-]?[0-9]{1,12}(\\.[0-9]{0,11})?(n|u|m||k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|e[0-9]|e-[0-9])") {
            let once: Quantity = text.parse().unwrap();
            let canonical = once.to_string();
            let twice: Quantity = canonical.parse().unwrap();
            prop_assert_eq!(once, twice);
            prop_assert_eq!(twice.to_string(), canonical);
        }

        #[test]
        fn adding_is_exact(a in -1_000_000_000_000i64..1_000_000_000_000, b in -1_000_000_000_000i64..1_000_000_000_000) {
            let sum = Quantity::from_millis(a) + Quantity::from_millis(b);
            prop_assert_eq!(sum.millis(), a + b);
            prop_assert_eq!(sum - Quantity::from_millis(b), Quantity::from_millis(a));
        }

        #[test]
        fn never_panics(text in ".{0,24}") {
            let _ = text.parse::<Quantity>();
        }
    }
}
