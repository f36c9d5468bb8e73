//! Whose OMERO user is who: every source, their order, and every name somebody could think of.

use super::*;
use crate::Config;
use irods_omero_model::catalog::{CatalogError, People, UserKind};
use irods_omero_model::names::{CollectionId, LogicalPath};
use serde_json::{Value, json};

/// Users with their AVUs, groups with theirs, and AVUs of collections.
#[derive(Default)]
struct World {
    users: Vec<&'static str>,
    tags: Vec<(&'static str, UserTag)>,
    collections: Vec<(&'static str, &'static str, &'static str)>,
    /// Who may set AVUs on which collection.
    writers: Vec<(&'static str, &'static str)>,
    down: bool,
}

impl Metadata for World {
    fn user_tags(&self, user: &IrodsUser, _: &[&str]) -> Result<Option<Vec<UserTag>>, CatalogError> {
        if self.down {
            return Err(CatalogError::Call { call: "query", subject: user.to_string(), code: -1 });
        }
        let name = user.to_string();
        let tags = self.tags.iter().filter(|(u, _)| *u == name).map(|(_, tag)| tag.clone()).collect();
        Ok(self.users.contains(&name.as_str()).then_some(tags))
    }
    fn collection_values(&self, path: &LogicalPath, attribute: &str) -> Result<Vec<String>, CatalogError> {
        let path = path.display();
        let here = self.collections.iter().filter(|(c, a, _)| *c == path && *a == attribute);
        Ok(here.map(|(_, _, value)| (*value).to_owned()).collect())
    }
    fn may_set_avus(&self, path: &LogicalPath) -> Result<BTreeSet<IrodsUser>, CatalogError> {
        let path = path.display();
        let here = self.writers.iter().filter(|(_, c)| *c == path);
        Ok(here.map(|(user, _)| IrodsUser::parse(user).unwrap()).collect())
    }
    fn collections_with(&self, _: &str, _: &str) -> Result<BTreeSet<CollectionId>, CatalogError> {
        Ok(BTreeSet::new())
    }
}

impl People for World {
    fn user_kind(&self, user: &IrodsUser) -> Result<Option<UserKind>, CatalogError> {
        let name = user.to_string();
        let kind = if name.starts_with("admin") { UserKind::Administrator } else { UserKind::Ordinary };
        Ok(self.users.contains(&name.as_str()).then_some(kind))
    }
    fn users(&self) -> Result<BTreeSet<IrodsUser>, CatalogError> {
        Ok(self.users.iter().map(|user| IrodsUser::parse(user).unwrap()).collect())
    }
    fn users_with(&self, attribute: &str, value: &str) -> Result<BTreeSet<IrodsUser>, CatalogError> {
        let with = |(user, tag): &(&str, UserTag)| {
            (tag.attribute == attribute && tag.value == value).then(|| IrodsUser::parse(user).unwrap())
        };
        Ok(self.tags.iter().filter_map(with).collect())
    }
}

fn world() -> World {
    World { users: vec!["alice#z", "bob#z", "carol#z", "dora#z", "scope#z", "eve#other"], ..World::default() }
}

impl World {
    fn tag(mut self, user: &'static str, group: Option<&str>, attribute: &str, value: &str) -> Self {
        let holder = group.map_or(Holder::User, |g| Holder::Group(g.to_owned()));
        let attribute = format!("irods::omero::{attribute}");
        self.tags.push((user, UserTag { holder, attribute, value: value.to_owned() }));
        self
    }

    fn collection(mut self, path: &'static str, attribute: &'static str, value: &'static str) -> Self {
        self.collections.push((path, attribute, value));
        self
    }

    fn resolve(&self, users: &Value, owner: &str, path: Option<&str>) -> Answer {
        let config = Config::parse(&json!({"users": users})).unwrap();
        let collection = path.map(|p| LogicalPath::parse(p.as_bytes()).unwrap());
        let place = collection.as_ref().map(|collection| Place { collection, root: 2 });
        let owner = IrodsUser::parse(owner).unwrap();
        let asked = Asked { metadata: self, names: &config.attributes, owner: &owner, place };
        config.identities.resolve(&asked).unwrap()
    }

    /// Who an OMERO user is in iRODS, or the reason why it is nobody.
    fn back(&self, users: &Value, omero: &str) -> String {
        let config = Config::parse(&json!({"users": users})).unwrap();
        let (omero, service) = (OmeroName::parse(omero).unwrap(), IrodsUser::parse("irods#z").unwrap());
        let names = &config.attributes;
        let sought = Sought { people: self, metadata: self, names, service: Some(&service), omero: &omero };
        let origin = config.identities.back(&sought).unwrap();
        origin.user.map_or_else(|no| no.to_string(), |user| user.to_string())
    }

    /// `user/group by source`, or the reason.
    fn who(&self, users: &Value, owner: &str) -> String {
        shown(&self.resolve(users, owner, None))
    }

    fn who_at(&self, users: &Value, owner: &str, path: &str) -> String {
        shown(&self.resolve(users, owner, Some(path)))
    }
}

fn shown(answer: &Answer) -> String {
    match &answer.mapping {
        Ok(Mapping { identity: OmeroIdentity { user, group }, by, .. }) => {
            format!("{user}/{} by {by}", group.as_ref().map_or("", |g| g.as_str()))
        }
        Err(no) => no.to_string(),
    }
}

#[test]
fn the_table_names_user_and_group() {
    let users = json!({"table": {"alice#z": {"user": "a.smith", "group": "lab1"}, "bob#z": "bob"}});
    assert_eq!(world().who(&users, "alice#z"), "a.smith/lab1 by table");
    assert_eq!(world().who(&users, "bob#z"), "bob/ by table");
    let unmapped = world().who(&users, "alice#other");
    assert!(unmapped.starts_with("alice#other has no OMERO user: ask the administrator to"), "{unmapped}");
}

#[test]
fn who_has_no_omero_user_is_told_what_to_do() {
    let told = world().who(&json!({}), "alice#z");
    assert!(
        told.contains("imeta add -u alice#z irods::omero::user NAME") && !told.contains("users"),
        "{told}"
    );
    let told = world().who(&json!({"sources": ["table"], "table": {}}), "alice#z");
    assert!(told.contains("under 'users'") && !told.contains("imeta"), "{told}");
    let users = json!({"rules": [{"match": "(.+)#z", "user": "-$1"}]});
    let told = world().who(&users, "alice#z");
    assert!(told.contains("rule 1 matches alice#z, but '-alice' cannot be"), "{told}");
}

#[test]
fn an_avu_on_the_user_wins_over_those_on_groups() {
    let w = world()
        .tag("alice#z", None, "user", "a.smith")
        .tag("alice#z", Some("lab1"), "user", "shared")
        .tag("alice#z", Some("lab1"), "group", "lab one")
        .tag("bob#z", Some("lab1"), "user", "shared")
        .tag("bob#z", Some("lab2"), "user", "shared");
    assert_eq!(w.who(&json!({}), "alice#z"), "a.smith/lab one by avu on user");
    assert_eq!(w.who(&json!({}), "bob#z"), "shared/ by avu on group lab1");
    assert_eq!(w.who(&json!({"default_group": "all"}), "bob#z"), "shared/all by avu on group lab1");
}

#[test]
fn avus_that_name_two_users_are_no_choice_and_both_are_named() {
    let w = world()
        .tag("alice#z", None, "user", "a.smith")
        .tag("alice#z", None, "user", "alice2")
        .tag("bob#z", Some("lab1"), "user", "bob")
        .tag("bob#z", Some("lab2"), "user", "robert")
        .tag("carol#z", None, "user", "carol")
        .tag("carol#z", Some("lab1"), "group", "g1")
        .tag("carol#z", Some("lab2"), "group", "g2");
    let users = json!({"same_name": ["z"]});
    for (user, one, another) in
        [("alice#z", "a.smith", "alice2"), ("bob#z", "'bob'", "'robert'"), ("carol#z", "g1", "g2")]
    {
        let told = w.who(&users, user);
        assert!(
            told.contains("could not be found out") && told.contains(one) && told.contains(another),
            "{told}"
        );
    }
    assert!(w.who(&users, "bob#z").contains("lab1 and lab2"));
}

#[test]
fn a_group_avu_gives_the_group_to_whoever_another_source_maps() {
    let w = world().tag("alice#z", Some("lab1"), "group", "lab one");
    let users = json!({"same_name": ["z"], "default_group": "all",
                       "table": {"bob#z": {"user": "bob", "group": "own"}}});
    assert_eq!(w.who(&users, "alice#z"), "alice/lab one by same_name");
    assert_eq!(w.who(&users, "carol#z"), "carol/all by same_name");
    assert_eq!(w.who(&users, "bob#z"), "bob/own by table");
    let without = json!({"sources": ["same_name"], "same_name": ["z"], "default_group": "all"});
    assert_eq!(w.who(&without, "alice#z"), "alice/all by same_name");
}

#[test]
fn sources_are_asked_in_the_order_of_the_site() {
    let w = world().tag("alice#z", None, "user", "by.avu");
    let mut users = json!({"table": {"alice#z": "by.table"}, "same_name": ["z"],
                           "rules": [{"match": "nobody#z", "user": "x"}, {"match": "(?<n>.+)#z", "user": "rule.${n}"}]});
    assert_eq!(w.who(&users, "alice#z"), "by.avu/ by avu on user");
    for (order, expected) in [
        (json!(["table", "avu", "rules", "same_name"]), "by.table/ by table"),
        (json!(["rules", "avu", "table", "same_name"]), "rule.alice/ by rule 2"),
        (json!(["same_name", "rules", "avu", "table"]), "alice/ by same_name"),
    ] {
        users["sources"] = order;
        assert_eq!(w.who(&users, "alice#z"), expected);
    }
}

#[test]
fn same_name_holds_for_the_named_zone_only() {
    let users = json!({"same_name": ["z"]});
    assert_eq!(world().who(&users, "bob#z"), "bob/ by same_name");
    assert!(world().who(&users, "eve#other").contains("eve#other has no OMERO user"));
}

#[test]
fn nobody_becomes_root_guest_or_a_denied_account_by_any_source() {
    let w = world().tag("alice#z", None, "user", "Root").tag("bob#z", Some("lab"), "user", "importer");
    let config = json!({
        "denied": ["facility"], "same_name": ["z"], "table": {"carol#z": "carol"},
        "rules": [{"match": "sys_(.+)#z", "user": "$1"}],
    });
    for user in ["alice#z", "root#z", "GUEST#z", "rооt#z", "facility#z", "sys_root#z", "sys_ｇｕｅｓｔ#z"]
    {
        let answer = w.resolve(&config, user, None);
        assert!(matches!(answer.mapping, Err(NoIdentity::Denied { .. })), "{user}: {}", shown(&answer));
    }
    let problems = Config::parse(&json!({"users": {"table": {"alice#z": "root"}}})).unwrap_err();
    assert!(problems[0].to_string().starts_with("/users/table/alice#z: "), "{problems:?}");
}

#[test]
fn the_account_that_opens_sessions_is_denied_too() {
    let config = Config::parse(&json!({
        "users": {"same_name": ["z"]},
        "omero": {"server": "h", "sudo_user": "importer", "password_file": "/p"},
        "importer": {"command": "/usr/bin/omero", "jars": "/opt/omero/jars", "logback": "/opt/omero/logback.xml"},
    }))
    .unwrap();
    let (owner, w) = (IrodsUser::parse("importer#z").unwrap(), world());
    let asked = Asked { metadata: &w, names: &config.attributes, owner: &owner, place: None };
    assert!(matches!(config.identities.resolve(&asked).unwrap().mapping, Err(NoIdentity::Denied { .. })));
}

#[test]
fn odd_names_stay_text_in_every_source() {
    let long = "n".repeat(63);
    let users = json!({"same_name": ["z"], "rules": [{"match": r"x(\(.*)#z", "user": "$1"}]});
    for name in ["it's", "a\"b", "a*b", ")(uid=*", "a b", "$1", "${who}", "a\\b", "ünï", long.as_str()] {
        assert_eq!(world().who(&users, &format!("{name}#z")), format!("{name}/ by same_name"));
    }
    for name in ["-C", " alice", "alice "] {
        assert!(world().who(&users, &format!("{name}#z")).contains("has no OMERO user"), "{name}");
    }
    assert!(IrodsUser::parse(&format!("{}#z", "n".repeat(64))).is_err());
}

fn behalf(way: &Value) -> Value {
    let mut way = way.clone();
    way["account"] = json!("scope#z");
    json!({"same_name": ["z"], "table": {"scope#z": "scope"}, "on_behalf_of": [way]})
}

#[test]
fn data_of_a_service_account_is_the_persons_named_by_the_path() {
    let (w, scopes) = (world(), "/z/scopes");
    for way in [
        json!({"from": "path", "element": -2, "zone": "z"}),
        json!({"from": "path", "element": 0, "zone": "z"}),
        json!({"from": "path", "below": scopes, "zone": "z"}),
    ] {
        let users = behalf(&way);
        let answer = w.resolve(&users, "scope#z", Some("/z/scopes/dora/run1"));
        assert_eq!(shown(&answer), "dora/ by same_name", "{way}");
        assert_eq!(answer.mapping.unwrap().person.to_string(), "dora#z");
        assert_eq!(w.who_at(&users, "alice#z", "/z/scopes/dora/run1"), "alice/ by same_name");
    }
}

#[test]
fn without_a_person_the_service_accounts_own_mapping_is_not_used() {
    let w = world();
    let users = behalf(&json!({"from": "path", "below": "/z/scopes", "zone": "z"}));
    for (path, part) in [
        ("/z/scopes", "is not there"),
        ("/z/elsewhere/dora", "is not there"),
        ("/z/scopesx/dora", "is not there"),
        ("/z/scopes/nobody/run1", "no user of the iRODS catalog"),
        ("/z/scopes/scope/run1", "a service account too"),
        ("/z/scopes/a#b/run1", "not an iRODS user"),
    ] {
        let told = w.who_at(&users, "scope#z", path);
        assert!(told.contains("on behalf of others") && told.contains(part), "{path}: {told}");
    }
    assert!(w.who(&users, "scope#z").contains("depends on the path"));
}

#[test]
fn data_of_a_service_account_is_the_persons_named_by_the_nearest_avu() {
    let attribute = "irods::omero::on_behalf_of";
    let w = world()
        .collection("/z/scopes", attribute, "alice")
        .collection("/z/scopes/a", attribute, "eve#other")
        .collection("/z/scopes/b", attribute, "dora")
        .collection("/z/scopes/b", attribute, "bob");
    let mut users = behalf(&json!({"from": "collection_avu"}));
    users["table"]["eve#other"] = json!("eve");
    assert_eq!(w.who_at(&users, "scope#z", "/z/scopes/x/y"), "alice/ by same_name");
    assert_eq!(w.who_at(&users, "scope#z", "/z/scopes/a/y"), "eve/ by table");
    let told = w.who_at(&users, "scope#z", "/z/scopes/b/y");
    assert!(told.contains("'bob' and 'dora'"), "{told}");
    assert!(w.who_at(&users, "scope#z", "/z/other").contains("neither /z/other nor a collection above it"));
}

#[test]
fn an_avu_that_somebody_else_could_have_set_names_nobody() {
    let attribute = "irods::omero::on_behalf_of";
    let mut w =
        world().collection("/z/scopes", attribute, "alice").collection("/z/scopes/c", attribute, "alice");
    w.writers = vec![("scope#z", "/z/scopes"), ("carol#z", "/z/scopes/c"), ("scope#z", "/z/scopes/c")];
    let users = behalf(&json!({"from": "collection_avu"}));
    assert_eq!(w.who_at(&users, "scope#z", "/z/scopes/x"), "alice/ by same_name");
    let told = w.who_at(&users, "scope#z", "/z/scopes/c/run");
    assert!(told.contains("carol#z may set AVUs on /z/scopes/c"), "{told}");
}

#[test]
fn the_next_way_is_tried_where_one_names_nobody() {
    let mut users = behalf(&json!({"from": "collection_avu"}));
    let path = json!({"account": "scope#z", "from": "path", "element": -1, "zone": "z"});
    users["on_behalf_of"].as_array_mut().unwrap().push(path);
    let w = world().collection("/z/s/dora", "irods::omero::on_behalf_of", "bob");
    assert_eq!(w.who_at(&users, "scope#z", "/z/s/dora"), "bob/ by same_name");
    assert_eq!(w.who_at(&users, "scope#z", "/z/t/dora"), "dora/ by same_name");
}

#[test]
fn every_step_is_told() {
    let users = json!({"same_name": ["z"], "table": {}, "rules": [], "default_group": "all"});
    let steps = world().resolve(&users, "alice#z", None).steps;
    let starts = [
        "avu: neither",
        "table: there is no row",
        "rules: none",
        "same_name: alice#z is",
        "group: 'all'",
        "imports run as",
    ];
    assert_eq!(steps.len(), starts.len(), "{steps:?}");
    for (step, start) in steps.iter().zip(starts) {
        assert!(step.starts_with(start), "{step}");
    }
}

#[test]
fn a_broken_table_ends_the_search_and_will_pass() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("table.json");
    std::fs::write(&path, "{\"alice#z\": ").unwrap();
    let users = json!({"table_file": path, "same_name": ["z"], "table": {"bob#z": "robert"}});
    let answer = world().resolve(&users, "alice#z", None);
    assert!(answer.mapping.as_ref().unwrap_err().will_pass(), "{answer:?}");
    assert!(shown(&answer).contains("cannot be looked up for now"));
    assert_eq!(world().who(&users, "bob#z"), "robert/ by table", "a row of the configuration needs no file");
}

#[test]
fn a_catalog_that_fails_is_an_error_and_no_answer() {
    let config = Config::parse(&json!({"users": {"same_name": ["z"]}})).unwrap();
    let (owner, w) = (IrodsUser::parse("alice#z").unwrap(), World { down: true, ..world() });
    let asked = Asked { metadata: &w, names: &config.attributes, owner: &owner, place: None };
    assert!(config.identities.resolve(&asked).is_err());
}

#[test]
fn an_omero_user_is_the_one_irods_user_who_leads_to_it() {
    let table = json!({"table": {"alice#z": {"user": "a.smith", "group": "lab1"}, "bob#z": "bob"}});
    assert_eq!(world().back(&table, "a.smith"), "alice#z");
    assert_eq!(world().back(&json!({"same_name": ["z"]}), "bob"), "bob#z");
    assert_eq!(world().back(&json!({"rules": [{"match": "(.+)#z", "user": "x_$1"}]}), "x_dora"), "dora#z");
    assert_eq!(world().tag("carol#z", None, "user", "cc").back(&json!({}), "cc"), "carol#z");
    assert_eq!(world().tag("carol#z", Some("lab"), "user", "cc").back(&json!({}), "cc"), "carol#z");
}

#[test]
fn a_guess_that_leads_elsewhere_is_not_believed() {
    // By name the OMERO user bob would be bob#z, but the table says that bob#z is somebody else.
    let users = json!({"table": {"bob#z": "robert"}, "same_name": ["z"]});
    let told = world().back(&users, "bob");
    assert!(
        told.contains("no iRODS user is mapped") && told.contains("bob#z is the OMERO user 'robert'"),
        "{told}"
    );
    assert_eq!(world().back(&users, "robert"), "bob#z");
    // OMERO's names differ by case, and so do the users that they are.
    assert!(world().back(&users, "Robert").contains("no iRODS user is mapped"));
    assert!(world().back(&json!({"same_name": ["z"]}), "Alice").contains("no iRODS user is mapped"));
    assert!(world().back(&json!({"same_name": ["z"]}), "nobody").contains("no iRODS user is mapped"));
}

#[test]
fn an_account_that_several_have_is_nobody() {
    let users = json!({"table": {"alice#z": "shared", "bob#z": "shared", "ghost#z": "shared"}});
    let told = world().back(&users, "shared");
    assert!(told.contains("alice#z, bob#z") && !told.contains("ghost"), "{told}");
    let told = world().tag("alice#z", Some("lab"), "user", "lab").tag("bob#z", Some("lab"), "user", "lab");
    assert!(told.back(&json!({}), "lab").contains("several iRODS users"));
    let two_zones = world().back(&json!({"same_name": ["z", "other"]}), "eve");
    assert_eq!(two_zones, "eve#other");
}

#[test]
fn administrators_service_accounts_and_denied_names_are_nobody() {
    let mut world = world();
    world.users.extend(["admin#z", "irods#z"]);
    let users = json!({
        "table": {"admin#z": "chief", "irods#z": "svc", "scope#z": "scope", "bob#z": "bob"},
        "on_behalf_of": [{"account": "scope#z", "from": "path", "element": 3, "zone": "z"}], "denied": ["facility"], "same_name": ["z"],
    });
    assert!(world.back(&users, "chief").contains("is an administrator"), "{}", world.back(&users, "chief"));
    assert!(world.back(&users, "svc").contains("the account that the server runs as"));
    assert!(
        world.back(&users, "root").contains("never used")
            && world.back(&users, "Facility").contains("never used")
    );
    // An account that puts data for others leads to nobody without a path.
    assert!(world.back(&users, "scope").contains("no iRODS user is mapped"));
    assert_eq!(world.back(&users, "bob"), "bob#z");
}

#[test]
fn a_source_that_cannot_answer_leaves_nobody_else_in_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let gone = dir.path().join("gone.json");
    let users = json!({"table_file": gone, "same_name": ["z"]});
    let told = world().back(&users, "bob");
    assert!(told.contains("cannot be looked up for now"), "{told}");
}

