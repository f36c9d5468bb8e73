//! Who has signed in: a cookie names a session that is kept in memory only, so that nobody is signed in after a start.

use crate::auth::digest_of;
use rustix::rand::{GetRandomFlags, getrandom};
use std::collections::HashMap;
use std::fmt::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use subtle::ConstantTimeEq;

/// How long a session lasts.
pub const LIFETIME: Duration = Duration::from_secs(8 * 3_600);

/// The most sessions; of more, the oldest end.
const MOST: usize = 1_000;

/// Somebody who has signed in.
#[derive(Clone)]
pub struct Session {
    /// SHA-256 of the token: it is looked up at each request, since it may have been taken back.
    pub token: [u8; 32],
    /// What a form of the page bears.
    pub csrf: String,
    until: Instant,
}

impl Session {
    /// Whether a form comes from a page of this session.
    pub fn made(&self, csrf: &str) -> bool {
        self.csrf.as_bytes().ct_eq(csrf.as_bytes()).into()
    }
}

/// All sessions, by SHA-256 of what the cookie holds.
#[derive(Default)]
pub struct Sessions(Mutex<HashMap<[u8; 32], Session>>);

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sessions")
    }
}

impl Sessions {
    fn all(&self) -> MutexGuard<'_, HashMap<[u8; 32], Session>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a session for a token with this SHA-256; gives what the cookie holds. `None` if the system has no random
    /// numbers.
    pub fn open(&self, token: [u8; 32], now: Instant) -> Option<String> {
        let (id, csrf) = (random()?, random()?);
        let mut all = self.all();
        all.retain(|_, session| session.until > now);
        if all.len() >= MOST
            && let Some(oldest) = all.iter().min_by_key(|(_, s)| s.until).map(|(key, _)| *key)
        {
            all.remove(&oldest);
        }
        all.insert(digest_of(id.as_bytes()), Session { token, csrf, until: now + LIFETIME });
        Some(id)
    }

    /// The session of a cookie.
    pub fn find(&self, id: &str, now: Instant) -> Option<Session> {
        self.all().get(&digest_of(id.as_bytes())).filter(|s| s.until > now).cloned()
    }

    /// Ends a session.
    pub fn close(&self, id: &str) {
        self.all().remove(&digest_of(id.as_bytes()));
    }
}

/// 32 random bytes in hexadecimal digits; `None` if the system has none.
pub fn random() -> Option<String> {
    let mut bytes = [0; 32];
    let got = getrandom(&mut bytes, GetRandomFlags::empty()).ok()?;
    if got != bytes.len() {
        return None;
    }
    let mut text = String::with_capacity(64);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}"); // writing to a String does not fail
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_ends_with_its_time_when_it_is_closed_and_when_there_are_too_many() {
        let (sessions, start) = (Sessions::default(), Instant::now());
        let first = sessions.open([1; 32], start).unwrap();
        let session = sessions.find(&first, start).unwrap();
        assert!(session.made(&session.csrf.clone()) && !session.made("") && session.csrf != first);
        assert!(sessions.find(&first, start + LIFETIME).is_none() && sessions.find("", start).is_none());
        let later = start + Duration::from_secs(1);
        let last = (0..MOST).map(|_| sessions.open([2; 32], later).unwrap()).last().unwrap();
        assert!(sessions.find(&first, later).is_none());
        assert!(sessions.find(&last, later).is_some());
        sessions.close(&last);
        assert!(sessions.find(&last, later).is_none());
    }
}
