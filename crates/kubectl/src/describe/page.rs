//! What a description is written on, and the rows that most of a description is made of: a title and
//! where its value stands in the object.

use api::object::Object;
use jiff::{Timestamp, tz::TimeZone};
use serde_json::Value;

use super::Answers;
use crate::output::tabs;

/// Annotations and attributes longer than this are cut or put on lines of their own (upstream's
/// `maxAnnotationLen`).
const LONG: usize = 140;

/// The annotation that `apply` keeps what was applied in; it is not shown.
const LAST_APPLIED: &str = crate::object::patch::LAST_APPLIED;

/// When and where the description is read: times are shown in the reader's zone, ages count from now.
#[derive(Clone, Debug)]
pub struct Moment {
    /// Now.
    pub now: Timestamp,
    /// The reader's zone.
    pub zone: TimeZone,
}

impl Moment {
    /// Now, in the zone `TZ` or `/etc/localtime` tells; UTC where neither does.
    pub fn here() -> Moment {
        let read = |path: &str| {
            let bytes = std::fs::read(path).ok()?;
            TimeZone::tzif("Local", &bytes).ok()
        };
        let zone = match std::env::var("TZ") {
            Ok(name) if name.is_empty() => None,
            Ok(name) => read(&match name.trim_start_matches(':') {
                path if path.starts_with('/') => path.to_string(),
                name => format!("/usr/share/zoneinfo/{name}"),
            }),
            Err(_) => read("/etc/localtime"),
        };
        Moment {
            now: Timestamp::now(),
            zone: zone.unwrap_or(TimeZone::UTC),
        }
    }

    /// `Mon, 02 Jan 2006 15:04:05 -0700`; the year one where there is no time.
    pub fn time(&self, value: &Value) -> String {
        match value.as_str().and_then(|t| t.parse::<Timestamp>().ok()) {
            Some(time) => time
                .to_zoned(self.zone.clone())
                .strftime("%a, %d %b %Y %H:%M:%S %z")
                .to_string(),
            None => "Mon, 01 Jan 0001 00:00:00 +0000".into(),
        }
    }

    /// How long ago.
    pub fn since(&self, value: &Value) -> String {
        api::duration::since(value.as_str().unwrap_or_default(), self.now)
    }
}

