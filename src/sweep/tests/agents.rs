//! Batches that agents import: given away by a sweep, collected later, and lost nowhere on the way.

use super::*;
use irods_omero_importer::agents::{Agent, AgentError, Agents};
use irods_omero_importer::wire::{Changes, Job, JobState, Key, Outcome, Submit};
use std::rc::Rc;

/// What the outside world does to an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    Good,
    /// Nothing arrives.
    Cut,
    /// What is sent arrives, but no answer.
    OneWay,
}

/// An agent in memory, with the test's OMERO behind it.
struct TestAgent {
    name: &'static str,
    line: Cell<Line>,
    jobs: RefCell<Vec<(Submit, Job, u64)>>,
    change: Cell<u64>,
    /// What it says of every job, instead of importing.
    refuses: Cell<bool>,
    omero: Rc<TestImporter>,
}

impl TestAgent {
    fn new(name: &'static str, omero: &Rc<TestImporter>) -> Rc<Self> {
        Rc::new(Self {
            name,
            line: Cell::new(Line::Good),
            jobs: RefCell::default(),
            change: Cell::new(0),
            refuses: Cell::new(false),
            omero: Rc::clone(omero),
        })
    }

    fn reached(&self) -> Result<(), AgentError> {
        match self.line.get() {
            Line::Cut => Err(AgentError::NotTaken(format!("the agent '{}' cannot be reached", self.name))),
            Line::Good | Line::OneWay => Ok(()),
        }
    }

    fn answer<T>(&self, answer: T) -> Result<T, AgentError> {
        match self.line.get() {
            Line::OneWay => Err(AgentError::Unclear("no answer".to_owned())),
            Line::Good | Line::Cut => Ok(answer),
        }
    }

    fn changed(&self) -> u64 {
        self.change.set(self.change.get() + 1);
        self.change.get()
    }

    /// Does every job that waits.
    fn work(&self) {
        for (submit, job, change) in self.jobs.borrow_mut().iter_mut().filter(|j| !j.1.state.is_final()) {
            let batch = submit.clone().into_batch();
            (job.state, job.reason, job.outcomes) = if self.refuses.get() {
                (JobState::Refused, Some("no such user".to_owned()), Vec::new())
            } else {
                let outcomes = self.omero.import(&batch, 0, &mut || {}).unwrap();
                let outcomes = batch.files.iter().zip(outcomes).map(|(f, o)| Outcome::of(f.subject, &o));
                (JobState::Done, None, outcomes.collect())
            };
            *change = self.changed();
        }
    }

    /// Has its one job in a state.
    fn is(&self, change: impl FnOnce(&mut Job)) {
        let mut jobs = self.jobs.borrow_mut();
        change(&mut jobs[0].1);
        jobs[0].2 = self.changed();
    }

    /// Loses its file.
    fn forget(&self) {
        self.jobs.borrow_mut().clear();
        self.change.set(0);
    }
}

/// The same agent as several sweeps see it.
struct Seen(Rc<TestAgent>);

impl Agent for Seen {
    fn name(&self) -> &str {
        self.0.name
    }

    fn job(&self, key: &Key) -> Result<Option<Job>, AgentError> {
        self.0.reached()?;
        Ok(self.0.jobs.borrow().iter().find(|(_, job, _)| job.key == *key).map(|(_, job, _)| job.clone()))
    }

    fn submit(&self, submit: &Submit) -> Result<Job, AgentError> {
        self.0.reached()?;
        if let Some(job) = self.job(&submit.key)? {
            return self.0.answer(job);
        }
        let job = Job {
            id: submit.key.to_string(),
            key: submit.key.clone(),
            zone: submit.zone.clone(),
            server: "omero".to_owned(),
            user: submit.user.clone(),
            group: submit.group.clone(),
            collection: submit.collection,
            state: JobState::Queued,
            reason: None,
            attempts: 0,
            submitted: None,
            started: None,
            ended: None,
            next: None,
            progress: None,
            files: submit.files.len() as u64,
            outcomes: Vec::new(),
        };
        let change = self.0.changed();
        self.0.jobs.borrow_mut().push((Submit::read(&submit.to_json()).unwrap(), job.clone(), change));
        self.0.answer(job)
    }

