//! Saves: what people in OMERO want to have in iRODS. The agents keep their requests; the zone fetches the bytes and writes them
//! as the iRODS user that the person is.
//!
//! One job of the service account asks every agent in turn. Nothing is believed of an agent but what OMERO says of its own
//! data: who somebody is follows from the site's mapping, backwards, and only if it leads forward again; where they may
//! write follows from the catalog.

mod fault;
mod file;
mod port;
mod real;
mod sums;

#[cfg(test)]
mod tests;

pub use port::{Object, Origin, There, Working, Zone};
pub use real::{Turn, turn};

use crate::catalog::{CatalogError, UnixTime};
use file::{Filer, Outcome};
use irods_omero_config::Saving;
use irods_omero_importer::agent_client::SaveSource;
use irods_omero_importer::wire::{
    FileReport, Save, SaveBegin, SaveEnd, SaveFile, SaveFileState, SaveReport, SaveState,
};
use irods_omero_model::names::IrodsUser;
use irods_omero_model::save::CollectionTemplate;
use std::cell::RefCell;

/// How long one job is at work, in seconds: the delay server has other jobs too.
const TURN: u64 = 60;

/// The least part of it that a save has, in seconds.
const LEAST_PART: u64 = 10;

/// After so many files in a row that cannot be read it is the agent that cannot.
const HINDERED: u32 = 3;

/// The most saves of one agent that are looked at in one turn.
const MAX_SAVES: usize = 1_000;

/// After how many files the agent is told what became of them.
const REPORT: usize = 50;

/// The longest reason that is told, in bytes.
const MAX_REASON: usize = 2_000;

/// What one job came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Done {
    /// Files that were written.
    pub saved: u64,
    /// Files that were there before.
    pub already: u64,
    /// Files that were refused.
    pub refused: u64,
    /// Whether there is more to do at once.
    pub is_more: bool,
}

/// Saves everything that is to be saved, as far as the turn goes.
pub struct Saver<'a> {
    /// The zone.
    pub zone: &'a dyn Zone,
    /// The agents.
    pub sources: &'a [Box<dyn SaveSource + 'a>],
    /// The site's rules.
    pub saving: &'a Saving,
    /// Name of the OMERO server in the agents' configuration; `None` where they have only one.
    pub server: Option<&'a str>,
}

/// How a save went on.
enum Progress {
    /// It needs nothing more of this turn.
    Rests,
    /// Its part of the turn is over.
    PartIsOver,
    /// Somebody else is at it.
    TakenOver,
}

