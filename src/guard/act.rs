//! From an operation's arguments to what a client is about to do to data: an act and what it is done to.
//!
//! Which keywords and flags mean what is read in the source of 5.0.2 (`rsDataObjUnlink.cpp`, `rsRmColl.cpp`,
//! `rsDataObjTrim.cpp` and others in `server/api/src`).

use crate::event::{Pep, writes};
use irods_omero_model::guard::Act;
use irods_omero_model::watch::is_trash;

/// `UNREG_OPR`: only the catalog is to forget it.
const UNREGISTER: i32 = 26;

/// How many replicas `rcDataObjTrim` leaves without another word (`DEF_MIN_COPY_CNT`).
const KEPT: usize = 2;

/// The arguments of an operation, as far as the guard asks for them. Borrowed from the server for one call.
pub struct Input<'a> {
    /// The path of what it is about; of a copy or a rename the source.
    pub path: &'a [u8],
    /// Where it goes: the target of a copy or a rename, the collection of an extraction.
    pub other: &'a [u8],
    /// `openFlags`
    pub open_flags: i32,
    /// `oprType`
    pub operation: i32,
    /// The value of a keyword in its conditions; of a copy in those of the target.
    pub word: Box<dyn Fn(&'static str) -> Option<&'a [u8]> + 'a>,
}

/// What something is done to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target<'a> {
    /// A data object.
    Object(&'a [u8]),
    /// A collection and all below it.
    Tree(&'a [u8]),
    /// Either: the server does not say.
    Either(&'a [u8]),
}

/// Which replicas go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Going {
    /// As many as leave this number, on a root resource or anywhere.
    DownTo {
        /// How many stay at least.
        kept: usize,
        /// The root resource they are on, if only those may go.
        resource: Option<String>,
    },
    /// The one of this number.
    Number(u32),
    /// One that goes to a root resource: that of a number, one on a root resource, or any.
    To {
        /// Its number, if that is said.
        number: Option<u32>,
        /// The root resource it leaves, if that is said.
        from: Option<String>,
        /// Where it goes.
        resource: String,
    },
}

/// What a client is about to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt<'a> {
    /// What.
    pub act: Act,
    /// To what.
    pub target: Target<'a>,
    /// Which replicas go, where not all do.
    pub going: Option<Going>,
}

impl<'a> Attempt<'a> {
    fn new(act: Act, target: Target<'a>) -> Self {
        Self { act, target, going: None }
    }
}

/// The acts that an operation may be, of which its PEP tells.
pub fn acts_of(pep: Pep) -> &'static [Act] {
    match pep {
        Pep::UnlinkPre => &[Act::Remove, Act::Trash, Act::Trim],
        Pep::RmCollPre => &[Act::Remove, Act::Trash],
        Pep::RenamePre => &[Act::Rename],
        Pep::TrimPre | Pep::PhymvPre => &[Act::Trim],
        Pep::ReplicaTruncatePre | Pep::TruncatePre => &[Act::Truncate],
        Pep::PutPre
        | Pep::OpenPre
        | Pep::CreatePre
        | Pep::OpenAndStatPre
        | Pep::CreateAndStatPre
        | Pep::ReplicaOpenPre
        | Pep::CopyPre
        | Pep::RsyncPre
        | Pep::StructFilePre => &[Act::Overwrite],
        Pep::PutPost
        | Pep::OpenPost
        | Pep::CreatePost
        | Pep::ReplicaOpenPost
        | Pep::ClosePre
        | Pep::ClosePost
        | Pep::ReplicaClosePre
        | Pep::ReplicaClosePost
        | Pep::PhyPathRegPost
        | Pep::RegisterPhysicalPathPost
        | Pep::CopyPost
        | Pep::RenamePost
        | Pep::BulkPutPost
        | Pep::StructFilePost
        | Pep::ReplPost
        | Pep::PhymvPost
        | Pep::TrimPost
        | Pep::RsyncPost
        | Pep::UnlinkPost
        | Pep::RmCollPost
        | Pep::ModAvuPre
        | Pep::AtomicMetadataPre
        | Pep::GetPre
        | Pep::ReplPre
        | Pep::BundlePre
        | Pep::StaticModAvuPre
        | Pep::ModAvuPost
        | Pep::StaticModAvuPost
        | Pep::AtomicMetadataPost => &[],
    }
}

