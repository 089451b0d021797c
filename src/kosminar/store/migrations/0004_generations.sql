-- 0004: generations, so that no id names two things after a restore. Reasons: docs/decisions/0034.

-- A new generation begins when the database turns out to be a copy of another one, or of an earlier self: after a
-- restore or a failover. Its number is the microsecond at which it began, counted from 2026-01-01T00:00Z; ids that are
-- given from then on are at least that, and event ids carry it. Number 0 was made with the schema.
CREATE TABLE generation (
    generation bigint PRIMARY KEY CHECK (generation >= 0),
    began_at   timestamptz NOT NULL,
    -- Where it began: this table's OID, because pg_restore makes the table again; PostgreSQL's system identifier, and
    -- the timeline of its log. The latter two are NULL where the server does not tell.
    table_id   bigint NOT NULL,
    server_id  bigint,
    timeline   integer,
    CONSTRAINT a_server_has_a_timeline CHECK ((server_id IS NULL) = (timeline IS NULL))
);

-- The generation that wrote the notification: part of its event id. To validate the constraint would read the whole
-- table under a lock; the rows that are there have the default.
ALTER TABLE notification ADD COLUMN generation bigint NOT NULL DEFAULT 0;
ALTER TABLE notification ADD CONSTRAINT a_generation_is_not_negative CHECK (generation >= 0) NOT VALID;
