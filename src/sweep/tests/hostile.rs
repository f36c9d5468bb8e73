//! What the catalog may hold that nobody of ours has written, or an older version has, or half of it.

use super::*;
use irods_omero_model::watch::Tag;
use proptest::prelude::*;

/// An AVU of ours on a data object, with what does not belong there.
fn record(w: &World, name: &str, attribute: &str, value: &str, units: &str) {
    let path = format!("{COLLECTION}/{name}").into_bytes();
    let triple = Triple::new(&format!("irods::omero::{attribute}"), value, units);
    w.catalog.avus.borrow_mut().entry(path).or_default().insert(triple);
}

#[test]
fn marks_that_nobody_of_ours_has_set_hold_nothing_up_for_ever() {
    let long = "x".repeat(2_700);
    let far = format!("alive {}", u64::MAX);
    let ahead = format!("alive {}", NOW + 10_000_000);
    let digits = "alive 99999999999999999999999".to_owned();
    for attribute in ["sweeping", "due", "due_tree"] {
        for value in [
            "x",
            "sweep",
            "sweep after x",
            "alive ",
            "alive x",
            "alive -1",
            "alive 0",
            "spreading ",
            "spreading after x for y",
            "spreading after 0 for ",
            "last look",
            "of a tree for alice#z",
            &far,
            &ahead,
            &digits,
            &long,
        ] {
            let w = world();
            let mark = (collection(), format!("irods::omero::{attribute}"), value.to_owned());
            w.catalog.marks.borrow_mut().push(mark);
            w.put(1, "a.tif", "alice");
            run_queue(&w);
            w.sweeper().sweep_all().unwrap();
            run_queue(&w);
            assert_eq!(w.filesets(), 1, "{attribute} {value}");
            assert_eq!(*w.catalog.marks.borrow(), [], "{attribute} {value}");
            assert!(w.clock.now() < NOW + 3_600, "{attribute} {value} took {} s", w.clock.now() - NOW);
        }
    }
}

#[test]
fn records_that_cannot_be_read_are_written_anew() {
    let long = "9".repeat(2_700);
    for value in ["", "x", "-1", "done", "IMPORTED", &long] {
        let w = world();
        w.put(1, "a.tif", "alice");
        for attribute in ["state", "version", "retry", "fileset", "image", "plate", "member_of", "previous"] {
            record(&w, "a.tif", attribute, value, value);
        }
        run_queue(&w);
        assert_eq!(w.catalog.state("a.tif"), Some(State::Imported), "{value}");
        assert_eq!((w.filesets(), w.catalog.marks.borrow().len()), (1, 0), "{value}");
        assert_eq!(w.catalog.value("a.tif", "::fileset").as_deref(), Some("1"), "{value}");
    }
}

/// Tags: some that are nearly right, and anything.
fn tag_text() -> impl Strategy<Value = String> {
    prop_oneof![
        "(Dataset|Screen|Project|dataset|Plate):(id|name|x)?:?.{0,30}",
        "(on|off|ON| off )?",
        "((quiet|complete_marker|on_overwrite|x)=?[a-z0-9:*./-]{0,12}[; ]?){0,3}",
        "\\{.{0,20}\\}",
        ".{0,60}",
        "x{2700}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn whatever_a_tag_says_is_followed_or_named_in_the_reason(
        value in tag_text(), units in tag_text(), is_on_object in any::<bool>()
    ) {
        let w = world();
        w.put(1, "a.tif", "alice");
        let bearer = if is_on_object { format!("{COLLECTION}/a.tif") } else { COLLECTION.to_owned() };
        w.catalog.tag(&bearer, &value, &units);
        w.wait(100_000);
        let report = w.sweep();
        prop_assert!(report.is_ok(), "{report:?}");
        let reason = w.catalog.value("a.tif", "::reason").unwrap_or_default();
        match Tag::parse(&value, &units) {
            Err(_) => {
                prop_assert_eq!(w.catalog.state("a.tif"), Some(State::Skipped));
                prop_assert!(reason.contains("is not understood"), "{}", reason);
                prop_assert!(reason.contains(&bearer), "{}", reason);
            }
            Ok(Tag::Off) => prop_assert_eq!(w.filesets(), 0),
            Ok(Tag::On(_)) => {
                let state = w.catalog.state("a.tif");
                prop_assert!(state == Some(State::Imported) || !reason.is_empty() || state.is_none());
            }
        }
    }
}
