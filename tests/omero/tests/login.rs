//! Logging in, stored sessions, and what is printed where.

mod common;

use common::{Omero, SUDO_PASSWORD, finish};

#[test]
fn sudo_login_stores_a_session_of_the_target_user_and_prints_nothing() {
    let o = Omero::new();
    let ran = o.login_to("alice", "lab1");
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (0, "", ""));
    let files = o.session_files();
    assert_eq!(files.len(), 1);
    let key = files[0].file_name().unwrap().to_str().unwrap().to_owned();
    assert_eq!(
        std::fs::read_to_string(&files[0]).unwrap(),
        format!(
            "omero.group=lab1\nomero.host=localhost\nomero.user=alice\nomero.port=4064\n\
             omero.timeout=3600\nomero.sess={key}\nomero.sudo=importer\n"
        )
    );
    let last = |f: &str| std::fs::read_to_string(o.path("client/sessions").join(f)).unwrap();
    assert_eq!(last("._LASTHOST_"), "localhost");
    assert_eq!(last("._LASTPORT_"), "4064");
    assert_eq!(last("localhost/._LASTUSER_"), "alice");
    assert_eq!(last("localhost/alice/._LASTSESS_"), key);
    assert_eq!(o.run(&["sessions", "key"]).out.trim(), key);
    let session = &o.contents()["sessions"][0];
    assert_eq!(session["owner"], "alice");
    assert_eq!(session["sudoer"], "importer");
    assert_eq!(session["idle_ms"], 3_600_000);
}

#[test]
fn without_quiet_the_session_is_announced_on_standard_error() {
    let o = Omero::new();
    let ran = finish(
        o.command()
            .env("OMERO_PASSWORD", "alice")
            .args(["login", "-C", "alice@localhost:4064", "-g", "lab1"])
            .output()
            .unwrap(),
    );
    assert_eq!(ran.code, 0);
    assert_eq!(ran.out, "");
    assert_eq!(
        ran.err,
        "Created session for alice@localhost:4064. Idle timeout: 10 min. Current group: lab1\n"
    );
}

#[test]
fn wrong_password_gives_44_and_three_lines() {
    let o = Omero::new();
    let ran = finish(
        o.command()
            .env("OMERO_PASSWORD", "wrong")
            .args(["login", "-q", "-C", "--sudo", "importer", "-u", "alice", "-s", "localhost"])
            .output()
            .unwrap(),
    );
    assert_eq!(ran.code, 44);
    let lines: Vec<&str> = ran.err.lines().collect();
    assert_eq!(lines.len(), 3);
    assert!(lines[0].contains("Password check failed"));
    assert_eq!(lines[1], "stdin is not a terminal: cannot request password");
    assert!(lines[2].starts_with("InternalException: Failed to connect: die called: "));
}

#[test]
fn missing_password_gives_44_missing_user_or_server_52() {
    let o = Omero::new();
    assert_eq!(o.run(&["login", "-q", "-C", "-u", "alice", "-s", "localhost"]).code, 44);
    assert_eq!(o.run(&["login", "-q", "-C", "-s", "localhost"]).code, 52);
    assert_eq!(o.run(&["login", "-q", "-C"]).code, 52);
}

#[test]
fn naming_something_twice_is_an_error() {
    let o = Omero::new();
    assert_eq!(o.run(&["login", "-s", "a", "b"]).code, 3);
    assert_eq!(o.run(&["login", "-u", "a", "b@h"]).code, 4);
    assert_eq!(o.run(&["login", "-u", "a", "-p", "1", "h:2"]).code, 5);
}

#[test]
fn sudo_needs_the_privilege() {
    let o = Omero::new();
    o.standin(&["revoke", "importer", "Sudo"]);
    let ran = o.login_to("alice", "lab1");
    assert_eq!(ran.code, 45);
    assert!(ran.err.starts_with("SecurityViolation: "));
    o.standin(&["grant", "importer", "Sudo"]);
    assert_eq!(o.login_to("alice", "lab1").code, 0);
}

#[test]
fn sudo_cannot_make_an_administrator_of_the_restricted_account() {
    let o = Omero::new();
    assert_eq!(o.login_to("root", "lab1").code, 45);
}

