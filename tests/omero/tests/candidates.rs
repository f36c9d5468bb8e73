//! Which files are images, and which belong together.

mod common;

use common::Omero;

/// The groups that `-f` prints: the first line of each, and its files.
fn groups(o: &Omero, paths: &[&str]) -> Vec<Vec<String>> {
    let mut args = vec!["-f"];
    args.extend_from_slice(paths);
    let ran = o.plain_import(&args);
    let mut found: Vec<Vec<String>> = Vec::new();
    for line in ran.out.lines() {
        if line.starts_with("#===") {
            found.push(Vec::new());
        } else if !line.starts_with('#') {
            let name = line.strip_prefix(&(o.data("") + "")).unwrap_or(line);
            found.last_mut().unwrap().push(name.to_owned());
        }
    }
    found
}

#[test]
fn listing_needs_no_server_and_no_login() {
    let o = Omero::new();
    let path = o.tiff("a.tif");
    o.standin(&["fault", "set", "server-down"]);
    let ran = o.plain_import(&["-f", &path]);
    assert_eq!(ran.code, 0);
    assert_eq!(
        ran.out,
        format!(
            "#======================================\n# Group: {path} SPW: false Reader: loci.formats.in.TiffDelegateReader\n{path}\n"
        )
    );
}

#[test]
fn listing_as_yaml_is_one_document_with_paths_unquoted() {
    let o = Omero::new();
    let (a, b) = (o.tiff("a: #b.tif"), o.tiff("c.tif"));
    let ran = o.plain_import(&["-f", "--output", "yaml", &a, &b]);
    assert_eq!(
        ran.out,
        format!(
            "---\n- group: {a}\n  spw: false\n  reader: loci.formats.in.TiffDelegateReader\n  files:\n   - {a}\n\
             - group: {b}\n  spw: false\n  reader: loci.formats.in.TiffDelegateReader\n  files:\n   - {b}\n"
        )
    );
}

#[test]
fn listing_nothing_gives_125_broken_files_do_not_count() {
    let o = Omero::new();
    std::fs::write(o.data("notes.txt"), "x").unwrap();
    o.standin(&["make", "broken", &o.data("b.tif")]);
    assert_eq!(o.plain_import(&["-f", &o.data("notes.txt"), &o.data("b.tif")]).code, 125);
    let a = o.tiff("a.tif");
    assert_eq!(o.plain_import(&["-f", &o.data("b.tif"), &a]).code, 0);
}

#[test]
fn a_companion_set_is_one_group_whichever_member_is_named_first() {
    let o = Omero::new();
    o.standin(&["make", "companion", &o.data("m.companion.ome"), "--files", "2"]);
    let all = ["m.companion.ome", "m_0.ome.tif", "m_1.ome.tif"];
    let orders: [&[usize]; 4] = [&[0, 1, 2], &[2, 1, 0], &[1, 0, 2], &[2]];
    for order in orders {
        let paths: Vec<String> = order.iter().map(|i| o.data(all[*i])).collect();
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        assert_eq!(groups(&o, &paths), [all.map(str::to_owned)], "{order:?}");
    }
}

#[test]
fn a_set_imported_file_by_file_is_imported_as_often() {
    let o = Omero::new();
    o.login("alice");
    o.standin(&["make", "companion", &o.data("m.companion.ome"), "--files", "2"]);
    for name in ["m.companion.ome", "m_0.ome.tif", "m_1.ome.tif"] {
        assert_eq!(o.import(&[], &[&o.data(name)]).code, 0);
    }
    assert_eq!(o.count("filesets"), 3);
    let entries = o.query("select count(*) from FilesetEntry e");
    assert_eq!(entries, [["9"]]);
}

#[test]
fn a_companion_set_with_a_missing_file_cannot_be_read() {
    let o = Omero::new();
    o.standin(&["make", "companion", &o.data("m.companion.ome"), "--files", "2"]);
    std::fs::remove_file(o.data("m_1.ome.tif")).unwrap();
    let ran = o.plain_import(&["-f", &o.data("m.companion.ome")]);
    assert_eq!(ran.code, 125);
    assert!(ran.err.contains("Missing file m_1.ome.tif associated with UUID"), "{}", ran.err);
}

#[test]
fn a_zarr_directory_is_one_fileset_of_all_its_files() {
    let o = Omero::new();
    o.login("alice");
    let path = o.data("z.ome.zarr");
    o.standin(&["make", "zarr", &path, "--files", "3"]);
    let found = groups(&o, &[&path]);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].len(), 6);
    assert_eq!(found[0][0], "z.ome.zarr/.zattrs");
    let ran = o.import(&[], &[&path]);
    assert_eq!(ran.out.matches("Fileset").count(), 1);
    let files = &o.contents()["filesets"][0]["files"];
    for f in files.as_array().unwrap() {
        assert!(f["target"].is_string(), "one link for each file, never for a directory");
    }
    assert!(files[5]["link"].as_str().unwrap().ends_with("/z.ome.zarr/0/2.0"));
}

