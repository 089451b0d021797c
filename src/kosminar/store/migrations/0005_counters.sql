-- 0005: counters, as changes that are added up later. Reasons and measurements: docs/decisions/0043.

-- The buckets, and nothing else: what is inserted by a SELECT joins one of them by bucket, so that a distributed
-- database knows where it goes.
CREATE TABLE place (
    bucket smallint PRIMARY KEY CHECK (bucket BETWEEN 0 AND 255)
);
INSERT INTO place (bucket) SELECT generate_series(0, 255);

-- What a batch moved, under a bucket of its own, for each group, period and day. Inserted only, and removed by the job
-- that adds it to the total; nothing is updated by batches. Period 0 is the group as a whole. The order of the numbers
-- is that of `Slot` in core/counter.py.
CREATE TABLE counter_change (
    bucket          smallint NOT NULL CHECK (bucket BETWEEN 0 AND 255),
    organisation_id bigint NOT NULL,
    change_id       bigint GENERATED ALWAYS AS IDENTITY,
    target_group_id bigint NOT NULL,
    period_number   integer NOT NULL CHECK (period_number >= 0),
    day             date NOT NULL,
    -- Where the total is.
    total_bucket    smallint NOT NULL CHECK (total_bucket BETWEEN 0 AND 255),
    counts          bigint[] NOT NULL,
    PRIMARY KEY (bucket, organisation_id, change_id)
);
-- Rows live for a second: what is left of them is to be cleared away before thousands are read in vain. Without statistics
-- PostgreSQL takes them for few, and an overview that finds many of them sorts them on disk.
ALTER TABLE counter_change SET (
    autovacuum_vacuum_threshold = 2000,
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_insert_threshold = -1,
    autovacuum_analyze_threshold = 2000,
    autovacuum_analyze_scale_factor = 0
);

-- One row for each group, period and day, and one without a day for all days. The bucket is the group's.
CREATE TABLE counter_total (
    bucket          smallint NOT NULL CHECK (bucket BETWEEN 0 AND 255),
    organisation_id bigint NOT NULL,
    target_group_id bigint NOT NULL,
    day             date,
    period_number   integer NOT NULL CHECK (period_number >= 0),
    counts          bigint[] NOT NULL,
    CONSTRAINT counter_total_key UNIQUE NULLS NOT DISTINCT
        (bucket, organisation_id, target_group_id, day, period_number)
);
ALTER TABLE counter_total SET (fillfactor = 70);
