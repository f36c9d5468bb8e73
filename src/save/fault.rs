//! What the server's refusals mean to a save.

use crate::catalog::CatalogError;

/// What a failed call is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The user may not.
    NotAllowed,
    /// Something of that name is there.
    Taken,
    /// The name is one that iRODS does not take.
    BadName,
    /// It is tried again: a sentence for the person who waits.
    WillPass(String),
}

/// No space left on device; quota of the file system exceeded: the last three digits of a code are `errno`.
const FULL: [i64; 2] = [28, 122];

impl Fault {
    /// Of a call.
    pub fn of(error: &CatalogError) -> Self {
        let CatalogError::Call { code, .. } = error else { return Self::WillPass(error.to_string()) };
        match *code {
            // CAT_NO_ACCESS_PERMISSION, CAT_INSUFFICIENT_PRIVILEGE_LEVEL, SYS_NO_API_PRIV, CAT_UNKNOWN_COLLECTION,
            // OBJ_PATH_DOES_NOT_EXIST, USER_FILE_DOES_NOT_EXIST: what somebody may not see is not there for them.
            -818_000 | -830_000 | -13_000 | -814_000 | -358_000 | -310_000 => Self::NotAllowed,
            // CATALOG_ALREADY_HAS_ITEM_BY_THAT_NAME, CAT_NAME_EXISTS_AS_COLLECTION, CAT_NAME_EXISTS_AS_DATAOBJ,
            // OVERWRITE_WITHOUT_FORCE_FLAG, UNIX_FILE_OPEN_ERR with EEXIST
            -809_000 | -833_000 | -834_000 | -312_000 | -510_017 => Self::Taken,
            // INVALID_OBJECT_NAME, USER_INPUT_PATH_ERR, USER_STRLEN_TOOLONG
            -1_104_000 | -317_000 | -306_000 => Self::BadName,
            // SYS_RESC_QUOTA_EXCEEDED
            -110_000 => Self::WillPass(
                "your quota in iRODS is used up: remove data there, or ask the administrator of iRODS for more; it goes on by \
                 itself"
                    .to_owned(),
            ),
            // SYS_RESC_DOES_NOT_EXIST, CAT_INVALID_RESOURCE, DIRECT_CHILD_ACCESS, NO_NEXT_RESC_FOUND
            -78_000 | -831_000 | -1_816_000 | -1_802_000 => Self::WillPass(format!(
                "iRODS cannot write to the resource that is configured for saves (error {code}): the administrator of iRODS has to \
                 look at /save/resource"
            )),
            code if code < -1_000 && FULL.contains(&(-code % 1_000)) => Self::WillPass(
                "the storage of iRODS is full: the administrator of iRODS has to make room; it goes on by itself".to_owned(),
            ),
            _ => Self::WillPass(format!("iRODS cannot do it for now ({error})")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(code: i64) -> Fault {
        Fault::of(&CatalogError::Call { call: "rsDataObjWrite", subject: "/z/a".to_owned(), code })
    }

    #[test]
    fn what_a_user_may_not_is_told_from_what_will_pass() {
        assert_eq!(of(-818_000), Fault::NotAllowed);
        assert_eq!(of(-834_000), Fault::Taken);
        for (code, part) in [
            (-110_000, "quota"),
            (-513_028, "full"),
            (-513_122, "full"),
            (-78_000, "resource"),
            (-806_000, "-806000"),
        ] {
            let Fault::WillPass(why) = of(code) else { panic!("{code}") };
            assert!(why.contains(part), "{why}");
        }
    }
}
