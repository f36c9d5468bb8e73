//! The doctor's repairs. Each is a line in the log before it is done, and can be done again.

use super::{About, Found, Outcome};
use crate::catalog::CatalogError;
use crate::guard::imported::look_text;
use crate::operations::Context;
use crate::sweep::Pointed;
use irods_omero_importer::Importing;
use irods_omero_model::doctor::Repair;
use irods_omero_model::names::{CollectionId, DataId, LogicalPath};
use irods_omero_model::record::Print;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Mends what can be mended, and notes what became of each.
///
/// # Errors
/// The catalog failed. What was done before is done; the rest is found again.
pub(super) fn all(context: &Context<'_>, found: &mut [Found]) -> Result<(), CatalogError> {
    let mut sweeps: BTreeMap<CollectionId, LogicalPath> = BTreeMap::new();
    let mut looks: BTreeSet<(CollectionId, Option<DataId>)> = BTreeSet::new();
    let mut links: BTreeMap<(CollectionId, LogicalPath), BTreeMap<DataId, Print>> = BTreeMap::new();
    for one in found.iter() {
        let (Some(repair), About::Data { collection, collection_path, data }) =
            (one.finding.repair, &one.about)
        else {
            continue;
        };
        log::info!(
            "act=audit repair={} code={} path={} why=\"{}\"",
            repair.word(),
            one.finding.code,
            one.path,
            repair.sentence()
        );
        match (repair, data) {
            (Repair::Sweep, _) | (Repair::Point { .. }, None) => {
                sweeps.insert(*collection, collection_path.clone());
            }
            (Repair::Look, data) => {
                looks.insert((*collection, *data));
            }
            (Repair::Point { from }, Some(data)) => {
                let of = links.entry((*collection, collection_path.clone())).or_default();
                of.entry(*data).or_insert(from);
            }
        }
    }
    // First of all what is waited for.
    let mut pointed: BTreeMap<DataId, Pointed> = BTreeMap::new();
    for ((id, path), links) in &links {
        pointed.extend(context.sweeper.point(*id, path, links)?);
    }
    for path in sweeps.values() {
        context.sweeper.sweep_again(path)?;
    }
    let can_look = matches!(context.sweeper.importing, Some(Importing::Here(_)));
    if can_look {
        ask_omero(context, &looks)?;
    }
    for one in found {
        let (Some(repair), About::Data { data, .. }) = (one.finding.repair, &one.about) else { continue };
        one.outcome = Some(match (repair, data.and_then(|data| pointed.get(&data))) {
            (Repair::Point { .. }, Some(Pointed::Done)) => Outcome::Done,
            (Repair::Point { .. }, Some(Pointed::Left(why))) => Outcome::Failed(why.clone()),
            (Repair::Look, _) if !can_look => Outcome::Failed("OMERO cannot be asked from here".to_owned()),
            (Repair::Sweep | Repair::Look | Repair::Point { .. }, _) => Outcome::Asked,
        });
    }
    Ok(())
}

/// Has a job ask OMERO; of a collection with several such data objects about all of it.
fn ask_omero(
    context: &Context<'_>,
    looks: &BTreeSet<(CollectionId, Option<DataId>)>,
) -> Result<(), CatalogError> {
    let mut by_collection: BTreeMap<CollectionId, BTreeSet<Option<DataId>>> = BTreeMap::new();
    for (collection, data) in looks {
        by_collection.entry(*collection).or_default().insert(*data);
    }
    if by_collection.is_empty() {
        return Ok(());
    }
    let (now, jobs) = (context.sweeper.clock.now(), context.catalog.jobs()?);
    let waiting: BTreeSet<&str> =
        jobs.living(now, context.config.sweep_expiry).map(|job| job.text.as_str()).collect();
    for (collection, data) in by_collection {
        let one = if data.len() == 1 { data.into_iter().next().flatten() } else { None };
        let text = look_text(collection, one, false);
        if !waiting.contains(text.as_str()) {
            context.catalog.queue(&text, Duration::from_secs(1))?;
        }
    }
    Ok(())
}
