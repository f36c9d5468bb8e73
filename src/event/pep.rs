//! The policy enforcement points of the server that we ask for.

/// `METADATA_INCLUDED_KW`: AVUs along with data.
const METADATA_INCLUDED: &str = "metadataIncluded";

/// The PEPs we ask for. Nothing below the event knows them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pep {
    /// `pep_api_data_obj_put_post`
    PutPost,
    /// `pep_api_data_obj_open_post`
    OpenPost,
    /// `pep_api_data_obj_create_post`
    CreatePost,
    /// `pep_api_replica_open_post`
    ReplicaOpenPost,
    /// `pep_api_data_obj_close_pre`
    ClosePre,
    /// `pep_api_data_obj_close_post`
    ClosePost,
    /// `pep_api_replica_close_pre`
    ReplicaClosePre,
    /// `pep_api_replica_close_post`
    ReplicaClosePost,
    /// `pep_api_phy_path_reg_post`
    PhyPathRegPost,
    /// `pep_api_register_physical_path_post`
    RegisterPhysicalPathPost,
    /// `pep_api_data_obj_copy_post`
    CopyPost,
    /// `pep_api_data_obj_rename_post`
    RenamePost,
    /// `pep_api_bulk_data_obj_put_post`
    BulkPutPost,
    /// `pep_api_struct_file_ext_and_reg_post`
    StructFilePost,
    /// `pep_api_data_obj_repl_post`
    ReplPost,
    /// `pep_api_data_obj_phymv_post`
    PhymvPost,
    /// `pep_api_data_obj_trim_post`
    TrimPost,
    /// `pep_api_data_obj_rsync_post`
    RsyncPost,
    /// `pep_api_data_obj_unlink_post`
    UnlinkPost,
    /// `pep_api_rm_coll_post`
    RmCollPost,
    /// `pep_api_data_obj_put_pre`
    PutPre,
    /// `pep_api_mod_avu_metadata_pre`
    ModAvuPre,
    /// `pep_api_atomic_apply_metadata_operations_pre`
    AtomicMetadataPre,
    /// `pep_api_data_obj_open_pre`
    OpenPre,
    /// `pep_api_data_obj_create_pre`
    CreatePre,
    /// `pep_api_data_obj_open_and_stat_pre`
    OpenAndStatPre,
    /// `pep_api_data_obj_create_and_stat_pre`
    CreateAndStatPre,
    /// `pep_api_data_obj_get_pre`
    GetPre,
    /// `pep_api_replica_open_pre`
    ReplicaOpenPre,
    /// `pep_api_data_obj_copy_pre`
    CopyPre,
    /// `pep_api_data_obj_repl_pre`
    ReplPre,
    /// `pep_api_data_obj_phymv_pre`
    PhymvPre,
    /// `pep_api_data_obj_rsync_pre`
    RsyncPre,
    /// `pep_api_struct_file_bundle_pre`
    BundlePre,
    /// `pep_api_struct_file_ext_and_reg_pre`
    StructFilePre,
    /// `acPreProcForModifyAVUMetadata`
    StaticModAvuPre,
    /// `pep_api_mod_avu_metadata_post`
    ModAvuPost,
    /// `acPostProcForModifyAVUMetadata`
    StaticModAvuPost,
    /// `pep_api_atomic_apply_metadata_operations_post`
    AtomicMetadataPost,
    /// `pep_api_data_obj_unlink_pre`
    UnlinkPre,
    /// `pep_api_rm_coll_pre`
    RmCollPre,
    /// `pep_api_data_obj_rename_pre`
    RenamePre,
    /// `pep_api_data_obj_trim_pre`
    TrimPre,
    /// `pep_api_replica_truncate_pre`
    ReplicaTruncatePre,
    /// `pep_api_data_obj_truncate_pre`
    TruncatePre,
}

