-- The fleet's store, version 2: how well each label of a camera is counted, and what is wrong with its view.

ALTER TABLE cameras ADD COLUMN context INTEGER;     -- number of the Context in force; NULL: none since version 2
ALTER TABLE cameras ADD COLUMN view_at_s INTEGER;   -- of the last ViewAlarm; NULL: none yet
ALTER TABLE cameras ADD COLUMN view_faults INTEGER; -- sum of ViewFault flags; 0: the view is good

-- Measured against somebody's own tally, under the Context in force; a camera nobody has validated has no rows.
CREATE TABLE validations (
    camera_no INTEGER NOT NULL REFERENCES cameras (camera_no),
    label_no  INTEGER NOT NULL,
    recall    INTEGER NOT NULL,    -- thousandths
    precision INTEGER NOT NULL,    -- thousandths
    crossings INTEGER NOT NULL,    -- true ones, that it was measured on
    PRIMARY KEY (camera_no, label_no)
) WITHOUT ROWID;
