-- The fleet's store, version 4: the signed documents that boxes are steered by, and what each box says it holds.
--
--   documents .. everything that was published, as it was signed; envelopes are text, so they are kept as text
--   standings .. what follows from them for each controller, as a box of that controller would have it
--   twins ...... what each box should hold
--   reported ... what each box last said that it holds, and what it last could not fetch

CREATE TABLE documents (
    sha256       TEXT NOT NULL PRIMARY KEY, -- of the envelope's bytes, hexadecimal
    kind         TEXT NOT NULL,             -- root, policy, stop, contact
    content      TEXT NOT NULL,             -- SHA-256 of what was signed: by it a policy lifts a stop
    version      INTEGER,                   -- of a root or policy; NULL: it has none
    published_ms INTEGER NOT NULL,
    published_by TEXT NOT NULL,
    size_bytes   INTEGER NOT NULL,
    raw          TEXT NOT NULL
);

CREATE INDEX documents_by_time ON documents (published_ms);

CREATE TABLE standings (
    controller TEXT NOT NULL PRIMARY KEY,
    pinned     TEXT NOT NULL,               -- SHA-256 of the root that the fleet began with
    kept       TEXT NOT NULL,               -- verified again from the pinned root on, whenever it is read
    contact    TEXT,                        -- SHA-256 of the fleet's last word; NULL: it has no key to sign one
    changed_ms INTEGER NOT NULL
);

CREATE TABLE twins (
    box        TEXT NOT NULL PRIMARY KEY,
    controller TEXT NOT NULL,
    sequence   INTEGER NOT NULL,             -- rises with every change
    documents  TEXT NOT NULL                -- JSON: [[kind, sha256, size_bytes], ...], in the order to take them
);

CREATE TABLE reported (
    box_no         INTEGER NOT NULL PRIMARY KEY REFERENCES boxes (box_no),
    at_s           INTEGER NOT NULL,
    root           INTEGER NOT NULL,        -- version; 0: none
    policy_version INTEGER NOT NULL,        -- 0: none
    policy         TEXT,                    -- first 64 bits of its SHA-256; NULL: none
    site           TEXT NOT NULL,
    profile        TEXT NOT NULL,
    why            INTEGER NOT NULL,        -- Strictness
    running        INTEGER NOT NULL,        -- cameras that are read
    stops          INTEGER NOT NULL,
    heard_s        INTEGER NOT NULL,         -- of the fleet's last word; 0: none
    refused        TEXT,                    -- first 64 bits of a document's SHA-256; NULL: none
    refusal        INTEGER NOT NULL,        -- Refusal
    received_ms    INTEGER NOT NULL
);

CREATE TABLE fetches (
    box_no   INTEGER NOT NULL PRIMARY KEY REFERENCES boxes (box_no),
    at_s     INTEGER NOT NULL,
    document TEXT NOT NULL,                 -- first 64 bits of its SHA-256
    fault    INTEGER NOT NULL,              -- FetchFault
    tries    INTEGER NOT NULL
);
