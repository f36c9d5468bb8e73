//! Sets whose files lie in several directories, and what an import makes of them.

mod common;

use common::{Omero, finish};
use std::path::PathBuf;

/// The groups that `-f` prints, each with its files, without the path of the data directory.
fn groups(o: &Omero, paths: &[&str]) -> Vec<Vec<String>> {
    groups_from(o, "client", paths)
}

/// The same in a working directory of its own.
fn groups_from(o: &Omero, directory: &str, paths: &[&str]) -> Vec<Vec<String>> {
    let mut c = o.command();
    c.current_dir(o.path(directory)).args(["import", "-q", "--clientdir"]).arg(o.path("jars"));
    c.arg("--logback").arg(o.path("logback.xml")).arg("-f").args(paths);
    let ran = finish(c.output().unwrap());
    let mut found: Vec<Vec<String>> = Vec::new();
    for line in ran.out.lines() {
        if line.starts_with("#===") {
            found.push(Vec::new());
        } else if !line.starts_with('#') {
            found.last_mut().unwrap().push(line.strip_prefix(&o.data("")).unwrap_or(line).to_owned());
        }
    }
    found
}

fn write(o: &Omero, name: &str, text: &str) -> String {
    let path = PathBuf::from(o.data(name));
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_pattern_without_a_slash_names_files_beside_it() {
    let o = Omero::new();
    o.tiff("a_1.tif");
    o.tiff("a_2.tif");
    let key = write(&o, "x.pattern", "a_<1-2>.tif\n");
    for directory in ["client", "data"] {
        assert_eq!(groups_from(&o, directory, &[&key]), [["x.pattern", "a_1.tif", "a_2.tif"]]);
    }
}

#[test]
fn a_pattern_with_a_slash_is_meant_from_the_working_directory() {
    let o = Omero::new();
    o.tiff("sub/a_1.tif");
    o.tiff("sub/a_2.tif");
    let key = write(&o, "x.pattern", "sub/a_<1-2>.tif");
    assert_eq!(groups_from(&o, "data", &[&key]), [["x.pattern", "sub/a_1.tif", "sub/a_2.tif"]]);
    assert!(groups_from(&o, "client", &[&key]).is_empty(), "there is no `sub` here");
}

#[test]
fn an_absolute_pattern_takes_whatever_it_names() {
    let o = Omero::new();
    o.tiff("hers/secret_1.tif");
    let secret = write(&o, "hers/secret.txt", "no image at all");
    let first = o.tiff("mine/a.tif");
    let above = o.data("");
    let key = write(&o, "mine/x.pattern", &format!("{above}<mine/a.tif,hers/secret.txt>"));
    assert_eq!(groups(&o, &[&key]), [["mine/x.pattern", "mine/a.tif", "hers/secret.txt"]]);
    let key = write(&o, "mine/y.pattern", &format!("{}/hers/secret_<1-1>.tif", above.trim_end_matches('/')));
    assert_eq!(groups(&o, &[&key]), [["mine/y.pattern", "hers/secret_1.tif"]]);
    let _ = (first, secret);
}

#[test]
fn a_pattern_has_blocks_of_numbers_letters_and_words() {
    let o = Omero::new();
    for n in ["01", "04", "10", "A_1", "A_2", "B_1", "B_2"] {
        o.tiff(&format!("n_{n}.tif"));
    }
    for (text, files) in [
        ("n_<01-10:3>.tif", &[][..]),
        ("n_<01-04:3>.tif", &["n_01.tif", "n_04.tif"]),
        ("n_<A-B>_1.tif", &["n_A_1.tif", "n_B_1.tif"]),
        ("n_<A,B>_<1-2>.tif", &["n_A_1.tif", "n_B_1.tif", "n_A_2.tif", "n_B_2.tif"]),
        ("n_0.*.tif", &["n_01.tif", "n_04.tif"]),
    ] {
        let key = write(&o, "x.pattern", text);
        let wanted: Vec<String> = if files.is_empty() {
            vec![]
        } else {
            ["x.pattern"].iter().chain(files).map(|s| (*s).to_owned()).collect()
        };
        let found = groups(&o, &[&key]).pop().unwrap_or_default();
        assert_eq!(found, wanted, "{text}");
    }
}

#[test]
fn a_pattern_whose_files_are_missing_is_a_file_exception() {
    let o = Omero::new();
    o.tiff("a_1.tif");
    let key = write(&o, "x.pattern", "a_<1-2>.tif");
    let ran = o.plain_import(&["-f", &key]);
    assert_eq!(ran.code, 125);
    assert!(ran.err.contains(&format!("File #1 ({}) does not exist.", o.data("a_2.tif"))), "{}", ran.err);
    let key = write(&o, "y.pattern", "gone_<1-2>.tif");
    assert!(o.plain_import(&["-f", &key]).err.contains("java.io.FileNotFoundException"));
}

#[test]
fn a_key_and_its_members_in_sub_directories_are_one_group_in_any_order() {
    let o = Omero::new();
    o.tiff("set/sub/a1.tif");
    o.tiff("set/sub/a2.tif");
    write(&o, "set/x.plate-test", "name P\nwell A1 sub/a1.tif\nwell A2 sub/a2.tif\n");
    let all = ["set/x.plate-test", "set/sub/a1.tif", "set/sub/a2.tif"];
    for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2]] {
        let paths = order.map(|i| o.data(all[i]));
        assert_eq!(groups(&o, &[&paths[0], &paths[1], &paths[2]]), [all], "{order:?}");
    }
}

