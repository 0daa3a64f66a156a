-- Counts the changes of accounts, catalogue and watermarks, so that who keeps a copy asks for one number.
CREATE TABLE state (
    only_one  INTEGER PRIMARY KEY CHECK (only_one = 1),
    revision  INTEGER NOT NULL,
    watermark INTEGER NOT NULL
) STRICT;
INSERT INTO state VALUES (1, 1, -9223372036854775808);

-- What a plan version holds, once published, is never changed.
CREATE TABLE plan_versions (
    plan      TEXT NOT NULL,
    version   INTEGER NOT NULL,
    content   TEXT NOT NULL,
    published INTEGER NOT NULL,
    PRIMARY KEY (plan, version)
) STRICT, WITHOUT ROWID;

CREATE TABLE catalogues (
    revision  INTEGER NOT NULL PRIMARY KEY,
    file      TEXT NOT NULL,
    content   TEXT NOT NULL,
    published INTEGER NOT NULL
) STRICT;

-- An account as one document: what may be done to it is decided in one place, and not by the database.
CREATE TABLE accounts (
    tenant   TEXT NOT NULL PRIMARY KEY,
    revision INTEGER NOT NULL,
    document TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX accounts_by_revision ON accounts (revision);

-- Other names of who pays.
CREATE TABLE subjects (
    subject TEXT NOT NULL PRIMARY KEY,
    tenant  TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- What was asked for under which id, and what was answered.
CREATE TABLE operations (
    id        TEXT NOT NULL PRIMARY KEY,
    tenant    TEXT NOT NULL,
    operation TEXT NOT NULL,
    answer    TEXT NOT NULL,
    at        INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX operations_by_tenant ON operations (tenant, at);

-- Times are microseconds since 1970; a slot is a quarter of an hour since 1970.
-- state: 0 it counts, 1 it came late and does not, 2 it was voided or amended.
-- measured: what it is to each meter, so that it can be counted again whatever the catalogue says by then.
CREATE TABLE events (
    seq      INTEGER PRIMARY KEY /*counted*/,
    source   TEXT NOT NULL,
    id       TEXT NOT NULL,
    digest   TEXT NOT NULL,
    tenant   TEXT NOT NULL,
    kind     TEXT NOT NULL,
    subject  TEXT NOT NULL,
    time     INTEGER NOT NULL,
    slot     INTEGER NOT NULL,
    data     TEXT NOT NULL,
    measured TEXT NOT NULL,
    received INTEGER NOT NULL,
    state    INTEGER NOT NULL
    /*transaction*/
) STRICT;
CREATE UNIQUE INDEX events_once ON events (source, id);
CREATE INDEX events_by_slot ON events (tenant, slot);
CREATE INDEX events_late ON events (tenant, seq) WHERE state = 1;
/*transactions*/

-- One row for each meter, slot and combination of dimensions in which something was measured.
CREATE TABLE aggregates (
    tenant     TEXT NOT NULL,
    meter      TEXT NOT NULL,
    slot       INTEGER NOT NULL,
    dimensions TEXT NOT NULL,
    count      INTEGER NOT NULL,
    sum        INTEGER NOT NULL,
    min        INTEGER,
    max        INTEGER,
    latest     INTEGER,
    latest_at  INTEGER,
    latest_id  TEXT NULL,
    first_at   INTEGER,
    area       TEXT NULL,
    PRIMARY KEY (tenant, meter, slot, dimensions)
) STRICT, WITHOUT ROWID;

-- The different values of a meter that counts those.
CREATE TABLE uniques (
    tenant     TEXT NOT NULL,
    meter      TEXT NOT NULL,
    slot       INTEGER NOT NULL,
    dimensions TEXT NOT NULL,
    value      TEXT NOT NULL,
    count      INTEGER NOT NULL,
    PRIMARY KEY (tenant, meter, slot, dimensions, value)
) STRICT, WITHOUT ROWID;

-- Nothing of a tenant before this instant is counted any more.
CREATE TABLE watermarks (
    tenant TEXT NOT NULL PRIMARY KEY,
    until  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- available = amount + carried - burned - held, and never less than nothing unless a plan was made smaller.
-- carried: taken over from the lot before, less what the lot after took over.
-- as_of: the instant that the amount was last said for; what is said for an earlier one does not change it.
CREATE TABLE lots (
    tenant    TEXT NOT NULL,
    feature   TEXT NOT NULL,
    lot       TEXT NOT NULL,
    priority  INTEGER NOT NULL,
    effective INTEGER NOT NULL,
    expires   INTEGER,
    created   INTEGER NOT NULL,
    overage   INTEGER NOT NULL,
    amount    INTEGER NOT NULL,
    carried   INTEGER NOT NULL,
    burned    INTEGER NOT NULL,
    held      INTEGER NOT NULL,
    as_of     INTEGER NOT NULL,
    PRIMARY KEY (tenant, feature, lot)
) STRICT, WITHOUT ROWID;

-- Units that processes (cell > 0) and reservations (cell = 0) hold, out of which lots.
CREATE TABLE holds (
    owner   TEXT NOT NULL,
    cell    INTEGER NOT NULL,
    tenant  TEXT NOT NULL,
    feature TEXT NOT NULL,
    lot     TEXT NOT NULL,
    units   INTEGER NOT NULL CHECK (units > 0),
    PRIMARY KEY (owner, cell, tenant, feature, lot)
) STRICT, WITHOUT ROWID;
CREATE INDEX holds_by_lot ON holds (tenant, feature, lot);

-- Who may hold something, and until when (milliseconds since 1970, by the clock of the database). batch: the number of the
-- last transaction in which it changed what it holds, by which it knows whether a commit that was not answered happened.
CREATE TABLE owners (
    owner   TEXT NOT NULL PRIMARY KEY,
    expires INTEGER NOT NULL,
    batch   INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

-- What each event burned out of which lot; the lot '' is what none had (overage).
CREATE TABLE burns (
    source  TEXT NOT NULL,
    id      TEXT NOT NULL,
    feature TEXT NOT NULL,
    lot     TEXT NOT NULL,
    tenant  TEXT NOT NULL,
    slot    INTEGER NOT NULL,
    units   INTEGER NOT NULL,
    PRIMARY KEY (source, id, feature, lot)
) STRICT, WITHOUT ROWID;

-- The sum of what was burned out of the lot '' and out of lots of grace, for each slot of the events.
CREATE TABLE overage (
    tenant  TEXT NOT NULL,
    feature TEXT NOT NULL,
    slot    INTEGER NOT NULL,
    units   INTEGER NOT NULL,
    PRIMARY KEY (tenant, feature, slot)
) STRICT, WITHOUT ROWID;

-- How far each export has come.
CREATE TABLE exports (
    name     TEXT NOT NULL PRIMARY KEY,
    position TEXT NOT NULL,
    holder   TEXT NULL,
    until    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
