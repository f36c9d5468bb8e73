use super::*;
use irods_omero_importer::wire::JobState::{
    Cancelled as CancelledState, Done, Queued, Refused, Running, Waiting,
};
use std::collections::BTreeMap;
use tempfile::TempDir;

struct Place {
    dir: TempDir,
    settings: Settings,
}

fn place() -> Place {
    Place { dir: tempfile::tempdir().unwrap(), settings: Settings { large_files: 10, ..Settings::default() } }
}

impl Place {
    fn path(&self) -> PathBuf {
        self.dir.path().join("queue.sqlite")
    }

    fn open(&self) -> Queue {
        Queue::open(&self.path(), self.settings, 1_000).unwrap()
    }
}

fn job(key: &str, user: &str) -> NewJob {
    NewJob {
        key: key.to_owned(),
        zone: "zone1".to_owned(),
        server: "main".to_owned(),
        user: user.to_owned(),
        group: None,
        collection: "77".to_owned(),
        place: format!("/zone1/home/{user}"),
        priority: 0,
        files: 1,
        body: format!("body of {key}").into_bytes(),
        caller: "test".to_owned(),
        shared: false,
        peers: Scope::default(),
    }
}

fn zone(name: &str) -> Scope {
    Scope { zones: Some(vec![name.to_owned()]), callers: None }
}

fn done(failed: u32) -> End {
    End::Done { outcomes: b"[]".to_vec(), failed }
}

fn turn() -> Turn {
    Turn { per_user: 1_000, large: 1_000, ..Turn::default() }
}

async fn submit(queue: &Queue, job: NewJob) -> JobId {
    match queue.submit(job, 1_000).await.unwrap() {
        Submitted::New(job) => job.id,
        other => panic!("{other:?}"),
    }
}

async fn take(queue: &Queue, turn: Turn) -> Option<String> {
    queue.take(turn, 2_000).await.unwrap().map(|t| t.job.key)
}

async fn state(queue: &Queue, id: JobId) -> JobState {
    queue.get(id).await.unwrap().unwrap().state
}

#[tokio::test]
async fn the_same_submission_again_is_the_same_job_and_another_one_of_its_key_is_not() {
    let place = place();
    let queue = place.open();
    let id = submit(&queue, job("k", "alice")).await;
    let again = queue.submit(job("k", "alice"), 1_001).await.unwrap();
    assert!(matches!(again, Submitted::Same(j) if j.id == id));
    let other = NewJob { body: b"other".to_vec(), ..job("k", "alice") };
    assert!(matches!(queue.submit(other, 1_001).await.unwrap(), Submitted::Conflict(j) if j.id == id));
    let elsewhere = NewJob { zone: "zone2".to_owned(), ..job("k", "alice") };
    assert!(matches!(queue.submit(elsewhere, 1_001).await.unwrap(), Submitted::New(_)));
    let newest = queue.find("k".to_owned(), Scope::default()).await.unwrap().unwrap();
    assert_eq!(newest.zone, "zone2");
    let found = queue.find("k".to_owned(), zone("zone1")).await.unwrap().unwrap();
    assert_eq!((found.id, queue.body(id).await.unwrap().unwrap()), (id, b"body of k".to_vec()));
}

#[tokio::test]
async fn a_key_and_a_job_are_a_callers_own_and_its_peers() {
    let place = place();
    let queue = place.open();
    let by = |caller: &str, peers: &[&str]| {
        let callers = Some(peers.iter().map(|p| (*p).to_owned()).collect());
        let peers = Scope { zones: None, callers };
        NewJob { caller: caller.to_owned(), peers, body: caller.as_bytes().to_vec(), ..job("k", "alice") }
    };
    let first = submit(&queue, by("a", &["a", "b"])).await;
    // Of a peer the job is known, of anybody else not even that there is one.
    assert!(
        matches!(queue.submit(by("b", &["a", "b"]), 1).await.unwrap(), Submitted::Conflict(j) if j.id == first)
    );
    let second = submit(&queue, by("c", &["c"])).await;
    let only = |caller: &str| Scope { zones: None, callers: Some(vec![caller.to_owned()]) };
    for (caller, id) in [("a", first), ("c", second)] {
        assert_eq!(queue.find("k".to_owned(), only(caller)).await.unwrap().unwrap().id, id);
        let listed = queue.list(Filter { scope: only(caller), limit: 9, ..Filter::default() }).await.unwrap();
        assert_eq!(listed.iter().map(|j| j.id).collect::<Vec<_>>(), [id]);
        let (_, changed) = queue.changes(0, only(caller), 9).await.unwrap();
        assert_eq!(changed.iter().map(|j| j.id).collect::<Vec<_>>(), [id]);
        assert!(queue.counts(only(caller)).await.unwrap().contains(&(Queued, 1)));
    }
}

