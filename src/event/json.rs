//! JSON that clients send.

use serde_json::Value;

/// Reads JSON as the server does, so that what it obeys is not nothing to us: it ends at a NUL as a C string does (the
/// C library sends one along, the Python client does not), and a byte order mark is passed over.
///
/// # Errors
/// It is no JSON. A server may still read it: it knows no limit of depth.
pub fn json(bytes: &[u8]) -> serde_json::Result<Value> {
    let text = bytes.split(|b| *b == 0).next().unwrap_or_default();
    serde_json::from_slice(text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_read_to_its_nul_and_after_its_mark() {
        for bytes in [&b"{\"fd\":3}"[..], b"{\"fd\":3}\0", b"{\"fd\":3}\0{", b"\xef\xbb\xbf{\"fd\":3}"] {
            assert_eq!(json(bytes).unwrap(), serde_json::json!({"fd": 3}));
        }
        for bytes in [&b""[..], b"\0{}", b"{", b"{} {}", b"\xff"] {
            assert!(json(bytes).is_err(), "{bytes:?}");
        }
    }
}
