//! Every way data arrives in an iRODS zone or leaves it: what a client does, by which PEPs we hear it, what is looked at
//! then, and the test that plays it. The table in `docs/events.md` is made of this.

use super::Pep;
use std::fmt::Write;

/// One thing that clients do.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// What a client does.
    pub does: &'static str,
    /// A command that does it.
    pub example: &'static str,
    /// The PEPs by which we hear it; none where we do not.
    pub heard: &'static [Pep],
    /// What is looked at then.
    pub looked_at: &'static str,
    /// The tests that play it, each `file::name`.
    pub tests: &'static [&'static str],
}

const COLLECTION: &str = "its collection";
const CLOSED: &str = "its collection, when it is closed";
const TREE: &str = "the collection and all below it";
const REMOVED: &str = "records of data in the trash: what waited for its import is `gone`; and where it lies in the trash: what was \
                       imported is followed";
const TAGGED: &str = "the collection and all below it, at once; for a data object its collection";

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
        does: "puts a large one in parallel, through the portal",
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
        looked_at: "each collection",
        tests: &["routes::a_recursive_put_is_imported"],
    },
    Row {
        does: "puts a directory in bulk; the server names the uppermost collection only",
        example: "`iput -b -r run`",
        heard: &[Pep::BulkPutPost],
        looked_at: TREE,
        tests: &["routes::a_bulk_put_names_the_collection_only_and_is_imported_with_all_below_it"],
    },
    Row {
        does: "puts a data object together with a tag",
        example: "`iput --metadata 'irods::omero::import;on;' a.tif`",
        heard: &[Pep::PutPost],
        looked_at: "its collection, watched or not",
        tests: &["routes::a_tag_put_along_with_data_imports_just_that_object"],
    },
    Row {
        does: "opens or creates, writes, closes",
        example: "Python client, WebDAV, NFSRODS",
        heard: &[Pep::OpenPost, Pep::CreatePost, Pep::ClosePre, Pep::ClosePost],
        looked_at: CLOSED,
        tests: &["routes::data_put_or_streamed_in_any_way_is_imported_once"],
    },
    Row {
        does: "writes one replica by one stream",
        example: "`istream write`",
        heard: &[Pep::ReplicaOpenPost, Pep::ReplicaClosePre, Pep::ReplicaClosePost],
        looked_at: CLOSED,
        tests: &["routes::data_put_or_streamed_in_any_way_is_imported_once"],
    },
    Row {
        does: "writes one replica by several streams, in one connection or several",
        example: "Python client (large file), S3 API",
        heard: &[
            Pep::OpenPost,
            Pep::ReplicaOpenPost,
            Pep::ReplicaClosePre,
            Pep::ReplicaClosePost,
            Pep::ClosePre,
            Pep::ClosePost,
        ],
        looked_at: "its collection, when the last stream is closed: a close with `\"update_status\": false` is not the last",
        tests: &[
            "routes::data_put_or_streamed_in_any_way_is_imported_once",
            "routes::only_the_close_that_finalises_ends_a_parallel_write",
        ],
    },
    Row {
        does: "dies while it writes",
        example: "",
        heard: &[],
        looked_at: "nothing; the leftover keeps its collection waiting for `max_wait_in_seconds` at most",
        tests: &["routes::a_client_that_dies_midway_imports_nothing_and_holds_up_nobody_for_ever"],
    },
    Row {
        does: "makes an empty data object",
        example: "`itouch new.tif`",
        heard: &[],
        looked_at: "nothing; what is empty is never imported, and that is no failure",
        tests: &["routes::a_touched_object_is_empty_and_never_imported"],
    },
    Row {
        does: "sets the time of a data object",
        example: "`itouch a.tif`",
        heard: &[],
        looked_at: "by the recurring `sweep_all`: imported data with another time has changed, unless its checksum is \
                    registered and the same",
        tests: &[
            "routes::a_new_time_of_imported_data_is_noticed_and_the_checksum_proves_that_nothing_changed",
        ],
    },
    Row {
        does: "copies a data object; `icp -r` one after the other",
        example: "`icp a.tif b.tif`",
        heard: &[Pep::CopyPost],
        looked_at: "the copy's collection",
        tests: &["routes::a_copy_into_a_watched_collection_is_imported"],
    },
    Row {
        does: "synchronises within iRODS; to and from a disk it is a put or a get",
        example: "`irsync i:a.tif i:b.tif`",
        heard: &[Pep::RsyncPost],
        looked_at: "the target's collection",
        tests: &["routes::a_synchronisation_within_irods_is_imported"],
    },
    Row {
        does: "moves a data object into a watched collection, or from one to another",
        example: "`imv a.tif run/a.tif`",
        heard: &[Pep::RenamePost],
        looked_at: "the collection where it is now",
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
        looked_at: "where it is now: what waited for its import is `gone`, what was imported is followed",
        tests: &[
            "routes::data_moved_out_before_its_import_is_gone_and_comes_back",
            "follow::what_leaves_the_watched_collections_is_followed_there_too",
        ],
    },
    Row {
        does: "moves imported data that is not in a watched collection",
        example: "`imv elsewhere/a.tif further/b.tif`",
        heard: &[Pep::RenamePost],
        looked_at: "where it is now: it is followed",
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
        does: "registers a directory; the server names the uppermost collection only",
        example: "`ireg -r /data/run run`",
        heard: &[Pep::PhyPathRegPost, Pep::RegisterPhysicalPathPost],
        looked_at: TREE,
        tests: &["routes::a_registered_tree_is_imported_where_it_lies"],
    },
    Row {
        does: "registers a file as a further replica",
        example: "`ireg --repl /data/a.tif a.tif`",
        heard: &[Pep::PhyPathRegPost, Pep::RegisterPhysicalPathPost],
        looked_at: "its collection: OMERO may see the data now",
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
        does: "replicates",
        example: "`irepl -R visible a.tif`",
        heard: &[Pep::ReplPost],
        looked_at: "its collection: OMERO may see the data now",
        tests: &[
            "routes::a_new_replica_where_omero_can_see_it_makes_skipped_data_imported",
            "routes::replicating_imported_data_imports_nothing_new",
        ],
    },
    Row {
        does: "moves a replica",
        example: "`iphymv -R visible a.tif`",
        heard: &[Pep::PhymvPost],
        looked_at: "its collection: OMERO may see the data now; what was imported is followed",
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
        looked_at: "its collection: where the replica that was imported is trimmed, a copy of it with the same size is the same \
                    data, and is followed",
        tests: &[
            "follow::a_replica_that_is_moved_or_copied_to_another_resource_and_trimmed_is_followed",
            "routes::replicating_imported_data_imports_nothing_new",
            "routes::imported_data_that_is_copied_to_another_resource_and_trimmed_is_the_same_data",
        ],
    },
    Row {
        does: "removes a data object, for good or into the trash, or unregisters it",
        example: "`irm -f a.tif`, `irm a.tif`, `iunreg a.tif`",
        heard: &[Pep::UnlinkPost],
        looked_at: REMOVED,
        tests: &[
            "routes::data_removed_before_its_import_leaves_nothing_pending",
            "routes::a_registered_file_and_a_registered_replica_are_imported_where_they_lie",
        ],
    },
    Row {
        does: "removes a collection, for good or into the trash",
        example: "`irm -rf run`, `irm -r run`",
        heard: &[Pep::RmCollPost],
        looked_at: REMOVED,
        tests: &["routes::data_removed_before_its_import_leaves_nothing_pending"],
    },
    Row {
        does: "takes data out of the trash again",
        example: "`imv /tempZone/trash/home/alice/a.tif run/a.tif`",
        heard: &[Pep::RenamePost],
        looked_at: "where it is now. The server gives it a new time: imported data that is back in its old collection \
                    reads as changed (`stale`), unless its checksum is registered",
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
        does: "tags by an atomic request",
        example: "Python client, `apply_atomic_operations`",
        heard: &[Pep::AtomicMetadataPost],
        looked_at: TAGGED,
        tests: &["routes::a_tag_set_by_any_operation_imports_what_is_there"],
    },
    Row {
        does: "removes a tag, or sets it to `off`",
        example: "`imeta rm -C run irods::omero::import on`",
        heard: &[Pep::ModAvuPost, Pep::StaticModAvuPost, Pep::AtomicMetadataPost],
        looked_at: "the collection and all below it: what waited for its import is `gone`; nothing is removed from OMERO",
        tests: &["routes::removing_a_tag_stops_imports_and_removes_nothing"],
    },
    Row {
        does: "sets the AVU of `complete_marker: avu:NAME` on a collection",
        example: "`imeta add -C run NAME yes`",
        heard: &[Pep::ModAvuPost, Pep::StaticModAvuPost, Pep::AtomicMetadataPost],
        looked_at: TREE,
        tests: &["routes::the_avu_that_says_that_data_is_complete_makes_its_collection_due"],
    },
    Row {
        does: "changes who an iRODS user is in OMERO, by an AVU on the user, a group or a collection",
        example: "`imeta add -u alice irods::omero::user a.smith`",
        heard: &[Pep::ModAvuPost, Pep::StaticModAvuPost, Pep::AtomicMetadataPost],
        looked_at: "all data that was skipped",
        tests: &[
            "identity::avus_on_users_and_groups_and_a_service_accounts_persons_decide_as_whom_data_is_imported",
        ],
    },
    Row {
        does: "changes permissions",
        example: "`ichmod read bob a.tif`, `ichmod -r ...`",
        heard: &[],
        looked_at: "nothing: whose the images are in OMERO does not depend on it",
        tests: &["routes::permissions_are_no_event"],
    },
    Row {
        does: "lets a microservice, a policy or another plugin write, copy or register data",
        example: "`msiDataObjCopy`",
        heard: &[],
        looked_at: "by the recurring `sweep_all`: collections in which data without a record has been made or changed",
        tests: &[
            "routes::data_a_microservice_brings_is_found_by_the_recurring_sweep",
            "routes::data_a_microservice_brings_into_a_tagged_collection_is_found_too",
            "routes::once_installed_the_recurring_sweep_finds_it_by_itself",
        ],
    },
    Row {
        does: "lets one of these tag a collection or a data object; an atomic request of theirs is not heard",
        example: "`msiModAVUMetadata`",
        heard: &[Pep::StaticModAvuPost],
        looked_at: TAGGED,
        tests: &["routes::a_tag_that_a_microservice_sets_imports_what_is_there"],
    },
    Row {
        does: "lets one of these move or remove data before its import",
        example: "`msiDataObjRename`",
        heard: &[],
        looked_at: "by the recurring `sweep_all`: records that wait where no mark is",
        tests: &["routes::what_a_microservice_moves_out_before_its_import_is_gone"],
    },
    Row {
        does: "does any of this at a catalog consumer, which forwards it",
        example: "`iput`, `imv`, `imeta`, `irm`",
        heard: &[Pep::PutPost, Pep::RenamePost, Pep::ModAvuPost, Pep::UnlinkPost],
        looked_at: "as above, once: both servers hear it, and the mark is the same",
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
    let mut text = String::from("| a client ... | for example | heard by | looked at |\n|---|---|---|---|\n");
    for row in MATRIX {
        let heard = if row.heard.is_empty() { "not heard".to_owned() } else { names(row.heard) };
        let _ = writeln!(text, "| {} | {} | {heard} | {} |", row.does, row.example, row.looked_at);
    }
    let guards: Vec<Pep> = Pep::ALL.iter().map(|(pep, _)| *pep).filter(|pep| pep.is_guarded()).collect();
    let _ = write!(
        text,
        "\nHeard by the guard only, which refuses our reserved attributes before they are written: {}.\n",
        names(&guards)
    );
    let of_data: Vec<Pep> =
        Pep::ALL.iter().map(|(pep, _)| *pep).filter(|pep| pep.is_of_data_guard()).collect();
    let _ = write!(
        text,
        "\nHeard by the guard of imported data, as far as it has an answer to such an act: {}, and of those above the ones \
         that write over data.\n",
        names(&of_data)
    );
    text
}

fn names(peps: &[Pep]) -> String {
    let name = |pep: &Pep| Pep::ALL.iter().find(|(p, _)| p == pep).map(|(_, name)| format!("`{name}`"));
    peps.iter().filter_map(name).collect::<Vec<_>>().join(", ")
}