#[tokio::test]
async fn users_take_turns_however_many_jobs_one_has() {
    let place = place();
    let queue = place.open();
    for n in 0..20 {
        submit(&queue, job(&format!("a{n:02}"), "alice")).await;
    }
    submit(&queue, job("b", "bob")).await;
    submit(&queue, NewJob { zone: "zone2".to_owned(), ..job("c", "carol") }).await;
    let mut first = Vec::new();
    for _ in 0..4 {
        first.push(take(&queue, turn()).await.unwrap());
    }
    assert!(first.contains(&"b".to_owned()) && first.contains(&"c".to_owned()), "{first:?}");
}

#[tokio::test]
async fn one_users_jobs_go_by_urgency_and_short_ones_overtake_long_ones_for_an_hour_at_most() {
    let place = place();
    let queue = place.open();
    submit(&queue, NewJob { files: 100_000, ..job("long", "alice") }).await;
    submit(&queue, job("short", "alice")).await;
    submit(&queue, NewJob { priority: 5, ..job("urgent", "alice") }).await;
    queue.submit(job("much later", "alice"), 1_000 + 3_601).await.unwrap();
    let mut order = Vec::new();
    while let Some(key) = take(&queue, turn()).await {
        order.push(key);
    }
    assert_eq!(order, ["urgent", "short", "long", "much later"]);
}

#[tokio::test]
async fn the_bounds_of_a_user_of_large_jobs_and_of_closed_servers_are_kept() {
    let place = place();
    let queue = place.open();
    for n in 0..3 {
        submit(&queue, job(&format!("a{n}"), "alice")).await;
    }
    submit(&queue, NewJob { files: 11, ..job("b large", "bob") }).await;
    submit(&queue, NewJob { files: 11, ..job("c large", "carol") }).await;
    submit(&queue, NewJob { server: "other".to_owned(), ..job("d", "dave") }).await;
    let closed = ["other".to_owned()].into();
    let bounds = Turn { per_user: 1, large: 1, closed, ..Turn::default() };
    let mut started = Vec::new();
    while let Some(key) = take(&queue, bounds.clone()).await {
        started.push(key);
    }
    started.sort();
    assert_eq!(started, ["a0", "b large"]);
    assert_eq!(take(&queue, Turn { per_user: 1, ..turn() }).await.as_deref(), Some("c large"));
    assert_eq!(take(&queue, Turn { per_user: 1, ..turn() }).await.as_deref(), Some("d"));
}

#[tokio::test]
async fn a_job_ends_in_every_way_and_says_so_in_its_history() {
    let place = place();
    let queue = place.open();
    let mut states = Vec::new();
    for (n, end) in [
        done(0),
        End::Refused("no such user".to_owned()),
        End::Waiting { reason: "down".to_owned(), next: 2_060, counts: true },
        End::Back("the agent ends".to_owned()),
        End::NotNow,
    ]
    .into_iter()
    .enumerate()
    {
        let id = submit(&queue, job(&format!("k{n}"), &format!("user{n}"))).await;
        assert_eq!(take(&queue, turn()).await.unwrap(), format!("k{n}"));
        let ended = queue.finish(id, end, "said".to_owned(), 2_000).await.unwrap().unwrap();
        states.push((ended.state, ended.attempts, queue.history(id).await.unwrap().len()));
        queue.cancel(id, "test".to_owned(), 2_001).await.unwrap();
        assert_eq!(queue.log(id).await.unwrap().as_deref(), Some("said"));
    }
    assert_eq!(states, [(Done, 1, 3), (Refused, 1, 3), (Waiting, 1, 3), (Queued, 1, 3), (Queued, 0, 1)]);
}