#[test]
fn a_group_owner_may_act_for_members_of_that_group_only() {
    let o = Omero::new();
    o.standin(&["user", "add", "carol", "--owner-of", "lab1", "--password", "c"]);
    let sudo = |group: &str| {
        finish(
            o.command()
                .env("OMERO_PASSWORD", "c")
                .args(["login", "-q", "-C", "--sudo", "carol", "-u", "alice", "-s", "localhost", "-g", group])
                .output()
                .unwrap(),
        )
    };
    // The group is asked for at carol's own login already, so lab2 fails there.
    assert_eq!(sudo("lab1").code, 0);
    assert_eq!(sudo("lab2").code, 45);
}

#[test]
fn a_group_the_user_is_not_in_gives_45_an_unknown_one_44() {
    let o = Omero::new();
    assert_eq!(o.login_to("bob", "lab2").code, 45);
    assert_eq!(o.login_to("bob", "nothing").code, 44);
    assert_eq!(o.login_to("nobody", "lab1").code, 44);
}

#[test]
fn a_locked_account_gives_13() {
    let o = Omero::new();
    o.standin(&["user", "lock", "alice"]);
    assert_eq!(o.login_to("alice", "lab1").code, 13);
}

#[test]
fn later_commands_use_the_stored_session_without_a_password() {
    let o = Omero::new();
    o.login("alice");
    for args in [
        &["hql", "-q", "-s", "localhost", "-p", "4064", "-u", "alice", "select count(*) from Image i"][..],
        &["hql", "-q", "select count(*) from Image i"],
        &["obj", "-q", "-s", "localhost", "-p", "4064", "-u", "alice", "new", "Dataset", "name=D"],
    ] {
        let ran = o.run(args);
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{args:?}");
    }
}

#[test]
fn another_port_or_user_does_not_take_the_stored_session() {
    let o = Omero::new();
    o.login("alice");
    let q = "select count(*) from Image i";
    assert_eq!(o.run(&["hql", "-q", "-s", "localhost", "-p", "4065", "-u", "alice", q]).code, 44);
    assert_eq!(o.run(&["hql", "-q", "-s", "localhost", "-u", "bob", q]).code, 44);
    assert_eq!(o.run(&["hql", "-q", "-s", "elsewhere", "-u", "alice", q]).code, 44);
}

#[test]
fn a_stored_session_in_another_group_is_told_on_standard_output() {
    let o = Omero::new();
    o.login("alice");
    let ran = finish(
        o.command()
            .env("OMERO_PASSWORD", "alice")
            .args(["hql", "-s", "localhost", "-u", "alice", "-g", "lab2", "select count(*) from Image i"])
            .output()
            .unwrap(),
    );
    assert_eq!(ran.code, 0);
    assert!(ran.out.starts_with("Previously logged in to localhost:4064 as alice\n"), "{}", ran.out);
}

#[test]
fn an_expired_session_is_told_on_standard_output_even_when_quiet() {
    let o = Omero::new();
    o.login("alice");
    o.standin(&["session", "expire", "--all"]);
    let ran = o.run(&["hql", "-q", "-s", "localhost", "-u", "alice", "select count(*) from Image i"]);
    assert_eq!(ran.code, 44);
    assert_eq!(ran.out, "Previous session expired for alice on localhost:4064\n");
    assert!(o.session_files().is_empty());
}

#[test]
fn a_server_that_is_away_costs_the_stored_session_and_looks_like_a_missing_password() {
    let o = Omero::new();
    o.login("alice");
    o.standin(&["fault", "set", "server-down", "--times", "2"]);
    let ran = o.run(&["hql", "-q", "-s", "localhost", "-u", "alice", "select count(*) from Image i"]);
    assert_eq!(ran.code, 44);
    assert_eq!(ran.out, "Previous session expired for alice on localhost:4064\n");
    assert!(o.session_files().is_empty());
}

#[test]
fn a_key_that_cannot_be_joined_gives_11_whatever_the_reason() {
    let o = Omero::new();
    let ran = o.run(&["hql", "-s", "localhost", "-p", "4064", "-k", "no-key", "select 1 from Image i"]);
    assert_eq!(ran.code, 11);
    assert_eq!(ran.err, "Bad session key. Cannot join no-key on localhost:4064.\n");
    o.login("alice");
    let key = o.run(&["sessions", "key"]).out.trim().to_owned();
    o.standin(&["fault", "set", "server-down"]);
    assert_eq!(o.run(&["hql", "-q", "-s", "localhost", "-k", &key, "select 1 from Image i"]).code, 11);
}

