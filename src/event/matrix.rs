//! Every way data arrives in an iRODS zone or leaves it: what a client does, the PEPs that tell the plugin, what the
//! sweep then looks at, and the tests that show it. The table in `docs/events.md` is made from this.

use super::Pep;
use std::fmt::Write;

/// One thing that clients do.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// What a client does.
    pub does: &'static str,
    /// A command that does it.
    pub example: &'static str,
    /// The PEPs that tell the plugin of it; empty if there is none.
    pub heard: &'static [Pep],
    /// What the sweep looks at as a result.
    pub looked_at: &'static str,
    /// The tests that show it, each `file::name`.
    pub tests: &'static [&'static str],
}

const COLLECTION: &str = "the collection of the data object";
const CLOSED: &str = "the collection of the data object, once the data object is closed";
const TREE: &str = "the collection and everything below it";
const REMOVED: &str = "the records of the data that is now in the trash: records that waited for an import become `gone`; imported \
                       data is followed to its place in the trash";
const TAGGED: &str =
    "for a collection: the collection and everything below it, at once; for a data object: its collection";

/// All of them.
pub const MATRIX: &[Row] = &[
    Row {
        does: "puts a data object",
        example: "`iput a.tif`",
        heard: &[Pep::PutPost],
        looked_at: COLLECTION,
        tests: &["routes::data_put_or_streamed_in_any_way_is_imported_once"],
    },
    Row {
        does: "puts a large data object in parallel, through the portal",
        example: "`iput large.tif`",
        heard: &[Pep::PutPost],
        looked_at: COLLECTION,
        tests: &["routes::data_put_or_streamed_in_any_way_is_imported_once"],
    },
    Row {
        does: "overwrites a data object",
        example: "`iput -f a.tif`",
        heard: &[Pep::PutPost],
        looked_at: COLLECTION,
        tests: &[
            "routes::an_overwrite_of_imported_data_is_reported_stale",
            "sets::under_reimport_an_overwrite_makes_new_images_beside_the_old",
        ],
    },
    Row {
        does: "puts a directory, file by file",
        example: "`iput -r run`",
        heard: &[Pep::PutPost],
        looked_at: "each collection that receives a file",
        tests: &["routes::a_recursive_put_is_imported"],
    },
    Row {
        does: "puts a directory in bulk; the event names only the topmost collection",
        example: "`iput -b -r run`",
        heard: &[Pep::BulkPutPost],
        looked_at: TREE,
        tests: &["routes::a_bulk_put_names_the_collection_only_and_is_imported_with_all_below_it"],
    },
    Row {
        does: "puts a data object together with a tag",
        example: "`iput --metadata 'irods::omero::import;on;' a.tif`",
        heard: &[Pep::PutPost],
        looked_at: "the collection of the data object, even if it is not watched",
        tests: &["routes::a_tag_put_along_with_data_imports_just_that_object"],
    },
    Row {
        does: "opens or creates a data object, writes to it and closes it",
        example: "Python client, WebDAV, NFSRODS",
        heard: &[Pep::OpenPost, Pep::CreatePost, Pep::ClosePre, Pep::ClosePost],
        looked_at: CLOSED,
        tests: &["routes::data_put_or_streamed_in_any_way_is_imported_once"],
    },
    Row {
        does: "writes one replica through one stream",
        example: "`istream write`",
        heard: &[Pep::ReplicaOpenPost, Pep::ReplicaClosePre, Pep::ReplicaClosePost],
        looked_at: CLOSED,
        tests: &["routes::data_put_or_streamed_in_any_way_is_imported_once"],
    },
    Row {
        does: "writes one replica through several streams, in one or several connections",
        example: "Python client (large file), S3 API",
        heard: &[
            Pep::OpenPost,
            Pep::ReplicaOpenPost,
            Pep::ReplicaClosePre,
            Pep::ReplicaClosePost,
            Pep::ClosePre,
            Pep::ClosePost,
        ],
        looked_at: "the collection of the data object, once the last stream is closed; a close with `\"update_status\": false` is not the last",
        tests: &[
            "routes::data_put_or_streamed_in_any_way_is_imported_once",
            "routes::only_the_close_that_finalises_ends_a_parallel_write",
        ],
    },
    Row {
        does: "dies while it is writing",
        example: "",
        heard: &[],
        looked_at: "nothing; the incomplete replica delays its collection for `max_wait_in_seconds` at most",
        tests: &["routes::a_client_that_dies_midway_imports_nothing_and_holds_up_nobody_for_ever"],
    },
    Row {
        does: "makes an empty data object",
        example: "`itouch new.tif`",
        heard: &[],
        looked_at: "nothing; an empty data object is never imported, and this is not a failure",
        tests: &["routes::a_touched_object_is_empty_and_never_imported"],
    },
    Row {
        does: "sets the modify time of a data object",
        example: "`itouch a.tif`",
        heard: &[],
        looked_at: "found by the recurring `sweep_all`: imported data with a new modify time counts as changed, unless its \
                    registered checksum is unchanged",
        tests: &[
            "routes::a_new_time_of_imported_data_is_noticed_and_the_checksum_proves_that_nothing_changed",
        ],
    },
    Row {
        does: "copies a data object; `icp -r` copies them one after the other",
        example: "`icp a.tif b.tif`",
        heard: &[Pep::CopyPost],
        looked_at: "the collection of the copy",
        tests: &["routes::a_copy_into_a_watched_collection_is_imported"],
    },
    Row {
        does: "synchronises within iRODS; between iRODS and a disk, `irsync` is a put or a get",
        example: "`irsync i:a.tif i:b.tif`",
        heard: &[Pep::RsyncPost],
        looked_at: "the collection of the target",
        tests: &["routes::a_synchronisation_within_irods_is_imported"],
    },
    Row {
        does: "moves a data object into a watched collection, or from one to another",
        example: "`imv a.tif run/a.tif`",
        heard: &[Pep::RenamePost],
        looked_at: "the collection that the data object is in now",
        tests: &[
            "routes::an_object_moved_into_a_watched_collection_is_imported",
            "routes::data_moved_within_watched_collections_is_imported_once",
            "routes::imported_data_that_is_moved_or_taken_out_of_the_trash_is_the_same_data",
            "follow::a_renamed_data_object_is_seen_under_its_new_name_and_nothing_is_imported_anew",
        ],
    },
    Row {
        does: "moves a collection into a watched one, or from one to another",
        example: "`imv run scope/run`",
        heard: &[Pep::RenamePost],
        looked_at: TREE,
        tests: &[
            "routes::a_collection_moved_into_a_watched_one_is_imported_with_all_below_it",
            "routes::data_moved_within_watched_collections_is_imported_once",
            "follow::a_renamed_collection_has_all_below_it_followed",
        ],
    },
    Row {
        does: "moves a data object or a collection out of a watched one",
        example: "`imv run/a.tif elsewhere`",
        heard: &[Pep::RenamePost],
        looked_at: "the new place: records that waited for an import become `gone`; imported data is followed to the new place",
        tests: &[
            "routes::data_moved_out_before_its_import_is_gone_and_comes_back",
            "follow::what_leaves_the_watched_collections_is_followed_there_too",
        ],
    },
    Row {
        does: "moves imported data that is not in a watched collection",
        example: "`imv elsewhere/a.tif further/b.tif`",
        heard: &[Pep::RenamePost],
        looked_at: "the new place: the data is followed there",
        tests: &["follow::what_leaves_the_watched_collections_is_followed_there_too"],
    },
    Row {
        does: "registers a file",
        example: "`ireg /data/a.tif a.tif`",
        heard: &[Pep::PhyPathRegPost, Pep::RegisterPhysicalPathPost],
        looked_at: COLLECTION,
        tests: &["routes::a_registered_file_and_a_registered_replica_are_imported_where_they_lie"],
    },
    Row {
        does: "registers a directory; the event names only the topmost collection",
        example: "`ireg -r /data/run run`",
        heard: &[Pep::PhyPathRegPost, Pep::RegisterPhysicalPathPost],
        looked_at: TREE,
        tests: &["routes::a_registered_tree_is_imported_where_it_lies"],
    },
    Row {
        does: "registers a file as a further replica",
        example: "`ireg --repl /data/a.tif a.tif`",
        heard: &[Pep::PhyPathRegPost, Pep::RegisterPhysicalPathPost],
        looked_at: "the collection of the data object: OMERO may be able to see the data now",
        tests: &["routes::a_registered_file_and_a_registered_replica_are_imported_where_they_lie"],
    },
    Row {
        does: "extracts an archive",
        example: "`ibun -x run.tar run`",
        heard: &[Pep::StructFilePost],
        looked_at: TREE,
        tests: &["routes::an_extracted_tar_is_imported"],
    },
    Row {
        does: "replicates a data object",
        example: "`irepl -R visible a.tif`",
        heard: &[Pep::ReplPost],
        looked_at: "the collection of the data object: OMERO may be able to see the data now",
        tests: &[
            "routes::a_new_replica_where_omero_can_see_it_makes_skipped_data_imported",
            "routes::replicating_imported_data_imports_nothing_new",
        ],
    },
    Row {
        does: "moves a replica",
        example: "`iphymv -R visible a.tif`",
        heard: &[Pep::PhymvPost],
        looked_at: "the collection of the data object: OMERO may be able to see the data now; imported data is followed to its new place",
        tests: &[
            "routes::a_replica_moved_to_where_omero_sees_it_is_imported_once",
            "follow::a_replica_that_is_moved_or_copied_to_another_resource_and_trimmed_is_followed",
            "follow::what_is_moved_out_of_omeros_sight_says_so_and_is_followed_when_it_is_back",
        ],
    },
    Row {
        does: "trims a replica",
        example: "`itrim a.tif`",
        heard: &[Pep::TrimPost],
        looked_at: "the collection of the data object: if the imported replica was trimmed, another replica of the same size counts as \
                    the same data, and is followed",
        tests: &[
            "follow::a_replica_that_is_moved_or_copied_to_another_resource_and_trimmed_is_followed",
            "routes::replicating_imported_data_imports_nothing_new",
            "routes::imported_data_that_is_copied_to_another_resource_and_trimmed_is_the_same_data",
        ],
    },
    Row {
        does: "removes a data object (for good, or into the trash) or unregisters it",
        example: "`irm -f a.tif`, `irm a.tif`, `iunreg a.tif`",
        heard: &[Pep::UnlinkPost],
        looked_at: REMOVED,
        tests: &[
            "routes::data_removed_before_its_import_leaves_nothing_pending",
            "routes::a_registered_file_and_a_registered_replica_are_imported_where_they_lie",
        ],
    },
    Row {
        does: "removes a collection (for good, or into the trash)",
        example: "`irm -rf run`, `irm -r run`",
        heard: &[Pep::RmCollPost],
        looked_at: REMOVED,
        tests: &["routes::data_removed_before_its_import_leaves_nothing_pending"],
    },
    Row {
        does: "moves data out of the trash again",
        example: "`imv /tempZone/trash/home/alice/a.tif run/a.tif`",
        heard: &[Pep::RenamePost],
        looked_at: "the new place. The server sets a new modify time: imported data that is back in its old collection counts as \
                    changed (`stale`), unless its checksum is registered",
        tests: &[
            "routes::data_removed_before_its_import_leaves_nothing_pending",
            "routes::imported_data_that_is_moved_or_taken_out_of_the_trash_is_the_same_data",
        ],
    },
    Row {
        does: "empties the trash",
        example: "`irmtrash`",
        heard: &[Pep::UnlinkPost, Pep::RmCollPost],
        looked_at: "nothing: the trash is not watched",
        tests: &["routes::data_removed_before_its_import_leaves_nothing_pending"],
    },
    Row {
        does: "tags a collection or a data object",
        example: "`imeta add -C run irods::omero::import on`, `set`, `mod`, `cp`",
        heard: &[Pep::ModAvuPost, Pep::StaticModAvuPost],
        looked_at: TAGGED,
        tests: &[
            "routes::a_tag_set_by_any_operation_imports_what_is_there",
            "routes::a_tag_on_one_object_imports_just_that_one",
            "routes::of_two_tags_the_nearest_wins_and_off_ends_inheritance",
        ],
    },
    Row {
        does: "tags by an atomic metadata request",
        example: "Python client, `apply_atomic_operations`",
        heard: &[Pep::AtomicMetadataPost],
        looked_at: TAGGED,
        tests: &["routes::a_tag_set_by_any_operation_imports_what_is_there"],
    },
    Row {
        does: "removes a tag, or sets it to `off`",
        example: "`imeta rm -C run irods::omero::import on`",
        heard: &[Pep::ModAvuPost, Pep::StaticModAvuPost, Pep::AtomicMetadataPost],
        looked_at: "the collection and everything below it: records that waited for an import become `gone`; nothing is removed from OMERO",
        tests: &["routes::removing_a_tag_stops_imports_and_removes_nothing"],
    },
    Row {
        does: "sets the AVU that `complete_marker` names (`avu:NAME`) on a collection",
        example: "`imeta add -C run NAME yes`",
        heard: &[Pep::ModAvuPost, Pep::StaticModAvuPost, Pep::AtomicMetadataPost],
        looked_at: TREE,
        tests: &["routes::the_avu_that_says_that_data_is_complete_makes_its_collection_due"],
    },
    Row {
        does: "changes the mapping of an iRODS user to OMERO, by an AVU on the user, a group or a collection",
        example: "`imeta add -u alice irods::omero::user a.smith`",
        heard: &[Pep::ModAvuPost, Pep::StaticModAvuPost, Pep::AtomicMetadataPost],
        looked_at: "all data that is `skipped`",
        tests: &[
            "identity::avus_on_users_and_groups_and_a_service_accounts_persons_decide_as_whom_data_is_imported",
        ],
    },
    Row {
        does: "changes permissions",
        example: "`ichmod read bob a.tif`, `ichmod -r ...`",
        heard: &[],
        looked_at: "nothing: the owner of the images in OMERO does not depend on permissions",
        tests: &["routes::permissions_are_no_event"],
    },
    Row {
        does: "without a client: a microservice, a policy or another plugin writes, copies or registers data",
        example: "`msiDataObjCopy`",
        heard: &[],
        looked_at: "found by the recurring `sweep_all`: collections in which data was created or changed that has no record of its current version",
        tests: &[
            "routes::data_a_microservice_brings_is_found_by_the_recurring_sweep",
            "routes::data_a_microservice_brings_into_a_tagged_collection_is_found_too",
            "routes::once_installed_the_recurring_sweep_finds_it_by_itself",
        ],
    },
    Row {
        does: "without a client: a microservice, a policy or another plugin tags a collection or a data object; an atomic metadata request by one of these triggers no PEP",
        example: "`msiModAVUMetadata`",
        heard: &[Pep::StaticModAvuPost],
        looked_at: TAGGED,
        tests: &["routes::a_tag_that_a_microservice_sets_imports_what_is_there"],
    },
    Row {
        does: "without a client: a microservice, a policy or another plugin moves or removes data before its import",
        example: "`msiDataObjRename`",
        heard: &[],
        looked_at: "found by the recurring `sweep_all`: records that wait in a collection without a due mark",
        tests: &["routes::what_a_microservice_moves_out_before_its_import_is_gone"],
    },
    Row {
        does: "does any of this on a catalog consumer, which forwards the request",
        example: "`iput`, `imv`, `imeta`, `irm`",
        heard: &[Pep::PutPost, Pep::RenamePost, Pep::ModAvuPost, Pep::UnlinkPost],
        looked_at: "the same, only once: both servers receive the event, but they set the same due mark",
        tests: &[
            "routes::data_put_through_a_consumer_is_imported_once",
            "routes::renames_and_copies_through_a_consumer_have_one_effect",
            "routes::tags_set_and_removed_through_a_consumer_have_one_effect",
            "routes::a_tag_put_along_with_data_through_a_consumer_is_followed",
            "routes::data_removed_through_a_consumer_leaves_nothing_pending",
        ],
    },
];

