-- The fleet's store, version 6: what boxes report of themselves, and a copy of their audit that they cannot take back.
--
--   audit_logs ..... one row for each log a box ever wrote, with the right edge of our copy
--   audit_entries .. its entries as they came; no image, count or position is in them
--   audit_heads .... every head that was signed where our copy then ended
--   audit_alarms ... what contradicts what is held, or cannot be used: shown until somebody has looked into it
--   reports ........ privacy reports as they were signed, the newest of each box and those before

CREATE TABLE audit_logs (
    log_no        INTEGER PRIMARY KEY,
    box_no        INTEGER NOT NULL REFERENCES boxes (box_no),
    key           TEXT NOT NULL,           -- as verifier keys are written; the first one of a box is believed
    trusted_by    TEXT NOT NULL,           -- first-seen, or whoever accepted a later key
    first_seen_ms INTEGER NOT NULL,
    heard_ms      INTEGER NOT NULL,
    kept_from     INTEGER NOT NULL,        -- index of the first entry of our copy
    size          INTEGER NOT NULL,        -- index after its last
    prev          TEXT,                    -- SHA-256 of its last entry; NULL: pruned before it was copied
    frontier      BLOB NOT NULL,           -- the tree's right edge, 32 bytes a hash
    UNIQUE (box_no, key)
);

CREATE TABLE audit_entries (
    log_no INTEGER NOT NULL REFERENCES audit_logs (log_no),
    place  INTEGER NOT NULL,
    raw    BLOB NOT NULL,
    PRIMARY KEY (log_no, place)
) WITHOUT ROWID;

CREATE TABLE audit_heads (
    log_no      INTEGER NOT NULL REFERENCES audit_logs (log_no),
    size        INTEGER NOT NULL,
    root        BLOB NOT NULL,
    note        BLOB NOT NULL,
    received_ms INTEGER NOT NULL,
    PRIMARY KEY (log_no, size)
) WITHOUT ROWID;

CREATE TABLE audit_alarms (
    alarm_no  INTEGER PRIMARY KEY,
    box_no    INTEGER NOT NULL REFERENCES boxes (box_no),
    kind      TEXT NOT NULL,               -- forked, dropped, truncated, other-key, refused-report, refused-audit, ...
    first_bad INTEGER NOT NULL,            -- index of the first bad entry; -1: it is not about entries
    last_bad  INTEGER NOT NULL,
    sentence  TEXT NOT NULL,
    found_ms  INTEGER NOT NULL,
    again_ms  INTEGER NOT NULL,
    times     INTEGER NOT NULL,
    UNIQUE (box_no, kind, first_bad, last_bad)
);

CREATE TABLE reports (
    report_no   INTEGER PRIMARY KEY,
    box_no      INTEGER NOT NULL REFERENCES boxes (box_no),
    sha256      TEXT NOT NULL,             -- of what was signed
    made_ms     INTEGER NOT NULL,          -- by the box's clock
    received_ms INTEGER NOT NULL,
    key         TEXT NOT NULL,             -- that it was verified with
    raw         BLOB NOT NULL,             -- the envelope as it came
    UNIQUE (box_no, sha256)
);
CREATE INDEX reports_by_time ON reports (box_no, made_ms);
