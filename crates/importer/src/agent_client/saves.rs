//! The zone's questions about saves: what people in OMERO want to have in iRODS, and the bytes of it.

use super::{Client, MAX_JOBS_BYTES, in_words};
use crate::agents::AgentError;
use crate::ffi::ignoring_broken_pipes;
use crate::settings::AgentMode;
use crate::wire::{
    self, Key, MAX_CONTENT_BYTES, MAX_SAVE_FILES, Refusal, Save, SaveBegin, SaveEnd, SaveFiles, SaveReport,
    Saves,
};
use std::io::{self, Read};
use ureq::Error;
use ureq::http::StatusCode;

/// How much of the content of a file is handed on at once, in bytes.
const PIECE: usize = 1 << 20;

/// Why the content of a file did not come.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    /// The agent could not be asked, or broke off: what has come is right, and the rest can be asked for again.
    #[error("{0}")]
    WillPass(String),
    /// The file is not what the save lists, or cannot be given: it is refused with this sentence.
    #[error("{0}")]
    Refused(String),
    /// Whoever takes the bytes failed.
    #[error(transparent)]
    Taken(#[from] io::Error),
}

/// An agent that is asked what people in OMERO want to have saved.
pub trait SaveSource {
    /// The agent's name in the configuration.
    fn name(&self) -> &str;

    /// A page of the saves that have not ended, oldest first.
    ///
    /// # Errors
    /// The agent could not be asked.
    fn open_saves(&self, after: Option<&Key>) -> Result<Saves, AgentError>;

    /// One save as it is now; `None` where there is none.
    ///
    /// # Errors
    /// The agent could not be asked.
    fn save(&self, id: &Key) -> Result<Option<Save>, AgentError>;

    /// A page of the files of a save of which nothing has become yet, with numbers above `after`.
    ///
    /// # Errors
    /// The agent could not be asked.
    fn queued_files(&self, id: &Key, after: u64) -> Result<SaveFiles, AgentError>;

    /// Says that the zone works on a save; with a reason, that it waits for something. Gives the save: one that has ended
    /// meanwhile (somebody cancelled it) is left as it is.
    ///
    /// # Errors
    /// The agent could not be asked.
    fn begin(&self, id: &Key, begin: &SaveBegin) -> Result<Save, AgentError>;

    /// Says what became of files.
    ///
    /// # Errors
    /// The agent could not be asked.
    fn report(&self, id: &Key, report: &SaveReport) -> Result<Save, AgentError>;

    /// Ends a save.
    ///
    /// # Errors
    /// The agent could not be asked.
    fn end(&self, id: &Key, end: &SaveEnd) -> Result<Save, AgentError>;

    /// The bytes of a file from `from` on, at most `length` and [`MAX_CONTENT_BYTES`], given to `take` as they come. Gives how
    /// many came: all that were asked for.
    ///
    /// # Errors
    /// Not all of them came. What `take` got before is right.
    fn content(
        &self,
        id: &Key,
        n: u64,
        from: u64,
        length: u64,
        take: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<u64, ContentError>;
}

/// The agents of the configuration, each for itself.
pub fn save_sources(agents: &AgentMode) -> Vec<Box<dyn SaveSource + '_>> {
    agents.agents.iter().map(|a| Box::new(Client::new(a, agents.timeout)) as Box<dyn SaveSource>).collect()
}

impl Client<'_> {
    fn tell(&self, id: &Key, what: &str, body: &[u8]) -> Result<Save, AgentError> {
        let answer = self.post(&format!("/v1/saves/{id}/{what}"), body)?;
        match answer.status {
            StatusCode::OK => self.read(&answer),
            _ => Err(self.refusal(&answer)),
        }
    }
}

