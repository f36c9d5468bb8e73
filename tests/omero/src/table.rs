//! Tables as the omero command prints them, in its four styles.

/// How a table is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Style {
    Sql,
    Csv,
    Plain,
    Json,
}

/// The names accepted by `--style`, in the order the command lists them.
pub const STYLES: &[&str] = &["csv", "sql", "plain", "json"];

impl Style {
    pub fn of(name: Option<&str>) -> Self {
        match name {
            Some("csv") => Self::Csv,
            Some("plain") => Self::Plain,
            Some("json") => Self::Json,
            _ => Self::Sql,
        }
    }
}

/// A table as one text without the last line's end.
pub fn render(style: Style, headers: &[String], rows: &[Vec<String>]) -> String {
    match style {
        Style::Sql => sql(headers, rows),
        Style::Csv => {
            let mut lines = vec![headers.join(",")];
            lines.extend(rows.iter().map(|r| csv_row(r)));
            lines.join("\n")
        }
        Style::Plain => rows.iter().map(|r| csv_row(r)).collect::<Vec<_>>().join("\n"),
        Style::Json => json(headers, rows),
    }
}

fn sql(headers: &[String], rows: &[Vec<String>]) -> String {
    let widths: Vec<usize> = headers
        .iter()
        .enumerate()
        .map(|(i, h)| {
            rows.iter().map(|r| r[i].chars().count()).chain([h.chars().count()]).max().unwrap_or_default()
        })
        .collect();
    let line = |cells: &[String]| {
        cells.iter().zip(&widths).map(|(c, w)| format!(" {c:<w$} ")).collect::<Vec<_>>().join("|")
    };
    let mut out = vec![line(headers)];
    out.push(widths.iter().map(|w| "-".repeat(w + 2)).collect::<Vec<_>>().join("+"));
    out.extend(rows.iter().map(|r| line(r)));
    out.push(format!("({} {})", rows.len(), if rows.len() == 1 { "row" } else { "rows" }));
    out.join("\n")
}

/// Quoted only where commas or quotes ask for it: a line end in a value is
/// printed as it is, and breaks the row.
fn csv_row(row: &[String]) -> String {
    row.iter()
        .map(|c| {
            if c.contains([',', '"']) || (row.len() == 1 && c.is_empty()) {
                format!("\"{}\"", c.replace('"', "\"\""))
            } else {
                c.clone()
            }
        })
        .collect::<Vec<_>>()
        .join(",")
}

fn json(headers: &[String], rows: &[Vec<String>]) -> String {
    if rows.is_empty() {
        return "[]".to_owned();
    }
    let objects: Vec<String> = rows
        .iter()
        .map(|r| {
            let pairs: Vec<String> =
                headers.iter().zip(r).map(|(h, c)| format!("{}: {}", ascii(h), ascii(c))).collect();
            format!("{{{}}}", pairs.join(", "))
        })
        .collect();
    format!("[{}]", objects.join(",\n"))
}

/// A JSON string in pure ASCII, as Python writes it.
fn ascii(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out += "\\\"",
            '\\' => out += "\\\\",
            '\n' => out += "\\n",
            '\r' => out += "\\r",
            '\t' => out += "\\t",
            '\u{8}' => out += "\\b",
            '\u{c}' => out += "\\f",
            ' '..='~' => out.push(c),
            _ => {
                let mut units = [0; 2];
                for u in c.encode_utf16(&mut units) {
                    out += &format!("\\u{u:04x}");
                }
            }
        }
    }
    out + "\""
}
