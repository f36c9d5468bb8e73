-- Version 3: a job belongs to the caller that submitted it, and a key is a caller's own. `shared`: the caller has other agents
-- too, which may be given the job. `crashes`: how often the agent died while it ran. Foreign keys are off meanwhile.
CREATE TABLE job_3 (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    key        TEXT    NOT NULL,
    digest     BLOB    NOT NULL,
    caller     TEXT    NOT NULL,
    zone       TEXT    NOT NULL,
    server     TEXT    NOT NULL,
    user       TEXT    NOT NULL,
    "group"    TEXT,
    collection TEXT    NOT NULL,
    priority   INTEGER NOT NULL,
    files      INTEGER NOT NULL,
    large      INTEGER NOT NULL,
    rank       INTEGER NOT NULL,
    state      TEXT    NOT NULL CHECK (state IN ('queued', 'running', 'waiting', 'done', 'refused', 'cancelled')),
    stopping   INTEGER NOT NULL DEFAULT 0,
    reason     TEXT,
    attempts   INTEGER NOT NULL DEFAULT 0,
    submitted  INTEGER NOT NULL,
    started    INTEGER,
    ended      INTEGER,
    next       INTEGER,
    since      INTEGER,
    change     INTEGER NOT NULL,
    place      TEXT    NOT NULL DEFAULT '',
    failed     INTEGER NOT NULL DEFAULT 0,
    shared     INTEGER NOT NULL DEFAULT 1,
    crashes    INTEGER NOT NULL DEFAULT 0,
    UNIQUE (zone, key, caller)
);
-- Until now only the history said who.
INSERT INTO job_3 SELECT
    id, key, digest,
    coalesce((SELECT substr(what, 14) FROM history WHERE job = job.id AND what LIKE 'submitted by %' ORDER BY history.id LIMIT 1), ''),
    zone, server, user, "group", collection, priority, files, large, rank, state, stopping, reason, attempts, submitted,
    started, ended, next, since, change, place, failed, 1, 0 FROM job;
-- No number is given twice.
DELETE FROM sqlite_sequence WHERE name = 'job_3';
INSERT INTO sqlite_sequence SELECT 'job_3', seq FROM sqlite_sequence WHERE name = 'job';
DROP TABLE job;
ALTER TABLE job_3 RENAME TO job;
CREATE INDEX job_ready   ON job (server, zone, user, priority DESC, rank, large) WHERE state = 'queued';
CREATE INDEX job_waiting ON job (next) WHERE state = 'waiting';
CREATE INDEX job_ended   ON job (ended) WHERE ended IS NOT NULL;
CREATE INDEX job_state   ON job (state, zone, caller);
CREATE INDEX job_failed  ON job (zone, caller) WHERE state = 'refused' OR failed > 0;
CREATE INDEX job_user    ON job (user);
CREATE UNIQUE INDEX job_change ON job (change);

DROP TABLE tally;
CREATE TABLE tally (
    zone   TEXT NOT NULL,
    caller TEXT NOT NULL,
    state  TEXT NOT NULL,
    jobs   INTEGER NOT NULL,
    PRIMARY KEY (zone, caller, state)
) WITHOUT ROWID;
INSERT INTO tally SELECT zone, caller, state, count(*) FROM job GROUP BY zone, caller, state;
CREATE TRIGGER tally_new AFTER INSERT ON job BEGIN
    INSERT INTO tally VALUES (new.zone, new.caller, new.state, 1) ON CONFLICT DO UPDATE SET jobs = jobs + 1;
END;
CREATE TRIGGER tally_moved AFTER UPDATE OF state ON job WHEN new.state <> old.state BEGIN
    UPDATE tally SET jobs = jobs - 1 WHERE zone = old.zone AND caller = old.caller AND state = old.state;
    INSERT INTO tally VALUES (new.zone, new.caller, new.state, 1) ON CONFLICT DO UPDATE SET jobs = jobs + 1;
END;
CREATE TRIGGER tally_gone AFTER DELETE ON job BEGIN
    UPDATE tally SET jobs = jobs - 1 WHERE zone = old.zone AND caller = old.caller AND state = old.state;
END;

-- What was counted before is nobody's own: who sees a whole zone sees it.
ALTER TABLE throughput RENAME TO throughput_2;
CREATE TABLE throughput (
    hour   INTEGER NOT NULL,
    zone   TEXT NOT NULL,
    caller TEXT NOT NULL,
    done   INTEGER NOT NULL,
    others INTEGER NOT NULL,
    PRIMARY KEY (hour, zone, caller)
) WITHOUT ROWID;
INSERT INTO throughput SELECT hour, zone, '', done, others FROM throughput_2;
DROP TABLE throughput_2;
CREATE TRIGGER throughput_more AFTER UPDATE OF ended ON job WHEN new.ended IS NOT NULL AND new.ended IS NOT old.ended BEGIN
    INSERT INTO throughput
        VALUES (new.ended / 3600, new.zone, new.caller,
                iif(new.state = 'done', new.files, 0), iif(new.state = 'done', 0, new.files))
        ON CONFLICT DO UPDATE SET done = done + excluded.done, others = others + excluded.others;
END;
-- It is tried again.
CREATE TRIGGER throughput_less AFTER UPDATE OF ended ON job WHEN old.ended IS NOT NULL AND new.ended IS NOT old.ended BEGIN
    UPDATE throughput
        SET done = done - iif(old.state = 'done', old.files, 0), others = others - iif(old.state = 'done', 0, old.files)
        WHERE hour = old.ended / 3600 AND zone = old.zone AND caller = old.caller;
END;
