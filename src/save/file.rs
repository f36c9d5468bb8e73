//! One file of a save: where it goes, its bytes, its name. It is whole under its name, or nothing of it is visible.
//!
//! The bytes go into a data object of a hidden name (`.omero-save-ID-N`) beside the place. It is closed, compared with
//! OMERO's checksum and the server's own, gets its record, and then its name: a rename is the one step that shows it. A
//! process that dies leaves the hidden one, and the next goes on where it ends.

use super::fault::Fault;
use super::port::{Object, Origin, There, Working, Zone};
use super::sums::{Sum, Sums};
use crate::catalog::{CatalogError, Descriptor, How, UnixTime};
use irods_omero_config::Saving;
use irods_omero_importer::agent_client::{ContentError, SaveSource};
use irods_omero_importer::wire::{OnConflict, Save, SaveFile};
use irods_omero_model::names::{IrodsUser, LogicalPath};
use irods_omero_model::save::{CollectionTemplate, MAX_NAMES, Values, path_of};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io;

/// How many bytes are asked of an agent at a time: each request is bounded by the agents' timeout.
const PIECE: u64 = 8 << 20;

/// After how many bytes a data object is closed and opened again: so much is written anew at most after a crash.
const CHECKPOINT: u64 = 1 << 30;

/// How often one piece is asked for again before the file is left for later.
const TRIES: u32 = 3;

/// What the person reads meanwhile.
const ANEW: &str = "what was written of it before is not right: it is written anew";

/// What became of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is in iRODS, there.
    Saved(LogicalPath),
    /// It was there before.
    Already(LogicalPath),
    /// It is not saved, and will not be: a sentence.
    Refused(String),
    /// It will be tried again: a sentence.
    Later(String),
    /// The same of this file alone: nothing of it has come, and nothing hidden is left of it.
    Hindered(String),
    /// Its turn is over; the next goes on with it.
    OutOfTime,
    /// Somebody else is at it.
    TakenOver,
}

/// What a file is saved with.
pub struct Filer<'a> {
    /// The zone.
    pub zone: &'a dyn Zone,
    /// The agent.
    pub source: &'a dyn SaveSource,
    /// The site's rules.
    pub saving: &'a Saving,
    /// In whose name.
    pub user: &'a IrodsUser,
    /// The save.
    pub save: &'a Save,
    /// The collection of the save.
    pub template: &'a CollectionTemplate,
    /// When the turn is over.
    pub until: UnixTime,
    /// The collections that are there.
    pub made: &'a RefCell<BTreeSet<LogicalPath>>,
}

/// Where a file goes.
enum Place {
    /// There; the number of the name.
    Free(u32, LogicalPath),
    /// It is there already.
    Already(LogicalPath),
    /// Nowhere.
    Not(String),
}

/// How far the bytes came.
enum Bytes {
    /// All are there.
    Whole {
        /// Their sums.
        sum: Sum,
        /// Whether some of them were there before.
        goes_on: bool,
    },
    /// Not all.
    Not(Outcome),
}