/// A line, or a few, of a description.
pub enum Row {
    /// `Title:` and what stands there, also when nothing does.
    Field(&'static str, &'static str),
    /// `Title:` and what stands there, or these words.
    Or(&'static str, &'static str, &'static str),
    /// Only when something stands there that is not empty.
    Given(&'static str, &'static str),
    /// As `Given`, with a unit behind.
    GivenUnit(&'static str, &'static str, &'static str),
    /// A time, also when there is none.
    Time(&'static str, &'static str),
    /// A time, when there is one.
    GivenTime(&'static str, &'static str),
    /// The list there joined by this, or these words.
    Joined(&'static str, &'static str, &'static str, &'static str),
    /// What the function makes of the object.
    Line(&'static str, fn(&Value) -> String),
    /// What the function makes of the object, when it makes something.
    GivenLine(&'static str, fn(&Value) -> Option<String>),
    /// The map there, a line each.
    Labels(&'static str, &'static str),
    /// The annotations.
    Annotations,
    /// The map there in one line: `a=b,c=d`.
    Pairs(&'static str, &'static str),
    /// `Terminating (lasts …)` or what stands there.
    Status(&'static str),
    /// A table of the list there, when it is not empty.
    Table(&'static Table),
    /// These words as they are.
    Words(&'static str),
    /// More than a row can say.
    Part(fn(&Value, &mut Page)),
}

/// A table inside a description.
pub struct Table {
    /// The line above.
    pub title: &'static str,
    /// The heads of the columns, with tabs.
    pub head: &'static str,
    /// The line under them; empty means none.
    pub under: &'static str,
    /// The list.
    pub list: &'static str,
    /// The cells of an item.
    pub cells: &'static [Cell],
}

/// A cell: where it stands in the item, and what follows it.
pub enum Cell {
    /// Text.
    Text(&'static str),
    /// Text and a space.
    Spaced(&'static str),
    /// A time.
    Time(&'static str),
    /// A time and a space.
    SpacedTime(&'static str),
}

/// What is written so far.
pub struct Page {
    text: String,
    nested: usize,
    /// When it is read.
    pub moment: Moment,
    /// What was asked for beside the object.
    pub answers: Answers,
}

impl Page {
    /// An empty one.
    pub fn new(moment: Moment, answers: Answers) -> Page {
        Page {
            text: String::new(),
            nested: 0,
            moment,
            answers,
        }
    }

    /// Text at a level of two spaces each. What would speak to a terminal is made visible.
    pub fn put(&mut self, level: usize, text: impl AsRef<str>) {
        self.text.push_str(&"  ".repeat(level + self.nested));
        for c in text.as_ref().chars() {
            match c {
                '\u{1b}' => self.text.push_str("^["),
                '\r' => self.text.push_str("\\r"),
                c => self.text.push(c),
            }
        }
    }

    /// What `write` writes stands so many levels deeper: every piece of it, as kubectl's own writer
    /// does it.
    pub fn nest(&mut self, levels: usize, write: impl FnOnce(&mut Page)) {
        self.nested += levels;
        write(self);
        self.nested -= levels;
    }

    /// A line at a level.
    pub fn line(&mut self, level: usize, text: impl AsRef<str>) {
        self.put(level, text);
        self.text.push('\n');
    }

    /// `Title:` and a value.
    pub fn field(&mut self, level: usize, title: &str, value: impl AsRef<str>) {
        self.line(level, format!("{title}:\t{}", value.as_ref()));
    }

    /// The title with its items under one another, or `<none>`.
    pub fn items<T: AsRef<str>>(&mut self, title: &str, indent: &str, items: &[T]) {
        self.put(0, format!("{indent}{title}:\t"));
        if items.is_empty() {
            self.line(0, "<none>");
        }
        for (at, item) in items.iter().enumerate() {
            if at > 0 {
                self.put(0, indent);
                self.put(0, "\t");
            }
            self.line(0, item);
        }
    }

    /// The pairs of a map under one another, or `<none>`.
    pub fn labels(&mut self, title: &str, indent: &str, map: &Value) {
        self.items(title, indent, &pairs(map));
    }

    /// Annotations: long ones and those of many lines stand under their key.
    pub fn annotations(&mut self, title: &str, map: &Value) {
        self.put(0, format!("{title}:\t"));
        let mut first = true;
        for (key, value) in map.as_object().into_iter().flatten() {
            if key == LAST_APPLIED {
                continue;
            }
            if !first {
                self.put(0, "\t");
            }
            first = false;
            let value = value.as_str().unwrap_or_default();
            let value = value.strip_suffix('\n').unwrap_or(value);
            if value.len() + key.len() + 2 > LONG || value.contains('\n') {
                self.line(0, format!("{key}:"));
                for line in value.split('\n') {
                    self.line(0, format!("\t  {}", shortened(line, LONG - 2)));
                }
            } else {
                self.line(0, format!("{key}: {value}"));
            }
        }
        if first {
            self.line(0, "<none>");
        }
    }

    /// Rows about an object, at a level.
    pub fn rows(&mut self, level: usize, object: &Value, rows: &[Row]) {
        for row in rows {
            self.row(level, object, row);
        }
    }

    fn row(&mut self, level: usize, object: &Value, row: &Row) {
        let given = |path: &str| Some(shown(object.at(path))).filter(|t| !t.is_empty());
        match row {
            Row::Field(title, path) => self.field(level, title, shown(object.at(path))),
            Row::Or(title, path, other) => {
                self.field(level, title, given(path).as_deref().unwrap_or(other));
            }
            Row::Given(title, path) => {
                if let Some(text) = given(path) {
                    self.field(level, title, text);
                }
            }
            Row::GivenUnit(title, path, unit) => {
                if let Some(text) = given(path) {
                    self.field(level, title, text + unit);
                }
            }
            Row::Time(title, path) => {
                let time = self.moment.time(object.at(path));
                self.field(level, title, time);
            }
            Row::GivenTime(title, path) => {
                if object.has(path) {
                    let time = self.moment.time(object.at(path));
                    self.field(level, title, time);
                }
            }
            Row::Joined(title, path, between, other) => {
                let items: Vec<String> = object.list(path).iter().map(shown).collect();
                let text = if items.is_empty() {
                    (*other).to_string()
                } else {
                    items.join(between)
                };
                self.field(level, title, text);
            }
            Row::Line(title, make) => self.field(level, title, make(object)),
            Row::GivenLine(title, make) => {
                if let Some(text) = make(object) {
                    self.field(level, title, text);
                }
            }
            Row::Labels(title, path) => self.labels(title, "", object.at(path)),
            Row::Annotations => self.annotations("Annotations", object.at("metadata.annotations")),
            Row::Pairs(title, path) => self.field(level, title, joined(object.at(path))),
            Row::Status(path) => {
                let text = match object.at("metadata.deletionTimestamp") {
                    Value::Null => shown(object.at(path)),
                    time => format!("Terminating (lasts {})", self.moment.since(time)),
                };
                self.field(level, "Status", text);
            }
            Row::Table(table) => self.table(object, table),
            Row::Words(words) => self.put(level, words),
            Row::Part(part) => part(object, self),
        }
    }

    fn table(&mut self, object: &Value, table: &Table) {
        let items = object.list(table.list);
        if items.is_empty() {
            return;
        }
        self.line(0, table.title);
        self.line(1, table.head);
        if !table.under.is_empty() {
            self.line(1, table.under);
        }
        for item in items {
            let cells: Vec<String> = table
                .cells
                .iter()
                .map(|cell| match cell {
                    Cell::Text(path) => shown(item.at(path)),
                    Cell::Spaced(path) => shown(item.at(path)) + " ",
                    Cell::Time(path) => self.moment.time(item.at(path)),
                    Cell::SpacedTime(path) => self.moment.time(item.at(path)) + " ",
                })
                .collect();
            self.line(1, cells.join("\t"));
        }
    }

    /// The whole, with its tabs.
    pub fn tabbed(self) -> String {
        self.text
    }

    /// The whole, in columns.
    pub fn finish(self) -> String {
        tabs::DESCRIPTION.align(&self.text)
    }
}

/// A value as descriptions show it: text as it is, lists as `[a b]`, maps as `map[a:b]`.
pub fn shown(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(shown).collect();
            format!("[{}]", items.join(" "))
        }
        Value::Object(map) => {
            let pairs: Vec<String> = map
                .iter()
                .map(|(k, v)| format!("{k}:{}", shown(v)))
                .collect();
            format!("map[{}]", pairs.join(" "))
        }
        other => other.to_string(),
    }
}

/// A quantity in its canonical form.
pub fn quantity(value: &Value) -> String {
    api::quantity::Quantity::of(value).to_string()
}

/// `a=b` for each pair.
pub fn pairs(map: &Value) -> Vec<String> {
    map.as_object()
        .into_iter()
        .flatten()
        .map(|(k, v)| format!("{k}={}", shown(v)))
        .collect()
}

/// `a=b,c=d`, or `<none>`.
pub fn joined(map: &Value) -> String {
    or_none(pairs(map).join(","))
}

/// The text, or `<none>`.
pub fn or_none(text: String) -> String {
    if text.is_empty() {
        "<none>".into()
    } else {
        text
    }
}

/// `True` or `False`.
pub fn truth(value: bool) -> &'static str {
    if value { "True" } else { "False" }
}

/// A label selector as text; `<none>` where it selects everything.
pub fn selector(value: &Value) -> String {
    match api::labels::Selector::from_label_selector(value) {
        Ok(selector) => or_none(selector.to_string()),
        Err(_) => "<error>".into(),
    }
}

/// At most so many bytes of it, and dots where that was less than all.
pub fn shortened(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_string();
    }
    let mut end = most;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}...", &text[..end])
}

/// `Kind/name` of what controls the object.
pub fn controller(object: &Value) -> Option<String> {
    let owner = object
        .list("metadata.ownerReferences")
        .iter()
        .find(|o| o.flag("controller"))?;
    Some(format!("{}/{}", owner.text("kind"), owner.text("name")))
}