impl SaveSource for Client<'_> {
    fn name(&self) -> &str {
        &self.agent.name
    }

    fn open_saves(&self, after: Option<&Key>) -> Result<Saves, AgentError> {
        let after = after.map(|after| format!("&after={after}")).unwrap_or_default();
        let answer = self.get(&format!("/v1/saves?state=open&limit=100{after}"), MAX_JOBS_BYTES)?;
        match answer.status {
            StatusCode::OK => self.read(&answer),
            // An agent of a version before, or one that takes no saves, has none.
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => {
                Ok(Saves { saves: Vec::new(), after: None })
            }
            _ => Err(self.refusal(&answer)),
        }
    }

    fn save(&self, id: &Key) -> Result<Option<Save>, AgentError> {
        let answer = self.get(&format!("/v1/saves/{id}"), MAX_JOBS_BYTES)?;
        match answer.status {
            StatusCode::OK => self.read(&answer).map(Some),
            StatusCode::NOT_FOUND if wire::read::<Refusal>(&answer.body).is_ok() => Ok(None),
            _ => Err(self.refusal(&answer)),
        }
    }

    fn queued_files(&self, id: &Key, after: u64) -> Result<SaveFiles, AgentError> {
        let path = format!("/v1/saves/{id}/files?state=queued&after={after}&limit={MAX_SAVE_FILES}");
        let answer = self.get(&path, MAX_JOBS_BYTES)?;
        match answer.status {
            StatusCode::OK => self.read(&answer),
            _ => Err(self.refusal(&answer)),
        }
    }

    fn begin(&self, id: &Key, begin: &SaveBegin) -> Result<Save, AgentError> {
        self.tell(id, "begin", &begin.to_json())
    }

    fn report(&self, id: &Key, report: &SaveReport) -> Result<Save, AgentError> {
        self.tell(id, "files", &report.to_json())
    }

    fn end(&self, id: &Key, end: &SaveEnd) -> Result<Save, AgentError> {
        self.tell(id, "end", &end.to_json())
    }

    fn content(
        &self,
        id: &Key,
        n: u64,
        from: u64,
        length: u64,
        take: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<u64, ContentError> {
        let length = length.min(MAX_CONTENT_BYTES);
        if length == 0 {
            return Ok(0);
        }
        let passes = |error: AgentError| ContentError::WillPass(error.to_string());
        let connection = self.connection().map_err(passes)?;
        let request = connection.http.get(format!("{}/v1/saves/{id}/files/{n}/content", connection.base));
        let request = request.header("range", format!("bytes={from}-{}", from + (length - 1)));
        let request = match &connection.authorization {
            Some(authorization) => request.header("authorization", authorization),
            None => request,
        };
        let sent = ignoring_broken_pipes(|| request.call());
        let will_pass =
            |why: String| ContentError::WillPass(format!("the agent '{}' {why}", self.agent.name));
        let mut response =
            sent.map_err(|error| will_pass(format!("cannot be reached: {}", in_words(&error))))?;
        if response.status() != StatusCode::PARTIAL_CONTENT {
            let status = response.status();
            let answer = self.answer(Ok(response), MAX_JOBS_BYTES).map_err(passes)?;
            let said = wire::read::<Refusal>(&answer.body).map(|refusal| refusal.detail).unwrap_or_default();
            return Err(match status {
                StatusCode::UNPROCESSABLE_ENTITY | StatusCode::RANGE_NOT_SATISFIABLE => {
                    ContentError::Refused(said)
                }
                // The agent says itself what hinders it.
                StatusCode::SERVICE_UNAVAILABLE if !said.is_empty() => will_pass(format!("says: {said}")),
                _ => passes(self.refusal(&answer)),
            });
        }
        let mut body = response.body_mut().with_config().limit(length + 1).reader();
        let (mut piece, mut came) = (vec![0; PIECE], 0);
        loop {
            let count = ignoring_broken_pipes(|| body.read(&mut piece)).map_err(|error| {
                will_pass(format!("broke off in the middle of a file: {}", in_words(&Error::from(error))))
            })?;
            if count == 0 {
                break;
            }
            came += count as u64;
            if came > length {
                return Err(will_pass("gave more of a file than was asked for".to_owned()));
            }
            take(&piece[..count])?;
        }
        if came < length {
            return Err(will_pass(format!("gave {came} bytes of a file where {length} were asked for")));
        }
        Ok(came)
    }
}