    fn open(&self) -> Result<Vec<Job>, AgentError> {
        self.0.reached()?;
        let jobs = self.0.jobs.borrow();
        Ok(jobs.iter().map(|j| &j.1).filter(|job| !job.state.is_final()).cloned().collect())
    }

    fn cancel(&self, job: &Job) -> Result<(), AgentError> {
        let mut jobs = self.0.jobs.borrow_mut();
        let (_, job, change) = jobs.iter_mut().find(|(_, j, _)| j.id == job.id).unwrap();
        job.state = JobState::Cancelled;
        *change = self.0.changed();
        Ok(())
    }

    fn retry(&self, job: &Job) -> Result<(), AgentError> {
        let mut jobs = self.0.jobs.borrow_mut();
        let (_, job, change) = jobs.iter_mut().find(|(_, j, _)| j.id == job.id).unwrap();
        job.state = JobState::Queued;
        *change = self.0.changed();
        Ok(())
    }

    fn changes(&self, after: u64, limit: usize) -> Result<Changes, AgentError> {
        self.0.reached()?;
        let after = if after > self.0.change.get() { 0 } else { after };
        let mut changed: Vec<_> =
            self.0.jobs.borrow().iter().filter(|j| j.2 > after).map(|j| (j.2, j.1.clone())).collect();
        changed.sort_by_key(|(change, _)| *change);
        changed.truncate(limit);
        let cursor = changed.last().map_or(self.0.change.get(), |(change, _)| *change);
        Ok(Changes { cursor, jobs: changed.into_iter().map(|(_, job)| job).collect() })
    }
}

/// A world whose imports agents do.
struct Outside {
    world: World,
    omero: Rc<TestImporter>,
    agents: Vec<Rc<TestAgent>>,
}

/// The configuration of such a world.
pub(super) fn config(names: &[&str]) -> Config {
    let agents: Vec<_> =
        names.iter().map(|n| json!({"name": n, "url": "https://omero.example.org"})).collect();
    Config::parse(&json!({
        "watch": ["/z/home/alice"],
        "quiet_period_in_seconds": QUIET,
        "users": {"table": {"alice#z": {"user": "alice", "group": "lab"}}},
        "visibility": {"vaults": [{"prefix": "/vault"}]},
        "omero": {"server": "omero.example.org"},
        "importer": {"mode": "agent", "agents": agents, "fallback_after_in_seconds": 600},
    }))
    .unwrap()
}

