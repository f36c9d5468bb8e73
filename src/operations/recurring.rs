//! `install_recurring` and `remove_recurring`: whether the look for marks without a sweep goes on for ever.
//!
//! That it does is an AVU on the zone's collection, in the catalog and not in a configuration, because every server of
//! the zone has to know it, and because it survives the jobs: an installed chain that was broken is mended by the next
//! event, or by installing it again.

use super::{Context, OperationError, Request};
use crate::due;
use serde_json::{Value, json};

/// Installs the chain: a `sweep_all` waits in the queue and another in reserve, and each queues its successors.
pub fn install(context: &Context<'_>, request: &Request) -> Result<Value, OperationError> {
    context.administrators_only("install the recurring sweep_all")?;
    if !context.on_provider {
        context.leave_to_provider(request)?;
        return Ok(json!({"queued": true}));
    }
    let Context { config, catalog, sweeper, .. } = *context;
    let zone = catalog.zone()?;
    let new = !due::is_recurring(catalog, &config.attributes)?
        && catalog.set_mark(&zone, &config.attributes.recurring, due::RECURRING)?;
    due::ensure_sweep_all(catalog, &catalog.jobs()?, sweeper.clock.now(), config.sweep_all_interval)?;
    context.ensure_save()?;
    Ok(json!({
        "installed": true,
        "changed": new,
        "interval_in_seconds": config.sweep_all_interval.as_secs(),
        "collection": zone.display(),
    }))
}

/// Ends the chain: those that wait are the last, unless something is marked.
pub fn remove(context: &Context<'_>, request: &Request) -> Result<Value, OperationError> {
    context.administrators_only("remove the recurring sweep_all")?;
    if !context.on_provider {
        context.leave_to_provider(request)?;
        return Ok(json!({"queued": true}));
    }
    let Context { config, catalog, .. } = *context;
    let attribute = config.attributes.recurring.as_str();
    let bearers = catalog.marked(&[attribute])?;
    for id in &bearers {
        if let Some(path) = catalog.collection_path(*id)? {
            for mark in catalog.marks(*id, attribute)? {
                catalog.remove_mark(&path, attribute, &mark)?;
            }
        }
    }
    Ok(json!({"installed": false, "changed": !bearers.is_empty()}))
}