/// What is about to be done; `None` for what changes nothing that is there.
pub fn attempt<'a>(pep: Pep, input: &Input<'a>) -> Option<Attempt<'a>> {
    let Input { path, other, open_flags, .. } = *input;
    let has = |key| (input.word)(key).is_some();
    let object = |act, path| Some(Attempt::new(act, Target::Object(path)));
    match pep {
        Pep::UnlinkPre => unlink(input),
        Pep::RmCollPre => remove_collection(input),
        Pep::RenamePre => Some(Attempt::new(Act::Rename, Target::Either(path))),
        Pep::TrimPre => trim(input),
        Pep::PhymvPre => Some(move_replica(input)),
        Pep::ReplicaTruncatePre | Pep::TruncatePre => object(Act::Truncate, path),
        // Without the word the server refuses to write over what is there.
        Pep::PutPre if has("forceFlag") => object(Act::Overwrite, path),
        Pep::CopyPre if has("forceFlag") => object(Act::Overwrite, other),
        Pep::StructFilePre if has("forceFlag") => Some(Attempt::new(Act::Overwrite, Target::Tree(other))),
        Pep::OpenPre | Pep::OpenAndStatPre | Pep::ReplicaOpenPre if writes(open_flags) => {
            object(Act::Overwrite, path)
        }
        Pep::CreatePre | Pep::CreateAndStatPre => object(Act::Overwrite, path),
        Pep::RsyncPre => object(Act::Overwrite, (input.word)("rsyncDestPath")?),
        _ => None,
    }
}

fn unlink<'a>(input: &Input<'a>) -> Option<Attempt<'a>> {
    let target = Target::Object(input.path);
    let unregisters = input.operation == UNREGISTER;
    // `iunreg -n`: one replica of several.
    if unregisters && let Some(number) = number_of(input) {
        return Some(Attempt { going: Some(Going::Number(number)), ..Attempt::new(Act::Trim, target) });
    }
    Some(Attempt::new(removal(input, unregisters)?, target))
}

fn remove_collection<'a>(input: &Input<'a>) -> Option<Attempt<'a>> {
    let has = |key| (input.word)(key).is_some();
    // An empty one: the server removes no other.
    if !has("recursiveOpr") {
        return None;
    }
    let unregisters = input.operation == UNREGISTER || has("unregColl") || has("unreg");
    Some(Attempt::new(removal(input, unregisters)?, Target::Tree(input.path)))
}

/// Whether something goes for good or into the trash.
fn removal(input: &Input<'_>, unregisters: bool) -> Option<Act> {
    let has = |key| (input.word)(key).is_some();
    let (empties_trash, in_trash) = (has("irodsRmTrash") || has("irodsAdminRmTrash"), is_trash(input.path));
    if empties_trash && !in_trash {
        return None; // the server refuses it
    }
    let for_good = unregisters || has("forceFlag") || in_trash;
    Some(if for_good { Act::Remove } else { Act::Trash })
}

fn trim<'a>(input: &Input<'a>) -> Option<Attempt<'a>> {
    if (input.word)("dryrun").is_some() {
        return None;
    }
    let kept = text_of(input, "copies").and_then(|n| n.trim().parse().ok()).unwrap_or(KEPT);
    let going = match number_of(input) {
        Some(number) => Going::Number(number),
        None => Going::DownTo { kept, resource: text_of(input, "rescName") },
    };
    Some(Attempt { going: Some(going), ..Attempt::new(Act::Trim, Target::Object(input.path)) })
}

fn move_replica<'a>(input: &Input<'a>) -> Attempt<'a> {
    let going = Going::To {
        number: number_of(input),
        from: text_of(input, "rescName"),
        resource: text_of(input, "destRescName").unwrap_or_default(),
    };
    Attempt { going: Some(going), ..Attempt::new(Act::Trim, Target::Object(input.path)) }
}

fn text_of(input: &Input<'_>, key: &'static str) -> Option<String> {
    (input.word)(key).map(|value| String::from_utf8_lossy(value).into_owned())
}

