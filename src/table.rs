//! Listings: `ps`, `images`, `volume ls` and all else that prints rows, with `--format` as Docker has it.
//!
//! A row is a map. [`listing`] shows its columns as a table, as JSON or through a template. A table is text with tabs, and
//! [`align`] makes columns of it by the rules of Go's tabwriter, with the numbers that Docker gives it: a cell is as wide as
//! the widest in its column and three blanks, ten at least.

use rootfs::json::Value;

use crate::error::{Error, Result};
use crate::template::Template;
use crate::words;

/// The narrowest column, blanks included.
const NARROWEST: usize = 10;

/// Blanks between columns.
const GAP: usize = 3;

/// A column that rows have.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// What a template calls it: `Names`.
    pub field: &'static str,
    /// What stands above it: `NAMES`.
    pub header: &'static str,
}

/// The rows as `--format` wants them: nothing or `table` (the columns named in `default`), `table TEMPLATE`, `json` (one object
/// a row, all columns), or a template for each row.
///
/// What a row has beside the columns are maps for methods: with "Label", `{{.Label "x"}}` is its entry "x". Only templates
/// see them.
pub fn listing(format: Option<&str>, columns: &[Column], default: &[&str], rows: &[Value]) -> Result<String> {
    let format = format.unwrap_or_default().trim();
    let usual = || default.iter().map(|field| format!("{{{{.{field}}}}}")).collect::<Vec<_>>().join("\t");
    match after_table(format) {
        _ if format == "json" => {
            Ok(rows.iter().map(|row| shown_columns(columns, row).compact() + "\n").collect::<String>())
        }
        Some("") => table(&usual(), columns, rows),
        Some(template) => table(template, columns, rows),
        None => {
            if let Some(near) = mistyped(format) {
                return Err(Error::usage(format_args!(
                    "bad --format {format:?}: did you mean {near}? (it is table, json, or a template such as {{{{.{}}}}})",
                    columns.first().map_or("", |column| column.field)
                )));
            }
            let template = Template::parse(format)?;
            // Mistyped fields are found without rows, too.
            template.header(&headers(columns))?;
            let mut text = String::new();
            for row in rows {
                text.push_str(&template.row(&shown_columns(columns, row), row)?);
                text.push('\n');
            }
            Ok(text)
        }
    }
}

/// The template after the word table, or nothing if that is not the first word. No format at all is a table.
fn after_table(format: &str) -> Option<&str> {
    let rest = if format.is_empty() { format } else { format.strip_prefix("table")? };
    // `table\t{{.ID}}` and `table{{.ID}}` are ones, `tables` is not.
    let ends = rest.starts_with(char::is_whitespace) || rest.starts_with('\\') || rest.starts_with("{{");
    (rest.is_empty() || ends).then(|| rest.trim_start())
}

/// One word without braces would be printed for each row: nobody means that if it is nearly one that says something.
fn mistyped(format: &str) -> Option<&str> {
    let plain = format.bytes().all(|b| b.is_ascii_alphanumeric());
    words::nearest(&format.to_lowercase(), ["table", "json"].into_iter()).filter(|_| plain)
}

fn table(template: &str, columns: &[Column], rows: &[Value]) -> Result<String> {
    let template = Template::parse(template)?;
    let mut text = template.header(&headers(columns))?;
    text.push('\n');
    for row in rows {
        // A tab or newline in a value would make another cell or row; other control characters could draw a table that lies.
        text.push_str(&template.row(&visible(&shown_columns(columns, row)), &visible(row))?);
        text.push('\n');
    }
    Ok(align(&text))
}

fn headers(columns: &[Column]) -> Value {
    Value::Map(columns.iter().map(|column| (column.field.to_owned(), column.header.into())).collect())
}

/// What a template sees as dot, and `json` prints.
fn shown_columns(columns: &[Column], row: &Value) -> Value {
    let entry = |column: &Column| {
        (column.field.to_owned(), row.get(column.field).cloned().unwrap_or_else(|| Value::from("")))
    };
    Value::Map(columns.iter().map(entry).collect())
}

