-- Version 2: what the page shows of a million jobs costs no look at each of them.

-- The collection of the first file, and how many files failed of a job that is done.
ALTER TABLE job ADD COLUMN place TEXT NOT NULL DEFAULT '';
ALTER TABLE job ADD COLUMN failed INTEGER NOT NULL DEFAULT 0;
CREATE INDEX job_failed ON job (zone) WHERE state = 'refused' OR failed > 0;
CREATE INDEX job_user   ON job (user);
DROP INDEX job_state;
CREATE INDEX job_state  ON job (state, zone);

-- How many jobs there are.
CREATE TABLE tally (
    zone  TEXT NOT NULL,
    state TEXT NOT NULL,
    jobs  INTEGER NOT NULL,
    PRIMARY KEY (zone, state)
) WITHOUT ROWID;
INSERT INTO tally SELECT zone, state, count(*) FROM job GROUP BY zone, state;
CREATE TRIGGER tally_new AFTER INSERT ON job BEGIN
    INSERT INTO tally VALUES (new.zone, new.state, 1) ON CONFLICT DO UPDATE SET jobs = jobs + 1;
END;
CREATE TRIGGER tally_moved AFTER UPDATE OF state ON job WHEN new.state <> old.state BEGIN
    UPDATE tally SET jobs = jobs - 1 WHERE zone = old.zone AND state = old.state;
    INSERT INTO tally VALUES (new.zone, new.state, 1) ON CONFLICT DO UPDATE SET jobs = jobs + 1;
END;
CREATE TRIGGER tally_gone AFTER DELETE ON job BEGIN
    UPDATE tally SET jobs = jobs - 1 WHERE zone = old.zone AND state = old.state;
END;

-- How many files the jobs had that ended within an hour. It outlives the jobs.
CREATE TABLE throughput (
    hour   INTEGER NOT NULL,
    zone   TEXT NOT NULL,
    done   INTEGER NOT NULL,
    others INTEGER NOT NULL,
    PRIMARY KEY (hour, zone)
) WITHOUT ROWID;
INSERT INTO throughput
    SELECT ended / 3600, zone, sum(iif(state = 'done', files, 0)), sum(iif(state = 'done', 0, files))
    FROM job WHERE ended IS NOT NULL GROUP BY 1, 2;
CREATE TRIGGER throughput_more AFTER UPDATE OF ended ON job WHEN new.ended IS NOT NULL AND new.ended IS NOT old.ended BEGIN
    INSERT INTO throughput
        VALUES (new.ended / 3600, new.zone, iif(new.state = 'done', new.files, 0), iif(new.state = 'done', 0, new.files))
        ON CONFLICT DO UPDATE SET done = done + excluded.done, others = others + excluded.others;
END;
-- It is tried again.
CREATE TRIGGER throughput_less AFTER UPDATE OF ended ON job WHEN old.ended IS NOT NULL AND new.ended IS NOT old.ended BEGIN
    UPDATE throughput
        SET done = done - iif(old.state = 'done', old.files, 0), others = others - iif(old.state = 'done', 0, old.files)
        WHERE hour = old.ended / 3600 AND zone = old.zone;
END;