#[test]
fn a_companion_file_names_tiffs_below_and_above_it() {
    let o = Omero::new();
    o.standin(&["make", "companion", &o.data("k/m.companion.ome"), "--files", "2"]);
    let text = std::fs::read_to_string(o.data("k/m.companion.ome")).unwrap();
    for (to, prefix) in [("below/sub", "sub/"), ("elsewhere", "../elsewhere/")] {
        std::fs::create_dir_all(o.data(to)).unwrap();
        for name in ["m_0.ome.tif", "m_1.ome.tif"] {
            std::fs::copy(o.data(&format!("k/{name}")), o.data(&format!("{to}/{name}"))).unwrap();
        }
        let key =
            write(&o, "below/x.companion.ome", &text.replace("FileName=\"", &format!("FileName=\"{prefix}")));
        let found = groups(&o, &[&key]);
        let files = [format!("below/{prefix}m_0.ome.tif"), format!("below/{prefix}m_1.ome.tif")];
        assert_eq!(found, [["below/x.companion.ome", &files[0], &files[1]]], "nothing is made simpler");
    }
}

#[test]
fn ome_tiffs_name_each_other_across_directories() {
    let o = Omero::new();
    o.standin(&["make", "ome-tiff", &o.data("k/x.ome.tif"), "--files", "2"]);
    let both = [o.data("k/x_0.ome.tif"), o.data("k/x_1.ome.tif")];
    assert_eq!(groups(&o, &[&both[0], &both[1]]), [["k/x_0.ome.tif", "k/x_1.ome.tif"]]);
    // The second is moved below, and the first says so.
    std::fs::create_dir(o.data("k/sub")).unwrap();
    std::fs::rename(&both[1], o.data("k/sub/x_1.ome.tif")).unwrap();
    let bytes = std::fs::read(&both[0]).unwrap();
    let text = String::from_utf8_lossy(&bytes).replace("\"x_1.ome.tif", "\"sub/x_1.ome.tif");
    std::fs::write(&both[0], text).unwrap();
    assert_eq!(groups(&o, &[&both[0]]), [["k/x_0.ome.tif", "k/sub/x_1.ome.tif"]]);
    let ran = o.plain_import(&["-f", &o.data("k/sub/x_1.ome.tif")]);
    assert!(ran.err.contains("Missing file x_0.ome.tif associated with UUID"), "{}", ran.err);
}

#[test]
fn a_metaxpress_plate_uses_files_that_its_text_does_not_name() {
    let o = Omero::new();
    o.standin(&["make", "htd", &o.data("p.HTD"), "--files", "3"]);
    let tiffs = ["TimePoint_1/p_A01.TIF", "TimePoint_1/p_A02.TIF", "TimePoint_1/p_A03.TIF"];
    assert_eq!(groups(&o, &[&o.data("p.HTD")]), [["p.HTD", tiffs[0], tiffs[1], tiffs[2]]]);
    std::fs::remove_file(o.data(tiffs[1])).unwrap();
    assert_eq!(groups(&o, &[&o.data("p.HTD")]), [["p.HTD", tiffs[0], tiffs[2]]], "one may be missing");
    assert_eq!(groups(&o, &[&o.data(tiffs[0])]), [[tiffs[0]]], "which does not know its plate");
}

#[test]
fn a_header_may_use_a_file_that_is_not_there() {
    let o = Omero::new();
    let header = "NRRD0004\ntype: uint8\ndimension: 2\nsizes: 8 8\nencoding: raw\ndata file: ./x.raw\n\n";
    let key = write(&o, "x.nhdr", header);
    assert_eq!(groups(&o, &[&key]), [["x.nhdr", "x.raw"]]);
}

#[test]
fn directories_are_kept_in_the_repository_and_the_server_reads_the_set_there() {
    let o = Omero::new();
    o.login("alice");
    o.standin(&["make", "htd", &o.data("p.HTD"), "--files", "2"]);
    let ran = o.import(&[], &[&o.data("p.HTD")]);
    assert_eq!(
        (ran.code, ran.out.as_str()),
        (0, "---\n- Fileset: 1\n  Image: [1,2]\n  Plate: [1]\n"),
        "{}",
        ran.err
    );
    let files = o.contents()["filesets"][0]["files"].clone();
    let links: Vec<&str> = files.as_array().unwrap().iter().map(|f| f["link"].as_str().unwrap()).collect();
    assert!(links[1].ends_with("/TimePoint_1/p_A01.TIF"), "{links:?}");
    assert_eq!(files[2]["target"], o.data("TimePoint_1/p_A02.TIF"));
}

