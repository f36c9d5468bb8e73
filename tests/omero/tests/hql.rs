//! Queries: shapes, styles, limits, and what a session may see.

mod common;

use common::Omero;

/// Two people's images in a shared group, one of them twice imported, one failed.
fn filled() -> Omero {
    let o = Omero::new();
    o.login("alice");
    let (a, b) = (o.tiff("a.tif"), o.tiff("it's.tif"));
    o.import(&["-T", "Project:name:P/Dataset:name:D"], &[&a, &b]);
    let plate = o.data("p.plate-test");
    o.standin(&["make", "plate", &plate, "--files", "2"]);
    o.import(&["-T", "Screen:name:S"], &[&plate]);
    o.standin(&["fault", "set", "import-error", "--times", "1"]);
    o.import(&[], &[&a]);
    o
}

fn client_path(o: &Omero, name: &str) -> String {
    o.data(name).trim_start_matches('/').replace('\'', "''")
}

#[test]
fn filesets_by_client_path_with_and_without_failed_ones() {
    let o = filled();
    let (a, b) = (client_path(&o, "a.tif"), client_path(&o, "it's.tif"));
    let by_path =
        format!("select fe.fileset.id, fe.clientPath from FilesetEntry fe where fe.clientPath = '{a}'");
    assert_eq!(o.query(&by_path).len(), 2);
    let imported = "exists (select i.id from Image i where i.fileset.id = fe.fileset.id)";
    assert_eq!(o.query(&format!("{by_path} and {imported}")).len(), 1);
    let both = format!(
        "select fe.fileset.id, fe.clientPath from FilesetEntry as fe where fe.clientPath in ('{a}', '{b}') and {imported} order by fe.fileset.id desc"
    );
    let rows = o.query(&both);
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[0], ["2".to_owned(), b.replace("''", "'")]);
    assert_eq!(o.query("select fe.clientPath from FilesetEntry fe where fe.fileset.id in (1, 2)").len(), 2);
}

#[test]
fn an_object_has_the_permissions_of_its_group() {
    let o = filled();
    let query =
        "select d.id, d.details.owner.omeName, d.details.permissions.perm1 from Dataset d order by d.id desc";
    for (permissions, number) in [("rw----", "-120"), ("rwr---", "-56"), ("rwra--", "-40"), ("rwrw--", "-8")]
    {
        o.standin(&["group", "permissions", "lab1", permissions]);
        assert_eq!(o.query(query), [["1", "alice", number]]);
    }
}

#[test]
fn images_and_plates_of_filesets() {
    let o = filled();
    assert_eq!(
        o.query("select i.id, i.name, i.series from Image i where i.fileset.id = 3 order by i.series"),
        [["3", "p.plate-test [0]", "0"], ["4", "p.plate-test [1]", "1"]]
    );
    for q in [
        "select distinct p.id from Plate p join p.wells w join w.wellSamples s where s.image.fileset.id = 3",
        "select distinct p.id from Plate p inner join p.wells as w left outer join w.wellSamples as s where s.image.fileset.id in (3)",
        "select distinct ws.well.plate.id from WellSample ws where ws.image.fileset.id = 3",
        "select p.id from Plate p where p.id in (select w.plate.id from Well w join w.wellSamples s where s.image.fileset.id = 3)",
    ] {
        assert_eq!(o.query(q), [["1"]], "{q}");
    }
    assert_eq!(
        o.query("select i.fileset.id, count(i) from Image i group by i.fileset.id having count(*) > 1"),
        [["3", "2"]]
    );
}

