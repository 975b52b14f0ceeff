
-- On PostgreSQL, records and crossing_windows stand in partitions by month, so that forgetting is dropping a table.
--
--   records ............ RANGE (class, received_ms): records_rest takes what no month has been made for
--   crossing_windows ... RANGE (at_s): crossing_windows_rest likewise
--
-- `partitions` makes months ahead of time and drops old ones. Each partition has keys of its own: a key of the whole
-- table would have to hold the month, and would then let one number come twice.

DROP VIEW crossing_cells;
ALTER TABLE records RENAME TO records_v1;
ALTER TABLE crossing_windows RENAME TO crossing_windows_v1;

CREATE TABLE records (
    position    BIGINT NOT NULL,
    box_no      BIGINT NOT NULL,
    stream      BIGINT NOT NULL,
    seq         BIGINT NOT NULL,
    tag         BIGINT NOT NULL,
    received_ms BIGINT NOT NULL,
    raw         BYTEA NOT NULL,
    class       BIGINT GENERATED ALWAYS AS (stream % 8) STORED
) PARTITION BY RANGE ((stream % 8), received_ms);
CREATE TABLE records_rest PARTITION OF records DEFAULT;
ALTER TABLE records_rest ADD PRIMARY KEY (position), ADD UNIQUE (box_no, stream, seq);

CREATE TABLE crossing_windows (
    line_no       BIGINT NOT NULL,
    at_s          BIGINT NOT NULL,
    position      BIGINT NOT NULL,
    window_s      INTEGER NOT NULL,
    coverage      INTEGER NOT NULL,
    fps_x10       INTEGER NOT NULL,
    quality       INTEGER NOT NULL,
    counted       INTEGER NOT NULL,
    person_lr     INTEGER, person_rl     INTEGER,
    bicycle_lr    INTEGER, bicycle_rl    INTEGER,
    car_lr        INTEGER, car_rl        INTEGER,
    motorcycle_lr INTEGER, motorcycle_rl INTEGER,
    bus_lr        INTEGER, bus_rl        INTEGER,
    truck_lr      INTEGER, truck_rl      INTEGER
) PARTITION BY RANGE (at_s);
CREATE TABLE crossing_windows_rest PARTITION OF crossing_windows DEFAULT;
ALTER TABLE crossing_windows_rest ADD PRIMARY KEY (line_no, at_s, position);

INSERT INTO records (position, box_no, stream, seq, tag, received_ms, raw)
SELECT position, box_no, stream, seq, tag, received_ms, raw FROM records_v1;
INSERT INTO crossing_windows SELECT * FROM crossing_windows_v1;
DROP TABLE records_v1;
DROP TABLE crossing_windows_v1;

CREATE VIEW crossing_cells AS
SELECT cameras.controller, cameras.insee, cameras.camera, lines.line, cells.label, cells.direction,
       windows.at_s, windows.window_s, cells.count, windows.coverage, windows.quality
FROM crossing_windows AS windows
CROSS JOIN LATERAL (VALUES
    (0, 'person', 'left_to_right', person_lr), (0, 'person', 'right_to_left', person_rl),
    (1, 'bicycle', 'left_to_right', bicycle_lr), (1, 'bicycle', 'right_to_left', bicycle_rl),
    (2, 'car', 'left_to_right', car_lr), (2, 'car', 'right_to_left', car_rl),
    (3, 'motorcycle', 'left_to_right', motorcycle_lr), (3, 'motorcycle', 'right_to_left', motorcycle_rl),
    (4, 'bus', 'left_to_right', bus_lr), (4, 'bus', 'right_to_left', bus_rl),
    (5, 'truck', 'left_to_right', truck_lr), (5, 'truck', 'right_to_left', truck_rl)
) AS cells (label_no, label, direction, count)
JOIN lines ON lines.line_no = windows.line_no
JOIN cameras ON cameras.camera_no = lines.camera_no
WHERE (windows.counted >> cells.label_no) & 1 <> 0;