#[test]
fn a_set_with_a_file_above_its_key_is_linked_and_then_refused_for_its_checksums() {
    let o = Omero::new();
    o.login("alice");
    o.standin(&["make", "ome-tiff", &o.data("k/x.ome.tif"), "--files", "2"]);
    std::fs::create_dir(o.data("other")).unwrap();
    std::fs::rename(o.data("k/x_1.ome.tif"), o.data("other/x_1.ome.tif")).unwrap();
    let bytes = std::fs::read(o.data("k/x_0.ome.tif")).unwrap();
    let text = String::from_utf8_lossy(&bytes).replace("\"x_1.ome.tif", "\"../other/x_1.ome.tif");
    std::fs::write(o.data("k/x_0.ome.tif"), text).unwrap();
    let ran = o.import(&[], &[&o.data("k/x_0.ome.tif")]);
    assert_eq!((ran.code, ran.out.as_str()), (2, ""));
    assert!(ran.err.contains("Error on import: A checksum mismatch has occurred."), "{}", ran.err);
    assert!(ran.err.contains("0 errors in") && !ran.err.contains("FILE_EXCEPTION"), "{}", ran.err);
    let f = &o.contents()["filesets"][0];
    let prefix = o.store().join("ManagedRepository").join(f["prefix"].as_str().unwrap());
    let link = PathBuf::from(f["files"][1]["link"].as_str().unwrap());
    assert_eq!(link, prefix.join("data/other/x_1.ome.tif"));
    assert!(link.exists() && f["files"][1]["client_path"].as_str().unwrap().contains("/k/../other/"));
}

/// W1: one line of text brings the files of others into the repository.
#[test]
fn the_server_refuses_a_set_outside_the_repository_when_its_files_are_there_already() {
    let o = Omero::new();
    o.login("bob");
    let secret = write(&o, "alice/secret.txt", "for alice alone");
    o.tiff("bob/a.tif");
    let key = write(&o, "bob/x.pattern", &format!("{}<bob/a.tif,alice/secret.txt>", o.data("")));
    let ran = o.import(&[], &[&key]);
    assert_eq!((ran.code, ran.out.as_str()), (2, ""));
    assert!(ran.err.contains(&format!("INTERNAL_EXCEPTION: {key}")), "{}", ran.err);
    assert!(ran.err.contains("accesses data outside managed repository:"), "{}", ran.err);
    let f = &o.contents()["filesets"][0];
    assert_eq!((f["owner"].as_str(), f["images"].as_array().unwrap().len()), (Some("bob"), 0));
    assert_eq!(f["files"][2]["target"], secret);
    let id = &o.query("select f.id from OriginalFile f where f.name = 'secret.txt'")[0][0];
    let copy = o.path("client/copy");
    let ran = o.run(&["download", "-q", &format!("OriginalFile:{id}"), copy.to_str().unwrap()]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(std::fs::read_to_string(copy).unwrap(), "for alice alone");
}

#[test]
fn the_server_has_another_working_directory_than_the_importer() {
    let o = Omero::new();
    o.login("alice");
    o.tiff("sub/a_1.tif");
    let key = write(&o, "x.pattern", "sub/a_<1-1>.tif");
    let list = o.path("client/list");
    std::fs::write(&list, key + "\n").unwrap();
    let mut c = o.command();
    c.current_dir(o.path("data")).args(["import", "-q", "--transfer", "ln_s", "--clientdir"]);
    c.arg(o.path("jars")).arg("--logback").arg(o.path("logback.xml")).arg("-");
    let ran = finish(c.stdin(std::fs::File::open(list).unwrap()).output().unwrap());
    assert_eq!(ran.code, 2);
    assert!(
        ran.err.contains(
            "Name: error-on-init\nParameters: {stacktrace=java.io.FileNotFoundException: sub/a_1.tif"
        ),
        "{}",
        ran.err
    );
    assert_eq!((o.count("filesets"), o.count("images")), (1, 0));
}

#[test]
fn two_files_of_one_cleaned_name_have_one_client_path() {
    let o = Omero::new();
    o.login("alice");
    let (a, b) = (o.tiff("a:b.tif"), o.tiff("a;b.tif"));
    assert_eq!(o.import(&[], &[&a, &b]).code, 0);
    let paths = o.query("select distinct e.clientPath from FilesetEntry e");
    assert_eq!(paths, [[o.data("a;b.tif").trim_start_matches('/').to_owned()]]);
    let ran = o.import(&["--exclude", "clientpath"], &[&b]);
    assert!(ran.err.contains("ClientPath match for filename"));
}