#[tokio::test]
async fn what_waits_is_queued_when_its_time_has_come_or_its_server_is_back() {
    let place = place();
    let queue = place.open();
    let id = submit(&queue, job("k", "alice")).await;
    take(&queue, turn()).await.unwrap();
    let end = || End::Waiting { reason: "down".to_owned(), next: 2_060, counts: true };
    queue.finish(id, end(), String::new(), 2_000).await.unwrap();
    assert_eq!(queue.promote(2_059, 86_400).await.unwrap(), Some(2_060));
    assert_eq!((state(&queue, id).await, take(&queue, turn()).await), (Waiting, None));
    assert_eq!(queue.promote(2_060, 86_400).await.unwrap(), None);
    assert_eq!(take(&queue, turn()).await.as_deref(), Some("k"));
    queue.finish(id, end(), String::new(), 2_000).await.unwrap();
    assert_eq!(queue.wake("other".to_owned(), 2_001).await.unwrap(), 0);
    assert_eq!(queue.wake("main".to_owned(), 2_001).await.unwrap(), 1);
    queue.promote(2_001, 86_400).await.unwrap();
    let job = queue.get(id).await.unwrap().unwrap();
    assert_eq!((job.state, job.since), (Queued, Some(2_000)));
}

#[tokio::test]
async fn a_running_job_is_cancelled_when_its_run_has_ended_unless_it_was_done() {
    let place = place();
    let queue = place.open();
    for (key, end, expected) in [("a", End::Back(String::new()), CancelledState), ("b", done(0), Done)] {
        let id = submit(&queue, job(key, "alice")).await;
        take(&queue, turn()).await.unwrap();
        let asked = queue.cancel(id, "carol".to_owned(), 2_000).await.unwrap().unwrap();
        assert!(matches!(asked, Cancelled::Running(j) if j.stopping && j.state == Running));
        queue.finish(id, end, String::new(), 2_001).await.unwrap();
        assert_eq!(state(&queue, id).await, expected);
        let asked = queue.cancel(id, "carol".to_owned(), 2_002).await.unwrap().unwrap();
        assert!(matches!(asked, Cancelled::Ended(_)));
        assert_eq!(queue.retry(id, "carol".to_owned(), 2_003).await.unwrap().unwrap().state, Queued);
        queue.cancel(id, "carol".to_owned(), 2_004).await.unwrap();
    }
}

#[tokio::test]
async fn what_ran_when_the_agent_died_is_queued_again_and_names_stay() {
    let place = place();
    let queue = place.open();
    let id = submit(&queue, job("k", "alice")).await;
    let stopping = submit(&queue, job("s", "bob")).await;
    take(&queue, turn()).await.unwrap();
    take(&queue, turn()).await.unwrap();
    queue.cancel(stopping, "test".to_owned(), 2_000).await.unwrap();
    let name = queue.name(id);
    let (cursor, _) = queue.changes(0, Scope::default(), 10).await.unwrap();
    drop(queue);
    let queue = place.open();
    assert_eq!(queue.id(&name), Some(id));
    assert_eq!((state(&queue, id).await, state(&queue, stopping).await), (Queued, CancelledState));
    let history = queue.history(id).await.unwrap();
    assert!(history.last().unwrap().what.contains("the agent ended while it ran"), "{history:?}");
    let (_, changed) = queue.changes(cursor, Scope::default(), 10).await.unwrap();
    assert_eq!(changed.len(), 2);
    assert_eq!(take(&queue, turn()).await.as_deref(), Some("k"));
}

#[tokio::test]
async fn changes_tell_of_each_job_once_at_its_newest_in_the_zones_asked_for() {
    let place = place();
    let queue = place.open();
    let ids = [submit(&queue, job("a", "alice")).await, submit(&queue, job("b", "bob")).await];
    submit(&queue, NewJob { zone: "zone2".to_owned(), ..job("c", "carol") }).await;
    queue.cancel(ids[0], "test".to_owned(), 1_001).await.unwrap();
    let zones = zone("zone1");
    let (cursor, page) = queue.changes(0, zones.clone(), 1).await.unwrap();
    assert_eq!(page.iter().map(|j| j.id).collect::<Vec<_>>(), [ids[1]]);
    let (cursor, page) = queue.changes(cursor, zones.clone(), 1).await.unwrap();
    assert_eq!(page.iter().map(|j| j.id).collect::<Vec<_>>(), [ids[0]]);
    let (end, page) = queue.changes(cursor, zones.clone(), 1).await.unwrap();
    assert!(page.is_empty());
    let (_, all) = queue.changes(end + 1_000_000, zones, 10).await.unwrap();
    assert_eq!(all.len(), 2, "a cursor of another queue begins anew");
}

