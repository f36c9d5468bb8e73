-- Version 4: what people in OMERO ask to have saved in iRODS. `caller`: who of the zones has begun with it. The key of the
-- person's session is nowhere.
CREATE TABLE save (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    server      TEXT    NOT NULL,
    user        TEXT    NOT NULL,
    caller      TEXT,
    state       TEXT    NOT NULL CHECK (state IN ('queued', 'running', 'done', 'refused', 'cancelled')),
    reason      TEXT,
    objects     TEXT    NOT NULL,
    what        TEXT    NOT NULL,
    notes       TEXT    NOT NULL,
    collection  TEXT,
    again       INTEGER NOT NULL,
    on_conflict TEXT    NOT NULL,
    created     INTEGER NOT NULL,
    changed     INTEGER NOT NULL,
    ended       INTEGER,
    files       INTEGER NOT NULL,
    bytes       INTEGER NOT NULL,
    saved       INTEGER NOT NULL DEFAULT 0,
    already     INTEGER NOT NULL DEFAULT 0,
    refused     INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX save_open  ON save (id) WHERE ended IS NULL;
CREATE INDEX save_ended ON save (ended) WHERE ended IS NOT NULL;
CREATE INDEX save_user  ON save (server, user);

-- `stored`: below which directory of OMERO's ('managed' or 'numbered') the bytes are.
CREATE TABLE save_file (
    save     INTEGER NOT NULL REFERENCES save ON DELETE CASCADE,
    n        INTEGER NOT NULL,
    fileset  INTEGER,
    images   TEXT    NOT NULL,
    kind     TEXT    NOT NULL,
    place    TEXT    NOT NULL,
    name     TEXT    NOT NULL,
    size     INTEGER NOT NULL,
    sha1     TEXT,
    stored   TEXT    NOT NULL,
    path     TEXT    NOT NULL,
    in_irods TEXT,
    state    TEXT    NOT NULL CHECK (state IN ('queued', 'saved', 'already_in_irods', 'refused')) DEFAULT 'queued',
    target   TEXT,
    reason   TEXT,
    PRIMARY KEY (save, n)
) WITHOUT ROWID;
CREATE INDEX save_file_queued ON save_file (save, n) WHERE state = 'queued';
