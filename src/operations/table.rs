//! An answer for people: what is one value a line, what is a list of alike things a table.

use serde_json::{Map, Value};

/// Widest column of a table that others stand behind, in characters.
const WIDEST: usize = 60;

/// The answer as text, without a line break at the end.
pub fn table(answer: &Value) -> String {
    let mut lines = Vec::new();
    match answer.as_object() {
        Some(object) => put_object(object, 0, &mut lines),
        None => lines.push(cell(answer)),
    }
    lines.join("\n")
}

fn put_object(object: &Map<String, Value>, indent: usize, lines: &mut Vec<String>) {
    let start = " ".repeat(indent);
    let width = object.keys().map(|k| k.chars().count()).max().unwrap_or(0);
    for (key, value) in object {
        let name = key.replace('_', " ");
        match value {
            Value::Object(inner) if !inner.is_empty() => {
                lines.push(format!("{start}{name}"));
                put_object(inner, indent + 2, lines);
            }
            Value::Array(items) if !items.is_empty() => {
                lines.push(format!("{start}{name}"));
                put_list(items, indent + 2, lines);
            }
            _ => lines.push(format!("{start}{name:width$}  {}", cell(value))),
        }
    }
}

fn put_list(items: &[Value], indent: usize, lines: &mut Vec<String>) {
    let start = " ".repeat(indent);
    let rows: Vec<&Map<String, Value>> = items.iter().filter_map(Value::as_object).collect();
    let (Some(first), true) = (rows.first(), rows.len() == items.len()) else {
        lines.extend(items.iter().map(|item| format!("{start}{}", cell(item))));
        return;
    };
    let columns: Vec<&String> = first.keys().collect();
    let heading = columns.iter().map(|c| c.replace('_', " ")).collect();
    let mut cells: Vec<Vec<String>> = vec![heading];
    cells.extend(
        rows.iter().map(|row| columns.iter().map(|c| row.get(*c).map_or_else(String::new, cell)).collect()),
    );
    let width = |i: usize| cells.iter().map(|r| r[i].chars().count()).max().unwrap_or(0).min(WIDEST);
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    for row in &cells {
        let padded = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        lines.push(format!("{start}{}", padded.collect::<Vec<_>>().join("  ").trim_end()));
    }
}

/// A value on one line. A line break in a name must not look like one of ours.
fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => "-".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) if items.is_empty() => "none".to_owned(),
        other => other.to_string(),
    };
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_stand_one_a_line_and_alike_things_in_columns() {
        let answer = json!({
            "data_objects": {"failed": 2},
            "installed": true,
            "last_errors": [{"path": "/z/a", "reason": "no"}, {"path": "/z/longer", "reason": null}],
            "steps": ["one", "two\nlines"],
            "unclear_tags": [],
        });
        let want = "data objects\n  failed  2\ninstalled     yes\nlast errors\n  path       reason\n  /z/a       no\n  \
                    /z/longer  -\nsteps\n  one\n  two lines\nunclear tags  none";
        assert_eq!(table(&answer), want);
    }

    #[test]
    fn what_is_no_object_is_one_line() {
        assert_eq!(table(&json!("a\u{7}b")), "a b");
        assert_eq!(table(&json!({})), "");
    }
}
