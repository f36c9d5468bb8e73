//! What an import makes, prints and returns.

mod common;

use common::{Omero, finish};

fn ready() -> Omero {
    let o = Omero::new();
    o.login("alice");
    o
}

#[test]
fn a_listed_file_becomes_an_image_in_place_of_the_session_user() {
    let o = ready();
    let path = o.tiff("a.tif");
    let ran = o.import(&["-T", "Dataset:name:D", "--skip", "upgrade"], &[&path]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(ran.out, "---\n- Fileset: 1\n  Image: [1]\n");
    let all = o.contents();
    let f = &all["filesets"][0];
    assert_eq!(f["owner"], "alice");
    assert_eq!(f["group"], "lab1");
    assert_eq!(f["transfer"], "ome.formats.importer.transfers.SymlinkFileTransfer");
    assert_eq!(f["images"][0]["name"], "a.tif");
    assert_eq!(f["images"][0]["dataset"], "D");
    assert_eq!(f["files"][0]["client_path"], path.trim_start_matches('/'));
    let link = std::path::PathBuf::from(f["files"][0]["link"].as_str().unwrap());
    assert_eq!(std::fs::read_link(&link).unwrap().to_str().unwrap(), path);
    assert!(link.starts_with(o.store().join("ManagedRepository/alice_3")));
    assert_eq!(all["datasets"][0]["owner"], "alice");
}

#[test]
fn the_call_is_recorded_with_its_standard_input_and_java_with_the_key() {
    let o = ready();
    let path = o.tiff("a.tif");
    o.import(&[], &[&path]);
    let call = o.calls().pop().unwrap();
    assert_eq!(call["argv"][0], "import");
    assert_eq!(call["stdin"], format!("{path}\n"));
    assert_eq!(call["exit"], 0);
    let java = &o.java_runs()[0];
    let argv: Vec<&str> = java["argv"].as_array().unwrap().iter().map(|a| a.as_str().unwrap()).collect();
    let at = argv.iter().position(|a| *a == "-k").unwrap();
    assert_eq!(argv[at + 1], o.session_files()[0].file_name().unwrap().to_str().unwrap());
    assert!(argv.contains(&"-Domero.import.depth=4"));
}

#[test]
fn java_opts_stand_behind_the_fixed_heap_size() {
    let o = ready();
    let path = o.tiff("a.tif");
    let (jars, logback) = (o.path("jars"), o.path("logback.xml"));
    let ran = finish(
        o.command()
            .env("JAVA_OPTS", "-Xmx4g '-Da=b c'")
            .args(["import", "-q", "--clientdir"])
            .arg(jars)
            .arg("--logback")
            .arg(logback)
            .arg(path)
            .output()
            .unwrap(),
    );
    assert_eq!(ran.code, 0);
    let argv = &o.java_runs()[0]["argv"];
    let position = |w: &str| argv.as_array().unwrap().iter().position(|a| a == w).unwrap();
    assert!(position("-Xmx1024M") < position("-Xmx4g"));
    assert_eq!(position("-Da=b c"), position("-Xmx4g") + 1);
}

#[test]
fn ids_output_has_the_fileset_on_standard_error_only() {
    let o = ready();
    let path = o.tiff("a.tif");
    let ran = o.plain_import(&["--transfer", "ln_s", &path]);
    assert_eq!(ran.out, "Image:1\n");
    assert!(ran.err.contains("Other imported objects:\nFileset:1\n"));
    assert!(ran.err.contains("IMPORT_DONE Imported file: "));
    assert!(ran.err.contains(
        "\n==> Summary\n1 file uploaded, 1 fileset created, 1 image imported, 0 errors in 0:00:00."
    ));
}

#[test]
fn ids_output_of_a_plate_names_the_plate_and_legacy_the_pixels() {
    let o = ready();
    let path = o.data("p.plate-test");
    o.standin(&["make", "plate", &path, "--files", "2"]);
    let ran = o.plain_import(&["--transfer", "ln_s", &path]);
    assert_eq!(ran.out, "Plate:1\n");
    assert!(ran.err.contains("Other imported objects:\nFileset:1\nImage:1\nImage:2\n"));
    assert!(ran.err.contains("1 fileset, 1 plate created, 2 images imported"));
    let ran = o.plain_import(&["--transfer", "ln_s", "--output", "legacy", &path]);
    assert_eq!(ran.out, "3\n4\n");
    assert!(ran.err.contains("Imported pixels:\n"));
}

#[test]
fn yaml_output_of_a_plate_has_images_before_the_plate() {
    let o = ready();
    let path = o.data("p.plate-test");
    o.standin(&["make", "plate", &path, "--files", "2"]);
    let ran = o.import(&["-T", "Screen:name:S"], &[&path]);
    assert_eq!(ran.out, "---\n- Fileset: 1\n  Image: [1,2]\n  Plate: [1]\n");
    assert_eq!(o.contents()["filesets"][0]["plates"][0]["screen"], "S");
}

#[test]
fn several_series_are_several_images_of_one_fileset() {
    let o = ready();
    let path = o.data("s.tif");
    o.standin(&["make", "tiff", &path, "--series", "3"]);
    let ran = o.import(&[], &[&path]);
    assert_eq!(ran.out, "---\n- Fileset: 1\n  Image: [1,2,3]\n");
    let named = o.import(&["-n", "New"], &[&path]);
    assert_eq!(named.code, 0);
    let names = o.query("select i.name from Image i order by i.id");
    assert_eq!(names[0][0], "s.tif [0]");
    assert_eq!(names[5][0], "New [2]");
}

#[test]
fn a_long_name_loses_its_beginning() {
    let o = ready();
    let path = o.tiff("a.tif");
    let name = "x".repeat(300) + "end";
    o.import(&["-n", &name], &[&path]);
    let got = &o.query("select i.name from Image i")[0][0];
    assert_eq!(got.chars().count(), 255);
    assert!(got.starts_with('…') && got.ends_with("end"));
}

#[test]
fn every_fileset_is_a_document_of_its_own() {
    let o = ready();
    let (a, b) = (o.tiff("a.tif"), o.tiff("b.tif"));
    let ran = o.import(&[], &[&a, "", &format!("  {b}  ")]);
    assert_eq!(ran.out, "---\n- Fileset: 1\n  Image: [1]\n---\n- Fileset: 2\n  Image: [2]\n");
}

#[test]
fn names_with_blanks_dashes_quotes_and_letters_of_the_world_come_through() {
    let o = ready();
    let names = ["-dash.tif", "a b.tif", "qu'o\"te.tif", "é漢.tif", "semi;colon.tif"];
    let paths: Vec<String> = names.iter().map(|n| o.tiff(n)).collect();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    let ran = o.import(&[], &paths);
    assert_eq!(ran.out.matches("Fileset").count(), names.len(), "{}", ran.err);
}

#[test]
fn client_paths_are_made_safe_and_so_are_link_names() {
    let o = ready();
    let path = o.tiff("a:b*?<x>|\".tif");
    o.import(&[], &[&path]);
    let f = &o.contents()["filesets"][0]["files"][0];
    assert!(f["client_path"].as_str().unwrap().ends_with("/a;bx%[x]!'.tif"));
    assert!(f["link"].as_str().unwrap().ends_with("/a;bx%[x]!'.tif"));
    assert_eq!(f["target"], path);
}

#[test]
fn a_locale_that_is_not_utf8_loses_names_on_standard_input() {
    let o = ready();
    let path = o.tiff("é.tif");
    let (jars, logback) = (o.path("jars"), o.path("logback.xml"));
    let list = o.path("list");
    std::fs::write(&list, path + "\n").unwrap();
    let ran = finish(
        o.command()
            .env("LC_ALL", "C")
            .args(["import", "-q", "--clientdir"])
            .arg(jars)
            .arg("--logback")
            .arg(logback)
            .arg("-")
            .stdin(std::fs::File::open(list).unwrap())
            .output()
            .unwrap(),
    );
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("UNREADABLE_FILE"));
}