proptest::proptest! {
    /// Whatever the sources say: whom an OMERO user is taken for leads forward to that OMERO user, and nobody else does.
    #[test]
    fn who_is_found_backwards_leads_forward_again_and_is_the_only_one(
        rows in proptest::collection::btree_map(0..6_usize, 0..5_usize, 0..6),
        tags in proptest::collection::vec((0..6_usize, proptest::bool::ANY, 0..5_usize), 0..5),
        rule in proptest::option::of(0..5_usize),
        zones in proptest::sample::subsequence(vec!["z", "other"], 0..=2),
        order in proptest::sample::subsequence(vec!["avu", "table", "rules", "same_name"], 1..=4),
        asked in 0..5_usize,
    ) {
        const OMERO: [&str; 5] = ["alice", "bob", "Alice", "eve", "root2"];
        let mut world = world();
        world.users.push("admin#z");
        let all = world.users.clone();
        let user = |i: usize| all[i % all.len()];
        let table: serde_json::Map<String, Value> =
            rows.iter().map(|(u, o)| (user(*u).to_owned(), json!(OMERO[*o]))).collect();
        for (u, of_group, o) in &tags {
            world = world.tag(user(*u), of_group.then_some("lab"), "user", OMERO[*o]);
        }
        let rules = rule.map(|o| json!([{"match": "(a.*|b.*)#z", "user": OMERO[o]}, {"match": "(.+)#other", "user": "$1"}]));
        let mut users = json!({"table": table, "same_name": zones, "sources": order});
        for (key, word) in [("table", "table"), ("same_name", "same_name")] {
            if !order.contains(&word) { users.as_object_mut().unwrap().remove(key); }
        }
        if order.contains(&"rules") { users["rules"] = rules.unwrap_or_else(|| json!([])); }
        let config = Config::parse(&json!({"users": users})).unwrap();
        let forward = |owner: &IrodsUser| {
            let asked = Asked { metadata: &world, names: &config.attributes, owner, place: None };
            config.identities.resolve(&asked).unwrap().mapping.ok().map(|m| m.identity.user.to_string())
        };
        let omero = OmeroName::parse(OMERO[asked]).unwrap();
        let names = &config.attributes;
        let sought = Sought { people: &world, metadata: &world, names, service: None, omero: &omero };
        let leads: Vec<IrodsUser> = world.users().unwrap().into_iter()
            .filter(|u| forward(u).as_deref() == Some(OMERO[asked])).collect();
        match config.identities.back(&sought).unwrap().user {
            Ok(user) => proptest::prop_assert_eq!(leads, vec![user]),
            Err(NoUser::Several { .. }) => proptest::prop_assert!(leads.len() > 1),
            Err(NoUser::Nobody { .. }) => proptest::prop_assert!(leads.is_empty()),
            Err(NoUser::Unfit { user, .. }) => proptest::prop_assert_eq!(user.to_string(), "admin#z"),
            Err(other) => proptest::prop_assert!(false, "{}", other),
        }
    }
}
