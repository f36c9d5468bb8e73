//! What is known of the bytes that go by: their number, OMERO's checksum of them and the server's.

use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256};
use std::fmt::Write as _;

/// What the server writes before a checksum of SHA-256.
const SHA2: &str = "sha2:";

/// The sums of bytes as they go by.
pub struct Sums {
    sha1: Context,
    sha256: Context,
    size: u64,
}

/// The sums of all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sum {
    /// SHA-1 in lower-case hexadecimal digits, as OMERO has it. It tells files apart; nobody's right depends on it.
    pub sha1: String,
    /// SHA-256 as the server writes it.
    pub sha2: String,
    /// How many bytes.
    pub size: u64,
}

impl Default for Sums {
    fn default() -> Self {
        Self { sha1: Context::new(&SHA1_FOR_LEGACY_USE_ONLY), sha256: Context::new(&SHA256), size: 0 }
    }
}

impl Sums {
    /// Some more bytes.
    pub fn add(&mut self, bytes: &[u8]) {
        self.sha1.update(bytes);
        self.sha256.update(bytes);
        self.size += bytes.len() as u64;
    }

    /// How many bytes there were so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// What they come to.
    pub fn finish(self) -> Sum {
        let mut sha1 = String::new();
        for byte in self.sha1.finish().as_ref() {
            // Writing to a text does not fail.
            let _ = write!(sha1, "{byte:02x}");
        }
        let sha2 = format!("{SHA2}{}", base64(self.sha256.finish().as_ref()));
        Sum { sha1, sha2, size: self.size }
    }
}

impl Sum {
    /// Whether the server's checksum is of other bytes. One of another kind tells nothing.
    pub fn is_contradicted(&self, checksum: &str) -> bool {
        checksum.starts_with(SHA2) && checksum != self.sha2
    }
}

/// RFC 4648, with padding.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let at = |i: usize| u32::from(three.get(i).copied().unwrap_or(0));
        let all = at(0) << 16 | at(1) << 8 | at(2);
        for i in 0..4_usize {
            let letter = LETTERS.get((all >> (18 - 6 * i) & 63) as usize).copied().unwrap_or(b'=');
            text.push(if i > three.len() { '=' } else { char::from(letter) });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sums_are_those_of_omero_and_of_the_server() {
        let mut sums = Sums::default();
        sums.add(b"a");
        sums.add(b"bc");
        let sum = sums.finish();
        assert_eq!(sum.sha1, "a9993e364706816aba3e25717850c26c9cd0d89d");
        assert_eq!(sum.sha2, "sha2:ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=");
        assert_eq!(sum.size, 3);
        assert!(!sum.is_contradicted(&sum.sha2) && !sum.is_contradicted("0123abcd"));
        assert!(sum.is_contradicted("sha2:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="));
    }

    #[test]
    fn base64_is_that_of_the_standard() {
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")]
        {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }
}