impl Saver<'_> {
    /// One turn.
    ///
    /// # Errors
    /// The catalog failed.
    pub fn run(&self) -> Result<Done, CatalogError> {
        let mut done = Done::default();
        self.clear_up()?;
        let mut open: Vec<(&dyn SaveSource, Save)> = Vec::new();
        for source in self.sources {
            open.extend(self.open_saves(&**source).into_iter().map(|save| (&**source, save)));
        }
        if open.is_empty() {
            return Ok(done);
        }
        // A large save leaves time for the others: each has its part of the turn, and another one begins each time.
        let begin = self.zone.now();
        let end = begin.saturating_add(TURN);
        let part = (TURN / open.len() as u64).max(LEAST_PART);
        let first = usize::try_from(begin / TURN).unwrap_or(0) % open.len();
        open.rotate_left(first);
        for (source, save) in &open {
            let until = end.min(self.zone.now().saturating_add(part));
            match self.save(*source, save, until, &mut done)? {
                Progress::Rests => {}
                Progress::PartIsOver => done.is_more = true,
                Progress::TakenOver => break,
            }
        }
        Ok(done)
    }

    /// The saves of an agent that have not ended.
    fn open_saves(&self, source: &dyn SaveSource) -> Vec<Save> {
        let mut open = Vec::new();
        let mut after = None;
        while open.len() < MAX_SAVES {
            let page = match source.open_saves(after.as_ref()) {
                Ok(page) => page,
                Err(error) => {
                    log::warn!("act=save agent={} failed=\"{error}\"", source.name());
                    break;
                }
            };
            open.extend(page.saves.into_iter().filter(|save| self.is_of_our_server(save)));
            after = match page.after {
                Some(next) if Some(&next) != after.as_ref() => Some(next),
                _ => break,
            };
        }
        open
    }

    fn is_of_our_server(&self, save: &Save) -> bool {
        self.server.is_none_or(|server| server == save.server) && !save.state.is_final()
    }

    /// Removes what a process that died was writing of a save that is no longer open.
    fn clear_up(&self) -> Result<(), CatalogError> {
        let Some(left) = self.zone.noted()? else { return Ok(()) };
        let source = self.sources.iter().find(|source| source.name() == left.agent);
        let is_open = match source.zip(irods_omero_importer::wire::Key::parse(&left.save).ok()) {
            // An agent that is no more has no saves.
            None => false,
            Some((source, id)) => match source.save(&id) {
                Ok(save) => save.is_some_and(|save| !save.state.is_final()),
                Err(error) => {
                    log::warn!("act=save agent={} failed=\"{error}\"", source.name());
                    true
                }
            },
        };
        if is_open {
            return Ok(());
        }
        let user = IrodsUser::parse(&left.user).ok();
        if let (Some(user), There::Object(object)) = (user, self.zone.there(&left.path)?)
            && object.owner == user
        {
            if object.is_being_written {
                self.zone.mark_stale(&left.path, object.replica)?;
            }
            if let Err(error) = self.zone.remove(&user, &left.path) {
                log::warn!("act=save path={} failed=\"{error}\" why=\"left over\"", left.path);
            }
        }
        self.zone.note(None)
    }

    /// Goes on with one save.
    fn save(
        &self,
        source: &dyn SaveSource,
        save: &Save,
        until: UnixTime,
        done: &mut Done,
    ) -> Result<Progress, CatalogError> {
        let id = &save.id;
        let user = match self.zone.who(&save.user)? {
            Ok(user) => user,
            Err(no) if no.will_pass() => return Ok(wait(source, save, &no.to_string())),
            Err(no) => return Ok(end(source, save, SaveState::Refused, Some(&no.to_string()))),
        };
        let template = match save.collection.as_deref().map(CollectionTemplate::parse) {
            None => self.saving.collection.clone(),
            Some(Ok(template)) => template,
            Some(Err(why)) => return Ok(end(source, save, SaveState::Refused, Some(&why))),
        };
        match source.begin(id, &SaveBegin::default()) {
            Ok(save) if save.state.is_final() => return Ok(Progress::Rests),
            Ok(_) => {}
            Err(error) => {
                log::warn!("act=save agent={} save={id} failed=\"{error}\"", source.name());
                return Ok(Progress::Rests);
            }
        }
        let made = RefCell::default();
        let filer = Filer {
            zone: self.zone,
            source,
            saving: self.saving,
            user: &user,
            save,
            template: &template,
            until,
            made: &made,
        };
        // A file that cannot be read keeps no other waiting, unless it is the agent that cannot.
        let (mut hindered, mut in_a_row) = (None, 0);
        let mut after = 0;
        loop {
            let page = match source.queued_files(id, after) {
                Ok(page) => page,
                Err(error) => {
                    log::warn!("act=save agent={} save={id} failed=\"{error}\"", source.name());
                    return Ok(Progress::Rests);
                }
            };
            let mut reports = Reports { source, save, all: Vec::new(), is_open: true };
            for file in &page.files {
                let outcome = if self.zone.now() >= until {
                    Outcome::OutOfTime
                } else if self.zone.is_alive()? {
                    filer.save(file)?
                } else {
                    Outcome::TakenOver
                };
                log_outcome(source.name(), save, &user, file, &outcome);
                match outcome {
                    Outcome::Saved(path) => {
                        done.saved += 1;
                        reports.say(file, SaveFileState::Saved, Some(path), None);
                    }
                    Outcome::Already(path) => {
                        done.already += 1;
                        reports.say(file, SaveFileState::AlreadyInIrods, Some(path), None);
                    }
                    Outcome::Refused(why) => {
                        done.refused += 1;
                        reports.say(file, SaveFileState::Refused, None, Some(&why));
                    }
                    Outcome::Later(why) => {
                        reports.send();
                        return Ok(wait(source, save, &why));
                    }
                    Outcome::Hindered(why) => {
                        in_a_row += 1;
                        let first = hindered.get_or_insert(why);
                        if in_a_row >= HINDERED {
                            reports.send();
                            return Ok(wait(source, save, first));
                        }
                        continue;
                    }
                    Outcome::OutOfTime => {
                        reports.send();
                        return Ok(Progress::PartIsOver);
                    }
                    Outcome::TakenOver => return Ok(Progress::TakenOver),
                }
                in_a_row = 0;
                if !reports.is_open {
                    return Ok(Progress::Rests);
                }
            }
            reports.send();
            match page.after {
                _ if !reports.is_open => return Ok(Progress::Rests),
                Some(next) if next > after => after = next,
                _ => break,
            }
        }
        Ok(match hindered {
            Some(why) => wait(source, save, &why),
            None => Self::finish(source, save),
        })
    }

    /// Ends a save of which no file waits.
    fn finish(source: &dyn SaveSource, save: &Save) -> Progress {
        match source.save(&save.id) {
            Ok(Some(now)) if now.queued() == 0 && now.refused == 0 => {
                end(source, save, SaveState::Done, None)
            }
            Ok(Some(now)) if now.queued() == 0 => {
                let why = format!("{} of {} files were refused; each says why", now.refused, now.files);
                end(source, save, SaveState::Refused, Some(&why))
            }
            Ok(_) => Progress::Rests,
            Err(error) => {
                log::warn!("act=save agent={} save={} failed=\"{error}\"", source.name(), save.id);
                Progress::Rests
            }
        }
    }
}

