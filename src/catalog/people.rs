//! The users of the catalog as a whole.

use super::irods::{IrodsCatalog, quoted, unreadable};
use super::{CatalogError, People, UserKind};
use irods_omero_model::names::IrodsUser;
use std::collections::BTreeSet;

/// The most rows asked of one query.
const MAX_ROWS: u32 = 1_000_000;

/// The types of the users who may do more than what they are given.
const ADMINISTRATORS: [&str; 2] = ["rodsadmin", "groupadmin"];

impl IrodsCatalog<'_> {
    /// Users by a condition: the id, the type, and who it is. A group is no user; it is given without a name.
    fn users_where(
        &self,
        condition: &[u8],
        subject: &str,
    ) -> Result<Vec<(String, String, Option<IrodsUser>)>, CatalogError> {
        let columns = b"select distinct USER_ID, USER_TYPE, USER_NAME, USER_ZONE where ".as_slice();
        let query = [columns, condition, format!(" limit {MAX_ROWS}").as_bytes()].concat();
        let mut found = Vec::new();
        for row in self.rows(&query, subject)? {
            let [id, kind, name, zone]: [String; 4] =
                row.try_into().map_err(|_| unreadable("rs_genquery2", subject, "not four columns"))?;
            // A name that we do not take for one is nobody's that could be meant.
            let user = IrodsUser::new(&name, &zone).ok().filter(|_| kind != "rodsgroup");
            found.push((id, kind, user));
        }
        Ok(found)
    }
}

impl People for IrodsCatalog<'_> {
    fn user_kind(&self, user: &IrodsUser) -> Result<Option<UserKind>, CatalogError> {
        let condition = [
            b"USER_NAME = ".as_slice(),
            &quoted(user.name().as_bytes()),
            b" and USER_ZONE = ",
            &quoted(user.zone().as_bytes()),
        ]
        .concat();
        let rows = self.users_where(&condition, &format!("user {user}"))?;
        Ok(rows.into_iter().find_map(|(_, kind, user)| {
            user?;
            let is_ordinary = !ADMINISTRATORS.contains(&kind.as_str());
            Some(if is_ordinary { UserKind::Ordinary } else { UserKind::Administrator })
        }))
    }

    fn users(&self) -> Result<BTreeSet<IrodsUser>, CatalogError> {
        let rows = self.users_where(b"USER_TYPE != 'rodsgroup'", "the users")?;
        Ok(rows.into_iter().filter_map(|(_, _, user)| user).collect())
    }

    fn users_with(&self, attribute: &str, value: &str) -> Result<BTreeSet<IrodsUser>, CatalogError> {
        let subject = format!("users with {attribute}");
        let condition = [
            b"META_USER_ATTR_NAME = ".as_slice(),
            &quoted(attribute.as_bytes()),
            b" and META_USER_ATTR_VALUE = ",
            &quoted(value.as_bytes()),
        ]
        .concat();
        let mut users = BTreeSet::new();
        for (id, _, user) in self.users_where(&condition, &subject)? {
            if let Some(user) = user {
                users.insert(user);
                continue;
            }
            let query = [
                b"select distinct GROUP_MEMBER_ID where GROUP_ID = ".as_slice(),
                &quoted(id.as_bytes()),
                format!(" limit {MAX_ROWS}").as_bytes(),
            ]
            .concat();
            for member in self.rows(&query, &subject)?.into_iter().flatten() {
                let condition = [b"USER_ID = ".as_slice(), &quoted(member.as_bytes())].concat();
                users.extend(
                    self.users_where(&condition, &subject)?.into_iter().filter_map(|(_, _, user)| user),
                );
            }
        }
        Ok(users)
    }
}
