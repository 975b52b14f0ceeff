-- The fleet's store, version 7: what was forgotten because it is older than its class is kept, and restored backups.

ALTER TABLE fleet ADD COLUMN restored INTEGER NOT NULL DEFAULT 0;  -- how often this database came out of a backup
ALTER TABLE fleet ADD COLUMN restored_ms INTEGER;                  -- when it last did; NULL: never

-- How far the records of a shard were looked at for those of one class that are too old.
CREATE TABLE swept (
    shard INTEGER NOT NULL,
    class INTEGER NOT NULL,                -- place in MessageClass
    upto  INTEGER NOT NULL,                -- cursor; none up to it is kept too long
    PRIMARY KEY (shard, class)
) WITHOUT ROWID;

CREATE TABLE forgotten (
    class   INTEGER PRIMARY KEY,           -- place in MessageClass
    records INTEGER NOT NULL,              -- records deleted because they were too old, ever
    windows INTEGER NOT NULL               -- rows of crossing_windows, likewise
);