#[test]
fn directories_are_searched_down_to_the_depth() {
    let o = Omero::new();
    o.tiff("a.tif");
    o.tiff("1/2/b.tif");
    o.tiff("1/2/3/4/c.tif");
    let count = |depth: &str| groups(&o, &[&o.data(""), "--depth", depth]).len();
    assert_eq!(count("1"), 1);
    assert_eq!(count("3"), 2);
    assert_eq!(count("4"), 2);
    assert_eq!(count("5"), 3);
    assert_eq!(groups(&o, &[&o.data("")]).len(), 2, "four unless told otherwise");
    assert_eq!(groups(&o, &["--depth=-1", &o.data("")]).len(), 3);
}

#[test]
fn formats_are_told_by_content() {
    let o = Omero::new();
    for (name, bytes) in [
        ("a.czi", &b"CZI-TEST"[..]),
        ("b.lif", b"LIF-TEST"),
        ("c.nd2", b"\xda\xce\xbe\x0a"),
        ("d.png", b"\x89PNG\r\n\x1a\n"),
        ("e.jpg", b"\xff\xd8\xff\xe0"),
        ("f.tif", b"MM\0*"),
        ("g.btf", b"II+\0"),
        ("no-suffix", b"II*\0"),
        ("false.tif", b"hello"),
    ] {
        std::fs::write(o.data(name), bytes).unwrap();
    }
    assert_eq!(groups(&o, &[&o.data("")]).len(), 8);
}

#[test]
fn ome_xml_in_a_tiff_names_the_other_files() {
    let o = Omero::new();
    let xml = "<OME xmlns=\"x\"><Image ID=\"0\"><TiffData><UUID FileName=\"a.ome.tif\">1</UUID></TiffData>\
               <TiffData><UUID FileName=\"b.ome.tif\">2</UUID></TiffData></Image></OME>";
    for name in ["a.ome.tif", "b.ome.tif"] {
        std::fs::write(o.data(name), [b"II*\0", xml.as_bytes()].concat()).unwrap();
    }
    let found = groups(&o, &[&o.data("b.ome.tif"), &o.data("a.ome.tif")]);
    assert_eq!(found, [["b.ome.tif", "a.ome.tif"]], "the file that is opened first stands first");
}

#[test]
fn a_plate_uses_the_files_of_its_wells() {
    let o = Omero::new();
    o.standin(&["make", "plate", &o.data("p.plate-test"), "--files", "2"]);
    let ran = o.plain_import(&["-f", &o.data("p.plate-test")]);
    assert!(ran.out.contains("SPW: true"));
    assert_eq!(
        groups(&o, &[&o.data("p.plate-test"), &o.data("p_A1.tif")]),
        [["p.plate-test", "p_A1.tif", "p_A2.tif"]]
    );
}

#[test]
fn the_microscope_image_of_the_test_data_is_an_ome_tiff_of_one_image() {
    let o = Omero::new();
    o.login("alice");
    let path = format!("{}/../data/cell.ome.tif", env!("CARGO_MANIFEST_DIR"));
    let ran = o.plain_import(&["-f", &path]);
    assert!(ran.out.contains("Reader: loci.formats.in.OMETiffReader"), "{}", ran.err);
    assert_eq!(o.import(&["-T", "Dataset:name:Cells"], &[&path]).out, "---\n- Fileset: 1\n  Image: [1]\n");
}

#[test]
fn made_files_are_as_asked_for() {
    let o = Omero::new();
    for (kind, name) in [
        ("tiff", "a.tif"),
        ("png", "b.png"),
        ("companion", "c.companion.ome"),
        ("zarr", "d.zarr"),
        ("plate", "e.plate-test"),
        ("ome-tiff", "f.ome.tif"),
        ("htd", "g.HTD"),
        ("pattern", "h.pattern"),
        ("fake", "i.fake"),
    ] {
        o.standin(&["make", kind, &o.data(name)]);
    }
    assert_eq!(groups(&o, &[&o.data("")]).len(), 9);
    let tiff = std::fs::read(o.data("a.tif")).unwrap();
    o.standin(&["make", "tiff", &o.data("a2.tif"), "--seed", "9"]);
    assert_ne!(tiff, std::fs::read(o.data("a2.tif")).unwrap());
}