#[tokio::test]
async fn jobs_are_listed_by_state_user_text_and_page() {
    let place = place();
    let queue = place.open();
    let mut ids = BTreeMap::new();
    for n in 0..5 {
        ids.insert(n, submit(&queue, job(&format!("key{n}"), "alice")).await);
    }
    submit(&queue, job("x", "100% _bob")).await;
    queue.cancel(ids[&3], "test".to_owned(), 1_001).await.unwrap();
    let keys = |filter: Filter| {
        let queue = queue.clone();
        async move { queue.list(filter).await.unwrap().into_iter().map(|j| j.key).collect::<Vec<_>>().join(" ") }
    };
    let all = || Filter { limit: 100, ..Filter::default() };
    assert_eq!(keys(Filter { states: vec![CancelledState], ..all() }).await, "key3");
    assert_eq!(
        keys(Filter { user: Some("alice".to_owned()), before: Some(ids[&3]), limit: 2, ..all() }).await,
        "key2 key1"
    );
    assert_eq!(keys(Filter { text: Some("0% _B".to_owned()), ..all() }).await, "x");
    assert_eq!(keys(Filter { scope: Scope { zones: Some(vec![]), ..Scope::default() }, ..all() }).await, "");
    let counts = queue.counts(Scope::default()).await.unwrap();
    assert!(counts.contains(&(Queued, 5)) && counts.contains(&(CancelledState, 1)), "{counts:?}");
}

#[tokio::test]
async fn files_of_jobs_that_ended_lately_are_summed_by_the_hour_in_the_zones_asked_for() {
    let place = place();
    let queue = place.open();
    for (key, zone, ended) in [("a", "zone1", 3_600), ("b", "zone1", 7_200), ("c", "zone2", 7_300)] {
        let id = submit(&queue, NewJob { zone: zone.to_owned(), files: 7, ..job(key, "alice") }).await;
        queue.cancel(id, "test".to_owned(), ended).await.unwrap();
    }
    let hour = |hour, others| Throughput { hour, done: 0, others };
    assert_eq!(queue.throughput(0, Scope::default()).await.unwrap(), [hour(1, 7), hour(2, 14)]);

    assert_eq!(queue.throughput(7_200, zone("zone1")).await.unwrap(), [hour(2, 7)]);
}

#[tokio::test]
async fn what_ended_long_ago_is_removed_with_all_that_belongs_to_it() {
    let place = place();
    let queue = place.open();
    let old = submit(&queue, job("old", "alice")).await;
    let open = submit(&queue, job("open", "alice")).await;
    queue.cancel(old, "test".to_owned(), 1_500).await.unwrap();
    assert_eq!(queue.prune(1_500).await.unwrap(), 0);
    assert_eq!(queue.prune(1_501).await.unwrap(), 1);
    assert_eq!((queue.get(old).await.unwrap(), queue.body(old).await.unwrap()), (None, None));
    assert!(queue.history(old).await.unwrap().is_empty());
    assert_eq!(state(&queue, open).await, Queued);
    let big = submit(&queue, NewJob { body: vec![b'x'; 2_000_000], ..job("big", "alice") }).await;
    queue.cancel(big, "test".to_owned(), 1_500).await.unwrap();
    assert_eq!(queue.prune(1_501).await.unwrap(), 1);
    let used = rusqlite::Connection::open(place.path()).unwrap();
    let pages: u64 = used.pragma_query_value(None, "page_count", |r| r.get(0)).unwrap();
    assert!(pages < 100, "{pages} pages are left of the file");
}

#[tokio::test]
async fn a_full_queue_turns_submissions_away_and_still_writes_what_becomes_of_its_jobs() {
    let mut place = place();
    place.settings.max_bytes = 400_000;
    let queue = place.open();
    let mut queued = Vec::new();
    let refused = loop {
        let n = queued.len();
        let big = NewJob { body: vec![b'x'; 10_000], ..job(&format!("k{n}"), "alice") };
        match queue.submit(big, 1_000).await {
            Ok(Submitted::New(job)) => queued.push(job.id),
            other => break other,
        }
    };
    assert!(matches!(refused, Err(QueueError::Full(_))), "{refused:?}");
    let taken = queue.take(turn(), 2_000).await.unwrap().unwrap();
    let end = End::Done { outcomes: vec![b'o'; 5_000], failed: 0 };
    assert_eq!(queue.finish(taken.job.id, end, String::new(), 2_001).await.unwrap().unwrap().state, Done);
}

