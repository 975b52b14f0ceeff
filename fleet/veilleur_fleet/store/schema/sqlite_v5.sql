-- The fleet's store, version 5: who holds which certificate.

CREATE TABLE identities (
    name       TEXT NOT NULL PRIMARY KEY,   -- common name: a box's id, or role.id of another
    role       TEXT NOT NULL,               -- box, fleet, consumer-...
    controller TEXT,                        -- who answers for it, for ever; NULL: it serves every controller
    created_ms BIGINT NOT NULL
);

CREATE TABLE enrolments (
    digest       TEXT NOT NULL PRIMARY KEY, -- SHA-256 of the one-time token's secret
    name         TEXT NOT NULL REFERENCES identities (name),
    created_ms   BIGINT NOT NULL,
    expires_ms   BIGINT NOT NULL,
    withdrawn_ms BIGINT,                    -- NULL: not taken back
    used_ms      BIGINT,                    -- NULL: not yet
    key_digest   TEXT                       -- SHA-256 of the public key it was used for
);
CREATE INDEX enrolments_by_name ON enrolments (name);

CREATE TABLE certificates (
    serial     TEXT NOT NULL PRIMARY KEY,   -- hexadecimal
    name       TEXT NOT NULL REFERENCES identities (name),
    key_digest TEXT NOT NULL,               -- SHA-256 of the public key (SubjectPublicKeyInfo)
    issued_ms  BIGINT NOT NULL,
    expires_ms BIGINT NOT NULL,
    revoked_ms BIGINT,                      -- NULL: good until it expires
    pem        TEXT NOT NULL
);
CREATE INDEX certificates_by_name ON certificates (name);
CREATE INDEX certificates_by_end ON certificates (expires_ms);