#[test]
fn a_relative_path_is_linked_by_its_absolute_form_without_resolving_links() {
    let o = ready();
    o.tiff("real/a.tif");
    std::os::unix::fs::symlink(o.path("data/real"), o.path("data/via")).unwrap();
    let (jars, logback) = (o.path("jars"), o.path("logback.xml"));
    let ran = finish(
        o.command()
            .current_dir(o.path("data"))
            .args(["import", "-q", "--transfer", "ln_s", "--clientdir"])
            .arg(jars)
            .arg("--logback")
            .arg(logback)
            .arg("via/a.tif")
            .output()
            .unwrap(),
    );
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(o.contents()["filesets"][0]["files"][0]["target"], o.data("via/a.tif"));
}

#[test]
fn each_kind_of_transfer_does_as_it_says() {
    let o = ready();
    for (kind, is_link, source_stays) in [
        ("upload", false, true),
        ("ln_s", true, true),
        ("ln", false, true),
        ("cp", false, true),
        ("cp_rm", false, false),
        ("ln_rm", false, false),
        ("upload_rm", false, false),
    ] {
        let path = o.tiff(&format!("{kind}.tif"));
        let ran = o.plain_import(&["--transfer", kind, &path]);
        assert_eq!(ran.code, 0, "{kind}: {}", ran.err);
        let all = o.contents();
        let file = &all["filesets"].as_array().unwrap().last().unwrap()["files"][0];
        assert_eq!(file["target"].is_string(), is_link, "{kind}");
        assert_eq!(file["readable"], true, "{kind}");
        assert_eq!(std::path::Path::new(&path).exists(), source_stays, "{kind}");
    }
    let path = o.tiff("x.tif");
    assert_eq!(o.plain_import(&["--transfer", "beam", &path]).code, 1);
}

