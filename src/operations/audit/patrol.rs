//! The patrol: the doctor walks through everything by itself, a page at a time, within the days that are configured. It mends
//! nothing; `status` tells what it has found.
//!
//! How far it has come, and what it found, is an AVU on the zone's collection. A job does one page and queues the next, later the
//! further the round is ahead of its time; where the job is lost the recurring `sweep_all` queues one again.

use super::cursor::Phase;
use super::{Audit, Cursor, Page};
use crate::catalog::{CatalogError, UnixTime};
use crate::due;
use crate::operations::{Context, OperationError};
use crate::sweep::lock::{Lock, Taken};
use irods_omero_model::doctor::Code;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// How many data objects one job looks at.
const LOOKED_AT: usize = 100;

/// The shortest time between two looks: OMERO and the catalog have other work.
const SHORTEST_REST: u64 = 2;

/// What one round has found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Round {
    began: UnixTime,
    ended: Option<UnixTime>,
    looked_at: u64,
    codes: BTreeMap<String, u64>,
}

/// What stands on the zone's collection.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Progress {
    /// Where this round goes on; none: it has not begun, or has ended.
    next: Option<String>,
    /// This round; none before the first.
    round: Option<Round>,
    /// The round before.
    last: Option<Round>,
}

impl Progress {
    fn read(context: &Context<'_>) -> Result<(Self, Vec<String>), CatalogError> {
        let (catalog, names) = (context.catalog, &context.config.attributes);
        let before = catalog.marks_at(&catalog.zone()?, &names.patrol)?;
        // What cannot be read costs no more than a round from the beginning.
        let progress = before.iter().find_map(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        Ok((progress, before))
    }

    fn write(&self, context: &Context<'_>, before: &[String]) -> Result<(), CatalogError> {
        let (catalog, attribute) = (context.catalog, &context.config.attributes.patrol);
        let zone = catalog.zone()?;
        let text = serde_json::to_string(self).unwrap_or_default();
        if !before.contains(&text) {
            catalog.set_mark(&zone, attribute, &text)?;
        }
        before
            .iter()
            .filter(|old| **old != text)
            .try_for_each(|old| catalog.remove_mark(&zone, attribute, old))
    }
}

/// For `status`: none where there is no patrol.
///
/// # Errors
/// The catalog failed.
pub fn status(context: &Context<'_>) -> Result<Value, CatalogError> {
    let Some(whole) = context.config.patrol else { return Ok(Value::Null) };
    let (Progress { round, last, .. }, _) = Progress::read(context)?;
    let shown = |round: Option<Round>| round.map_or(Value::Null, |round| json!(round));
    Ok(json!({"days": whole.as_secs() / 86_400, "this_round": shown(round), "last_round": shown(last)}))
}

/// Does one page, and queues the next.
///
/// # Errors
/// The catalog failed; the recurring `sweep_all` has it go on.
pub fn go_on(context: &Context<'_>) -> Result<Value, OperationError> {
    let Context { config, catalog, sweeper, .. } = *context;
    let Some(whole) = config.patrol else { return Ok(json!({"patrol": "off"})) };
    let now = sweeper.clock.now();
    // Whatever happens to this one, another is to come.
    due::ensure_patrol(catalog, now, due::LONGEST_REST)?;
    let lock = match Lock::take(catalog, due::PATROL_LOCK, now, config.sweep_expiry)? {
        Taken::Ours(lock, _) => lock,
        Taken::Others(_) => return Ok(json!({"patrol": "another is at it"})),
    };
    let done = one_page(context, whole, now);
    lock.release(catalog)?;
    let rest = done?;
    due::ensure_patrol(catalog, sweeper.clock.now(), rest)?;
    Ok(json!({"patrol": "goes on", "in_seconds": rest.as_secs()}))
}

/// Looks at one page. Gives for how long to rest then.
fn one_page(context: &Context<'_>, whole: Duration, now: UnixTime) -> Result<Duration, OperationError> {
    let (mut progress, before) = Progress::read(context)?;
    let is_over = progress.round.as_ref().is_none_or(|round| round.ended.is_some());
    if is_over {
        let next_begins =
            progress.round.as_ref().map_or(0, |round| round.began.saturating_add(whole.as_secs()));
        if next_begins > now {
            return Ok(Duration::from_secs(next_begins - now).min(due::LONGEST_REST));
        }
        progress.last = progress.round.take();
        progress.next = None;
    }
    let after = progress.next.as_deref().and_then(Cursor::parse);
    let audit = Audit { path: None, recursive: true, user: None, repair: false, after, limit: LOOKED_AT };
    let page = audit.page(context, None)?;
    let round = progress.round.get_or_insert_with(|| Round { began: now, ..Round::default() });
    note(round, &page);
    progress.next = page.next.as_ref().map(Cursor::text);
    if page.next.is_none() {
        round.ended = Some(now);
        log::info!("act=patrol looked_at={} findings={}", round.looked_at, round.codes.values().sum::<u64>());
    }
    let rest = match page.next.as_ref().map(|next| &next.phase) {
        Some(Phase::Data { after, .. }) => {
            rest_until(whole, now.saturating_sub(round.began), *after, context.catalog.last_data()?)
        }
        _ => SHORTEST_REST,
    };
    progress.write(context, &before)?;
    Ok(Duration::from_secs(rest).min(due::LONGEST_REST))
}

/// How long to rest so that the part of all ids that has been looked at is the part of the time that has passed.
fn rest_until(whole: Duration, passed: u64, reached: u64, last: u64) -> u64 {
    let is_due = u128::from(whole.as_secs()) * u128::from(reached) / u128::from(last.max(1));
    u64::try_from(is_due).unwrap_or(u64::MAX).saturating_sub(passed).max(SHORTEST_REST)
}

fn note(round: &mut Round, page: &Page) {
    round.looked_at += page.looked_at;
    for one in &page.found {
        *round.codes.entry(one.finding.code.word().to_owned()).or_default() += 1;
        log::warn!("act=patrol code={} path={:?} why={:?}", one.finding.code, one.path, one.finding.sentence);
    }
    for why in &page.blind {
        *round.codes.entry(Code::NotLookedAt.word().to_owned()).or_default() += 1;
        log::warn!("act=patrol code={} why={why:?}", Code::NotLookedAt);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_takes_its_days_and_no_look_follows_another_at_once() {
        let day = Duration::from_secs(86_400);
        assert_eq!(rest_until(day, 0, 500, 1_000), 43_200);
        assert_eq!(rest_until(day, 43_200, 500, 1_000), SHORTEST_REST, "in time");
        assert_eq!(rest_until(day, 80_000, 500, 1_000), SHORTEST_REST, "late");
        assert_eq!(rest_until(day, 0, 0, 0), SHORTEST_REST);
    }

    #[test]
    fn what_is_written_reads_back_within_the_length_of_an_avu() {
        let codes = Code::ALL.iter().map(|code| (code.word().to_owned(), u64::MAX)).collect();
        let round = Round { began: u64::MAX, ended: Some(u64::MAX), looked_at: u64::MAX, codes };
        let cursor = Cursor::at(Phase::Omero { user: Some("x".repeat(255)), after: 7 });
        let progress = Progress { next: Some(cursor.text()), round: Some(round.clone()), last: Some(round) };
        let text = serde_json::to_string(&progress).unwrap();
        assert!(text.len() <= 2_700, "{}", text.len());
        assert_eq!(serde_json::from_str::<Progress>(&text).unwrap(), progress);
    }
}