#[test]
fn containers_by_name_and_owner() {
    let o = filled();
    for q in [
        "select d.id from Dataset d where d.name = 'D' and d.details.owner.omeName = 'alice'",
        "select d.id from Dataset d join d.details.owner o where d.name = 'D' and o.omeName = 'alice'",
        "select p.id from Project p where p.name = 'P' and p.details.owner.id = 3",
        "select s.id from Screen s where s.name like 'S%' and s.details.group.name = 'lab1'",
        "select d.id from Dataset d join d.projectLinks l join l.parent p where p.name = 'P'",
        "select d.id from Dataset d where lower(d.name) = 'd' and size(d.imageLinks) = 2",
        "select d.id from Dataset d where d.imageLinks is not empty",
        "select d.id from Dataset d where not d.name is null and (d.name <> 'X' or 1 = 0)",
        "select d.id from ome.model.containers.Dataset d where d.id between 0 and 5",
    ] {
        assert_eq!(o.query(q), [["1"]], "{q}");
    }
}

#[test]
fn people_and_groups() {
    let o = filled();
    assert_eq!(o.query("select e.id from Experimenter e where e.omeName = 'alice'"), [["3"]]);
    assert_eq!(
        o.query(
            "select g.name from ExperimenterGroup g join g.groupExperimenterMap m where m.child.omeName = 'alice' order by g.name"
        ),
        [["lab1"], ["lab2"], ["user"]]
    );
}

#[test]
fn annotations_by_namespace() {
    let o = filled();
    o.run_with_stdin(
        &["obj", "-q", "--file", "-"],
        "m = new MapAnnotation ns=a.b/c\nnew FilesetAnnotationLink parent=Fileset:1 child@=m\n",
    );
    for q in [
        "select l.parent.id from FilesetAnnotationLink l where l.child.ns = 'a.b/c'",
        "select l.parent.id from FilesetAnnotationLink l join l.child a where a.ns = 'a.b/c'",
        "select f.id from Fileset f join f.annotationLinks l where l.child.ns = 'a.b/c'",
        "select l.parent.id from FilesetAnnotationLink l where l.child in (select a from MapAnnotation a where a.ns = 'a.b/c')",
    ] {
        assert_eq!(o.query(q), [["1"]], "{q}");
    }
    let id = o.query("select a.id from MapAnnotation a where a.ns = 'a.b/c'").remove(0).remove(0);
    o.run(&["obj", "-q", "map-set", &format!("MapAnnotation:{id}"), "mapValue", "k", "v"]);
    assert_eq!(
        o.query("select mv.name, mv.value from MapAnnotation a join a.mapValue mv where mv.name = 'k'"),
        [["k", "v"]]
    );
}

#[test]
fn times_are_shown_as_python_shows_them() {
    let o = filled();
    let rows = o.query("select f.details.creationEvent.time from Fileset f where f.id = 1");
    let words: Vec<&str> = rows[0][0].split_whitespace().collect();
    assert_eq!(words.len(), 5);
    assert!(["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"].contains(&words[0]));
    assert!(words[4].starts_with("20"));
}

#[test]
fn twenty_five_rows_unless_told_otherwise() {
    let o = Omero::new();
    o.login("alice");
    let lines: String = (0..30).map(|i| format!("new Dataset name=d{i}\n")).collect();
    o.run_with_stdin(&["obj", "-q", "--file", "-"], &lines);
    let rows = |more: &[&str]| {
        let mut args = vec!["hql", "-q", "--style", "plain"];
        args.extend_from_slice(more);
        args.push("select d.id from Dataset d order by d.id");
        o.run(&args).out.lines().count()
    };
    assert_eq!(rows(&[]), 25);
    assert_eq!(rows(&["--limit", "-1"]), 30);
    assert_eq!(rows(&["--limit=-1"]), 30);
    assert_eq!(rows(&["--limit", "7"]), 7);
    assert_eq!(rows(&["--limit", "100", "--offset", "28"]), 2);
}