#[test]
fn joining_by_key_ignores_user_and_group_with_a_warning() {
    let o = Omero::new();
    o.login("alice");
    let key = o.run(&["sessions", "key"]).out.trim().to_owned();
    let ran =
        o.run(&["hql", "-s", "localhost", "-u", "bob", "-g", "lab2", "-k", &key, "select 1 from Image i"]);
    assert_eq!(ran.code, 0);
    assert!(ran.err.contains("Overriding name since session key set"));
    assert!(ran.err.contains("Ignoring group since session key set"));
    assert!(
        ran.err
            .contains("Joined session for alice@localhost:4064. Idle timeout: 60 min. Current group: lab1")
    );
}

#[test]
fn logout_ends_the_session_for_everyone_and_knows_no_login_options() {
    let o = Omero::new();
    o.login("alice");
    let key = o.run(&["sessions", "key"]).out.trim().to_owned();
    let ran = o.run(&["logout", "-q", "-s", "localhost", "-p", "4064", "-u", "alice"]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("unrecognized arguments: -q -s localhost -p 4064 -u alice"));
    let ran = o.run(&["logout"]);
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (0, "", ""));
    assert!(o.session_files().is_empty());
    assert_eq!(o.run(&["hql", "-q", "-s", "localhost", "-k", &key, "select 1 from Image i"]).code, 11);
    assert_eq!(o.run(&["logout"]).code, 0, "a second logout has nothing to do");
}

#[test]
fn sessions_open_prints_the_key_alone_and_close_ends_it() {
    let o = Omero::new();
    let admin =
        |args: &[&str]| finish(o.command().env("OMERO_PASSWORD", SUDO_PASSWORD).args(args).output().unwrap());
    assert_eq!(admin(&["login", "-q", "-C", "importer@localhost"]).code, 0);
    let ran = admin(&["sessions", "open", "--user-name", "alice", "--group-name", "lab1", "--timeout", "60"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let key = ran.out.trim().to_owned();
    assert_eq!(key.len(), 36);
    assert!(
        ran.err
            .contains("Session created for user alice in group lab1 (timeToIdle: 0 sec, timeToLive: 60 sec)")
    );
    assert_eq!(admin(&["sessions", "close", &key]).out, format!("Session {key} closed.\n"));
    let again = admin(&["sessions", "close", &key]);
    assert_eq!((again.code, again.err.lines().last()), (0, Some("No session with the given ID found.")));
}

#[test]
fn sessions_open_is_for_administrators_with_sudo() {
    let o = Omero::new();
    let run = |args: &[&str]| finish(o.command().env("OMERO_PASSWORD", "alice").args(args).output().unwrap());
    assert_eq!(run(&["login", "-q", "-C", "alice@localhost"]).code, 0);
    assert_eq!(run(&["sessions", "open", "--user-name", "bob"]).code, 111);
}

#[test]
fn a_session_directory_that_cannot_be_made_gives_155() {
    let o = Omero::new();
    std::fs::write(o.path("file"), "").unwrap();
    let ran = finish(
        o.command()
            .env("OMERO_SESSIONDIR", o.path("file/below"))
            .args(["hql", "-q", "-s", "localhost", "-u", "alice", "select 1 from Image i"])
            .output()
            .unwrap(),
    );
    assert_eq!(ran.code, 155);
    assert!(ran.err.starts_with("Could not access session dir: "));
}

#[test]
fn root_is_refused_on_standard_output() {
    let o = Omero::new();
    let ran = finish(o.command().env_remove("OMERO_STANDIN_ALLOW_ROOT").arg("version").output().unwrap());
    if common::is_root() {
        assert_eq!((ran.code, ran.err.as_str()), (1, ""));
        assert!(ran.out.starts_with("FATAL: Running ") && ran.out.contains("as root"));
    } else {
        assert_eq!((ran.code, ran.out.as_str()), (0, "5.23.0\n"));
    }
}

#[test]
fn the_password_is_never_recorded() {
    let o = Omero::new();
    o.login("alice");
    o.run(&["login", "-q", "-C", "-w", "hidden-word", "alice@localhost"]);
    o.run(&["login", "-q", "-C", "--password=hidden-word", "alice@localhost"]);
    for f in ["calls.jsonl", "started.jsonl"] {
        let text = std::fs::read_to_string(o.store().join(f)).unwrap();
        assert!(!text.contains("hidden-word") && !text.contains(SUDO_PASSWORD), "{f}");
    }
    let call = &o.calls()[0];
    assert!(call["env"].as_array().unwrap().contains(&"OMERO_PASSWORD".into()));
}
