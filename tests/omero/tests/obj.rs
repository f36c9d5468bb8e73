//! Objects made and changed by `omero obj`, above all key-value annotations.

mod common;

use common::Omero;

fn ready() -> Omero {
    let o = Omero::new();
    o.login("alice");
    let path = o.tiff("a.tif");
    o.import(&[], &[&path]);
    o
}

fn lines(o: &Omero, text: &str) -> common::Ran {
    o.run_with_stdin(&["obj", "-q", "-s", "localhost", "-p", "4064", "-u", "alice", "--file", "-"], text)
}

/// What a driver must do to a word so that it arrives as it is.
fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\"'\"'"))
}

#[test]
fn an_annotation_is_made_linked_and_then_filled() {
    let o = ready();
    let made = lines(
        &o,
        "m = new MapAnnotation ns=irods.example/import\n\
         new FilesetAnnotationLink parent=Fileset:1 child@=m\n\
         new ImageAnnotationLink parent=Image:1 child@=0\n",
    );
    assert_eq!(made.code, 0, "{}", made.err);
    let printed: Vec<&str> = made.out.lines().collect();
    assert_eq!(printed.len(), 3);
    let id = printed[0];
    assert!(id.starts_with("MapAnnotation:"));
    let filled = lines(&o, &format!("map-set {id} mapValue path /zone/a\nmap-set {id} mapValue size 12\n"));
    assert_eq!(filled.out, format!("{id}\n{id}\n"));
    let notes = o.contents();
    for holder in [&notes["filesets"][0], &notes["filesets"][0]["images"][0]] {
        let a = holder["annotations"].as_array().unwrap().last().unwrap();
        assert_eq!(a["ns"], "irods.example/import");
        assert_eq!(a["pairs"], serde_json::json!([["path", "/zone/a"], ["size", "12"]]));
        assert_eq!(a["owner"], "alice");
    }
}

#[test]
fn single_quotes_carry_every_value_but_line_ends() {
    let o = ready();
    let id = lines(&o, "new MapAnnotation ns=n").out.trim().to_owned();
    let values = [
        "two  words",
        "#hash",
        " leading",
        "trailing ",
        "-x",
        "--",
        "a=b",
        "it's",
        "\"double\"",
        "back\\slash",
        "\\",
        "é漢字🔬",
        "$HOME `x` $(y)",
        "",
        "'",
        "''",
        "(a,b),(c,d)",
        "tab\there",
        "x = y",
        "carriage\rreturn",
    ];
    let text: String = values
        .iter()
        .enumerate()
        .map(|(i, v)| format!("map-set {id} mapValue {} {}\n", quote(&format!("k{i} #'\"")), quote(v)))
        .collect();
    let ran = lines(&o, &text);
    assert_eq!(ran.code, 0, "{}", ran.err);
    for (i, v) in values.iter().enumerate() {
        let got = o.run(&["obj", "-q", "map-get", &id, "mapValue", &format!("k{i} #'\"")]);
        assert_eq!(got.out, format!("{v}\n"));
    }
}

#[test]
fn a_line_end_in_a_value_breaks_the_whole_input_before_anything_is_done() {
    let o = ready();
    let text = |end: &str| format!("new Dataset name=D\nnew Dataset 'name=a{end}b'\n");
    let ran = lines(&o, &text("\n"));
    assert_eq!((ran.code, ran.out.as_str()), (1, ""));
    assert!(ran.err.contains("ValueError: No closing quotation"));
    assert_eq!(o.count("datasets"), 0);
    // A carriage return passes on standard input, but not in a file.
    assert_eq!(lines(&o, &text("\r")).code, 0);
    std::fs::write(o.data("commands"), text("\r")).unwrap();
    assert_eq!(o.run(&["obj", "-q", "--file", &o.data("commands")]).code, 1);
}