impl Pep {
    /// Every PEP we ask for, with its name in the server.
    pub const ALL: [(Self, &'static str); 45] = [
        (Self::PutPost, "pep_api_data_obj_put_post"),
        (Self::OpenPost, "pep_api_data_obj_open_post"),
        (Self::CreatePost, "pep_api_data_obj_create_post"),
        (Self::ReplicaOpenPost, "pep_api_replica_open_post"),
        (Self::ClosePre, "pep_api_data_obj_close_pre"),
        (Self::ClosePost, "pep_api_data_obj_close_post"),
        (Self::ReplicaClosePre, "pep_api_replica_close_pre"),
        (Self::ReplicaClosePost, "pep_api_replica_close_post"),
        (Self::PhyPathRegPost, "pep_api_phy_path_reg_post"),
        (Self::RegisterPhysicalPathPost, "pep_api_register_physical_path_post"),
        (Self::CopyPost, "pep_api_data_obj_copy_post"),
        (Self::RenamePost, "pep_api_data_obj_rename_post"),
        (Self::BulkPutPost, "pep_api_bulk_data_obj_put_post"),
        (Self::StructFilePost, "pep_api_struct_file_ext_and_reg_post"),
        (Self::ReplPost, "pep_api_data_obj_repl_post"),
        (Self::PhymvPost, "pep_api_data_obj_phymv_post"),
        (Self::TrimPost, "pep_api_data_obj_trim_post"),
        (Self::RsyncPost, "pep_api_data_obj_rsync_post"),
        (Self::UnlinkPost, "pep_api_data_obj_unlink_post"),
        (Self::RmCollPost, "pep_api_rm_coll_post"),
        (Self::PutPre, "pep_api_data_obj_put_pre"),
        (Self::ModAvuPre, "pep_api_mod_avu_metadata_pre"),
        (Self::AtomicMetadataPre, "pep_api_atomic_apply_metadata_operations_pre"),
        (Self::OpenPre, "pep_api_data_obj_open_pre"),
        (Self::CreatePre, "pep_api_data_obj_create_pre"),
        (Self::OpenAndStatPre, "pep_api_data_obj_open_and_stat_pre"),
        (Self::CreateAndStatPre, "pep_api_data_obj_create_and_stat_pre"),
        (Self::GetPre, "pep_api_data_obj_get_pre"),
        (Self::ReplicaOpenPre, "pep_api_replica_open_pre"),
        (Self::CopyPre, "pep_api_data_obj_copy_pre"),
        (Self::ReplPre, "pep_api_data_obj_repl_pre"),
        (Self::PhymvPre, "pep_api_data_obj_phymv_pre"),
        (Self::RsyncPre, "pep_api_data_obj_rsync_pre"),
        (Self::BundlePre, "pep_api_struct_file_bundle_pre"),
        (Self::StructFilePre, "pep_api_struct_file_ext_and_reg_pre"),
        (Self::StaticModAvuPre, "acPreProcForModifyAVUMetadata"),
        (Self::ModAvuPost, "pep_api_mod_avu_metadata_post"),
        (Self::StaticModAvuPost, "acPostProcForModifyAVUMetadata"),
        (Self::AtomicMetadataPost, "pep_api_atomic_apply_metadata_operations_post"),
        (Self::UnlinkPre, "pep_api_data_obj_unlink_pre"),
        (Self::RmCollPre, "pep_api_rm_coll_pre"),
        (Self::RenamePre, "pep_api_data_obj_rename_pre"),
        (Self::TrimPre, "pep_api_data_obj_trim_pre"),
        (Self::ReplicaTruncatePre, "pep_api_replica_truncate_pre"),
        (Self::TruncatePre, "pep_api_data_obj_truncate_pre"),
    ];

    /// The PEP of that name. This is the hottest code of the plugin: the server asks several times for every
    /// operation. A few bytes of the name choose one of our names (`SLOTS`), and that one is compared.
    #[inline]
    pub fn of(name: &[u8]) -> Option<Self> {
        if name.len() < SHORTEST {
            return None;
        }
        let slot = SLOTS[slot_of(name, SEED)];
        let (pep, ours) = *Self::ALL.get(usize::from(slot))?;
        (ours.as_bytes() == name).then_some(pep)
    }

    /// Its name in the server.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(pep, _)| *pep == self).map_or("", |(_, name)| name)
    }

    /// The words of the argument's conditions we want to know.
    pub fn keyword(self) -> Option<&'static str> {
        match self {
            Self::PhyPathRegPost | Self::RegisterPhysicalPathPost => Some("collection"),
            Self::RsyncPost => Some("rsyncDestPath"),
            Self::PutPost
            | Self::PutPre
            | Self::OpenPre
            | Self::CreatePre
            | Self::OpenAndStatPre
            | Self::CreateAndStatPre
            | Self::GetPre
            | Self::ReplicaOpenPre
            | Self::CopyPre
            | Self::ReplPre
            | Self::PhymvPre
            | Self::RsyncPre
            | Self::BundlePre
            | Self::StructFilePre => Some(METADATA_INCLUDED),
            Self::OpenPost
            | Self::CreatePost
            | Self::ReplicaOpenPost
            | Self::ClosePre
            | Self::ClosePost
            | Self::ReplicaClosePre
            | Self::ReplicaClosePost
            | Self::CopyPost
            | Self::RenamePost
            | Self::BulkPutPost
            | Self::StructFilePost
            | Self::ReplPost
            | Self::PhymvPost
            | Self::TrimPost
            | Self::UnlinkPost
            | Self::RmCollPost
            | Self::ModAvuPre
            | Self::AtomicMetadataPre
            | Self::StaticModAvuPre
            | Self::ModAvuPost
            | Self::StaticModAvuPost
            | Self::AtomicMetadataPost
            | Self::UnlinkPre
            | Self::RmCollPre
            | Self::RenamePre
            | Self::TrimPre
            | Self::ReplicaTruncatePre
            | Self::TruncatePre => None,
        }
    }

    /// Whether the operation is about to set AVUs that are given along with it. The server does so whenever it closes a data
    /// object, whatever that was opened for, reading included (`irods::apply_metadata_from_cond_input` of 5.0.2).
    pub fn carries_metadata(self) -> bool {
        self != Self::PutPost && self.keyword() == Some(METADATA_INCLUDED)
    }

    /// Whether the operation is one that writes metadata and nothing else.
    pub fn writes_metadata(self) -> bool {
        matches!(self, Self::ModAvuPre | Self::AtomicMetadataPre | Self::StaticModAvuPre)
    }

    /// Whether the guard of our attributes is asked, whatever the configuration says.
    pub fn is_guarded(self) -> bool {
        self.carries_metadata() || self.writes_metadata()
    }

    /// Whether it only comes to the guard of imported data: it is no event, and is heard only where that guard asks for it.
    pub fn is_of_data_guard(self) -> bool {
        matches!(
            self,
            Self::UnlinkPre
                | Self::RmCollPre
                | Self::RenamePre
                | Self::TrimPre
                | Self::ReplicaTruncatePre
                | Self::TruncatePre
        )
    }

    /// A regular expression that names just those of our PEPs that are wanted, for the server's own filter.
    pub fn regex(wanted: impl Fn(Self) -> bool) -> String {
        let names: Vec<&str> =
            Self::ALL.iter().filter(|(pep, _)| wanted(*pep)).map(|(_, name)| *name).collect();
        format!("({})", names.join("|"))
    }
}

