//! The names of the AVUs that are ours.

/// The names of the AVUs we write and read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attributes {
    /// Tag of a collection to watch.
    pub import: String,
    /// Durable note that a collection holds something to look at.
    pub due: String,
    /// The same, for a collection and all below it.
    pub due_tree: String,
    /// Lock of the sweep that is at work in a collection.
    pub sweeping: String,
    /// Until when changes of the catalog have been looked at, on the zone's collection.
    pub noticed: String,
    /// What of a large collection was at rest when all of it was last read.
    pub rested: String,
    /// How far the feeds of the agents are read, on the zone's collection.
    pub collected: String,
    /// How far the doctor's patrol has come and what it has found, on the zone's collection.
    pub patrol: String,
    /// What became of a data object.
    pub state: String,
    /// Why, in a sentence.
    pub reason: String,
    /// Fileset id.
    pub fileset: String,
    /// Image id, one AVU for each image.
    pub image: String,
    /// Plate id, one AVU for each plate.
    pub plate: String,
    /// Fileset id on the other files of a multi-file fileset.
    pub member_of: String,
    /// OMERO user and group.
    pub owner: String,
    /// By which source, and for which iRODS user.
    pub mapped_by: String,
    /// Modify time and size that were imported.
    pub version: String,
    /// When the import is tried next, and since when it is tried.
    pub retry: String,
    /// The fileset of the version before.
    pub previous: String,
    /// Who asked that it is left alone.
    pub ignored: String,
    /// Note, on the zone's collection, that the look for marks without a sweep never ends.
    pub recurring: String,
    /// Key of the job, and name of the agent that has it.
    pub job: String,
    /// Another collection with files that the set of a data object uses: while the set is not imported, these wait too.
    pub awaits: String,
    /// OMERO user, on an iRODS user or group.
    pub user: String,
    /// OMERO group, on an iRODS user or group.
    pub group: String,
    /// Person a service account puts data for, on a collection.
    pub on_behalf_of: String,
}

impl Default for Attributes {
    fn default() -> Self {
        let name = |last: &str| format!("irods::omero::{last}");
        Self {
            import: name("import"),
            due: name("due"),
            due_tree: name("due_tree"),
            sweeping: name("sweeping"),
            noticed: name("noticed"),
            rested: name("rested"),
            collected: name("collected"),
            patrol: name("patrol"),
            state: name("state"),
            reason: name("reason"),
            fileset: name("fileset"),
            image: name("image"),
            plate: name("plate"),
            member_of: name("member_of"),
            owner: name("owner"),
            mapped_by: name("mapped_by"),
            version: name("version"),
            retry: name("retry"),
            previous: name("previous"),
            ignored: name("ignored"),
            recurring: name("recurring"),
            job: name("job"),
            awaits: name("awaits"),
            user: name("user"),
            group: name("group"),
            on_behalf_of: name("on_behalf_of"),
        }
    }
}

impl Attributes {
    /// The attributes nobody but administrators and the plugin may write.
    pub fn reserved(&self) -> Vec<&str> {
        let Self { due, due_tree, sweeping, noticed, rested, collected, patrol, recurring, .. } = self;
        let marks =
            [due, due_tree, sweeping, noticed, rested, collected, patrol, recurring].map(String::as_str);
        let identity = [&self.user, &self.group, &self.on_behalf_of].map(String::as_str);
        self.record().into_iter().chain(marks).chain(identity).collect()
    }

    /// The attributes that together are the record of a data object.
    pub fn record(&self) -> [&str; 14] {
        [
            &self.state,
            &self.reason,
            &self.fileset,
            &self.image,
            &self.plate,
            &self.member_of,
            &self.owner,
            &self.mapped_by,
            &self.version,
            &self.retry,
            &self.previous,
            &self.ignored,
            &self.job,
            &self.awaits,
        ]
    }
}