#[test]
fn a_source_that_cannot_be_removed_gives_3() {
    let o = ready();
    let path = o.tiff("a.tif");
    o.standin(&["fault", "set", "cleanup-failure"]);
    let ran = o.plain_import(&["--transfer", "cp_rm", &path]);
    assert_eq!((ran.code, ran.out.as_str()), (3, "Image:1\n"));
    assert!(ran.err.contains("Cleanup failed!"));
}

#[test]
fn unknown_unreadable_and_dot_files_alone_give_1_and_the_usage() {
    let o = ready();
    std::fs::write(o.data("notes.txt"), "hello").unwrap();
    std::fs::write(o.data(".hidden.tif"), "II*\0").unwrap();
    for path in ["notes.txt", ".hidden.tif", "missing.tif"] {
        let ran = o.import(&[], &[&o.data(path)]);
        assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{path}");
        assert!(ran.err.contains("No imports found") && ran.err.contains("Usage:"), "{path}");
    }
    assert!(o.import(&[], &[&o.data("missing.tif")]).err.contains("UNREADABLE_FILE: "));
    assert_eq!(o.import(&[], &[]).code, 1, "an empty list");
}

#[test]
fn only_broken_files_give_0_and_nothing_else() {
    let o = ready();
    let path = o.data("b.tif");
    o.standin(&["make", "broken", &path]);
    let ran = o.import(&[], &[&path]);
    assert_eq!((ran.code, ran.out.as_str()), (0, ""));
    assert!(ran.err.contains("FILE_EXCEPTION: ") && ran.err.contains("No imports due to errors!"));
    assert!(!ran.err.contains("Summary"));
}

#[test]
fn a_failed_fileset_gives_2_and_leaves_its_rows_without_images() {
    let o = ready();
    let (a, b) = (o.tiff("a.tif"), o.tiff("b.tif"));
    o.standin(&["fault", "set", "import-error", "--path", "a.tif", "--times", "1"]);
    let ran = o.import(&[], &[&a, &b]);
    assert_eq!((ran.code, ran.out.as_str()), (2, ""));
    assert!(ran.err.contains(&format!("INTERNAL_EXCEPTION: {a}")));
    assert!(ran.err.contains("Error on import") && ran.err.contains("Exiting on error"));
    assert_eq!(o.count("filesets"), 1, "b was never begun");
    assert_eq!(o.count("images"), 0);
    let left = o.query("select f.id from Fileset f where f.images is empty");
    assert_eq!(left.len(), 1);
}

#[test]
fn with_c_a_failure_still_gives_0() {
    let o = ready();
    let (a, b) = (o.tiff("a.tif"), o.tiff("b.tif"));
    o.standin(&["fault", "set", "import-error", "--path", "a.tif"]);
    let ran = o.import(&["-c"], &[&a, &b]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "---\n- Fileset: 2\n  Image: [1]\n"));
    assert!(ran.err.contains("Continuing after error"));
    assert!(ran.err.contains("1 error in"));
    let nothing = o.import(&["-c"], &[&a]);
    assert_eq!((nothing.code, nothing.out.as_str()), (0, ""));
}

#[test]
fn clientpath_exclusion_skips_silently_with_exit_0() {
    let o = ready();
    let path = o.tiff("a.tif");
    o.import(&[], &[&path]);
    std::fs::write(&path, "II*\0something else").unwrap();
    let ran = o.import(&["--exclude", "clientpath"], &[&path]);
    assert_eq!((ran.code, ran.out.as_str()), (0, ""));
    assert!(ran.err.contains("ClientPath match for filename: "));
    assert!(ran.err.contains("0 filesets created, 0 images imported, 0 errors"));
    assert_eq!(o.count("filesets"), 1);
}

