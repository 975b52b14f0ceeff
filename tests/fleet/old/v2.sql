-- A database of version 2, as the fleet of that version wrote it: two boxes, a hole, a record in quarantine, one that waits.
-- It repeats the scripts of that time on purpose and is never made from them or changed with them: a fixture that followed
-- the scripts would only show that they can migrate themselves, not what stands on somebody's disk.
BEGIN TRANSACTION;
CREATE TABLE boxes (
    box_no            INTEGER PRIMARY KEY,
    box               TEXT NOT NULL UNIQUE,
    controller        TEXT NOT NULL,       -- a box serves one controller, the first it was heard under
    first_heard_ms    INTEGER NOT NULL,
    heard_ms          INTEGER NOT NULL,
    born_s            INTEGER,             -- of the last Birth; NULL: none yet
    agent             TEXT,
    contract_revision INTEGER,
    profile           TEXT,
    quarantined_bytes INTEGER NOT NULL DEFAULT 0,
    waiting_rows      INTEGER NOT NULL DEFAULT 0
);
INSERT INTO "boxes" VALUES(1,'gare-01','ville',1790000000000,1790000000000,1789999940,'0.1.0',1,'bench',4,0);
INSERT INTO "boxes" VALUES(2,'mairie-02','agglo',1790000000000,1790000000000,NULL,NULL,NULL,NULL,0,1);
CREATE TABLE camera_health (
    camera_no      INTEGER NOT NULL REFERENCES cameras (camera_no),
    at_s           INTEGER NOT NULL,
    received_ms    INTEGER NOT NULL,
    state          INTEGER NOT NULL,
    fps_x10        INTEGER NOT NULL,
    reconnects     INTEGER NOT NULL,
    frames_dropped INTEGER NOT NULL,
    PRIMARY KEY (camera_no, at_s, received_ms)
) WITHOUT ROWID;
INSERT INTO "camera_health" VALUES(1,1789999999,1790000000000,1,50,0,0);
CREATE TABLE cameras (
    camera_no      INTEGER PRIMARY KEY,
    controller     TEXT NOT NULL,
    camera         TEXT NOT NULL,
    box_no         INTEGER NOT NULL REFERENCES boxes (box_no),   -- the last that spoke of it
    insee          TEXT,                   -- NULL until a Context says it
    counted        INTEGER,                -- bit set of labels counted; NULL until a Context says it
    at_s           INTEGER,                -- of the last CameraHealth; NULL: none yet, as the four below
    state          INTEGER,
    fps_x10        INTEGER,
    reconnects     INTEGER,
    frames_dropped INTEGER, context INTEGER, view_at_s INTEGER, view_faults INTEGER,
    UNIQUE (controller, camera)
);
INSERT INTO "cameras" VALUES(1,'ville','gare-parvis',1,'30189',63,1789999999,1,50,0,0,71757367,NULL,NULL);
CREATE TABLE contexts (
    box_no      INTEGER NOT NULL REFERENCES boxes (box_no),
    number      INTEGER NOT NULL,
    camera_no   INTEGER NOT NULL REFERENCES cameras (camera_no),
    received_ms INTEGER NOT NULL,
    raw         BLOB NOT NULL,
    PRIMARY KEY (box_no, number)
) WITHOUT ROWID;
INSERT INTO "contexts" VALUES(1,71757367,1,1790000000000,X'9901AB676172652D706172766973A53330313839B030303030303030303030303030303030B031313131313131313131313131313131B0323232323232323232323232323232329600010203040592A46B657262A46C616E6590');
CREATE TABLE crossing_windows (
    line_no       INTEGER NOT NULL,
    at_s          INTEGER NOT NULL,
    position      INTEGER NOT NULL,        -- of the record that said it
    window_s      INTEGER NOT NULL,
    coverage      INTEGER NOT NULL,        -- percent of the window really observed
    fps_x10       INTEGER NOT NULL,
    quality       INTEGER NOT NULL,        -- sum of Quality flags
    counted       INTEGER NOT NULL,        -- bit set of the labels counted
    person_lr     INTEGER, person_rl     INTEGER,
    bicycle_lr    INTEGER, bicycle_rl    INTEGER,
    car_lr        INTEGER, car_rl        INTEGER,
    motorcycle_lr INTEGER, motorcycle_rl INTEGER,
    bus_lr        INTEGER, bus_rl        INTEGER,
    truck_lr      INTEGER, truck_rl      INTEGER,
    PRIMARY KEY (line_no, at_s, position)
) WITHOUT ROWID;
INSERT INTO "crossing_windows" VALUES(1,1789999990,3940649673949188,5,100,50,0,63,3,1,NULL,NULL,0,7,0,0,0,0,0,0);
INSERT INTO "crossing_windows" VALUES(1,1789999995,3940649673949190,5,100,50,0,63,1,0,0,0,0,0,0,0,0,0,0,0);
INSERT INTO "crossing_windows" VALUES(2,1789999990,3940649673949189,5,100,50,0,63,1,0,0,0,0,0,0,0,0,0,0,0);
CREATE TABLE fleet (
    one        INTEGER PRIMARY KEY CHECK (one = 1),
    fleet_id   TEXT NOT NULL,              -- names this fleet's session at the broker
    created_ms INTEGER NOT NULL
);
INSERT INTO "fleet" VALUES(1,'ad497db15aef',1790000000000);
CREATE TABLE lines (
    line_no   INTEGER PRIMARY KEY,
    camera_no INTEGER NOT NULL REFERENCES cameras (camera_no),
    line      TEXT NOT NULL,
    UNIQUE (camera_no, line)
);
INSERT INTO "lines" VALUES(1,1,'kerb');
INSERT INTO "lines" VALUES(2,1,'lane');
CREATE TABLE quarantine (
    quarantine_no INTEGER PRIMARY KEY,
    box_no        INTEGER,                 -- NULL: no box could be told from the topic
    topic         TEXT NOT NULL,
    stream        INTEGER,                 -- NULL: a whole message, whose envelope was refused
    seq           INTEGER,
    reason        TEXT NOT NULL,
    received_ms   INTEGER NOT NULL,        -- first time
    times         INTEGER NOT NULL,        -- a refused envelope cannot be acknowledged and comes again
    digest        BLOB NOT NULL,           -- SHA-256 of topic and raw
    raw           BLOB NOT NULL
);
INSERT INTO "quarantine" VALUES(1,1,'veilleur/v1/ville/14/gare-01/up/ev',14319999520001,2,'not a message of the registry: at `$[0]`',1790000000000,1,X'2A7072EB2724DFB170CAAF047CF7C72FFFEBA34924D940E0A3A82D6175C8599F',X'93630102');
CREATE TABLE records (
    position    INTEGER PRIMARY KEY,       -- shard * 2^48 + cursor: one shard is one range, in cursor order
    box_no      INTEGER NOT NULL,
    stream      INTEGER NOT NULL,
    seq         INTEGER NOT NULL,          -- of a Gap: the first number it names
    tag         INTEGER NOT NULL,
    received_ms INTEGER NOT NULL,
    raw         BLOB NOT NULL,
    class       INTEGER GENERATED ALWAYS AS (stream % 8) VIRTUAL,   -- place in MessageClass
    UNIQUE (box_no, stream, seq)
);
INSERT INTO "records" VALUES(3940649673949185,1,14319999520000,1,4,1790000000000,X'9504CE6AB13B44A5302E312E3001A562656E6368');
INSERT INTO "records" VALUES(3940649673949186,1,14319999520000,2,3,1790000000000,X'9703AB676172652D706172766973CE6AB13B7F01320000');
INSERT INTO "records" VALUES(3940649673949187,1,14319999520001,1,1,1790000000000,X'9901AB676172652D706172766973A53330313839B030303030303030303030303030303030B031313131313131313131313131313131B0323232323232323232323232323232329600010203040592A46B657262A46C616E6590');
INSERT INTO "records" VALUES(3940649673949188,1,14319999520001,3,2,1790000000000,X'9902CE0446EE37CE6AB13B7605006432009C0301C0C00007000000000000');
INSERT INTO "records" VALUES(3940649673949189,1,14319999520001,4,2,1790000000000,X'9902CE0446EE37CE6AB13B7605016432009C010000000000000000000000');
INSERT INTO "records" VALUES(3940649673949190,1,14319999520001,9,2,1790000000000,X'9902CE0446EE37CE6AB13B7B05006432009C010000000000000000000000');
CREATE TABLE schema_version (version INTEGER NOT NULL);
INSERT INTO "schema_version" VALUES(1);
INSERT INTO "schema_version" VALUES(2);
CREATE TABLE shards (
    shard     INTEGER PRIMARY KEY,
    last      INTEGER NOT NULL,            -- last cursor given out
    published INTEGER NOT NULL             -- last cursor that the broker has taken on out/
);
INSERT INTO "shards" VALUES(14,6,3);
CREATE TABLE streams (
    box_no     INTEGER NOT NULL REFERENCES boxes (box_no),
    stream     INTEGER NOT NULL,
    upto       INTEGER NOT NULL,
    ahead      TEXT NOT NULL,              -- JSON: [[first, last], ...], rising, apart from each other
    stored     INTEGER NOT NULL,           -- records, refused ones apart
    duplicates INTEGER NOT NULL,           -- numbers that came again and were filtered
    lost       INTEGER NOT NULL,           -- numbers that a Gap says will never come
    refused    INTEGER NOT NULL,           -- records put in quarantine
    heard_ms   INTEGER NOT NULL,
    PRIMARY KEY (box_no, stream)
) WITHOUT ROWID;
INSERT INTO "streams" VALUES(1,14319999520000,2,'[]',2,0,0,0,1790000000000);
INSERT INTO "streams" VALUES(1,14319999520001,4,'[[9,9]]',4,0,0,1,1790000000000);
INSERT INTO "streams" VALUES(2,14319999520001,1,'[]',0,0,0,0,1790000000000);
CREATE TABLE validations (
    camera_no INTEGER NOT NULL REFERENCES cameras (camera_no),
    label_no  INTEGER NOT NULL,
    recall    INTEGER NOT NULL,    -- thousandths
    precision INTEGER NOT NULL,    -- thousandths
    crossings INTEGER NOT NULL,    -- true ones, that it was measured on
    PRIMARY KEY (camera_no, label_no)
) WITHOUT ROWID;
CREATE TABLE waiting (
    box_no      INTEGER NOT NULL,
    context     INTEGER NOT NULL,
    stream      INTEGER NOT NULL,
    seq         INTEGER NOT NULL,
    received_ms INTEGER NOT NULL,
    raw         BLOB NOT NULL,
    PRIMARY KEY (box_no, context, stream, seq)
) WITHOUT ROWID;
INSERT INTO "waiting" VALUES(2,71757367,14319999520001,1,1790000000000,X'9902CE0446EE37CE6AB13B7605006432009C010000000000000000000000');
CREATE UNIQUE INDEX quarantine_records ON quarantine (box_no, stream, seq) WHERE stream IS NOT NULL;
CREATE UNIQUE INDEX quarantine_envelopes ON quarantine (digest) WHERE stream IS NULL;
CREATE INDEX cameras_by_box ON cameras (box_no);
CREATE VIEW crossing_cells AS
WITH cells AS (
    SELECT *, 0 AS label_no, 'person' AS label, 'left_to_right' AS direction, person_lr AS count FROM crossing_windows
    UNION ALL SELECT *, 0, 'person', 'right_to_left', person_rl FROM crossing_windows
    UNION ALL SELECT *, 1, 'bicycle', 'left_to_right', bicycle_lr FROM crossing_windows
    UNION ALL SELECT *, 1, 'bicycle', 'right_to_left', bicycle_rl FROM crossing_windows
    UNION ALL SELECT *, 2, 'car', 'left_to_right', car_lr FROM crossing_windows
    UNION ALL SELECT *, 2, 'car', 'right_to_left', car_rl FROM crossing_windows
    UNION ALL SELECT *, 3, 'motorcycle', 'left_to_right', motorcycle_lr FROM crossing_windows
    UNION ALL SELECT *, 3, 'motorcycle', 'right_to_left', motorcycle_rl FROM crossing_windows
    UNION ALL SELECT *, 4, 'bus', 'left_to_right', bus_lr FROM crossing_windows
    UNION ALL SELECT *, 4, 'bus', 'right_to_left', bus_rl FROM crossing_windows
    UNION ALL SELECT *, 5, 'truck', 'left_to_right', truck_lr FROM crossing_windows
    UNION ALL SELECT *, 5, 'truck', 'right_to_left', truck_rl FROM crossing_windows
)
SELECT cameras.controller, cameras.insee, cameras.camera, lines.line, cells.label, cells.direction,
       cells.at_s, cells.window_s, cells.count, cells.coverage, cells.quality
FROM cells
JOIN lines ON lines.line_no = cells.line_no
JOIN cameras ON cameras.camera_no = lines.camera_no
WHERE (cells.counted >> cells.label_no) & 1;
COMMIT;
