//! The server's calls that are made as a user, with that user's rights.

use super::borrowed;
use super::raw::{omero_buffer, omero_opening};
use super::session::{Account, Buffer, MISSING, Session};

/// How a data object is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening<'t> {
    /// To read it from a byte on.
    Read(u64),
    /// To go on writing it at a byte.
    Write(u64),
    /// Made, on that resource or else on the user's default; one that is there is an error.
    Create(Option<&'t str>),
}

/// What a call gave that has nothing to tell beside a code.
fn done(code: i64) -> Result<(), i64> {
    if code < 0 { Err(code) } else { Ok(()) }
}

/// What a call gave that tells a number.
fn number<N: TryFrom<i64>>(code: i64) -> Result<N, i64> {
    if code < 0 { Err(code) } else { N::try_from(code).map_err(|_| MISSING) }
}

impl Session<'_> {
    /// Makes a collection and those above it; one that is there is no error.
    pub fn make_collection_as(&self, user: Account<'_>, path: &[u8]) -> Result<(), i64> {
        let Some(call) = self.host.make_collection_as else { return Err(MISSING) };
        // SAFETY: the session is the current call's, the texts live until the call returns.
        done(unsafe { call(self.raw, user.raw(), borrowed(path)) })
    }

    /// Opens a data object; the descriptor is to be closed as the same user.
    pub fn open_as(&self, user: Account<'_>, path: &[u8], how: Opening<'_>) -> Result<i32, i64> {
        let Some(call) = self.host.open_as else { return Err(MISSING) };
        let (word, resource, offset) = match how {
            Opening::Read(offset) => (omero_opening::OMERO_OPENING_READ, "", offset),
            Opening::Write(offset) => (omero_opening::OMERO_OPENING_WRITE, "", offset),
            Opening::Create(resource) => (omero_opening::OMERO_OPENING_CREATE, resource.unwrap_or(""), 0),
        };
        let resource = borrowed(resource.as_bytes());
        // SAFETY: as above.
        number(unsafe { call(self.raw, user.raw(), borrowed(path), word, resource, offset) })
    }

    /// Reads into `into`; how many bytes there were, 0 at the end.
    pub fn read_as(&self, user: Account<'_>, descriptor: i32, into: &mut [u8]) -> Result<usize, i64> {
        let Some(call) = self.host.read_as else { return Err(MISSING) };
        // SAFETY: as above; the shim writes at most as many bytes as the slice has.
        let code = unsafe { call(self.raw, user.raw(), descriptor, into.as_mut_ptr().cast(), into.len()) };
        number::<usize>(code).map(|read| read.min(into.len()))
    }

    /// Writes; how many bytes of them.
    pub fn write_as(&self, user: Account<'_>, descriptor: i32, bytes: &[u8]) -> Result<usize, i64> {
        let Some(call) = self.host.write_as else { return Err(MISSING) };
        // SAFETY: as above.
        number(unsafe { call(self.raw, user.raw(), descriptor, borrowed(bytes)) })
    }

    /// Closes.
    pub fn close_as(&self, user: Account<'_>, descriptor: i32) -> Result<(), i64> {
        let Some(call) = self.host.close_as else { return Err(MISSING) };
        // SAFETY: as above.
        done(unsafe { call(self.raw, user.raw(), descriptor) })
    }

    /// Renames a data object.
    pub fn rename_as(&self, user: Account<'_>, from: &[u8], to: &[u8]) -> Result<(), i64> {
        let Some(call) = self.host.rename_as else { return Err(MISSING) };
        // SAFETY: as above.
        done(unsafe { call(self.raw, user.raw(), borrowed(from), borrowed(to)) })
    }

    /// Removes a data object for good.
    pub fn remove_as(&self, user: Account<'_>, path: &[u8]) -> Result<(), i64> {
        let Some(call) = self.host.remove_as else { return Err(MISSING) };
        // SAFETY: as above.
        done(unsafe { call(self.raw, user.raw(), borrowed(path)) })
    }

    /// Computes and registers the checksum of a data object.
    pub fn checksum_as(&self, user: Account<'_>, path: &[u8]) -> Result<String, i64> {
        let Some(call) = self.host.checksum_as else { return Err(MISSING) };
        let mut buffer = Buffer { raw: omero_buffer::default(), host: self.host };
        // SAFETY: as above, the buffer too.
        done(unsafe { call(self.raw, user.raw(), borrowed(path), &raw mut buffer.raw) })?;
        Ok(String::from_utf8_lossy(&buffer.to_vec()).into_owned())
    }

    /// Makes a replica stale that a process was writing when it died.
    pub fn mark_stale(&self, service: Account<'_>, path: &[u8], replica: i32) -> Result<(), i64> {
        let Some(call) = self.host.mark_stale else { return Err(MISSING) };
        // SAFETY: as above.
        done(unsafe { call(self.raw, service.raw(), borrowed(path), replica) })
    }
}
