-- The fleet's store, version 3: who may come in, and what they did.

CREATE TABLE accounts (
    account     TEXT NOT NULL PRIMARY KEY,   -- one person; never given to another
    holder      TEXT NOT NULL,               -- who that is, as others read it
    capacity    TEXT NOT NULL,               -- operator, dpo-ville, dpo-agglo, consumer-<service>
    password    TEXT NOT NULL,               -- scrypt, with its salt and costs
    created_ms  INTEGER NOT NULL,
    disabled_ms INTEGER                       -- NULL: may come in
);

CREATE TABLE sessions (
    digest     TEXT NOT NULL PRIMARY KEY,    -- SHA-256 of what the browser keeps
    account    TEXT NOT NULL REFERENCES accounts (account),
    seen_ms    INTEGER NOT NULL,              -- lately; written again when it is minutes old
    expires_ms INTEGER NOT NULL
);
CREATE INDEX sessions_by_account ON sessions (account);

CREATE TABLE tokens (
    token      TEXT NOT NULL PRIMARY KEY,    -- its name; never given to another
    digest     TEXT NOT NULL UNIQUE,         -- SHA-256 of what the program keeps
    capacity   TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL,
    revoked_ms INTEGER,                       -- NULL: good until it expires
    used_ms    INTEGER                        -- lately; NULL: never
);

-- Only ever added to. Each row's digest covers the one before: see access/actions.py.
CREATE TABLE actions (
    action_no INTEGER NOT NULL PRIMARY KEY,   -- 1, 2, 3, ... without a hole
    at_ms     INTEGER NOT NULL,
    who       TEXT NOT NULL,                 -- an account, a token, or the user of a command
    capacity  TEXT NOT NULL,                 -- in what capacity; 'server' for a command, 'open' where nobody is asked
    action    TEXT NOT NULL,                 -- noun.past_verb
    what      TEXT NOT NULL,                 -- JSON: names and values; never a secret
    digest    TEXT NOT NULL
);