#[test]
fn clientpath_exclusion_also_skips_what_only_failed_before() {
    let o = ready();
    let path = o.tiff("a.tif");
    o.standin(&["fault", "set", "import-error", "--times", "1"]);
    assert_eq!(o.import(&[], &[&path]).code, 2);
    let ran = o.import(&["--exclude", "clientpath"], &[&path]);
    assert_eq!((ran.code, o.count("images")), (0, 0));
}

#[test]
fn clientpath_exclusion_does_not_see_other_groups_or_private_data() {
    let o = ready();
    let path = o.tiff("a.tif");
    o.import(&[], &[&path]);
    o.login_to("alice", "lab2");
    assert_eq!(o.import(&["--exclude", "clientpath"], &[&path]).out.matches("Fileset").count(), 1);
    o.login("bob");
    assert_eq!(o.import(&["--exclude", "clientpath"], &[&path]).out, "", "a read-only group is seen");
    o.standin(&["group", "permissions", "lab1", "rw----"]);
    assert_eq!(o.import(&["--exclude", "clientpath"], &[&path]).out.matches("Fileset").count(), 1);
}

#[test]
fn filename_exclusion_compares_checksums() {
    let o = ready();
    let path = o.tiff("a.tif");
    o.import(&[], &[&path]);
    let copy = o.data("elsewhere/a.tif");
    std::fs::create_dir(o.path("data/elsewhere")).unwrap();
    std::fs::copy(&path, &copy).unwrap();
    let ran = o.import(&["--exclude", "filename"], &[&copy]);
    assert_eq!(ran.out, "");
    assert!(ran.err.contains("Checksum match for filename: a.tif"));
    std::fs::write(&copy, "II*\0other bytes").unwrap();
    assert_eq!(o.import(&["--exclude", "filename"], &[&copy]).out.matches("Fileset").count(), 1);
}

#[test]
fn with_file_size_checksums_equal_size_and_name_is_enough_for_a_duplicate() {
    let o = ready();
    let path = o.data("a.tif");
    std::fs::write(&path, "II*\0aaaa").unwrap();
    o.import(&["--skip", "checksum"], &[&path]);
    std::fs::write(&path, "II*\0bbbb").unwrap();
    assert_eq!(o.import(&["--exclude", "filename"], &[&path]).out, "");
}