fn outside(names: &[&'static str]) -> Outside {
    let config = config(names);
    let omero = Rc::new(TestImporter::default());
    let agents = names.iter().map(|name| TestAgent::new(name, &omero)).collect();
    Outside { world: World { config, ..world() }, omero, agents }
}

impl Outside {
    fn with<T>(&self, act: impl FnOnce(&Sweeper<'_>) -> T) -> T {
        let boxed = |agent: &Rc<TestAgent>| Box::new(Seen(Rc::clone(agent))) as Box<dyn Agent>;
        let boxed: Vec<_> = self.agents.iter().map(boxed).collect();
        let agents = Agents::new(boxed, Some("omero.example.org"), Duration::from_secs(600));
        let World { config, clock, catalog, .. } = &self.world;
        act(&Sweeper { config, catalog, importing: Some(Importing::ByAgents(&agents)), clock: &**clock })
    }

    fn sweep(&self) -> Result<Report, CatalogError> {
        self.with(|s| s.sweep(id()))
    }

    /// Runs the job that collects, as the queue has it.
    fn collect(&self) -> Result<Collected, CatalogError> {
        let is_collect = |j: &QueuedJob| j.text.starts_with(due::COLLECT);
        assert!(self.is_to_collect(), "somebody is to collect");
        self.world.catalog.queued.borrow_mut().retain(|j| !is_collect(j));
        // A method of a type with a lifetime does not go as a function.
        #[allow(clippy::redundant_closure_for_method_calls)]
        self.with(|s| s.collect())
    }

    fn is_to_collect(&self) -> bool {
        self.world.catalog.queued.borrow().iter().any(|j| j.text.starts_with(due::COLLECT))
    }

    fn put(&self, number: u64, name: &str) {
        self.world.put(number, name, "alice");
        self.world.wait(QUIET);
    }

    fn state(&self, name: &str) -> Option<State> {
        self.world.catalog.state(name)
    }

    fn job(&self, name: &str) -> Option<String> {
        self.world.catalog.value(name, "::job")
    }

    fn filesets(&self) -> u64 {
        self.omero.filesets.get()
    }
}

#[test]
fn a_batch_is_given_away_and_its_outcome_is_collected() {
    let o = outside(&["a1"]);
    o.put(1, "a.tif");
    assert_eq!(o.sweep().unwrap(), Report::default());
    assert_eq!(o.state("a.tif"), Some(State::Importing));
    let key = o.agents[0].jobs.borrow()[0].1.key.to_string();
    assert_eq!(o.job("a.tif"), Some(key));
    assert!(o.world.catalog.locks.borrow().is_empty(), "the sweep has left");
    let early = o.collect().unwrap();
    assert_eq!((early.written, early.goes_on), (Report::default(), true));
    o.agents[0].work();
    let done = o.collect().unwrap();
    assert_eq!((done.written.imported, done.goes_on), (1, false));
    assert_eq!((o.state("a.tif"), o.job("a.tif")), (Some(State::Imported), None));
    let version = o.world.catalog.value("a.tif", "::version").unwrap();
    assert!(version.contains(" by="), "by which source stays: {version}");
    assert!(!o.is_to_collect(), "the chain ends with the work");
}

#[test]
fn what_an_agent_has_is_not_given_away_again() {
    let o = outside(&["a1"]);
    o.put(1, "a.tif");
    o.sweep().unwrap();
    o.put(2, "b.tif");
    o.sweep().unwrap();
    o.world.catalog.event(&o.world.config);
    o.sweep().unwrap();
    let files: Vec<usize> = o.agents[0].jobs.borrow().iter().map(|j| j.0.files.len()).collect();
    assert_eq!(files, [1, 1]);
    o.agents[0].work();
    assert_eq!(o.collect().unwrap().written.imported, 2);
}

#[test]
fn a_job_that_waits_has_its_reason_in_the_record_and_a_week_of_tries_costs_few_writes() {
    let o = outside(&["a1"]);
    o.put(1, "a.tif");
    o.sweep().unwrap();
    o.collect().unwrap();
    let key = o.job("a.tif");
    let said = || o.world.catalog.value("a.tif", "::reason");
    let (mut last, mut writes) = (None, 0);
    for attempt in 1..=7 * 48 {
        o.world.wait(30);
        o.agents[0].is(|job| {
            job.state = JobState::Waiting;
            job.reason = Some("OMERO cannot be reached".to_owned());
            (job.attempts, job.next) = (attempt, Some(o.world.clock.now() + 1_770));
        });
        assert!(o.collect().unwrap().goes_on);
        writes += usize::from(said() != last);
        last = said();
        o.world.wait(1_770);
        // Its turn has come, and it finds what it found before.
        o.agents[0].is(|job| (job.state, job.next) = (JobState::Queued, None));
        o.collect().unwrap();
    }
    let last = last.unwrap();
    assert!(
        last.starts_with("OMERO cannot be reached (tried ") && last.ends_with("by the agent 'a1')"),
        "{last}"
    );
    assert!((5..15).contains(&writes), "{writes}");
    assert_eq!((o.state("a.tif"), o.job("a.tif")), (Some(State::Importing), key.clone()));

    o.agents[0].is(|job| job.reason = Some("another reason".to_owned()));
    o.collect().unwrap();
    assert!(said().unwrap().starts_with("another reason"));
    // It is at work for some time: nothing is waited for any more.
    let started = o.world.clock.now();
    o.agents[0].is(|job| (job.state, job.reason, job.started) = (JobState::Running, None, Some(started)));
    o.collect().unwrap();
    assert!(said().is_some(), "it may find the same again");
    o.world.wait(o.world.config.sweep_expiry.as_secs());
    o.collect().unwrap();
    assert_eq!((said(), o.state("a.tif"), o.job("a.tif")), (None, Some(State::Importing), key));
    o.agents[0].work();
    assert_eq!(o.collect().unwrap().written.imported, 1);
    assert_eq!(said(), None);
}

#[test]
fn a_job_that_waited_at_an_agent_which_lost_it_is_submitted_again() {
    let o = outside(&["a1"]);
    o.put(1, "a.tif");
    o.sweep().unwrap();
    o.collect().unwrap();
    o.agents[0].is(|job| {
        (job.state, job.reason) = (JobState::Waiting, Some("OMERO cannot be reached".to_owned()));
        job.next = Some(o.world.clock.now() + 1_800);
    });
    o.collect().unwrap();
    o.agents[0].forget();
    o.world.wait(o.world.config.sweep_expiry.as_secs());
    assert_eq!(o.collect().unwrap().written.pending, 1);
}

#[test]
fn data_changed_while_an_agent_has_it_is_looked_at_after() {
    let o = outside(&["a1"]);
    o.put(1, "a.tif");
    o.sweep().unwrap();
    o.world.catalog.replicas.borrow_mut()[0].modify_time += 5;
    o.world.catalog.event(&o.world.config);
    o.world.wait(QUIET);
    assert_eq!(o.sweep().unwrap(), Report::default());
    assert_eq!(o.state("a.tif"), Some(State::Importing));
    o.agents[0].work();
    o.collect().unwrap();
    assert!(o.world.catalog.has_mark("::due"));
    o.world.wait(QUIET);
    assert_eq!(o.sweep().unwrap().stale, 1);
}

#[test]
fn where_no_agent_answers_data_waits_with_the_reason() {
    let o = outside(&["a1", "a2"]);
    o.agents.iter().for_each(|a| a.line.set(Line::Cut));
    o.put(1, "a.tif");
    let report = o.sweep().unwrap();
    assert_eq!((report.pending, report.again_in), (1, Some(Duration::from_secs(60))));
    let reason = o.world.catalog.value("a.tif", "::reason").unwrap();
    assert!(reason.contains("'a1' cannot be reached") && reason.contains("'a2'"), "{reason}");
    o.agents.iter().for_each(|a| a.line.set(Line::Good));
    o.world.wait(60);
    o.sweep().unwrap();
    o.agents.iter().for_each(|a| a.work());
    assert_eq!(o.collect().unwrap().written.imported, 1);
}

#[test]
fn an_answer_that_did_not_arrive_is_asked_for_and_not_guessed() {
    let o = outside(&["a1", "a2"]);
    o.put(1, "a.tif");
    o.agents.iter().for_each(|a| a.line.set(Line::OneWay));
    o.sweep().unwrap();
    assert_eq!(o.state("a.tif"), Some(State::Importing));
    o.agents.iter().for_each(|a| a.line.set(Line::Good));
    o.agents.iter().for_each(|a| a.work());
    assert_eq!(o.collect().unwrap().written.imported, 1);
    assert_eq!(o.agents.iter().map(|a| a.jobs.borrow().len()).sum::<usize>(), 1);
}

#[test]
fn a_job_the_agent_does_not_know_any_more_is_submitted_again() {
    let o = outside(&["a1"]);
    o.put(1, "a.tif");
    o.sweep().unwrap();
    o.collect().unwrap();
    o.agents[0].work();
    o.agents[0].forget();
    o.world.wait(3_600);
    assert_eq!(o.collect().unwrap().written.pending, 1);
    assert!(o.world.catalog.value("a.tif", "::reason").unwrap().contains("does not know"));
    assert!(o.world.catalog.has_mark("::due"));
    o.world.wait(3_600);
    o.sweep().unwrap();
    o.agents[0].work();
    assert_eq!(o.collect().unwrap().written.imported, 1);
    assert_eq!(o.filesets(), 1, "OMERO had it, and the agent found it");
}

#[test]
fn an_agent_that_began_anew_is_read_from_its_beginning() {
    let o = outside(&["a1"]);
    for number in 1..=3 {
        o.put(number, &format!("{number}.tif"));
        o.sweep().unwrap();
        o.agents[0].work();
    }
    o.put(4, "4.tif");
    o.sweep().unwrap();
    o.collect().unwrap();
    o.agents[0].jobs.borrow_mut().retain(|(s, _, _)| s.files[0].logical_path.name() == b"4.tif");
    o.agents[0].change.set(0);
    o.agents[0].work();
    assert_eq!(o.collect().unwrap().written.imported, 1);
}

#[test]
fn an_agent_that_comes_back_does_not_do_what_another_has_been_given() {
    let o = outside(&["a1", "a2"]);
    o.put(1, "a.tif");
    o.sweep().unwrap();
    let first = o.agents.iter().position(|a| !a.jobs.borrow().is_empty()).unwrap();
    let state_at = |agent: usize| o.agents[agent].jobs.borrow()[0].1.state;
    // One that was away for a moment goes on.
    o.agents[first].line.set(Line::Cut);
    o.collect().unwrap();
    o.agents[first].line.set(Line::Good);
    o.collect().unwrap();
    assert_eq!(state_at(first), JobState::Queued);

    o.agents[first].line.set(Line::Cut);
    o.collect().unwrap();
    o.world.wait(600);
    assert_eq!(o.collect().unwrap().written.pending, 1);
    o.world.wait(3_600);
    o.sweep().unwrap();
    o.agents[first].line.set(Line::Good);
    o.collect().unwrap();
    assert_eq!((state_at(first), state_at(1 - first)), (JobState::Cancelled, JobState::Queued));
    assert_eq!(o.state("a.tif"), Some(State::Importing), "that it was cancelled there is not its end");
    o.agents.iter().for_each(|a| a.work());
    assert_eq!((o.collect().unwrap().written.imported, o.filesets()), (1, 1));
}

#[test]
fn another_agent_does_the_work_of_one_that_is_silent_for_long() {
    let o = outside(&["a1", "a2"]);
    o.put(1, "a.tif");
    o.sweep().unwrap();
    let first = o.agents.iter().position(|a| !a.jobs.borrow().is_empty()).unwrap();
    o.agents[first].line.set(Line::Cut);
    o.collect().unwrap();
    assert_eq!(o.state("a.tif"), Some(State::Importing), "for now it is waited for");
    o.world.wait(599);
    o.collect().unwrap();
    assert_eq!(o.state("a.tif"), Some(State::Importing));
    o.world.wait(1);
    assert_eq!(o.collect().unwrap().written.pending, 1);
    assert!(o.world.catalog.value("a.tif", "::reason").unwrap().contains("has not answered for 10 minutes"));
    o.world.wait(3_600);
    o.sweep().unwrap();
    o.agents[1 - first].work();
    assert_eq!(o.collect().unwrap().written.imported, 1);
    // The first comes back, and does what it was given.
    o.agents[first].line.set(Line::Good);
    o.agents[first].work();
    assert_eq!((o.filesets(), o.state("a.tif")), (1, Some(State::Imported)));
}

#[test]
fn a_job_the_agent_refuses_is_skipped_and_wished_for_again_later() {
    let o = outside(&["a1"]);
    o.agents[0].refuses.set(true);
    o.put(1, "a.tif");
    o.sweep().unwrap();
    o.agents[0].work();
    assert_eq!(o.collect().unwrap().written.skipped, 1);
    assert!(o.world.catalog.value("a.tif", "::reason").unwrap().contains("no such user"));
    o.agents[0].refuses.set(false);
    o.world.wait(3_600);
    assert_eq!(o.with(|s| s.sweep_skipped().unwrap()), 1);
    o.world.wait(QUIET);
    o.sweep().unwrap();
    o.agents[0].work();
    assert_eq!(o.collect().unwrap().written.imported, 1);
}

#[test]
fn an_agent_is_asked_for_data_that_was_moved_meanwhile() {
    let o = outside(&["a1"]);
    o.world.catalog.make(200, "/z/home/alice/run2");
    o.put(1, "a.tif");
    o.sweep().unwrap();
    let moved = o.world.catalog.replicas.borrow_mut().pop().unwrap();
    o.world.catalog.others.borrow_mut().get_mut(&200).unwrap().1.push(moved);
    let avus = o.world.catalog.avus.borrow_mut().remove(format!("{COLLECTION}/a.tif").as_bytes()).unwrap();
    o.world.catalog.avus.borrow_mut().insert(b"/z/home/alice/run2/a.tif".to_vec(), avus);
    o.agents[0].work();
    o.world.wait(3_600);
    let done = o.collect().unwrap();
    assert_eq!((done.written.imported, done.goes_on), (1, false));
}

#[test]
fn where_agents_are_given_up_the_command_imports_what_they_were_given() {
    let mut o = outside(&["a1"]);
    o.put(1, "a.tif");
    o.sweep().unwrap();
    assert_eq!(o.state("a.tif"), Some(State::Importing));
    o.world.config = world().config;
    let before = o.world.catalog.queued.borrow().len();
    o.world.sweeper().collect().unwrap();
    assert!(o.world.catalog.has_mark("::due") && o.world.catalog.queued.borrow().len() > before);
    o.world.wait(QUIET);
    assert_eq!(o.world.sweep().unwrap().imported, 1);
    assert_eq!((o.state("a.tif"), o.job("a.tif")), (Some(State::Imported), None));
}

/// A sweep, or a look at what agents did, dies at every call it makes in turn. Afterwards everything runs as the queue
/// has it, and everything is imported exactly once.
#[test]
fn dying_anywhere_loses_nothing_and_imports_nothing_twice() {
    for dies_in_sweep in [true, false] {
        for call in 0.. {
            let o = outside(&["a1"]);
            o.put(1, "a.tif");
            o.world.put(2, "b.tif", "alice");
            o.world.wait(QUIET);
            let die = move |n, _: &TestCatalog| {
                if n >= call {
                    Err(CatalogError::Call { call: "died", subject: String::new(), code: -1 })
                } else {
                    Ok(())
                }
            };
            if !dies_in_sweep {
                o.sweep().unwrap();
                o.agents[0].work();
            }
            o.world.catalog.calls.set(0);
            *o.world.catalog.interrupt.borrow_mut() = Some(Box::new(die));
            let died = if dies_in_sweep { o.sweep().is_err() } else { o.collect().is_err() };
            *o.world.catalog.interrupt.borrow_mut() = None;
            for _ in 0..6 {
                o.agents[0].work();
                o.world.wait(3_600);
                o.with(|s| s.sweep_all().unwrap());
                o.sweep().unwrap();
                o.agents[0].work();
                if o.is_to_collect() {
                    o.collect().unwrap();
                }
            }
            let states = (o.state("a.tif"), o.state("b.tif"));
            let imported = (Some(State::Imported), Some(State::Imported));
            assert_eq!(states, imported, "in sweep: {dies_in_sweep}, call {call}");
            assert_eq!(o.filesets(), 2, "in sweep: {dies_in_sweep}, call {call}");
            if !died {
                break;
            }
        }
    }
}