/// The table of `docs/events.md`, in Markdown: the rows, and what only the guard hears.
pub fn table() -> String {
    let mut text = String::from(
        "| what a client does | example | PEPs that tell the plugin | what the sweep looks at |\n|---|---|---|---|\n",
    );
    for row in MATRIX {
        let heard = if row.heard.is_empty() { "none".to_owned() } else { names(row.heard) };
        let _ = writeln!(text, "| {} | {} | {heard} | {} |", row.does, row.example, row.looked_at);
    }
    let guards: Vec<Pep> = Pep::ALL.iter().map(|(pep, _)| *pep).filter(|pep| pep.is_guarded()).collect();
    let _ = write!(
        text,
        "\nOnly the guard listens to these; it refuses writes to our reserved attributes before they happen: {}.\n",
        names(&guards)
    );
    let of_data: Vec<Pep> =
        Pep::ALL.iter().map(|(pep, _)| *pep).filter(|pep| pep.is_of_data_guard()).collect();
    let _ = write!(
        text,
        "\nThe guard of imported data listens to these, as far as the site has configured an answer to the act: {}, and to those \
         above that overwrite data.\n",
        names(&of_data)
    );
    text
}

fn names(peps: &[Pep]) -> String {
    let name = |pep: &Pep| Pep::ALL.iter().find(|(p, _)| p == pep).map(|(_, name)| format!("`{name}`"));
    peps.iter().filter_map(name).collect::<Vec<_>>().join(", ")
}