#[test]
fn java_options_may_follow_two_dashes_and_repeat_there() {
    let o = ready();
    let path = o.tiff("a.tif");
    let ran =
        o.plain_import(&["--transfer", "ln_s", "--", "--exclude=filename", "--exclude=clientpath", &path]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(ran.err.matches("Adding exclusion").count(), 2);
    assert_eq!(o.plain_import(&["--", "--minutes-wait=0", &path]).out, "", "no waiting, no ids");
    assert_eq!(o.plain_import(&["--", "--no-such-option", &path]).code, 1);
}

#[test]
fn argument_errors_of_the_python_half_give_2() {
    let o = ready();
    let path = o.tiff("a.tif");
    for args in [
        &["--output", "xml"][..],
        &["--no-such-option"],
        &["--skip", "everything"],
        &["--depth", "deep"],
        &[&path, "-f", &path],
        &["--transfer=ln_s", "-T"],
    ] {
        assert_eq!(o.plain_import(args).code, 2, "{args:?}");
    }
    assert_eq!(o.plain_import(&["-f", &path, &path]).code, 0);
}

#[test]
fn a_path_beginning_with_a_dash_is_taken_for_options() {
    let o = ready();
    let ran = o.plain_import(&["-f", "-dash.tif"]);
    assert_eq!(ran.code, 1, "-d takes `ash.tif` for an id");
    assert!(ran.err.contains("NumberFormatException"));
}

#[test]
fn no_jars_give_103() {
    let o = ready();
    let empty = o.path("empty");
    std::fs::create_dir(&empty).unwrap();
    let ran = o.run(&["import", "-q", "--clientdir", empty.to_str().unwrap(), "-f", "/x"]);
    assert_eq!(ran.code, 103);
    assert_eq!(ran.err, format!("No JAR files found under '{}'\n", empty.display()));
}

#[test]
fn without_a_logback_file_log_lines_stand_on_standard_output() {
    let o = ready();
    let path = o.tiff("a.tif");
    let jars = o.path("jars");
    let ran = o.run(&[
        "import",
        "-q",
        "--clientdir",
        jars.to_str().unwrap(),
        "--transfer",
        "ln_s",
        "--output",
        "yaml",
        &path,
    ]);
    assert_eq!(ran.code, 0);
    assert!(ran.out.contains("INFO  ome.formats.importer"), "{}", ran.out);
    assert!(ran.out.contains("- Fileset: 1\n"));
}

#[test]
fn output_and_errors_of_java_may_go_to_files() {
    let o = ready();
    let path = o.tiff("a.tif");
    let (out, err) = (o.data("logs/out"), o.data("logs/err"));
    let ran = o.plain_import(&["--file", &out, "--errs", &err, "--transfer", "ln_s", &path]);
    assert_eq!((ran.code, ran.out.as_str()), (0, ""));
    assert_eq!(std::fs::read_to_string(out).unwrap(), "Image:1\n");
    assert!(std::fs::read_to_string(err).unwrap().contains("Summary"));
}

#[test]
fn comments_are_linked_to_every_image() {
    let o = ready();
    let path = o.tiff("a.tif");
    o.import(&["--annotation-ns", "n.s", "--annotation-text", "seen"], &[&path]);
    let note = &o.contents()["filesets"][0]["images"][0]["annotations"][0];
    assert_eq!((note["ns"].as_str(), note["text"].as_str()), (Some("n.s"), Some("seen")));
}

#[test]
fn filesets_of_parallel_imports_are_printed_in_another_order() {
    let o = ready();
    let (a, b) = (o.tiff("a.tif"), o.tiff("b.tif"));
    let ran = o.import(&["--parallel-fileset", "2", "--parallel-upload", "4"], &[&a, &b]);
    assert_eq!(ran.out, "---\n- Fileset: 2\n  Image: [2]\n---\n- Fileset: 1\n  Image: [1]\n");
    assert_eq!(o.import(&["--parallel-fileset", "0"], &[&a]).code, 2);
}

#[test]
fn deleting_in_omero_removes_the_link_and_not_the_source() {
    let o = ready();
    let path = o.tiff("a.tif");
    o.import(&[], &[&path]);
    let link = o.contents()["filesets"][0]["files"][0]["link"].as_str().unwrap().to_owned();
    let ran = o.run(&["delete", "-q", "Fileset:1"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "omero.cmd.Delete2 Fileset:1 ok\n"));
    assert!(std::fs::symlink_metadata(link).is_err());
    assert!(std::path::Path::new(&path).exists());
    assert_eq!(o.count("images"), 0);
}

#[test]
fn a_refused_delete_tells_standard_error_and_still_gives_0() {
    let o = ready();
    let path = o.data("s.tif");
    o.standin(&["make", "tiff", &path, "--series", "2"]);
    o.import(&[], &[&path]);
    let ran = o.run(&["delete", "-q", "Image:1"]);
    assert_eq!(ran.code, 0);
    assert!(!ran.out.contains("ok") && ran.err.contains("failed"));
    o.login("bob");
    let ran = o.run(&["delete", "-q", "Fileset:1"]);
    assert!(ran.code == 0 && !ran.out.contains("ok"));
    assert_eq!(o.count("images"), 2);
}

#[test]
fn a_dangling_or_changed_source_shows_in_fs_sets_check() {
    let o = ready();
    let (a, b) = (o.tiff("a.tif"), o.tiff("b.tif"));
    o.import(&[], &[&a, &b]);
    std::fs::write(&b, "changed").unwrap();
    let rows =
        |o: &Omero| o.run(&["fs", "sets", "-q", "--check", "--order", "oldest", "--style", "plain"]).out;
    let text = rows(&o);
    let checks: Vec<&str> = text.lines().map(|l| l.rsplit(',').next().unwrap()).collect();
    assert_eq!(checks, ["OK", "ERROR!"]);
    std::fs::remove_file(&a).unwrap();
    assert!(rows(&o).lines().all(|l| l.ends_with("ERROR!")));
    let only = o.run(&["fs", "sets", "-q", "--with-transfer", "ln", "--style", "plain"]).out;
    assert_eq!(only.trim(), "");
}

#[test]
fn a_plate_is_deleted_with_its_fileset_and_not_the_fileset_alone() {
    let o = ready();
    let path = o.data("p.plate-test");
    o.standin(&["make", "plate", &path, "--files", "2"]);
    o.import(&[], &[&path]);
    let ran = o.run(&["delete", "-q", "Fileset:1"]);
    assert!(ran.err.contains("may not delete Image[1] while WellSample[1] remains"), "{}", ran.err);
    assert_eq!((ran.code, o.count("images")), (0, 2));
    assert!(o.run(&["delete", "-q", "Plate:1"]).out.ends_with("ok\n"));
    assert_eq!((o.count("images"), o.count("filesets"), o.count("plates")), (0, 0, 0));
    let ran = o.run(&["delete", "-q", "Fileset:1"]);
    assert!(ran.err.contains("cannot read ome.model.fs.Fileset[1]"), "{}", ran.err);
}