#[tokio::test]
async fn the_ends_of_all_jobs_that_were_taken_are_written_however_large_the_requests() {
    for body in [1_000, 50_000, 200_000] {
        let mut place = place();
        place.settings.max_bytes = 400_000;
        let queue = place.open();
        let mut taken = 0;
        loop {
            let key = format!("k{taken}");
            match queue.submit(NewJob { body: vec![b'x'; body], ..job(&key, "alice") }, 1_000).await {
                Ok(Submitted::New(_)) => taken += 1,
                other => break assert!(matches!(other, Err(QueueError::Full(_))), "{other:?}"),
            }
        }
        assert!(taken > 0, "{body}");
        for _ in 0..taken {
            let job = queue.take(turn(), 2_000).await.unwrap().unwrap().job;
            let end = End::Done { outcomes: vec![b'o'; body], failed: 0 };
            let ended = queue.finish(job.id, end, String::new(), 2_001).await;
            assert_eq!(ended.unwrap().unwrap().state, Done, "{body}");
        }
    }
}

#[tokio::test]
async fn a_disk_that_is_full_fails_the_one_who_writes_and_loses_nothing() {
    let mut place = place();
    place.settings.max_bytes = 400_000;
    let queue = place.open();
    let id = submit(&queue, job("k", "alice")).await;
    let running = queue.take(turn(), 1_000).await.unwrap().unwrap().job;
    assert_eq!(running.id, id);
    let huge = End::Done { outcomes: vec![b'o'; 1_000_000], failed: 0 };
    let (failed, fine) = tokio::join!(
        queue.finish(id, huge, String::new(), 1_000),
        queue.submit(job("beside it", "alice"), 1_000)
    );
    assert!(matches!(&failed, Err(QueueError::Unusable { why, .. }) if why.contains("full")), "{failed:?}");
    assert!(matches!(fine, Ok(Submitted::New(_))), "{fine:?}");
    assert_eq!(state(&queue, id).await, Running);
    assert_eq!(take(&queue, turn()).await.as_deref(), Some("beside it"));
    assert_eq!(take(&queue, turn()).await, None);
    queue.finish(id, done(0), String::new(), 1_001).await.unwrap();
    assert_eq!(state(&queue, id).await, Done);
}

#[tokio::test]
async fn a_damaged_file_is_refused_with_its_name_and_the_remedy() {
    let place = place();
    for n in 0..200 {
        submit(&place.open(), NewJob { body: vec![b'x'; 2_000], ..job(&format!("k{n}"), "alice") }).await;
    }
    let sound = {
        let connection = rusqlite::Connection::open(place.path()).unwrap();
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
        std::fs::read(place.path()).unwrap()
    };
    for damage in [0..100, 8_192..200_000] {
        let mut bytes = sound.clone();
        bytes[damage.clone()].fill(0xff);
        let path = place.dir.path().join("damaged.sqlite");
        std::fs::write(&path, bytes).unwrap();
        let error = Queue::open(&path, place.settings, 1_000).unwrap_err();
        assert!(matches!(error, OpenError::Damaged { .. }), "{damage:?}: {error}");
        let text = error.to_string();
        assert!(text.contains("damaged.sqlite-wal") && text.contains("Move it away"), "{text}");
    }
}

