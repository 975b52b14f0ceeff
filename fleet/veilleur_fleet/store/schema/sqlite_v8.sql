-- The fleet's store, version 8: which service is told what, and what operators confirmed for drivers.

CREATE TABLE routes (
    route_no INTEGER NOT NULL PRIMARY KEY,
    route    TEXT NOT NULL                -- JSON: routing.rules.Route
);

CREATE TABLE grounds (
    ground_no INTEGER NOT NULL PRIMARY KEY,
    ground    TEXT NOT NULL               -- JSON: routing.rules.Ground, from a policy that was verified
);

CREATE TABLE notices (
    notice       TEXT NOT NULL PRIMARY KEY,
    content      TEXT NOT NULL,           -- JSON: notices.rules.Content
    starts_ms    INTEGER NOT NULL,
    ends_ms      INTEGER NOT NULL,
    confirmed_ms INTEGER NOT NULL,
    confirmed_by TEXT NOT NULL,
    withdrawn_ms INTEGER,                 -- NULL: not withdrawn
    withdrawn_by TEXT
);
CREATE INDEX notices_by_end ON notices (ends_ms);
