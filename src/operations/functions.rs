//! The functions policies may call (`omero_who("alice#tempZone", *json)`): each is a JSON operation whose fields come as
//! texts, one argument a field, and whose answer, or one field of it, goes into the last argument.

use serde_json::{Map, Value};

/// A function policies may call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Function {
    /// Its name in policies.
    pub name: &'static str,
    /// The operation it is.
    operation: &'static str,
    /// The operation's fields, in the order of the arguments.
    fields: &'static [Field],
    /// What the last argument gets, if there is one for the answer.
    answer: Option<Part>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Field {
    name: &'static str,
    /// Whether an empty text means that the field is not there.
    may_be_empty: bool,
}

/// What of an operation's answer a function gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// The JSON as it is.
    Whole,
    /// The text of one field; empty where there is none.
    Field(&'static str),
}

const fn field(name: &'static str) -> Field {
    Field { name, may_be_empty: false }
}

const fn optional(name: &'static str) -> Field {
    Field { name, may_be_empty: true }
}

impl Function {
    /// Every function.
    pub const ALL: &'static [Self] = &[
        Self {
            name: "omero_import",
            operation: "import",
            fields: &[field("path"), optional("target")],
            answer: Some(Part::Field("id")),
        },
        Self { name: "omero_state", operation: "state", fields: &[field("path")], answer: Some(Part::Whole) },
        Self {
            name: "omero_explain",
            operation: "explain",
            fields: &[optional("user"), field("path")],
            answer: Some(Part::Whole),
        },
        Self { name: "omero_retry", operation: "retry", fields: &[field("path")], answer: None },
        Self {
            name: "omero_ignore",
            operation: "ignore",
            fields: &[field("path"), field("reason")],
            answer: None,
        },
        Self {
            name: "omero_release",
            operation: "release",
            fields: &[field("path"), optional("images")],
            answer: None,
        },
        Self { name: "omero_who", operation: "who", fields: &[field("user")], answer: Some(Part::Whole) },
    ];

    /// The function of that name.
    #[inline]
    pub fn of(name: &[u8]) -> Option<Self> {
        // Asked for every rule of the server: nearly all differ in the first byte.
        if matches!(name, [b'o', ..]) { Self::find(name) } else { None }
    }

    fn find(name: &[u8]) -> Option<Self> {
        Self::ALL.iter().find(|f| f.name.as_bytes() == name).copied()
    }

    /// The arguments as a policy writes them: `user, *json`.
    pub fn signature(self) -> String {
        let answer = self.answer.map(|part| match part {
            Part::Whole => "*json",
            Part::Field("id") => "*id",
            Part::Field(_) => "*text",
        });
        let names: Vec<&str> = self.fields.iter().map(|f| f.name).chain(answer).collect();
        names.join(", ")
    }

    /// The operation that is asked for.
    ///
    /// # Errors
    /// A sentence: the number of arguments is wrong, or one is no text.
    pub fn request(self, arguments: &[&[u8]]) -> Result<Value, String> {
        let expected = self.fields.len() + usize::from(self.answer.is_some());
        if arguments.len() != expected {
            let plural = if expected == 1 { "" } else { "s" };
            return Err(format!(
                "{}({}) takes {expected} argument{plural}, not {}",
                self.name,
                self.signature(),
                arguments.len()
            ));
        }
        let mut request = Map::new();
        request.insert("operation".to_owned(), self.operation.into());
        for (field, argument) in self.fields.iter().zip(arguments) {
            let text = std::str::from_utf8(argument)
                .map_err(|_| format!("{}: the argument {} is not UTF-8", self.name, field.name))?;
            if !(field.may_be_empty && text.is_empty()) {
                request.insert(field.name.to_owned(), text.into());
            }
        }
        Ok(Value::Object(request))
    }

    /// What goes into which argument (counted from 0) of an answer.
    pub fn answer(self, answer: &Value) -> Option<(usize, String)> {
        let text = match self.answer? {
            Part::Whole => answer.to_string(),
            Part::Field(name) => answer.get(name).and_then(Value::as_str).unwrap_or_default().to_owned(),
        };
        Some((self.fields.len(), text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_our_functions_are_ours() {
        for function in Function::ALL {
            assert_eq!(Function::of(function.name.as_bytes()), Some(*function));
        }
        for other in [&b""[..], b"omero_", b"omero_whose", b"pep_api_data_obj_put_post", b"\xff"] {
            assert_eq!(Function::of(other), None);
        }
    }

    #[test]
    fn arguments_become_the_fields_of_an_operation_and_the_answer_goes_into_the_last() {
        let who = Function::of(b"omero_who").unwrap();
        let request = who.request(&[b"alice#z", b""]).unwrap();
        assert_eq!(request, json!({"operation": "who", "user": "alice#z"}));
        assert_eq!(who.answer(&json!({"a": 1})), Some((1, r#"{"a":1}"#.to_owned())));
    }

    #[test]
    fn every_function_is_an_operation_with_these_fields() {
        for function in Function::ALL {
            let texts: Vec<&[u8]> = function.fields.iter().map(|f| example_of(f.name)).collect();
            let mut arguments = texts.clone();
            arguments.extend(function.answer.map(|_| &b"anything"[..]));
            let request = function.request(&arguments).unwrap();
            let read = super::super::read_json(&request);
            assert!(matches!(read, super::super::Reading::Ours(_)), "{}: {read:?}", function.name);
            for wrong in [&arguments[1..], &[arguments.as_slice(), &[b""]].concat()] {
                assert!(function.request(wrong).unwrap_err().contains("argument"), "{}", function.name);
            }
        }
    }

    fn example_of(field: &str) -> &'static [u8] {
        match field {
            "path" => b"/z/home/alice/a.tif",
            "user" => b"alice#z",
            "target" => b"Dataset:name:x",
            "images" => b"keep",
            _ => b"out of focus",
        }
    }

    #[test]
    fn what_may_be_empty_is_left_out_and_the_answer_may_be_one_field() {
        let import = Function::of(b"omero_import").unwrap();
        assert_eq!(import.signature(), "path, target, *id");
        let request = import.request(&[b"/z/a", b"", b""]).unwrap();
        assert_eq!(request, json!({"operation": "import", "path": "/z/a"}));
        assert_eq!(import.answer(&json!({"id": "10", "path": "/z/a"})), Some((2, "10".to_owned())));
        assert_eq!(import.answer(&json!({"queued": true})), Some((2, String::new())));
        let retry = Function::of(b"omero_retry").unwrap();
        assert_eq!((retry.signature(), retry.answer(&json!({}))), ("path".to_owned(), None));
    }

    #[test]
    fn a_wrong_number_of_arguments_is_told_with_the_right_one() {
        let who = Function::of(b"omero_who").unwrap();
        let said = who.request(&[b"alice#z"]).unwrap_err();
        assert_eq!(said, "omero_who(user, *json) takes 2 arguments, not 1");
        assert!(who.request(&[b"\xff", b""]).unwrap_err().contains("argument user is not UTF-8"));
    }
}