fn log_outcome(agent: &str, save: &Save, user: &IrodsUser, file: &SaveFile, outcome: &Outcome) {
    let (id, n) = (&save.id, file.n);
    match outcome {
        Outcome::Saved(path) => {
            log::info!("act=save agent={agent} save={id} file={n} user={user} path={path}");
        }
        Outcome::Refused(why) => {
            log::info!("act=save agent={agent} save={id} file={n} user={user} refused=\"{why}\"");
        }
        Outcome::Later(why) | Outcome::Hindered(why) => {
            log::warn!("act=save agent={agent} save={id} file={n} user={user} waits=\"{why}\"");
        }
        Outcome::Already(_) | Outcome::OutOfTime | Outcome::TakenOver => {}
    }
}

/// A reason as it is told: on one line, and not too long.
fn told(why: &str) -> String {
    let mut text: String = why.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let mut end = text.len().min(MAX_REASON);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}

fn wait(source: &dyn SaveSource, save: &Save, why: &str) -> Progress {
    if let Err(error) = source.begin(&save.id, &SaveBegin { reason: Some(told(why)) }) {
        log::warn!("act=save agent={} save={} failed=\"{error}\"", source.name(), save.id);
    }
    Progress::Rests
}

fn end(source: &dyn SaveSource, save: &Save, state: SaveState, why: Option<&str>) -> Progress {
    // Only who has begun with a save ends it.
    let ended = source
        .begin(&save.id, &SaveBegin::default())
        .and_then(|_| source.end(&save.id, &SaveEnd { state, reason: why.map(told) }));
    if let Err(error) = ended {
        log::warn!("act=save agent={} save={} failed=\"{error}\"", source.name(), save.id);
    }
    let state = state.as_str();
    log::info!(
        "act=save agent={} save={} state={state} why=\"{}\"",
        source.name(),
        save.id,
        why.unwrap_or_default()
    );
    Progress::Rests
}

/// What became of files, told together.
struct Reports<'a> {
    source: &'a dyn SaveSource,
    save: &'a Save,
    all: Vec<FileReport>,
    /// Whether the save goes on, as far as the agent has said.
    is_open: bool,
}

impl Reports<'_> {
    fn say(
        &mut self,
        file: &SaveFile,
        state: SaveFileState,
        path: Option<irods_omero_model::names::LogicalPath>,
        why: Option<&str>,
    ) {
        self.all.push(FileReport { n: file.n, state, path, reason: why.map(told) });
        if self.all.len() >= REPORT {
            self.send();
        }
    }

    /// What cannot be told now is found there again by the next turn.
    fn send(&mut self) {
        if self.all.is_empty() {
            return;
        }
        let files = std::mem::take(&mut self.all);
        match self.source.report(&self.save.id, &SaveReport { files }) {
            Ok(save) => self.is_open &= !save.state.is_final(),
            Err(error) => {
                log::warn!("act=save agent={} save={} failed=\"{error}\"", self.source.name(), self.save.id);
                self.is_open = false;
            }
        }
    }
}