#[test]
fn as_arguments_line_ends_pass_and_a_leading_dash_needs_two_dashes_before() {
    let o = ready();
    let id = o.run(&["obj", "-q", "new", "MapAnnotation", "ns=n"]).out.trim().to_owned();
    let set = |args: &[&str]| {
        let mut all = vec!["obj", "-q"];
        all.extend_from_slice(args);
        o.run(&all).code
    };
    assert_eq!(set(&["map-set", &id, "mapValue", "k", "two\nlines"]), 0);
    assert_eq!(o.run(&["obj", "-q", "map-get", &id, "mapValue", "k"]).out, "two\nlines\n");
    assert_eq!(set(&["map-set", &id, "mapValue", "k", "-x"]), 2);
    assert_eq!(set(&["map-set", &id, "mapValue", "k", "-5"]), 0);
    assert_eq!(set(&["map-set", &id, "mapValue", "k", "-x y"]), 0);
    assert_eq!(set(&["--", "map-set", &id, "mapValue", "k", "-x"]), 0);
    assert_eq!(o.run(&["obj", "-q", "map-get", &id, "mapValue", "k"]).out, "-x\n");
}

#[test]
fn keys_are_replaced_removed_and_kept_in_order() {
    let o = ready();
    let id = lines(&o, "new MapAnnotation ns=n").out.trim().to_owned();
    lines(
        &o,
        &format!(
            "map-set {id} mapValue a 1\nmap-set {id} mapValue b 2\nmap-set {id} mapValue a 3\nmap-set {id} mapValue b\nmap-set {id} mapValue c 4\n"
        ),
    );
    assert_eq!(o.run(&["obj", "-q", "get", &id, "mapValue"]).out, "(a,3),(c,4)\n");
    assert_eq!(o.run(&["obj", "-q", "list-get", &id, "mapValue", "1"]).out, "(c,4)\n");
    assert_eq!(o.run(&["obj", "-q", "map-get", &id, "mapValue", "b"]).out, "None\n");
}

#[test]
fn a_variable_cannot_stand_for_the_object_of_a_command() {
    let o = ready();
    let ran = lines(&o, "m = new MapAnnotation ns=n\nmap-set m mapValue k v\n");
    assert_eq!(ran.code, 102);
    assert!(ran.err.contains("No class named 'mI'"));
    assert!(ran.out.starts_with("MapAnnotation:"), "what came before is done and stays");
}

#[test]
fn comments_blank_lines_and_names() {
    let o = ready();
    let ran = lines(
        &o,
        "# a comment\n\n   # another\n  d = new Dataset name='A # B'  \np = new Project name=P\nnew ProjectDatasetLink parent@=p child@=d\n",
    );
    assert_eq!(ran.out, "Dataset:1\nProject:1\nProjectDatasetLink:1\n");
    assert_eq!(o.query("select d.name from Dataset d"), [["A # B"]]);
    let ran = lines(&o, "new Dataset name=D # no comment here\n");
    assert_eq!(ran.code, 1, "the words after # are taken for fields");
}

#[test]
fn exit_codes() {
    let o = ready();
    for (words, code, message) in [
        (&["obj", "-q"][..], 100, "No command provided"),
        (&["obj", "-q", "frobnicate"], 2, "invalid choice"),
        (&["obj", "-q", "new"], 102, "No object argument provided"),
        (&["obj", "-q", "new", "Nothing"], 102, "No class named 'NothingI'"),
        (&["obj", "-q", "new", "Dataset"], 103, "required arguments: name"),
        (&["obj", "-q", "new", "ImageAnnotationLink"], 103, "required arguments: parent, child"),
        (&["obj", "-q", "new", "ImageAnnotationLink", "parent=x", "child=y"], 77, "Invalid proxy string: x"),
        (&["obj", "-q", "update", "Image", "name=x"], 78, "No id given for Image"),
        (&["obj", "-q", "update", "Image:99", "name=x"], 78, "No object found: Image:99"),
        (&["obj", "-q", "map-set", "Fileset:1"], 79, "usage: map-set OBJ FIELD KEY [VALUE]"),
        (&["obj", "-q", "get", "Image:1", "nothing"], 80, "Unknown field"),
        (&["obj", "-q", "new", "Dataset", "nothing=x"], 1, "AttributeError"),
        (&["obj", "-q", "--file", "/nonexistent"], 81, "Cannot read file"),
    ] {
        let ran = o.run(words);
        assert_eq!(ran.code, code, "{words:?}: {}", ran.err);
        assert!(ran.err.contains(message), "{words:?}: {}", ran.err);
    }
    let ran = lines(&o, "frobnicate Image:1\n");
    assert_eq!((ran.code, ran.err.trim()), (100, "Unknown command: frobnicate Image:1"));
}

