//! Criterion over the parts of the hot path that Rust can call: what the operations of the library are made of.

use criterion::{Criterion, criterion_group, criterion_main};
use irods_omero_config::Config;
use irods_rule_engine_plugin_omero::event::{Argument, OpenObjects, Pep, Surroundings};
use serde_json::{Value, json};
use std::hint::black_box;

struct Watched<'a>(&'a Config);

impl Surroundings for Watched<'_> {
    fn is_watched(&self, collection: &[u8]) -> bool {
        self.0.watch_of(collection).is_some()
    }
    fn may_hold_watched(&self, collection: &[u8]) -> bool {
        self.is_watched(collection)
    }
    fn descriptor(&self, _: i32) -> Option<Vec<u8>> {
        None
    }
}

/// A stanza of 200 entries.
fn stanza() -> Value {
    let watches: Vec<String> = (0..99)
        .map(|i| format!("/tempZone/home/lab{i:03}/*/raw"))
        .chain(["/tempZone/home/*/microscopy".to_owned()])
        .collect();
    let table: serde_json::Map<String, Value> =
        (0..100).map(|i| (format!("user{i:03}#tempZone"), json!(format!("user{i:03}")))).collect();
    json!({
        "watch": watches, "users": {"table": table}, "visibility": {"vaults": [{"prefix": "/vault"}]},
        "omero": {"server": "o", "sudo_user": "i", "password_file": "/p"}, "importer": {"command": "/c", "jars": "/opt/omero/jars", "logback": "/opt/omero/logback.xml"},
    })
}

fn benches(c: &mut Criterion) {
    let stanza = stanza();
    let Ok(config) = Config::parse(&stanza) else { return };
    c.bench_function("pep_of_miss", |b| b.iter(|| Pep::of(black_box(b"pep_api_data_obj_get_post"))));
    c.bench_function("pep_of_hit", |b| b.iter(|| Pep::of(black_box(b"pep_api_data_obj_put_post"))));
    for (name, path) in [
        ("event_outside", &b"/tempZone/home/alice/documents/report.pdf"[..]),
        ("event_watched", b"/tempZone/home/alice/microscopy/run1/a.tif"),
    ] {
        c.bench_function(name, |b| {
            let mut open = OpenObjects::default();
            let argument = Argument::DataObject { path, open_flags: 0, keyword: None };
            b.iter(|| open.read(Pep::PutPost, black_box(argument), &Watched(&config)));
        });
    }
    c.bench_function("parse_200_entries", |b| b.iter(|| Config::parse(black_box(&stanza))));
}

criterion_group!(core, benches);
criterion_main!(core);
