-- The fleet's store, version 10: the time by which records are too old, which follows the clock no faster than it may.

CREATE TABLE calendar (
    one         INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    believed_ms INTEGER NOT NULL
);