#[tokio::test]
async fn a_queue_of_a_newer_agent_is_left_alone() {
    let place = place();
    drop(place.open());
    rusqlite::Connection::open(place.path()).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let error = Queue::open(&place.path(), place.settings, 1_000).unwrap_err();
    assert!(matches!(error, OpenError::Newer { found: 99, .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_each_get_their_own_answer_and_share_commits() {
    let place = place();
    let queue = place.open();
    let submit = |n: u32| {
        let queue = queue.clone();
        // Every key comes twice.
        tokio::spawn(async move { queue.submit(job(&format!("k{}", n / 2), "alice"), 1_000).await.unwrap() })
    };
    let (mut new, mut same) = (0, 0);
    for task in (0..2_000).map(submit).collect::<Vec<_>>() {
        match task.await.unwrap() {
            Submitted::New(_) => new += 1,
            Submitted::Same(_) => same += 1,
            Submitted::Conflict(job) => panic!("{job:?}"),
        }
    }
    assert_eq!((new, same), (1_000, 1_000));
    assert!(queue.counts(Scope::default()).await.unwrap().contains(&(Queued, 1_000)));
}

#[tokio::test]
async fn what_failed_and_what_a_zone_has_is_found_and_counted_through_every_change() {
    let place = place();
    let queue = place.open();
    let mut ids = Vec::new();
    for (n, zone) in ["zone1", "zone2", "zone1", "zone2", "zone1", "zone1"].into_iter().enumerate() {
        let user = format!("user{n}");
        ids.push(
            submit(&queue, NewJob { zone: zone.to_owned(), files: 3, ..job(&format!("k{n}"), &user) }).await,
        );
    }
    let ends = [done(0), done(2), End::Refused("no".to_owned()), End::Refused("no".to_owned()), done(1)];
    for (end, id) in ends.into_iter().zip(&ids) {
        while state(&queue, *id).await != Running {
            take(&queue, turn()).await.unwrap();
        }
        queue.finish(*id, end, String::new(), 7_200).await.unwrap();
    }
    let found = |zones: &[&str], states: Vec<JobState>, failed, limit| {
        let zones = (!zones.is_empty()).then(|| zones.iter().map(|z| (*z).to_owned()).collect());
        let scope = Scope { zones, callers: None };
        let (queue, filter) = (queue.clone(), Filter { scope, states, failed, limit, ..Filter::default() });
        async move { queue.list(filter).await.unwrap().into_iter().map(|j| j.id.0).collect::<Vec<_>>() }
    };
    let failed = || vec![Refused, Done];
    assert_eq!(found(&[], failed(), true, 9).await, [5, 4, 3, 2]);
    assert_eq!(found(&["zone1"], failed(), true, 1).await, [5]);
    assert_eq!(found(&["zone2", "zone3"], vec![], false, 9).await, [4, 2]);
    assert_eq!(found(&[], vec![Done, Queued, Running], false, 3).await, [6, 5, 2]);
    let by_place = Filter { text: Some("home/USER3".to_owned()), limit: 9, ..Filter::default() };
    assert_eq!(queue.list(by_place).await.unwrap().len(), 1);

    queue.retry(ids[1], "test".to_owned(), 7_300).await.unwrap();
    assert_eq!(found(&[], failed(), true, 9).await, [5, 4, 3]);
    let ended = queue.throughput(0, zone("zone2")).await.unwrap();
    assert_eq!(ended, [Throughput { hour: 2, done: 0, others: 3 }]);
    let count = |counts: &Counts, state| counts.iter().find(|(s, _)| *s == state).unwrap().1;
    let counts = queue.counts(zone("zone2")).await.unwrap();
    assert_eq!((count(&counts, Queued), count(&counts, Done), count(&counts, Refused)), (1, 0, 1));
    queue.prune(7_201).await.unwrap();
    let counts = queue.counts(Scope::default()).await.unwrap();
    assert_eq!((count(&counts, Done), count(&counts, Refused)), (0, 0));
    assert_eq!(
        queue.throughput(0, Scope::default()).await.unwrap(),
        [Throughput { hour: 2, done: 6, others: 6 }]
    );
}

#[tokio::test]
async fn a_queue_of_the_version_before_is_made_anew_with_all_that_is_in_it() {
    let place = place();
    let connection = rusqlite::Connection::open(place.path()).unwrap();
    connection.execute_batch(include_str!("schema_1.sql")).unwrap();
    connection
        .execute_batch(
            "INSERT INTO meta VALUES ('epoch', 'e'), ('change', 9), ('touched', 0);
             INSERT INTO job (key, digest, zone, server, user, collection, priority, files, large, rank, state, submitted,
                              ended, change)
             VALUES ('a', x'', 'z', 'main', 'alice', '7', 0, 4, 0, 0, 'done', 1, 7200, 8),
                    ('b', x'', 'z', 'main', 'alice', '7', 0, 5, 0, 0, 'queued', 1, NULL, 9);
             INSERT INTO body VALUES (2, x'31');
             INSERT INTO history (job, at, what) VALUES (2, 1, 'submitted by irods1'), (2, 2, 'submitted by nobody');
             UPDATE sqlite_sequence SET seq = 40 WHERE name = 'job';
             PRAGMA user_version = 1;",
        )
        .unwrap();
    drop(connection);
    let queue = place.open();
    assert_eq!(queue.list(Filter { limit: 9, ..Filter::default() }).await.unwrap().len(), 2);
    let counts = queue.counts(Scope::default()).await.unwrap();
    assert!(counts.contains(&(Done, 1)) && counts.contains(&(Queued, 1)), "{counts:?}");
    assert_eq!(
        queue.throughput(0, Scope::default()).await.unwrap(),
        [Throughput { hour: 2, done: 4, others: 0 }]
    );
    let taken = queue.take(turn(), 2_000).await.unwrap().unwrap();
    assert_eq!(
        (taken.job.key.as_str(), taken.job.caller.as_str(), &taken.body[..]),
        ("b", "irods1", &b"1"[..])
    );
    assert_eq!(submit(&queue, job("new", "alice")).await.0, 41, "no number is given twice");
    // What belongs to a job goes with it.
    assert_eq!(queue.prune(9_999).await.unwrap(), 1);
    assert_eq!(queue.history(taken.job.id).await.unwrap().len(), 3);
}

#[tokio::test]
async fn jobs_that_have_ended_never_make_the_queue_full() {
    let mut place = place();
    place.settings.max_bytes = 400_000;
    let queue = place.open();
    let mut last = None;
    for n in 0..200 {
        let big = NewJob { body: vec![b'x'; 10_000], ..job(&format!("k{n}"), "alice") };
        let id = submit(&queue, big).await;
        queue.cancel(id, "test".to_owned(), 1_000 + n).await.unwrap();
        last = Some(id);
    }
    assert!(queue.find("k0".to_owned(), Scope::default()).await.unwrap().is_none(), "the oldest went");
    assert_eq!(state(&queue, last.unwrap()).await, CancelledState);
}

#[tokio::test]
async fn a_run_that_was_none_costs_its_user_no_turn_and_no_age() {
    let place = place();
    let queue = place.open();
    for n in 0..3 {
        submit(&queue, job(&format!("a{n}"), "alice")).await;
        submit(&queue, NewJob { files: 5_000, ..job(&format!("b{n}"), "bob") }).await;
    }
    let first = queue.take(turn(), 2_000).await.unwrap().unwrap().job;
    queue.finish(first.id, done(0), String::new(), 2_000).await.unwrap();
    let second = queue.take(turn(), 2_000).await.unwrap().unwrap().job;
    assert_ne!(first.user, second.user);
    // The server was away: the same user is next again.
    let away = || End::Waiting { reason: "away".to_owned(), next: 2_001, counts: false };
    let waiting = queue.finish(second.id, away(), String::new(), 2_000).await.unwrap().unwrap();
    assert_eq!((waiting.state, waiting.since), (Waiting, None));
    assert_eq!(queue.take(turn(), 2_002).await.unwrap().unwrap().job.user, second.user);
}

#[tokio::test]
async fn a_job_the_agent_dies_of_again_and_again_lets_others_pass() {
    let place = place();
    let mut waits = Vec::new();
    submit(&place.open(), job("k", "alice")).await;
    for n in 0..6 {
        let queue = place.open();
        queue.promote(1_000_000, 86_400).await.unwrap();
        let taken = queue.take(turn(), 1_000).await.unwrap().unwrap();
        drop(queue);
        // The agent is killed: the next one finds it running.
        let queue = Queue::open(&place.path(), place.settings, 1_000).unwrap();
        let job = queue.get(taken.job.id).await.unwrap().unwrap();
        assert_eq!(job.crashes, n + 1);
        waits.push(job.next.map(|next| next - 1_000));
    }
    assert_eq!(waits, [None, None, Some(15), Some(30), Some(60), Some(120)]);
}

#[tokio::test]
async fn a_clock_that_was_set_by_weeks_neither_ages_jobs_nor_has_them_stand_back() {
    let place = place();
    let queue = place.open();
    let weeks = 21 * 86_400;
    let id = submit(&queue, job("old", "alice")).await;
    let taken = queue.take(turn(), 1_000).await.unwrap().unwrap();
    let end = End::Waiting { reason: "no".to_owned(), next: 1_001, counts: true };
    queue.finish(taken.job.id, end, String::new(), 1_000).await.unwrap();
    queue.clock_was_set(weeks, 1_000 + 21 * 86_400).await.unwrap();
    assert_eq!(queue.get(id).await.unwrap().unwrap().since, Some(1_000 + 21 * 86_400));
    // And back: what was noted ahead is of now.
    queue.submit(job("ahead", "bob"), 9_000_000).await.unwrap();
    queue.clock_was_set(-weeks, 1_000).await.unwrap();
    assert_eq!(queue.get(id).await.unwrap().unwrap().since, Some(1_000));
    queue.submit(NewJob { files: 100_000, ..job("long", "bob") }, 1_000).await.unwrap();
    queue.submit(job("later", "bob"), 1_000 + 3_700).await.unwrap();
    let mut order = Vec::new();
    for _ in 0..3 {
        order.push(take(&queue, turn()).await.unwrap());
    }
    assert_eq!(order.last().map(String::as_str), Some("later"), "{order:?}");
}

#[tokio::test]
async fn a_copy_of_the_queue_gives_no_number_again() {
    let place = place();
    let copy = place.dir.path().join("copy");
    {
        let queue = place.open();
        submit(&queue, job("before", "alice")).await;
    }
    let other = rusqlite::Connection::open(place.path()).unwrap();
    other.execute("VACUUM INTO ?1", [copy.to_str().unwrap()]).unwrap();
    drop(other);
    let (lost, cursor) = {
        let queue = place.open();
        let id = submit(&queue, job("after the copy", "alice")).await;
        (id, queue.changes(0, Scope::default(), 9).await.unwrap().0)
    };
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{suffix}", place.path().display())); // not all are there
    }
    std::fs::rename(&copy, place.path()).unwrap();
    let queue = Queue::open(&place.path(), place.settings, 2_000_000_000).unwrap();
    let new = submit(&queue, job("new", "alice")).await;
    assert!(new.0 > lost.0 + 1_000, "{new:?} {lost:?}");
    let (_, changed) = queue.changes(cursor, Scope::default(), 9).await.unwrap();
    assert!(changed.iter().any(|j| j.id == new), "a caller's cursor of before misses nothing");
}

#[tokio::test]
async fn jobs_that_another_agent_may_have_wait_and_the_others_start() {
    let place = place();
    let queue = place.open();
    submit(&queue, NewJob { shared: true, ..job("shared", "alice") }).await;
    submit(&queue, job("own", "alice")).await;
    let held = || Turn { not_shared: true, ..turn() };
    assert_eq!(take(&queue, held()).await.as_deref(), Some("own"));
    assert_eq!(take(&queue, held()).await, None);
    assert_eq!(take(&queue, turn()).await.as_deref(), Some("shared"));
}

#[tokio::test]
async fn whether_a_job_is_large_is_decided_once() {
    let mut place = place();
    let id = submit(&place.open(), NewJob { files: 20, ..job("k", "alice") }).await;
    place.settings.large_files = 100;
    let queue = place.open();
    assert!(queue.get(id).await.unwrap().unwrap().large);
    let taken = queue.take(Turn { large: 1, ..turn() }, 2_000).await.unwrap().unwrap();
    // What was counted when it started is taken away when it ends.
    queue.finish(taken.job.id, done(0), String::new(), 2_000).await.unwrap();
    submit(&queue, NewJob { files: 200, ..job("next", "alice") }).await;
    assert_eq!(take(&queue, Turn { large: 1, ..turn() }).await.as_deref(), Some("next"));
}

#[tokio::test]
async fn the_oldest_queued_job_and_the_last_success_are_known() {
    let place = place();
    let queue = place.open();
    assert_eq!((queue.oldest_queued().await.unwrap(), queue.last_success().await.unwrap()), (None, None));
    for (key, zone, at) in [("a", "zone1", 500), ("b", "zone2", 400), ("c", "zone1", 600)] {
        queue.submit(NewJob { zone: zone.to_owned(), ..job(key, "alice") }, at).await.unwrap();
    }
    assert_eq!(queue.oldest_queued().await.unwrap(), Some(400));
    for failed in [0, 1] {
        let taken = queue.take(turn(), 2_000).await.unwrap().unwrap();
        queue.finish(taken.job.id, done(failed), String::new(), 2_000 + u64::from(failed)).await.unwrap();
    }
    assert_eq!(
        queue.last_success().await.unwrap(),
        Some(2_000),
        "one of whose files none is there is no success"
    );
}