/// The same with control characters written as escapes.
fn visible(value: &Value) -> Value {
    match value {
        Value::Text(text) if text.chars().any(char::is_control) => {
            let mut safe = String::with_capacity(text.len() + 8);
            for c in text.chars() {
                if c.is_control() { safe.extend(c.escape_default()) } else { safe.push(c) }
            }
            Value::Text(safe)
        }
        Value::List(items) => Value::List(items.iter().map(visible).collect()),
        Value::Map(entries) => Value::Map(entries.iter().map(|(key, value)| (key.clone(), visible(value))).collect()),
        other => other.clone(),
    }
}

/// Makes columns of cells that end with tabs. What follows a line's last tab is in no column; a column goes on as long as line
/// after line has a cell in it, so that parts of a text can have columns of their own.
pub fn align(text: &str) -> String {
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split('\t').collect()).collect();
    // One column after the other, from top to bottom: the width that its part there has.
    let mut widths: Vec<Vec<usize>> = lines.iter().map(|line| Vec::with_capacity(line.len())).collect();
    let most = lines.iter().map(Vec::len).max().unwrap_or(0);
    for column in 0..most {
        let has = |line: &Vec<&str>| line.len() > column + 1;
        let mut top = 0;
        while top < lines.len() {
            let part = lines.iter().skip(top).take_while(|line| has(line));
            let (height, widest) = part.fold((0, 0), |(height, widest), line| {
                (height + 1, widest.max(line.get(column).map_or(0, |cell| cell.chars().count())))
            });
            for line in widths.iter_mut().skip(top).take(height) {
                line.push((widest + GAP).max(NARROWEST));
            }
            top += height.max(1);
        }
    }
    let mut out = String::with_capacity(text.len() * 2);
    for (line, widths) in lines.iter().zip(&widths) {
        for (n, cell) in line.iter().enumerate() {
            out.push_str(cell);
            let width = widths.get(n).copied().unwrap_or(0);
            out.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.chars().count())));
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 4] = [
        Column { field: "ID", header: "CONTAINER ID" },
        Column { field: "Names", header: "NAMES" },
        Column { field: "Status", header: "STATUS" },
        Column { field: "Labels", header: "LABELS" },
    ];

    fn row(id: &str, name: &str, status: &str, label: &str) -> Value {
        Value::map([
            ("Status", status.into()),
            ("Names", name.into()),
            ("ID", id.into()),
            ("Labels", format!("com.x.role={label}").into()),
            ("Label", Value::map([("com.x.role", label.into())])),
        ])
    }

    fn rows() -> [Value; 2] {
        [row("0123456789ab", "web", "Up 3 minutes", "front"), row("ba9876543210", "a_long_name", "", "b,c=d")]
    }

    fn list(format: &str) -> String {
        listing(Some(format), &COLUMNS, &["ID", "Names", "Status"], &rows()).unwrap()
    }

    fn mistake(format: &str) -> String {
        listing(Some(format), &COLUMNS, &["ID"], &[]).unwrap_err().to_string()
    }

    #[test]
    fn the_default_is_a_table() {
        let expected = "CONTAINER ID   NAMES         STATUS\n\
                        0123456789ab   web           Up 3 minutes\n\
                        ba9876543210   a_long_name   \n";
        assert_eq!(listing(None, &COLUMNS, &["ID", "Names", "Status"], &rows()).unwrap(), expected);
        for format in ["table", "", " table "] {
            assert_eq!(list(format), expected);
        }
        let none = listing(None, &COLUMNS, &["ID", "Names", "Status"], &[]).unwrap();
        assert_eq!(none, "CONTAINER ID   NAMES     STATUS\n");
    }

    #[test]
    fn tables_of_templates_have_headers() {
        assert_eq!(
            list(r"table {{.Names}}\t{{.Status}}"),
            "NAMES         STATUS\nweb           Up 3 minutes\na_long_name   \n"
        );
        assert_eq!(
            list(r#"table{{upper .Names}}\t{{.Label "com.x.role"}}\t{{printf "%.4s" .ID}}"#),
            "NAMES         role      CONT\nWEB           front     0123\nA_LONG_NAME   b,c=d     ba98\n"
        );
        assert_eq!(list("table {{if eq .Names \"web\"}}{{.ID}}{{else}}-{{end}}"), "CONTAINER ID\n0123456789ab\n-\n");
    }

    #[test]
    fn rows_as_json_and_text() {
        let expected = concat!(
            r#"{"ID":"0123456789ab","Names":"web","Status":"Up 3 minutes","Labels":"com.x.role=front"}"#,
            "\n",
            r#"{"ID":"ba9876543210","Names":"a_long_name","Status":"","Labels":"com.x.role=b,c=d"}"#,
            "\n"
        );
        assert_eq!(list("json"), expected);
        assert_eq!(list("{{json .}}"), expected);
        assert_eq!(list("{{.Names}}"), "web\na_long_name\n");
        assert_eq!(
            list(r#"{{.Label "com.x.role"}}{{.Label "no"}}\t{{.ID}}"#),
            "front\t0123456789ab\nb,c=d\tba9876543210\n"
        );
        assert_eq!(list("-"), "-\n-\n");
        assert_eq!(listing(Some("{{.ID}}"), &COLUMNS, &["ID"], &[]).unwrap(), "");
    }

    #[test]
    fn bad_formats_are_one_clear_line() {
        assert_eq!(
            mistake("jsn"),
            "bad --format \"jsn\": did you mean json? (it is table, json, or a template such as {{.ID}})"
        );
        assert!(mistake("Table").contains("did you mean table?"));
        assert!(mistake("tables").contains("did you mean table?"));
        // Without any row.
        assert_eq!(mistake("{{.Nmes}}"), "bad --format, column 3: unknown field .Nmes, did you mean .Names?");
        assert_eq!(mistake("{{.Label}}"), "bad --format, column 3: unknown field .Label, did you mean .Labels?");
        assert!(mistake("table {{.X}}").contains("(known: ID Names Status Labels)"));
        assert!(mistake("table {{.X").contains("}} is missing"));
        // What is done with a value is not known before there is one.
        assert_eq!(listing(Some("{{range .Names}}{{.X}}{{end}}{{len .ID | lt 3}}"), &COLUMNS, &[], &[]).unwrap(), "");
    }

    #[test]
    fn values_cannot_break_a_table() {
        let rows = [row("1", "a\tb\nc\u{1b}[2J\u{9b}é", "s", "x\ty")];
        let text = listing(Some("table"), &COLUMNS, &["Names", "Labels"], &rows).unwrap();
        assert_eq!(text.lines().count(), 2);
        assert!(text.contains(r"a\tb\nc\u{1b}[2J\u{9b}é   com.x.role=x\ty"), "{text}");
        // Templates give scripts what there is.
        assert!(listing(Some("{{.Names}}"), &COLUMNS, &[], &rows).unwrap().contains("a\tb\nc"));
    }

    #[test]
    fn columns_by_tabwriters_rules() {
        assert_eq!(align(""), "");
        assert_eq!(align("a\tb\n"), "a         b\n");
        assert_eq!(align("äöüäöüäöü\tb\n1\t2\n"), "äöüäöüäöü   b\n1           2\n");
        // A line without tabs ends the columns above it.
        let parts = "a very long cell\tx\nalone\nb\ty\n";
        assert_eq!(align(parts), "a very long cell   x\nalone\nb         y\n");
        // The second column has a part of its own on each side of a line with one tab.
        let uneven = "a\twide wide wide\tx\nb\tlast\nc\td\te\n";
        assert_eq!(align(uneven), "a         wide wide wide   x\nb         last\nc         d         e\n");
        assert_eq!(align("a\t\t\n\t\tb\n"), "a                   \n                    b\n");
    }
}
