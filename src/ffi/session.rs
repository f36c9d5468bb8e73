//! The server's calls, as safe functions of one session.

use super::raw::{
    omero_account, omero_buffer, omero_condition, omero_entity, omero_host, omero_session, omero_text,
};
use super::{borrowed, bytes};
use std::ffi::c_void;
use std::marker::PhantomData;

/// `SYS_NOT_SUPPORTED`-like answer for a function the shim did not fill in; cannot happen with our own shim.
pub(super) const MISSING: i64 = -66_000;

/// On what an AVU stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entity {
    /// A data object.
    DataObject,
    /// A collection.
    Collection,
}

impl Entity {
    fn raw(self) -> omero_entity {
        match self {
            Self::DataObject => omero_entity::OMERO_ENTITY_DATA_OBJECT,
            Self::Collection => omero_entity::OMERO_ENTITY_COLLECTION,
        }
    }
}

/// One client connection, for the length of one call from the server.
pub struct Session<'a> {
    pub(super) host: &'a omero_host,
    pub(super) raw: *mut omero_session,
    _call: PhantomData<&'a ()>,
}

/// A buffer of the shim, given back when dropped.
pub(super) struct Buffer<'a> {
    pub(super) raw: omero_buffer,
    pub(super) host: &'a omero_host,
}

impl Buffer<'_> {
    pub(super) fn to_vec(&self) -> Vec<u8> {
        // SAFETY: the shim filled the buffer and it is released only on drop.
        unsafe { bytes(omero_text { data: self.raw.data, size: self.raw.size }) }.to_vec()
    }
}

impl Drop for Buffer<'_> {
    fn drop(&mut self) {
        if let Some(release) = self.host.release {
            // SAFETY: released exactly once, here.
            unsafe { release(&raw mut self.raw) };
        }
    }
}

/// Receives the rows of a listing: the columns, and whether to go on.
type Row<'f> = &'f mut dyn FnMut(&[&[u8]]) -> bool;

/// Hands a row to the closure behind `context`. A panic ends the listing and goes on when we are back in Rust.
struct RowContext<'f> {
    visit: Row<'f>,
    panic: Option<Box<dyn std::any::Any + Send>>,
}

unsafe extern "C" fn row(context: *mut c_void, columns: *const omero_text, count: usize) -> bool {
    // SAFETY: `context` is the RowContext passed with this function, `columns` are `count` texts of this call.
    let (context, columns) =
        unsafe { (&mut *context.cast::<RowContext<'_>>(), std::slice::from_raw_parts(columns, count)) };
    let run = std::panic::AssertUnwindSafe(|| {
        // SAFETY: the texts live until this function returns.
        let cells: Vec<&[u8]> = columns.iter().map(|t| unsafe { bytes(*t) }).collect();
        (context.visit)(&cells)
    });
    match std::panic::catch_unwind(run) {
        Ok(go_on) => go_on,
        Err(panic) => {
            context.panic = Some(panic);
            false
        }
    }
}

/// The account a server runs as in its zone: name and zone.
#[derive(Debug, Clone, Copy)]
pub struct Account<'t> {
    /// Its name.
    pub name: &'t str,
    /// Its zone.
    pub zone: &'t str,
}

impl Account<'_> {
    pub(super) fn raw(self) -> omero_account {
        omero_account { name: borrowed(self.name.as_bytes()), zone: borrowed(self.zone.as_bytes()) }
    }
}

/// The value of a key in a `KeyValPair`.
///
/// # Safety
/// `condition` must be null or the server's, and live for `'t`.
pub(super) unsafe fn keyword<'t>(host: &omero_host, condition: *const c_void, key: &str) -> Option<&'t [u8]> {
    let call = host.keyword.filter(|_| !condition.is_null())?;
    let mut value = omero_text::default();
    // SAFETY: the caller's promise for the condition; the key lives until the call returns.
    let found = unsafe { call(condition, borrowed(key.as_bytes()), &raw mut value) } == 1;
    // SAFETY: the value is part of the condition.
    found.then(|| unsafe { bytes(value) })
}

impl<'a> Session<'a> {
    /// `None` for the null session.
    pub(super) fn new(host: &'a omero_host, session: *mut omero_session) -> Option<Self> {
        (!session.is_null()).then_some(Self { host, raw: session, _call: PhantomData })
    }

    /// GenQuery2; the answer is JSON, or an iRODS error code. A literal may hold bytes which are not UTF-8.
    pub fn query(&self, privileged: bool, query: &[u8]) -> Result<Vec<u8>, i64> {
        let Some(call) = self.host.query else {
            return Err(MISSING);
        };
        let mut buffer = Buffer { raw: omero_buffer::default(), host: self.host };
        // SAFETY: the session is the current call's, the text and the buffer live until the call returns.
        let code = unsafe { call(self.raw, privileged, borrowed(query), &raw mut buffer.raw) };
        if code < 0 { Err(code) } else { Ok(buffer.to_vec()) }
    }

    fn listing(visit: Row<'_>, call: impl FnOnce(*mut c_void) -> Option<i64>) -> Result<(), i64> {
        let mut context = RowContext { visit, panic: None };
        let code = call((&raw mut context).cast()).unwrap_or(MISSING);
        if let Some(panic) = context.panic {
            std::panic::resume_unwind(panic);
        }
        if code < 0 { Err(code) } else { Ok(()) }
    }