impl Filer<'_> {
    /// Saves one file.
    ///
    /// # Errors
    /// The catalog failed in a way that says nothing about this file.
    pub fn save(&self, file: &SaveFile) -> Result<Outcome, CatalogError> {
        if let Some(path) = self.already(file)? {
            return Ok(Outcome::Already(path));
        }
        let base = match self.template.fill(&self.values(file)) {
            Ok(base) => base,
            Err(why) => return Ok(Outcome::Refused(why)),
        };
        if base.elements().next() != Some(self.zone.name().as_bytes()) {
            let zone = self.zone.name();
            return Ok(Outcome::Refused(format!(
                "{} is not in the zone {zone}: name a collection that begins with /{zone}",
                base.display()
            )));
        }
        let first = match path_of(&base, &file.name, 1) {
            Ok(path) => path,
            Err(why) => return Ok(Outcome::Refused(why)),
        };
        let Some(collection) = first.parent() else {
            return Ok(Outcome::Refused(format!("'{}' is no name in iRODS", file.name)));
        };
        // Seen before anything is made.
        if let Some(above) = self.zone.may_not_write(self.user, &collection)? {
            return Ok(Outcome::Refused(self.not_allowed(&above)));
        }
        let number = match self.place(file, &base, 1)? {
            Place::Free(number, _) => number,
            Place::Already(path) => return Ok(Outcome::Already(path)),
            Place::Not(why) => return Ok(Outcome::Refused(why)),
        };
        let origin = self.origin(file);
        if !self.made.borrow().contains(&collection) {
            if let Err(error) = self.zone.make_collection(&collection, &origin) {
                return Ok(self.outcome(&error, &collection));
            }
            self.made.borrow_mut().insert(collection.clone());
        }
        let hidden = format!(".omero-save-{}-{}", self.save.id, file.n);
        let Ok(hidden) = collection.join(hidden.as_bytes()) else {
            return Ok(Outcome::Refused(format!("'{}' is no name in iRODS", file.name)));
        };
        self.zone.note(Some(&Working {
            agent: self.source.name().to_owned(),
            save: self.save.id.to_string(),
            n: file.n,
            user: self.user.to_string(),
            path: hidden.clone(),
        }))?;
        let outcome = self.write(file, &base, &hidden, &origin, number)?;
        if !matches!(outcome, Outcome::Later(_) | Outcome::OutOfTime | Outcome::TakenOver) {
            self.zone.note(None)?;
        }
        Ok(outcome)
    }

    /// Writes the file, and gives it its name.
    fn write(
        &self,
        file: &SaveFile,
        base: &LogicalPath,
        hidden: &LogicalPath,
        origin: &Origin<'_>,
        number: u32,
    ) -> Result<Outcome, CatalogError> {
        let (sum, goes_on) = match self.stream(file, hidden)? {
            Bytes::Whole { sum, goes_on } => (sum, goes_on),
            Bytes::Not(outcome) => return Ok(outcome),
        };
        if let Some(outcome) = self.verify(file, hidden, &sum, goes_on)? {
            return Ok(outcome);
        }
        self.zone.record(hidden, origin)?;
        self.name(file, base, hidden, number)
    }

    /// Where it is, if it was imported from this zone and is still there.
    fn already(&self, file: &SaveFile) -> Result<Option<LogicalPath>, CatalogError> {
        match &file.in_irods {
            Some(known) if !self.save.again && known.zone == self.zone.name() => {
                self.zone.readable(self.user, known.subject)
            }
            _ => Ok(None),
        }
    }

    fn values<'v>(&'v self, file: &'v SaveFile) -> Values<'v> {
        Values {
            zone: self.zone.name(),
            user: self.user,
            omero_user: &self.save.user,
            group: &file.group,
            project: file.project.as_deref(),
            dataset: file.dataset.as_deref(),
            screen: file.screen.as_deref(),
            plate: file.plate.as_deref(),
        }
    }

    fn origin<'o>(&'o self, file: &'o SaveFile) -> Origin<'o> {
        Origin {
            user: self.user,
            omero_user: &self.save.user,
            server: &self.save.server,
            fileset: file.fileset,
            images: &file.images,
        }
    }

    fn not_allowed(&self, path: &LogicalPath) -> String {
        format!(
            "the iRODS user {} may not write into {}: ask its owner for permission, or name another collection",
            self.user,
            path.display()
        )
    }

    fn outcome(&self, error: &CatalogError, path: &LogicalPath) -> Outcome {
        match Fault::of(error) {
            Fault::NotAllowed => Outcome::Refused(self.not_allowed(path)),
            Fault::Taken => Outcome::Refused(format!("something else is at {}", path.display())),
            Fault::BadName => Outcome::Refused(format!("iRODS does not take the path {}", path.display())),
            Fault::WillPass(why) => Outcome::Later(why),
        }
    }

    /// The first name from a number on that is free, or under which the file is there already.
    fn place(&self, file: &SaveFile, base: &LogicalPath, from: u32) -> Result<Place, CatalogError> {
        for number in from..=MAX_NAMES {
            let path = match path_of(base, &file.name, number) {
                Ok(path) => path,
                Err(why) => return Ok(Place::Not(why)),
            };
            match self.zone.there(&path)? {
                There::Nothing => return Ok(Place::Free(number, path)),
                There::Object(object) if self.is_same(file, &path, &object)? => {
                    return Ok(Place::Already(path));
                }
                There::Object(_) | There::Collection => {}
            }
            // A set of several files holds together by its names.
            if self.save.on_conflict == OnConflict::Refuse || file.name.contains('/') {
                return Ok(Place::Not(format!(
                    "something else is at {}, and nothing is overwritten: save to another collection",
                    path.display()
                )));
            }
        }
        Ok(Place::Not(format!(
            "{MAX_NAMES} others have the name '{}' in {}: save to another collection",
            file.name,
            base.display()
        )))
    }

    /// Whether a data object has the bytes of the file, as far as the user may read it.
    fn is_same(&self, file: &SaveFile, path: &LogicalPath, object: &Object) -> Result<bool, CatalogError> {
        if object.size != file.size || !object.is_good || object.is_being_written {
            return Ok(false);
        }
        let Some(there) = self.sum_of(path, file.size)? else { return Ok(false) };
        if let Some(sha1) = &file.sha1 {
            return Ok(*sha1 == there.sha1);
        }
        // OMERO has no checksum of it: its bytes are asked for only to be compared.
        let mut sums = Sums::default();
        while sums.size() < file.size {
            let from = sums.size();
            let length = (file.size - from).min(PIECE);
            let mut take = |bytes: &[u8]| {
                sums.add(bytes);
                Ok(())
            };
            if self.source.content(&self.save.id, file.n, from, length, &mut take).is_err() {
                return Ok(false);
            }
            if !self.zone.is_alive()? {
                return Ok(false);
            }
        }
        Ok(sums.finish() == there)
    }

    /// The sums of a data object that the user may read, if it has that size.
    fn sum_of(&self, path: &LogicalPath, size: u64) -> Result<Option<Sum>, CatalogError> {
        let Ok(open) = self.zone.open(self.user, path, How::Read(0)) else { return Ok(None) };
        let mut sums = Sums::default();
        let read = self.read_into(&open, size, &mut sums);
        self.zone.close(open)?;
        Ok((read.is_ok() && sums.size() == size).then(|| sums.finish()))
    }

    fn read_into(&self, open: &Descriptor, size: u64, sums: &mut Sums) -> Result<(), CatalogError> {
        let mut buffer = vec![0; usize::try_from(PIECE.min(size.max(1))).unwrap_or(1)];
        while sums.size() < size {
            let count = self.zone.read(open, &mut buffer)?;
            if count == 0 {
                break;
            }
            let rest = usize::try_from(size - sums.size()).unwrap_or(usize::MAX);
            sums.add(buffer.get(..count.min(rest)).unwrap_or_default());
            if !self.zone.is_alive()? {
                break;
            }
        }
        Ok(())
    }

    /// Frees the hidden data object, and gives how much of it is there. `None`: there is none.
    fn left(
        &self,
        file: &SaveFile,
        hidden: &LogicalPath,
    ) -> Result<Result<Option<u64>, Outcome>, CatalogError> {
        let object = match self.zone.there(hidden)? {
            There::Nothing => return Ok(Ok(None)),
            There::Object(object) if object.owner == *self.user => object,
            There::Object(_) | There::Collection => {
                return Ok(Err(Outcome::Refused(format!(
                    "something of somebody else is at {}: ask its owner to remove it, or save to another collection",
                    hidden.display()
                ))));
            }
        };
        if object.is_being_written {
            self.zone.mark_stale(hidden, object.replica)?;
        }
        // Of one that has no bytes the file may not even be there.
        if object.size == 0 || object.size > file.size {
            return Ok(match self.zone.remove(self.user, hidden) {
                Ok(()) => Ok(None),
                Err(error) => Err(self.outcome(&error, hidden)),
            });
        }
        Ok(Ok(Some(object.size)))
    }

    /// Has the bytes of the file in the hidden data object.
    fn stream(&self, file: &SaveFile, hidden: &LogicalPath) -> Result<Bytes, CatalogError> {
        let mut sums = Sums::default();
        let has_begun = match self.left(file, hidden)? {
            Ok(left) => left,
            Err(outcome) => return Ok(Bytes::Not(outcome)),
        };
        let how = match has_begun {
            None => How::Create(self.saving.resource.as_deref()),
            Some(size) => {
                if size > 0 {
                    match self.zone.open(self.user, hidden, How::Read(0)) {
                        Ok(open) => {
                            let read = self.read_into(&open, size, &mut sums);
                            self.zone.close(open)?;
                            if read.is_err() {
                                return self.anew(hidden);
                            }
                        }
                        Err(_) => return self.anew(hidden),
                    }
                }
                How::Write(sums.size())
            }
        };
        let (mut how, goes_on) = (how, sums.size() > 0);
        loop {
            let open = match self.zone.open(self.user, hidden, how) {
                Ok(open) => open,
                Err(_) if matches!(how, How::Write(_)) => return self.anew(hidden),
                Err(error) => return Ok(Bytes::Not(self.outcome(&error, hidden))),
            };
            let until = file.size.min(sums.size().saturating_add(CHECKPOINT));
            let ended = self.write_until(file, &open, until, &mut sums, hidden);
            let closed = self.zone.close(open);
            match ended? {
                Some(outcome) => {
                    if matches!(outcome, Outcome::Refused(_) | Outcome::Hindered(_)) {
                        self.take_away(hidden)?;
                    }
                    return Ok(Bytes::Not(outcome));
                }
                None => closed?,
            }
            if sums.size() >= file.size {
                break;
            }
            how = How::Write(sums.size());
        }
        Ok(Bytes::Whole { sum: sums.finish(), goes_on })
    }

    /// What a process before had written cannot be gone on with.
    fn anew(&self, hidden: &LogicalPath) -> Result<Bytes, CatalogError> {
        self.take_away(hidden)?;
        Ok(Bytes::Not(Outcome::Later(ANEW.to_owned())))
    }

    /// Writes the bytes of a file as far as to `until`; what stops it otherwise.
    fn write_until(
        &self,
        file: &SaveFile,
        open: &Descriptor,
        until: u64,
        sums: &mut Sums,
        hidden: &LogicalPath,
    ) -> Result<Option<Outcome>, CatalogError> {
        let mut failures = 0;
        while sums.size() < until {
            if !self.zone.is_alive()? {
                return Ok(Some(Outcome::TakenOver));
            }
            if self.zone.now() >= self.until {
                return Ok(Some(Outcome::OutOfTime));
            }
            let from = sums.size();
            let length = (until - from).min(PIECE);
            let mut failed = None;
            let mut take = |bytes: &[u8]| match self.zone.write(open, bytes) {
                Ok(()) => {
                    sums.add(bytes);
                    Ok(())
                }
                Err(error) => {
                    failed = Some(error);
                    Err(io::Error::other("iRODS did not take the bytes"))
                }
            };
            let came = self.source.content(&self.save.id, file.n, from, length, &mut take);
            if let Some(error) = failed {
                return Ok(Some(self.outcome(&error, hidden)));
            }
            match came {
                Ok(_) => failures = 0,
                Err(ContentError::Refused(why)) => return Ok(Some(Outcome::Refused(why))),
                Err(ContentError::WillPass(why)) => {
                    // What has come is right.
                    failures = if sums.size() > from { 0 } else { failures + 1 };
                    if failures >= TRIES {
                        let has_any = sums.size() > 0;
                        return Ok(Some(if has_any { Outcome::Later(why) } else { Outcome::Hindered(why) }));
                    }
                }
                Err(ContentError::Taken(error)) => return Ok(Some(Outcome::Later(error.to_string()))),
            }
        }
        Ok(None)
    }

    /// Compares what is in iRODS with what OMERO has; `Some` where it is not the same.
    fn verify(
        &self,
        file: &SaveFile,
        hidden: &LogicalPath,
        sum: &Sum,
        goes_on: bool,
    ) -> Result<Option<Outcome>, CatalogError> {
        if file.sha1.as_ref().is_some_and(|sha1| *sha1 != sum.sha1) || sum.size != file.size {
            self.take_away(hidden)?;
            if goes_on {
                return Ok(Some(Outcome::Later(ANEW.to_owned())));
            }
            return Ok(Some(Outcome::Refused(
                "its bytes are not those that OMERO has the checksum of: they have changed since, or the file is damaged there; \
                 ask the administrator of OMERO"
                    .to_owned(),
            )));
        }
        let checksum = match self.zone.checksum(self.user, hidden) {
            Ok(checksum) => checksum,
            Err(error) => return Ok(Some(self.outcome(&error, hidden))),
        };
        let is_whole = matches!(
            self.zone.there(hidden)?,
            There::Object(Object { size, is_good: true, .. }) if size == file.size
        );
        if !is_whole || sum.is_contradicted(&checksum) {
            self.take_away(hidden)?;
            return Ok(Some(Outcome::Later(
                "iRODS has other bytes than were written: the administrator of iRODS has to look at the storage".to_owned(),
            )));
        }
        Ok(None)
    }

    /// Removes what is hidden, and the note of it.
    fn take_away(&self, hidden: &LogicalPath) -> Result<(), CatalogError> {
        if self.zone.there(hidden)? != There::Nothing {
            self.zone.remove(self.user, hidden)?;
        }
        self.zone.note(None)
    }

    /// Gives what is hidden its name.
    fn name(
        &self,
        file: &SaveFile,
        base: &LogicalPath,
        hidden: &LogicalPath,
        first: u32,
    ) -> Result<Outcome, CatalogError> {
        let mut number = first;
        loop {
            if !self.zone.is_alive()? {
                return Ok(Outcome::TakenOver);
            }
            let (free, path) = match self.place(file, base, number)? {
                Place::Free(free, path) => (free, path),
                Place::Already(path) => {
                    self.take_away(hidden)?;
                    return Ok(Outcome::Already(path));
                }
                Place::Not(why) => {
                    self.take_away(hidden)?;
                    return Ok(Outcome::Refused(why));
                }
            };
            match self.zone.rename(self.user, hidden, &path) {
                Ok(()) => return Ok(Outcome::Saved(path)),
                // Somebody was faster.
                Err(error) if Fault::of(&error) == Fault::Taken && free < MAX_NAMES => number = free,
                Err(error) => {
                    let outcome = self.outcome(&error, &path);
                    if matches!(outcome, Outcome::Refused(_)) {
                        self.take_away(hidden)?;
                    }
                    return Ok(outcome);
                }
            }
        }
    }
}