#[test]
fn an_image_is_renamed_and_read() {
    let o = ready();
    assert_eq!(o.run(&["obj", "-q", "update", "Image:1", "name=new name"]).out, "Image:1\n");
    assert_eq!(o.run(&["obj", "-q", "get", "Image:1", "name"]).out, "new name\n");
    assert_eq!(o.run(&["obj", "-q", "get", "Image:1", "fileset"]).out, "Fileset:1\n");
    assert!(o.run(&["obj", "-q", "get", "Image:1"]).out.contains("name=new name\n"));
    assert_eq!(o.run(&["obj", "-q", "null", "Image:1", "description"]).out, "Image:1\n");
}

#[test]
fn the_same_link_twice_is_refused() {
    let o = ready();
    let ran = lines(
        &o,
        "m = new MapAnnotation ns=n\nnew ImageAnnotationLink parent=Image:1 child@=m\nnew ImageAnnotationLink parent=Image:1 child@=m\n",
    );
    assert_eq!((ran.code, ran.out.lines().count()), (80, 2));
    assert!(ran.err.contains("Failed to create ImageAnnotationLink - "));
}

#[test]
fn what_may_be_annotated_follows_the_group_permissions() {
    let o = ready();
    o.login("bob");
    for (permissions, code) in [("rw----", 80), ("rwr---", 80), ("rwra--", 0), ("rwrw--", 0)] {
        o.standin(&["group", "permissions", "lab1", permissions]);
        let ran =
            lines_of_bob(&o, "m = new MapAnnotation ns=n\nnew ImageAnnotationLink parent=Image:1 child@=m\n");
        assert_eq!(ran.code, code, "{permissions}: {}", ran.err);
    }
    for (permissions, code) in [("rw----", 78), ("rwr---", 80), ("rwra--", 80), ("rwrw--", 0)] {
        o.standin(&["group", "permissions", "lab1", permissions]);
        assert_eq!(o.run(&["obj", "-q", "update", "Image:1", "name=x"]).code, code, "{permissions}");
    }
}

fn lines_of_bob(o: &Omero, text: &str) -> common::Ran {
    o.run_with_stdin(&["obj", "-q", "--file", "-"], text)
}

#[test]
fn linking_across_groups_is_refused() {
    let o = ready();
    o.login_to("alice", "lab2");
    let ran = lines(&o, "m = new MapAnnotation ns=n\nnew ImageAnnotationLink parent=Image:1 child@=m\n");
    assert_eq!(ran.code, 80);
    assert_eq!(o.run(&["obj", "-q", "get", "Image:1", "name"]).code, 0, "reading goes across groups");
}

#[test]
fn load_runs_lines_and_stops_at_the_first_that_fails() {
    let o = ready();
    let text = "obj -q new Dataset name=A\nfrobnicate\nobj -q new Dataset name=B\n";
    let ran = o.run_with_stdin(&["load"], text);
    assert_eq!((ran.code, ran.out.as_str()), (2, "Dataset:1\n"));
    let ran = o.run_with_stdin(&["load", "-k"], text);
    assert_eq!((ran.code, ran.out.as_str()), (0, "Dataset:2\nDataset:3\n"));
    assert!(ran.err.contains("Ignoring error: frobnicate"));
}