#[test]
fn every_style() {
    let o = Omero::new();
    o.login("alice");
    o.run_with_stdin(&["obj", "-q", "--file", "-"], "new Dataset 'name=x, \"é\"'\nnew Dataset name=y\n");
    let show = |style: &str, filter: &str| {
        o.run(&[
            "hql",
            "-q",
            "--style",
            style,
            &format!("select d.id, d.name, d.description from Dataset d {filter}"),
        ])
        .out
    };
    assert_eq!(show("csv", ""), "#,Col1,Col2,Col3\n0,1,\"x, \"\"é\"\"\",None\n1,2,y,None\n");
    assert_eq!(show("plain", ""), "0,1,\"x, \"\"é\"\"\",None\n1,2,y,None\n");
    assert_eq!(
        show("json", ""),
        "[{\"#\": \"0\", \"Col1\": \"1\", \"Col2\": \"x, \\\"\\u00e9\\\"\", \"Col3\": \"None\"},\n{\"#\": \"1\", \"Col1\": \"2\", \"Col2\": \"y\", \"Col3\": \"None\"}]\n"
    );
    assert_eq!(
        show("sql", "where d.id = 2"),
        " # | Col1 | Col2 | Col3 \n---+------+------+------\n 0 | 2    | y    | None \n(1 row)\n"
    );
    assert_eq!(show("json", "where 1 = 0"), "[]\n");
    assert_eq!(show("csv", "where 1 = 0"), "#\n");
    assert_eq!(show("plain", "where 1 = 0"), "\n");
    assert!(show("sql", "where 1 = 0").ends_with("(0 rows)\n"));
    assert_eq!(o.run(&["hql", "-q", "--style", "xml", "select 1 from Dataset d"]).code, 2);
}

#[test]
fn whole_objects_are_shown_by_class_and_id() {
    let o = filled();
    let ran = o.run(&["hql", "-q", "--style", "csv", "select d from Dataset d"]);
    assert_eq!(ran.out, "#,Class,Id,name,details\n0,DatasetI,1,D,owner=3;group=3\n");
    let ran = o.run(&["hql", "-q", "--style", "csv", "--ids-only", "select d from Dataset d"]);
    assert_eq!(ran.out, "#,Col1\n0,DatasetI:1\n");
}

#[test]
fn bad_queries_give_52() {
    let o = filled();
    for (q, message) in [
        ("select", "Bad query: unexpected end of subtree [select]"),
        ("select x.id from Nothing x", "Bad query: Nothing is not mapped"),
        (
            "select i.nothing from Image i",
            "Bad query: could not resolve property: nothing of: ome.model.core.Image",
        ),
        (
            "select i.id from Image i where i.name = :name",
            "Bad query: Not all named parameters have been set",
        ),
        ("select i.id from Image i where i.name = 'open", "Bad query: expecting '''"),
        ("select i.id from Image i where where", "Bad query: unexpected token: where"),
        ("delete from Image", "Bad query: unexpected token: delete"),
        ("select distinct i.id from Image i order by i.name", "Bad query: could not execute query"),
        ("select i.name, count(*) from Image i", "Bad query: could not execute query"),
        ("select j.id from Image i", "Bad query: Invalid path: 'j.id'"),
    ] {
        let ran = o.run(&["hql", "-q", q]);
        assert_eq!((ran.code, ran.out.as_str()), (52, ""), "{q}");
        assert!(ran.err.starts_with(message), "{q}: {}", ran.err);
    }
    assert_eq!(o.run(&["hql", "-q"]).code, 67);
}

#[test]
fn visibility_follows_the_permissions_of_the_group() {
    let o = filled();
    let images = |o: &Omero, more: &[&str]| {
        let mut args = vec!["hql", "-q", "--style", "plain"];
        args.extend_from_slice(more);
        args.push("select count(*) from Image i");
        o.run(&args).out.trim().trim_start_matches("0,").to_owned()
    };
    o.login("bob");
    for (permissions, seen) in [("rwr---", "4"), ("rwra--", "4"), ("rwrw--", "4"), ("rw----", "0")] {
        o.standin(&["group", "permissions", "lab1", permissions]);
        assert_eq!(images(&o, &[]), seen, "{permissions}");
    }
    o.login("alice");
    assert_eq!(images(&o, &[]), "4", "one's own are always seen");
    o.login_to("alice", "lab2");
    assert_eq!(images(&o, &[]), "0", "another group");
    assert_eq!(images(&o, &["--all"]), "4", "all groups");
}