fn number_of(input: &Input<'_>) -> Option<u32> {
    text_of(input, "replNum")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: &[u8] = b"/z/home/alice/a.tif";
    const TRASH: &[u8] = b"/z/trash/home/alice/a.tif";

    fn input<'a>(path: &'a [u8], words: &'a [(&'static str, &'static str)]) -> Input<'a> {
        let word = move |key: &'static str| {
            words.iter().find(|(name, _)| *name == key).map(|(_, value)| value.as_bytes())
        };
        Input { path, other: b"/z/home/alice/b.tif", open_flags: 0, operation: 0, word: Box::new(word) }
    }

    fn read<'a>(pep: Pep, path: &'a [u8], words: &'a [(&'static str, &'static str)]) -> Option<Act> {
        attempt(pep, &input(path, words)).map(|attempt| attempt.act)
    }

    #[test]
    fn a_removal_is_for_good_by_force_in_the_trash_and_where_only_the_catalog_forgets_it() {
        assert_eq!(read(Pep::UnlinkPre, PATH, &[]), Some(Act::Trash));
        assert_eq!(read(Pep::UnlinkPre, PATH, &[("forceFlag", "")]), Some(Act::Remove));
        assert_eq!(read(Pep::UnlinkPre, TRASH, &[]), Some(Act::Remove));
        assert_eq!(read(Pep::UnlinkPre, TRASH, &[("irodsRmTrash", "")]), Some(Act::Remove));
        assert_eq!(read(Pep::UnlinkPre, PATH, &[("irodsRmTrash", "")]), None, "the server refuses that");
        let unregister = Input { operation: UNREGISTER, ..input(PATH, &[]) };
        assert_eq!(attempt(Pep::UnlinkPre, &unregister).map(|a| a.act), Some(Act::Remove));
        let one = Input { operation: UNREGISTER, ..input(PATH, &[("replNum", "1")]) };
        let one = attempt(Pep::UnlinkPre, &one).unwrap();
        assert_eq!((one.act, one.going), (Act::Trim, Some(Going::Number(1))));
    }

    #[test]
    fn of_collections_only_a_recursive_removal_takes_data_along() {
        let collection = b"/z/home/alice/run".as_slice();
        assert_eq!(read(Pep::RmCollPre, collection, &[("forceFlag", "")]), None);
        assert_eq!(read(Pep::RmCollPre, collection, &[("recursiveOpr", "")]), Some(Act::Trash));
        for word in ["forceFlag", "unregColl"] {
            assert_eq!(
                read(Pep::RmCollPre, collection, &[("recursiveOpr", ""), (word, "")]),
                Some(Act::Remove),
                "{word}"
            );
        }
        let trash = b"/z/trash/home/alice".as_slice();
        for word in ["irodsRmTrash", "irodsAdminRmTrash"] {
            assert_eq!(
                read(Pep::RmCollPre, trash, &[("recursiveOpr", ""), (word, "")]),
                Some(Act::Remove),
                "{word}"
            );
        }
    }

    #[test]
    fn only_what_writes_over_data_that_is_there_is_an_overwrite() {
        assert_eq!(read(Pep::PutPre, PATH, &[]), None);
        assert_eq!(read(Pep::PutPre, PATH, &[("forceFlag", "")]), Some(Act::Overwrite));
        assert_eq!(read(Pep::CopyPre, PATH, &[]), None);
        let copied = input(PATH, &[("forceFlag", "")]);
        let copied = attempt(Pep::CopyPre, &copied).unwrap();
        assert_eq!(copied.target, Target::Object(b"/z/home/alice/b.tif"));
        for (flags, act) in [
            (libc::O_RDONLY, None),
            (libc::O_WRONLY, Some(Act::Overwrite)),
            (libc::O_RDWR, Some(Act::Overwrite)),
            (libc::O_WRONLY | libc::O_TRUNC, Some(Act::Overwrite)),
            (libc::O_RDWR | libc::O_CREAT, Some(Act::Overwrite)),
        ] {
            for pep in [Pep::OpenPre, Pep::ReplicaOpenPre, Pep::OpenAndStatPre] {
                let opened = Input { open_flags: flags, ..input(PATH, &[]) };
                assert_eq!(attempt(pep, &opened).map(|a| a.act), act, "{pep:?} {flags:o}");
            }
        }
        assert_eq!(read(Pep::ReplicaTruncatePre, PATH, &[]), Some(Act::Truncate));
    }

    #[test]
    fn a_trim_says_which_replicas_go() {
        let going = |words: &'static [(&'static str, &'static str)]| {
            attempt(Pep::TrimPre, &input(PATH, words)).and_then(|a| a.going)
        };
        assert_eq!(going(&[]), Some(Going::DownTo { kept: 2, resource: None }));
        assert_eq!(
            going(&[("copies", "1"), ("rescName", "r")]),
            Some(Going::DownTo { kept: 1, resource: Some("r".to_owned()) })
        );
        assert_eq!(going(&[("replNum", "3")]), Some(Going::Number(3)));
        assert_eq!(going(&[("dryrun", "")]), None);
    }

    #[test]
    fn a_pep_tells_of_no_act_but_its_own() {
        let words = [("forceFlag", ""), ("recursiveOpr", ""), ("rsyncDestPath", "/z/home/alice/b.tif")];
        for (pep, _) in Pep::ALL {
            let opened = Input { open_flags: libc::O_RDWR, ..input(PATH, &words) };
            match attempt(pep, &opened) {
                Some(attempt) => assert!(acts_of(pep).contains(&attempt.act), "{pep:?}"),
                None => assert!(acts_of(pep).is_empty(), "{pep:?}"),
            }
        }
    }
}
