-- Version 1 of the queue. Times are seconds since 1970, states the words of the interface.
CREATE TABLE meta (name TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;

CREATE TABLE job (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    key        TEXT    NOT NULL,
    digest     BLOB    NOT NULL,
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
    UNIQUE (zone, key)
);
CREATE INDEX job_ready   ON job (server, zone, user, priority DESC, rank, large) WHERE state = 'queued';
CREATE INDEX job_waiting ON job (next) WHERE state = 'waiting';
CREATE INDEX job_ended   ON job (ended) WHERE ended IS NOT NULL;
CREATE INDEX job_state   ON job (state);
CREATE UNIQUE INDEX job_change ON job (change);

-- What was asked, byte for byte.
CREATE TABLE body (job INTEGER PRIMARY KEY REFERENCES job ON DELETE CASCADE, json BLOB NOT NULL);
-- What became of each file, and what the importer said: of the last attempt.
CREATE TABLE outcome (job INTEGER PRIMARY KEY REFERENCES job ON DELETE CASCADE, json BLOB NOT NULL);
CREATE TABLE log (job INTEGER PRIMARY KEY REFERENCES job ON DELETE CASCADE, text TEXT NOT NULL);
CREATE TABLE history (
    id   INTEGER PRIMARY KEY,
    job  INTEGER NOT NULL REFERENCES job ON DELETE CASCADE,
    at   INTEGER NOT NULL,
    what TEXT    NOT NULL
);
CREATE INDEX history_job ON history (job);
