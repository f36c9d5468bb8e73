//! Markup. What is not written here or in a literal is escaped: there is no other way into the page.

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use std::fmt::{Display, Write};

/// Markup that is being written.
#[derive(Debug, Default)]
pub struct Html(String);

/// Writes literals as they are and what stands in parentheses escaped.
macro_rules! html {
    ($out:expr;) => {};
    ($out:expr; $raw:literal $($rest:tt)*) => { $out.raw($raw); $crate::page::html::html!($out; $($rest)*); };
    ($out:expr; ($text:expr) $($rest:tt)*) => { $out.text(&$text); $crate::page::html::html!($out; $($rest)*); };
}
pub(crate) use html;

impl Html {
    /// Adds markup of ours.
    pub fn raw(&mut self, markup: &'static str) {
        self.0.push_str(markup);
    }

    /// Adds text of anybody's, for the inside of an element or of an attribute in quotes.
    pub fn text(&mut self, text: &impl Display) {
        self.0.push_str(&escape(&text.to_string()));
    }

    /// The markup.
    pub fn into_string(self) -> String {
        self.0
    }
}

/// Text that shows as it is: no markup, nothing that cannot be seen, and nothing that turns the direction of reading.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(c),
            c if c.is_control() || is_unseen(c) => {
                let _ = write!(out, "{}", c.escape_unicode()); // writing to a String does not fail
            }
            c => out.push(c),
        }
    }
    out
}

/// Characters of no width, and those that change the direction of text.
fn is_unseen(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

const STYLE: &str = include_str!("page.css");

/// An icon within the page, so that no browser asks for one: a tile with a dot.
const ICON: &str = "<link rel=\"icon\" href=\"data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 8 8'%3E\
                    %3Crect width='8' height='8' rx='2' fill='%230b5cad'/%3E%3Ccircle cx='4' cy='4' r='2' fill='%23fff'/%3E%3C/svg%3E\">";

/// Looks again, but not while somebody types, marks text or reads something else.
const REFRESH: &str = "setInterval(()=>{if(!document.hidden&&document.activeElement===document.body&&!String(getSelection()))\
                       location.reload()},15000)";

/// A whole page. `live`: it looks again by itself.
pub fn page(status: StatusCode, title: &impl Display, body: &Html, live: bool) -> Response {
    let Some(nonce) = super::session::random() else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let mut out = Html::default();
    html!(out; "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>" (title) "</title>"
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">"
        "<meta name=\"color-scheme\" content=\"light dark\">");
    out.raw(ICON);
    html!(out; "<style nonce=\"" (nonce) "\">");
    out.raw(STYLE);
    out.raw("</style></head><body>\n");
    out.0.push_str(&body.0);
    if live {
        html!(out; "<script nonce=\"" (nonce) "\">");
        out.raw(REFRESH);
        out.raw("</script>");
    }
    out.raw("</body></html>\n");
    let policy = format!(
        "default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; img-src data:; form-action 'self'; \
         base-uri 'none'; frame-ancestors 'none'"
    );
    let mut response = (status, out.into_string()).into_response();
    let headers = response.headers_mut();
    let set = |headers: &mut axum::http::HeaderMap, name: HeaderName, value: &'static str| {
        headers.insert(name, HeaderValue::from_static(value));
    };
    set(headers, header::CONTENT_TYPE, "text/html; charset=utf-8");
    // Not `no-referrer`: with that a browser says `Origin: null` for the page's own forms.
    set(headers, header::REFERRER_POLICY, "same-origin");
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    if status == StatusCode::UNAUTHORIZED {
        set(headers, header::WWW_AUTHENTICATE, "Bearer");
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_others_is_no_markup_and_hides_nothing() {
        let mut out = Html::default();
        html!(out; "<b title=\"" ("\"onclick='x'&") "\">" ("<script>\u{202e}gpj.\u{0}\u{200b}ä") "</b>");
        let expected =
            "<b title=\"&quot;onclick=&#39;x&#39;&amp;\">&lt;script&gt;\\u{202e}gpj.\\u{0}\\u{200b}ä</b>";
        assert_eq!(out.into_string(), expected);
    }
}
