//! The stand-in's readers against Bio-Formats itself: what each file of a collection of sets uses, and how a directory
//! of them is grouped. The jar is fetched by `reader/jar`, once.

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use common::{Omero, Ran, finish};
use serde_json::Value;

fn jar() -> &'static Path {
    // A failure is remembered too: each test would else fetch anew.
    static JAR: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let jar = JAR.get_or_init(|| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("reader/jar");
        let output = Command::new(script).output().map_err(|e| e.to_string())?;
        let (path, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        if output.status.success() { Ok(path.trim_end().into()) } else { Err(said.into_owned()) }
    });
    jar.as_ref().unwrap_or_else(|why| panic!("{why}"))
}

fn write(o: &Omero, name: &str, text: &str) {
    let path = PathBuf::from(o.data(name));
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

fn make(o: &Omero, kind: &str, name: &str, files: &str) {
    o.standin(&["make", kind, &o.data(name), "--files", files]);
}

fn copy(o: &Omero, from: &str, to: &str) {
    std::fs::create_dir_all(Path::new(&o.data(to)).parent().unwrap()).unwrap();
    std::fs::copy(o.data(from), o.data(to)).unwrap();
}

/// Other names in the XML of a TIFF; the length of its text stays.
fn rename_in(o: &Omero, file: &str, from: &str, to: &str) {
    let bytes = std::fs::read(o.data(file)).unwrap();
    let at = bytes.windows(from.len()).position(|w| w == from.as_bytes()).unwrap();
    assert!(to.len() <= from.len(), "{to}");
    let mut new = [&bytes[..at], to.as_bytes(), &bytes[at + from.len()..]].concat();
    // What is saved is given back as blanks behind the XML's first word.
    let blank = new.windows(5).position(|w| w == b"<OME ").unwrap() + 5;
    for _ in to.len()..from.len() {
        new.insert(blank, b' ');
    }
    std::fs::write(o.data(file), new).unwrap();
}

/// Sets of every kind that the stand-in imitates, whole and with something missing.
fn sets(o: &Omero) {
    let data = o.data("");
    let data = data.trim_end_matches('/');
    o.tiff("plain.tif");
    write(o, "notes.txt", "no image");
    for name in ["t.tif", "t.ome.tif", "t.svs", "t.png", "t.gif", "t.lif", "t.jpg", "t.czi", "t.nd2"] {
        write(o, &format!("text/{name}"), "no image");
    }
    write(o, "text/empty.tif", "");
    o.standin(&["make", "broken", &o.data("broken.tif")]);
    // Patterns.
    for name in ["a_1", "a_2", "n_01", "n_04", "n_A_1", "n_B_1", "n_A_2", "n_B_2"] {
        o.tiff(&format!("pat/{name}.tif"));
        o.tiff(&format!("pat/sub/{name}.tif"));
    }
    write(o, "pat/secret.txt", "no image");
    for (name, text) in [
        ("bare", "a_<1-2>.tif\n".to_owned()),
        ("blanks", "  a_<1-2>.tif \r\n".to_owned()),
        ("zeros", "n_<01-04:3>.tif".to_owned()),
        ("letters", "n_<A-B>_1.tif".to_owned()),
        ("words", "n_<A,B>_<1-2>.tif".to_owned()),
        ("one", "a_1.tif".to_owned()),
        ("regex", "a_.*.tif".to_owned()),
        ("regex-class", "a_[12].tif".to_owned()),
        ("relative", "pat/sub/a_<1-2>.tif".to_owned()),
        ("dotted", "./pat/a_<1-2>.tif".to_owned()),
        ("above", "../data/pat/a_<1-2>.tif".to_owned()),
        ("absolute", format!("{data}/pat/a_<1-2>.tif")),
        ("theft", format!("{data}/pat/<a_1.tif,secret.txt>")),
        ("theft-first", format!("{data}/pat/secret.<txt>")),
        ("missing", "gone_<1-2>.tif".to_owned()),
        ("missing-second", "a_<1-3>.tif".to_owned()),
        ("pattern", "bare.pattern".to_owned()),
        ("companion", format!("{data}/comp/m_<0-2>.ome.tif")),
    ] {
        write(o, &format!("pat/{name}.pattern"), &text);
    }
    // Companion files.
    make(o, "companion", "comp/m.companion.ome", "3");
    make(o, "companion", "comp-missing/m.companion.ome", "3");
    std::fs::remove_file(o.data("comp-missing/m_1.ome.tif")).unwrap();
    make(o, "companion", "comp-first/m.companion.ome", "3");
    std::fs::remove_file(o.data("comp-first/m_0.ome.tif")).unwrap();
    make(o, "companion", "comp-alone/m.companion.ome", "2");
    std::fs::remove_file(o.data("comp-alone/m.companion.ome")).unwrap();
    let text = std::fs::read_to_string(o.data("comp/m.companion.ome")).unwrap();
    for (directory, prefix) in [("comp-sub", "sub/"), ("comp-up", "../comp-side/"), ("comp-abs", "/tmp/")] {
        write(
            o,
            &format!("{directory}/m.companion.ome"),
            &text.replace("FileName=\"", &format!("FileName=\"{prefix}")),
        );
    }
    for n in 0..3 {
        for to in ["comp-sub/sub", "comp-side"] {
            copy(o, &format!("comp/m_{n}.ome.tif"), &format!("{to}/m_{n}.ome.tif"));
        }
    }
    make(o, "companion", "comp-text/m.companion.ome", "2");
    write(o, "comp-text/m_1.ome.tif", "no image");
    write(o, "comp-nothing/m.companion.ome", "no XML");
    // TIFFs that name each other.
    make(o, "ome-tiff", "ome/x.ome.tif", "3");
    make(o, "ome-tiff", "ome-one/x.ome.tif", "1");
    make(o, "ome-tiff", "ome-missing/x.ome.tif", "2");
    std::fs::remove_file(o.data("ome-missing/x_1.ome.tif")).unwrap();
    make(o, "ome-tiff", "ome-renamed/x.ome.tif", "2");
    std::fs::rename(o.data("ome-renamed/x_0.ome.tif"), o.data("ome-renamed/other.ome.tif")).unwrap();
    make(o, "ome-tiff", "ome-text/x.ome.tif", "2");
    write(o, "ome-text/x_1.ome.tif", "no image");
    make(o, "ome-tiff", "ome-sub/x.ome.tif", "2");
    copy(o, "ome-sub/x_1.ome.tif", "ome-sub/s/x.tif");
    std::fs::remove_file(o.data("ome-sub/x_1.ome.tif")).unwrap();
    rename_in(o, "ome-sub/x_0.ome.tif", "x_1.ome.tif", "s/x.tif");
    make(o, "ome-tiff", "ome-up/x.ome.tif", "2");
    copy(o, "ome-up/x_1.ome.tif", "o/x.tif");
    std::fs::remove_file(o.data("ome-up/x_1.ome.tif")).unwrap();
    rename_in(o, "ome-up/x_0.ome.tif", "x_1.ome.tif", "../o/x.tif");
    // MetaXpress.
    make(o, "htd", "htd/p.HTD", "3");
    make(o, "htd-flat", "htd-flat/p.HTD", "2");
    make(o, "htd", "htd-missing/p.HTD", "3");
    std::fs::remove_file(o.data("htd-missing/TimePoint_1/p_A02.TIF")).unwrap();
    make(o, "htd", "htd-text/p.HTD", "2");
    write(o, "htd-text/TimePoint_1/p_A02.TIF", "no image");
    // Headers, and what is made up.
    for (name, file) in [("here", "./x.raw"), ("gone", "./y.raw"), ("up", "../x.raw"), ("abs", "/tmp/x.raw")]
    {
        let text = "NRRD0004\ntype: uint8\ndimension: 2\nsizes: 8 8\nencoding: raw\ndata file: ";
        write(o, &format!("nrrd/{name}.nhdr"), &format!("{text}{file}\n\n"));
    }
    write(o, "nrrd/here.txt", "x");
    o.tiff("nrrd/up.tif");
    for name in
        ["x.fake", "x&series=3.fake", "x&sleepInitFile=10.fake", "x&plates=1&plateCols=2&fields=3.fake"]
    {
        make(o, "fake", &format!("fake/{name}"), "0");
    }
}

fn walk(directory: &Path, found: &mut Vec<PathBuf>) {
    for e in std::fs::read_dir(directory).unwrap() {
        let path = e.unwrap().path();
        if path.is_dir() { walk(&path, found) } else { found.push(path) }
    }
}

fn run(o: &Omero, directory: &str, real: bool, args: &[&str]) -> Ran {
    let mut c = o.command();
    c.current_dir(o.path(directory)).args(args);
    if real {
        c.env("OMERO_STANDIN_BIOFORMATS", jar());
    }
    finish(c.output().unwrap())
}

#[test]
fn every_file_uses_what_bio_formats_says() {
    let o = Omero::new();
    sets(&o);
    let mut files = Vec::new();
    walk(&o.path("data"), &mut files);
    files.sort();
    let mut words = vec!["standin", "look"];
    words.extend(files.iter().map(|f| f.to_str().unwrap()));
    for directory in ["data", "client"] {
        let said = |real: bool| -> Vec<Value> {
            let ran = run(&o, directory, real, &words);
            assert_eq!(ran.code, 0, "{}", ran.err);
            ran.out.lines().map(|l| serde_json::from_str(l).unwrap()).collect()
        };
        let (mine, theirs) = (said(false), said(true));
        assert_eq!((mine.len(), theirs.len()), (files.len(), files.len()));
        let mut differ = String::new();
        for (mine, theirs) in mine.iter().zip(&theirs) {
            let both = [mine, theirs].map(|s| comparable(s).replace(&o.data(""), ""));
            if both[0] != both[1] {
                differ += &format!("stand-in    {}\nBio-Formats {}\n", both[0], both[1]);
            }
        }
        assert!(differ.is_empty(), "in {directory}:\n{differ}");
        let sets =
            theirs.iter().filter(|s| s["said"]["used"].as_array().is_some_and(|u| u.len() > 1)).count();
        assert!(sets > 20, "{sets} sets are something to compare");
    }
}

/// What has to be the same: of a mistake inside a reader only that there is one.
fn comparable(said: &Value) -> String {
    let mut said = said.clone();
    if let Some(why) = said["said"]["broken"].as_str() {
        let told = ["FileNotFoundException", "Missing file", "File #", "Invalid TIFF file: ", "Invalid PNG"]
            .iter()
            .any(|w| why.contains(w));
        if !told {
            said["said"]["broken"] = "".into();
        }
    }
    if said["said"]["reader"] == "loci.formats.in.FakeReader" {
        // It takes itself for a plate at one time and not at another.
        said["said"]["spw"] = true.into();
    }
    said.to_string()
}

#[test]
fn a_directory_of_sets_is_grouped_alike() {
    let o = Omero::new();
    sets(&o);
    for (directory, more) in
        [("data", &["."][..]), ("client", &["../data/htd", "../data/ome", "../data/comp"])]
    {
        let (jars, logback) = (o.path("jars"), o.path("logback.xml"));
        let words = ["import", "-q", "-f", "--clientdir", jars.to_str().unwrap()];
        let words = [&words[..], &["--logback", logback.to_str().unwrap()], more].concat();
        let (mine, theirs) = (run(&o, directory, false, &words), run(&o, directory, true, &words));
        assert_eq!((mine.code, theirs.code), (0, 0), "{}", theirs.err);
        let theirs = theirs
            .out
            .replace("SPW: false Reader: loci.formats.in.Fake", "SPW: true Reader: loci.formats.in.Fake");
        let differ: Vec<_> = mine.out.lines().zip(theirs.lines()).filter(|(m, t)| m != t).collect();
        assert!(differ.is_empty() && mine.out.len() == theirs.len(), "in {directory}: {differ:#?}");
    }
}

#[test]
fn an_import_with_the_real_readers_goes_through_and_one_that_leads_out_of_the_repository_does_not() {
    let o = Omero::new();
    o.login("alice");
    make(&o, "htd", "p.HTD", "2");
    o.tiff("a_1.tif");
    write(&o, "secret.txt", "no image");
    write(&o, "x.pattern", &format!("{}<a_1.tif,secret.txt>", o.data("")));
    let import = |name: &str| {
        let (jars, logback) = (o.path("jars"), o.path("logback.xml"));
        let path = o.data(name);
        let words = ["import", "-q", "--transfer", "ln_s", "--output", "yaml", "--clientdir"];
        let more = [jars.to_str().unwrap(), "--logback", logback.to_str().unwrap(), &path];
        run(&o, "client", true, &[&words[..], &more[..]].concat())
    };
    let ran = import("p.HTD");
    assert_eq!((ran.code, ran.out.as_str()), (0, "---\n- Fileset: 1\n  Image: [1,2]\n"), "{}", ran.err);
    let ran = import("x.pattern");
    assert_eq!((ran.code, ran.out.as_str()), (2, ""));
    assert!(ran.err.contains("accesses data outside managed repository"), "{}", ran.err);
}
