//! Is this collection watched, and how? By the patterns of the configuration and by tags on the collection or above
//! it: the nearest wins, and a tag on the very collection a pattern names wins over the pattern.

mod memory;

pub use memory::Memory;

use crate::catalog::{Catalog, CatalogError};
use irods_omero_config::Config;
use irods_omero_model::names::LogicalPath;
use irods_omero_model::watch::{RawTag, Verdict, Watching, is_trash, judge, shown};

/// Whether a collection is watched, asked of the catalog: one query for the tags of the collection and of all above
/// it. Collections in the trash are not watched.
///
/// # Errors
/// The catalog failed.
pub fn watching(
    config: &Config,
    catalog: &dyn Catalog,
    collection: &LogicalPath,
) -> Result<Watching, CatalogError> {
    if is_trash(collection.as_bytes()) {
        return Ok(Watching::No);
    }
    if !config.tags {
        return Ok(config.watching(collection));
    }
    let tags = tags_on_or_above(config, catalog, collection)?;
    Ok(judged(config, &tags, collection).watching)
}

fn judged(config: &Config, tags: &[RawTag], collection: &LogicalPath) -> Verdict {
    judge(&config.defaults, config.watch_of(collection.as_bytes()), tags, collection)
}

/// Whether a collection is watched, and how that comes about, in sentences.
///
/// # Errors
/// The catalog failed.
pub fn explain(
    config: &Config,
    catalog: &dyn Catalog,
    collection: &LogicalPath,
) -> Result<(Watching, Vec<String>), CatalogError> {
    let mut steps = Vec::new();
    if is_trash(collection.as_bytes()) {
        steps.push(format!("{collection} is in the trash: nothing there is imported"));
        return Ok((Watching::No, steps));
    }
    let configured = config.watch_of(collection.as_bytes());
    steps.push(match configured {
        Some((watch, _)) => format!("the pattern '{}' of the configuration fits", watch.pattern.as_str()),
        None => "no pattern of the configuration fits".to_owned(),
    });
    let mut tags = Vec::new();
    if config.tags {
        tags = tags_on_or_above(config, catalog, collection)?;
        tags.sort_by_key(|tag| std::cmp::Reverse(tag.collection.elements().count()));
        for RawTag { collection, value, units } in &tags {
            let tag = shown(format!("{value} {units}").trim());
            steps.push(format!("{collection} is tagged '{tag}'"));
        }
        if tags.is_empty() {
            steps.push("no collection here or above is tagged".to_owned());
        }
    } else {
        steps.push("tags are not followed: the configuration says so, or lacks what imports need".to_owned());
    }
    let Verdict { watching, left_out } = judged(config, &tags, collection);
    steps.extend(left_out.map(|left_out| left_out.to_string()));
    steps.push(match &watching {
        Watching::No => format!("{collection} is not watched"),
        Watching::Unclear(why) => format!("nothing in {collection} is imported: {why}"),
        Watching::Yes { rules, root } => {
            let elements: Vec<_> = collection.elements().take(*root).map(String::from_utf8_lossy).collect();
            let quiet = rules.quiet_period.as_secs();
            let target = rules.target.as_str();
            format!("watched is /{}: quiet period {quiet} s, target '{target}'", elements.join("/"))
        }
    });
    Ok((watching, steps))
}

fn tags_on_or_above(
    config: &Config,
    catalog: &dyn Catalog,
    collection: &LogicalPath,
) -> Result<Vec<RawTag>, CatalogError> {
    let above: Vec<LogicalPath> =
        std::iter::successors(Some(collection.clone()), LogicalPath::parent).collect();
    catalog.import_tags(&above, &config.attributes.import)
}

/// Whether data somewhere below a collection may be watched. Asked for what names a whole tree.
///
/// # Errors
/// The catalog failed.
pub fn reaches(
    config: &Config,
    catalog: &dyn Catalog,
    collection: &LogicalPath,
) -> Result<bool, CatalogError> {
    if is_trash(collection.as_bytes()) {
        return Ok(false);
    }
    if config.watches.iter().any(|w| w.pattern.may_lie_below(collection.as_bytes())) {
        return Ok(true);
    }
    Ok(config.tags && catalog.is_tagged_below(collection, &config.attributes.import)?)
}