    /// GenQuery1: the columns by number, and the conditions, each as GenQuery1 takes it.
    pub fn list(&self, columns: &[i32], conditions: &[(i32, String)], visit: Row<'_>) -> Result<(), i64> {
        let conditions: Vec<omero_condition> = conditions
            .iter()
            .map(|(column, text)| omero_condition { column: *column, text: borrowed(text.as_bytes()) })
            .collect();
        Self::listing(visit, |context| {
            let (columns, count) = (columns.as_ptr(), columns.len());
            let (conditions, conditioned) = (conditions.as_ptr(), conditions.len());
            // SAFETY: `row` gets the context it expects; arrays and texts live until the call returns.
            self.host
                .list
                .map(|f| unsafe { f(self.raw, columns, count, conditions, conditioned, Some(row), context) })
        })
    }

    /// Metadata operations on one entity, all or none.
    pub fn apply_metadata(&self, service: Account<'_>, request: &str) -> Result<(), i64> {
        let Some(call) = self.host.apply_metadata else {
            return Err(MISSING);
        };
        // SAFETY: the session is the current call's, the text lives until the call returns.
        let code = unsafe { call(self.raw, service.raw(), borrowed(request.as_bytes())) };
        if code < 0 { Err(code) } else { Ok(()) }
    }

    /// One metadata operation on one AVU.
    pub fn modify_avu(
        &self,
        service: Account<'_>,
        operation: &str,
        entity: Entity,
        name: &[u8],
        avu: [&str; 3],
    ) -> Result<(), i64> {
        let Some(call) = self.host.modify_avu else {
            return Err(MISSING);
        };
        let [attribute, value, units] = avu.map(|t| borrowed(t.as_bytes()));
        let operation = borrowed(operation.as_bytes());
        // SAFETY: as above.
        let code = unsafe {
            call(self.raw, service.raw(), operation, entity.raw(), borrowed(name), attribute, value, units)
        };
        if code < 0 { Err(code) } else { Ok(()) }
    }

    /// Gives a data object a good replica on a resource, verified by checksum.
    pub fn replicate(&self, path: &[u8], resource: &str) -> Result<(), i64> {
        let Some(call) = self.host.replicate else {
            return Err(MISSING);
        };
        // SAFETY: the session is the current call's, the texts live until the call returns.
        let code = unsafe { call(self.raw, borrowed(path), borrowed(resource.as_bytes())) };
        if code < 0 { Err(code) } else { Ok(()) }
    }

    /// Makes a collection, with those above it if need be.
    pub fn make_collection(&self, service: Account<'_>, path: &[u8], parents: bool) -> Result<(), i64> {
        let Some(call) = self.host.make_collection else {
            return Err(MISSING);
        };
        // SAFETY: as above.
        let code = unsafe { call(self.raw, service.raw(), borrowed(path), parents) };
        if code < 0 { Err(code) } else { Ok(()) }
    }

    /// Removes an empty collection.
    pub fn remove_collection(&self, service: Account<'_>, path: &[u8]) -> Result<(), i64> {
        let Some(call) = self.host.remove_collection else {
            return Err(MISSING);
        };
        // SAFETY: as above.
        let code = unsafe { call(self.raw, service.raw(), borrowed(path)) };
        if code < 0 { Err(code) } else { Ok(()) }
    }

    /// Queues a rule text for delayed execution, as a job of the service account or else of the session's user.
    pub fn delay(&self, service: Option<Account<'_>>, text: &str, conditions: &str) -> Result<(), i64> {
        let Some(call) = self.host.delay else {
            return Err(MISSING);
        };
        let service = service.map(Account::raw);
        let owner = service.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        let (text, conditions) = (borrowed(text.as_bytes()), borrowed(conditions.as_bytes()));
        // SAFETY: as above; the account lives until the call returns.
        let code = unsafe { call(self.raw, owner, text, conditions) };
        if code < 0 { Err(code) } else { Ok(()) }
    }

    /// JSON about an open descriptor.
    pub fn descriptor(&self, descriptor: i32) -> Result<Vec<u8>, i64> {
        let Some(call) = self.host.descriptor else {
            return Err(MISSING);
        };
        let mut buffer = Buffer { raw: omero_buffer::default(), host: self.host };
        // SAFETY: as above.
        let code = unsafe { call(self.raw, descriptor, &raw mut buffer.raw) };
        if code < 0 { Err(code) } else { Ok(buffer.to_vec()) }
    }

    /// Name and zone of the client user, and whether that is an administrator.
    pub fn client(&self) -> Result<(String, String, bool), i64> {
        let Some(call) = self.host.client else {
            return Err(MISSING);
        };
        let (mut name, mut zone, mut admin) = (omero_text::default(), omero_text::default(), false);
        // SAFETY: as above.
        let code = unsafe { call(self.raw, &raw mut name, &raw mut zone, &raw mut admin) };
        if code < 0 {
            return Err(code);
        }
        // SAFETY: borrowed from the session, which lives longer than this call.
        let text = |t| String::from_utf8_lossy(unsafe { bytes(t) }).into_owned();
        Ok((text(name), text(zone), admin))
    }

    /// Puts a sentence on the error stack the client prints.
    pub fn client_message(&self, code: i64, sentence: &str) {
        if let Some(call) = self.host.client_message {
            // SAFETY: as above.
            unsafe { call(self.raw, code, borrowed(sentence.as_bytes())) };
        }
    }
}
