//! Where imported images go.

mod common;

use common::Omero;

fn ready() -> (Omero, String) {
    let o = Omero::new();
    o.login("alice");
    let path = o.tiff("a.tif");
    (o, path)
}

fn new_dataset(o: &Omero, name: &str) -> String {
    o.run(&["obj", "-q", "new", "Dataset", &format!("name={name}")])
        .out
        .trim()
        .trim_start_matches("Dataset:")
        .to_owned()
}

/// The datasets of the image imported last.
fn dataset_ids(o: &Omero) -> Vec<String> {
    o.query(
        "select l.parent.id from DatasetImageLink l where l.child.id = (select max(i.id) from Image i) order by l.id",
    )
    .into_iter()
    .map(|mut r| r.remove(0))
    .collect()
}

#[test]
fn a_dataset_is_found_by_id_in_all_spellings() {
    let (o, path) = ready();
    let id = new_dataset(&o, "D");
    for target in [
        ["-T", &format!("Dataset:{id}")],
        ["-T", &format!("Dataset:id:{id}")],
        ["-T", &format!("omero.model.Dataset:{id}")],
        ["-d", &id],
        ["-d", &format!("Dataset:id:{id}")],
    ] {
        assert_eq!(o.import(&target, &[&path]).code, 0, "{target:?}");
        assert_eq!(dataset_ids(&o), std::slice::from_ref(&id), "{target:?}");
    }
}

#[test]
fn a_missing_id_gives_2_and_with_c_0() {
    let (o, path) = ready();
    let ran = o.import(&["-T", "Dataset:99"], &[&path]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("Could not load target"));
    assert!(ran.err.contains("0 errors"), "the summary does not count it");
    assert_eq!(o.import(&["-c", "-T", "Dataset:99"], &[&path]).code, 0);
    assert_eq!(o.count("filesets"), 0);
}

#[test]
fn by_name_the_newest_by_minus_the_oldest_by_percent_the_only_one() {
    let (o, path) = ready();
    let (old, new) = (new_dataset(&o, "D"), new_dataset(&o, "D"));
    o.import(&["-T", "Dataset:name:D"], &[&path]);
    assert_eq!(dataset_ids(&o), std::slice::from_ref(&new));
    o.import(&["-T", "Dataset:+name:D"], &[&path]);
    assert_eq!(dataset_ids(&o), [new]);
    o.import(&["-T", "Dataset:-name:D"], &[&path]);
    assert_eq!(dataset_ids(&o), [old]);
    let ran = o.import(&["-T", "Dataset:%name:D"], &[&path]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("No unique Dataset called D"));
}

#[test]
fn an_at_sign_makes_a_dataset_for_each_fileset() {
    let (o, a) = ready();
    let b = o.tiff("b.tif");
    o.import(&["-T", "Dataset:@name:D"], &[&a, &b]);
    assert_eq!(o.count("datasets"), 2);
}

#[test]
fn a_name_may_hold_colons_and_blanks() {
    let (o, path) = ready();
    o.import(&["-T", "Dataset:name:a: b/c:d"], &[&path]);
    assert_eq!(o.query("select d.name from Dataset d"), [["a: b/c:d"]]);
}

#[test]
fn a_project_target_links_its_dataset_once() {
    let (o, path) = ready();
    for _ in 0..2 {
        let ran = o.import(&["-T", "Project:name:P/Dataset:name:D"], &[&path]);
        assert_eq!(ran.code, 0, "{}", ran.err);
    }
    let links = o.query("select l.parent.name, l.child.name from ProjectDatasetLink l");
    assert_eq!(links, [["P", "D"]]);
    assert_eq!(o.count("datasets"), 1);
    assert_eq!(o.import(&["-T", "Project:id:1/Dataset:name:E"], &[&path]).code, 0);
    let ran = o.import(&["-T", "Project:1/Dataset:name:E"], &[&path]);
    assert_eq!(ran.code, 2, "the two-part form is eaten by the split");
    assert!(ran.err.contains("Project name must include '/Dataset:'"));
}

#[test]
fn an_invalid_target_ends_the_run_even_with_c() {
    let (o, path) = ready();
    for target in ["nonsense", "Nothing:name:x", "Image:1"] {
        let ran = o.import(&["-c", "-T", target], &[&path]);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{target}");
    }
    assert!(o.import(&["-T", "nonsense"], &[&path]).err.contains("Target string not valid: nonsense"));
    assert_eq!(o.import(&["-T", "Dataset:near:x"], &[&path]).code, 2);
    let ran = o.import(&["-d", "notanumber"], &[&path]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("NumberFormatException"));
}

#[test]
fn names_are_searched_in_the_session_group_among_what_may_be_linked() {
    let (o, path) = ready();
    let of_alice = new_dataset(&o, "D");
    o.login("bob");
    let ran = o.import(&["-T", &format!("Dataset:id:{of_alice}")], &[&path]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("Cannot link to target"));
    assert_eq!(o.count("filesets"), 0, "refused before anything is saved");
    assert_eq!(o.import(&["-T", "Dataset:name:D"], &[&path]).code, 0);
    assert_eq!(
        o.query("select d.details.owner.omeName from Dataset d where d.name = 'D' order by d.id"),
        [["alice"], ["bob"]]
    );
    o.standin(&["group", "permissions", "lab1", "rwrw--"]);
    o.import(&["-T", &format!("Dataset:id:{of_alice}")], &[&path]);
    assert_eq!(dataset_ids(&o), [of_alice]);
}

#[test]
fn the_target_is_made_even_when_the_fileset_is_then_excluded() {
    let (o, path) = ready();
    o.import(&[], &[&path]);
    let ran = o.import(&["--exclude", "clientpath", "-T", "Dataset:name:Empty"], &[&path]);
    assert_eq!((ran.code, ran.out.as_str()), (0, ""));
    assert_eq!(o.query("select d.name from Dataset d where d.imageLinks is empty"), [["Empty"]]);
}

#[test]
fn a_template_takes_the_name_from_the_directory() {
    let (o, _) = ready();
    let path = o.tiff("proj/exp 1/a.tif");
    o.import(&["-T", "regex:^.*data/proj/(?<Container1>.*?)"], &[&path]);
    assert_eq!(o.query("select d.name from Dataset d"), [["exp 1"]]);
}

#[test]
fn a_template_that_does_not_match_is_silent_and_leaves_images_without_a_container() {
    let (o, path) = ready();
    for target in ["regex:nothing/(?<Container1>.*)", ":(unclosed"] {
        let ran = o.import(&["-T", target], &[&path]);
        assert_eq!((ran.code, ran.out.matches("Image").count()), (0, 1), "{target}");
        assert!(dataset_ids(&o).is_empty());
    }
}

#[test]
fn a_screen_has_no_place_for_plain_images_a_dataset_has_one_for_a_plate() {
    let (o, path) = ready();
    let ran = o.import(&["-r", "Screen:name:S"], &[&path]);
    assert_eq!(ran.code, 0);
    assert!(dataset_ids(&o).is_empty());
    let plate = o.data("p.plate-test");
    o.standin(&["make", "plate", &plate, "--files", "2"]);
    o.import(&["-T", "Dataset:name:D"], &[&plate]);
    assert_eq!(o.query("select count(*) from DatasetImageLink l"), [["2"]]);
}