/// The length of the shortest of our names.
const SHORTEST: usize = {
    let (mut shortest, mut i) = (usize::MAX, 0);
    while i < Pep::ALL.len() {
        if Pep::ALL[i].1.len() < shortest {
            shortest = Pep::ALL[i].1.len();
        }
        i += 1;
    }
    assert!(shortest >= WORD_AT + 8, "slot_of reads eight bytes from there on");
    shortest
};

/// Where our names begin to differ.
const WORD_AT: usize = 11;

/// How many slots there are, as a number of bits: few enough to stay in the processor's cache, and enough that a seed by
/// which no two of our names share one is found at once.
const SLOT_BITS: u32 = 8;

/// Eight bytes of a name.
const fn word(name: &[u8], at: usize) -> u64 {
    match name.split_at(at).1.first_chunk() {
        Some(bytes) => u64::from_le_bytes(*bytes),
        None => 0,
    }
}

/// The slot of a name that is not shorter than [`SHORTEST`].
#[inline]
#[allow(clippy::cast_possible_truncation)] // the product is shifted down to so many bits
const fn slot_of(name: &[u8], seed: u64) -> usize {
    let mixed = word(name, WORD_AT) ^ word(name, name.len() - 8).rotate_left(21) ^ name.len() as u64;
    (mixed.wrapping_mul(seed) >> (u64::BITS - SLOT_BITS)) as usize
}

/// Our names by their slots, as places in [`Pep::ALL`]; one that is beyond it where there is none. `None` if two names
/// share a slot.
const fn slots(seed: u64) -> Option<[u8; 1 << SLOT_BITS]> {
    let (mut slots, mut i) = ([u8::MAX; 1 << SLOT_BITS], 0_u8);
    while (i as usize) < Pep::ALL.len() {
        let slot = slot_of(Pep::ALL[i as usize].1.as_bytes(), seed);
        if slots[slot] != u8::MAX {
            return None;
        }
        slots[slot] = i;
        i += 1;
    }
    Some(slots)
}

/// An odd number by which every one of our names has a slot of its own, found while this is compiled.
const SEED: u64 = {
    let mut seed = 0x9E37_79B9_7F4A_7C15_u64;
    while slots(seed).is_none() {
        seed = seed.wrapping_mul(0xD134_2543_DE82_EF95).wrapping_add(2);
    }
    seed
};

static SLOTS: [u8; 1 << SLOT_BITS] = match slots(SEED) {
    Some(slots) => slots,
    None => [u8::MAX; 1 << SLOT_BITS],
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_and_no_other() {
        for (pep, name) in Pep::ALL {
            assert_eq!(Pep::of(name.as_bytes()), Some(pep));
            assert_eq!(Pep::of(&name.as_bytes()[1..]), None);
            assert_eq!(Pep::of(format!("{name}x").as_bytes()), None);
            assert_eq!(Pep::of(name.to_uppercase().as_bytes()), None);
            assert!(Pep::regex(|_| true).contains(name));
            assert_eq!(Pep::regex(Pep::is_guarded).contains(name), pep.is_guarded());
        }
        for other in ["", "pep_api_data_obj_get_post", "pep_resource_open_pre", "acPostProcForPut"] {
            assert_eq!(Pep::of(other.as_bytes()), None, "{other}");
        }
        assert_eq!(Pep::of(&[b'x'; 1_000]), None);
    }
}
