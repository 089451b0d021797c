-- The yardsticks' own tables: what Kosminar 0.1.0 kept of a customer when the yardsticks were made.
--
-- They stay as they are, whatever becomes of Kosminar's schema: a yardstick that changed would measure nothing. The
-- tables that a yardstick writes have the columns, types, constraints, indexes and free space on pages that those of
-- Kosminar had, so that a row costs what it cost. Of the definitions only what is read, or what a foreign key looks up,
-- is here; nothing is written to them while something is measured.

-- ---------------------------------------------------------------- definitions

CREATE TABLE organisation (
    organisation_id     bigint PRIMARY KEY,
    name                text NOT NULL,
    zone                text NOT NULL,
    clock_at            timestamptz NOT NULL,
    definitions_version integer NOT NULL
);

CREATE TABLE period (
    period_id       bigint PRIMARY KEY,
    organisation_id bigint NOT NULL REFERENCES organisation,
    target_group_id bigint NOT NULL,
    number          integer NOT NULL,
    starts_at       timestamptz NOT NULL,
    ends_at         timestamptz NOT NULL,
    due_at          timestamptz NOT NULL
);

CREATE TABLE target (
    target_id       bigint PRIMARY KEY,
    organisation_id bigint NOT NULL REFERENCES organisation,
    target_group_id bigint NOT NULL,
    name            text NOT NULL
);

CREATE TABLE reward_definition (
    reward_definition_id bigint PRIMARY KEY,
    organisation_id      bigint NOT NULL REFERENCES organisation,
    target_id            bigint NOT NULL REFERENCES target,
    kind                 text NOT NULL,
    points               numeric(18, 3),
    text                 text,
    allocation           text NOT NULL
);
CREATE INDEX reward_definition_of_target ON reward_definition (target_id);

-- ---------------------------------------------------------------- customers, and what was accepted of them

CREATE TABLE customer (
    bucket              smallint NOT NULL CHECK (bucket BETWEEN 0 AND 255),
    organisation_id     bigint NOT NULL REFERENCES organisation,
    customer_id         bigint NOT NULL CHECK (customer_id >= 1),
    first_name          text CHECK (length(first_name) BETWEEN 1 AND 200),
    last_name           text CHECK (length(last_name) BETWEEN 1 AND 200),
    external_id         text CHECK (length(external_id) BETWEEN 1 AND 255),
    mobile              text CHECK (length(mobile) BETWEEN 1 AND 255),
    email               text CHECK (length(email) BETWEEN 1 AND 255),
    sequence            bigint NOT NULL DEFAULT 0 CHECK (sequence >= 0),
    changed_at          timestamptz NOT NULL,
    created_at          timestamptz NOT NULL,
    notification_number bigint NOT NULL DEFAULT 0 CHECK (notification_number >= 0),
    PRIMARY KEY (bucket, organisation_id, customer_id)
) WITH (fillfactor = 85);

CREATE TABLE command (
    bucket              smallint NOT NULL,
    organisation_id     bigint NOT NULL,
    customer_id         bigint NOT NULL,
    sequence            bigint NOT NULL CHECK (sequence >= 1),
    name                text NOT NULL CHECK (name IN ('enrol', 'un_enrol')),
    target_id           bigint NOT NULL REFERENCES target,
    period_name         text,
    initial_balance     numeric(18, 3) CHECK (initial_balance >= 0),
    reset               boolean NOT NULL,
    definitions_version integer NOT NULL,
    at                  timestamptz NOT NULL,
    asked_by            text NOT NULL,
    CONSTRAINT only_enrolling_has_options CHECK (
        name = 'enrol' OR (period_name IS NULL AND initial_balance IS NULL AND NOT reset)),
    PRIMARY KEY (bucket, organisation_id, customer_id, sequence),
    FOREIGN KEY (bucket, organisation_id, customer_id) REFERENCES customer
);

CREATE TABLE activity (
    bucket              smallint NOT NULL,
    organisation_id     bigint NOT NULL,
    customer_id         bigint NOT NULL,
    activity_id         text NOT NULL CHECK (length(activity_id) BETWEEN 1 AND 100),
    sequence            bigint NOT NULL CHECK (sequence >= 1),
    type                text NOT NULL CHECK (length(type) BETWEEN 1 AND 100),
    occurred_at         timestamptz NOT NULL,
    attributes          jsonb NOT NULL CHECK (jsonb_typeof(attributes) = 'object'),
    fingerprint         bytea NOT NULL CHECK (length(fingerprint) = 32),
    definitions_version integer NOT NULL,
    at                  timestamptz NOT NULL,
    PRIMARY KEY (bucket, organisation_id, customer_id, activity_id),
    FOREIGN KEY (bucket, organisation_id, customer_id) REFERENCES customer
);
CREATE UNIQUE INDEX activity_in_order ON activity (bucket, organisation_id, customer_id, sequence);

-- ---------------------------------------------------------------- standings

CREATE TABLE enrolment (
    bucket              smallint NOT NULL,
    organisation_id     bigint NOT NULL,
    customer_id         bigint NOT NULL,
    target_id           bigint NOT NULL REFERENCES target,
    number              integer NOT NULL CHECK (number >= 1),
    method              text NOT NULL CHECK (method IN ('automatic', 'explicit', 'opt_out')),
    starts_at           timestamptz NOT NULL,
    ends_at             timestamptz,
    first_period_number integer NOT NULL CHECK (first_period_number >= 1),
    CONSTRAINT a_stretch_does_not_end_before_it_starts CHECK (ends_at >= starts_at),
    CONSTRAINT an_opt_out_is_over_at_once CHECK (method <> 'opt_out' OR ends_at = starts_at),
    PRIMARY KEY (bucket, organisation_id, customer_id, target_id, number),
    FOREIGN KEY (bucket, organisation_id, customer_id) REFERENCES customer
);
CREATE UNIQUE INDEX enrolment_open ON enrolment (bucket, organisation_id, customer_id, target_id)
    WHERE ends_at IS NULL;

CREATE TABLE progress (
    bucket               smallint NOT NULL,
    organisation_id      bigint NOT NULL,
    customer_id          bigint NOT NULL,
    target_id            bigint NOT NULL REFERENCES target,
    period_id            bigint NOT NULL REFERENCES period,
    run                  integer NOT NULL CHECK (run >= 1),
    value                numeric(24, 3) NOT NULL CHECK (value >= 0 AND value < 1000000000000000000000),
    target_value         numeric(18, 3) NOT NULL CHECK (target_value > 0),
    achieved_at          timestamptz,
    achieved_recorded_at timestamptz,
    days                 date[] NOT NULL,
    rewarded             boolean NOT NULL,
    forfeited            boolean NOT NULL,
    settled              boolean NOT NULL,
    awaits_end           boolean NOT NULL,
    CONSTRAINT achieved_means_target_reached CHECK (achieved_at IS NULL OR value >= target_value),
    CONSTRAINT achieved_and_recorded_together CHECK ((achieved_at IS NULL) = (achieved_recorded_at IS NULL)),
    CONSTRAINT only_the_achieved_await_their_end CHECK (NOT awaits_end OR (achieved_at IS NOT NULL AND NOT settled)),
    PRIMARY KEY (bucket, organisation_id, customer_id, target_id, period_id, run),
    FOREIGN KEY (bucket, organisation_id, customer_id) REFERENCES customer
) WITH (fillfactor = 85);
CREATE INDEX progress_awaiting_end ON progress (bucket, target_id, period_id, customer_id) WHERE awaits_end;

-- ---------------------------------------------------------------- what happened

CREATE TABLE fact (
    bucket               smallint NOT NULL,
    organisation_id      bigint NOT NULL,
    customer_id          bigint NOT NULL,
    sequence             bigint NOT NULL CHECK (sequence >= 1),
    ordinal              smallint NOT NULL CHECK (ordinal >= 0),
    name                 text NOT NULL,
    at                   timestamptz NOT NULL,
    target_group_id      bigint NOT NULL,
    target_id            bigint NOT NULL,
    period_id            bigint,
    run                  integer,
    level_id             bigint,
    reward_definition_id bigint,
    value                numeric(24, 3),
    reason               text,
    PRIMARY KEY (bucket, organisation_id, customer_id, sequence, ordinal)
);

CREATE TABLE reward (
    bucket               smallint NOT NULL,
    organisation_id      bigint NOT NULL,
    customer_id          bigint NOT NULL,
    target_id            bigint NOT NULL REFERENCES target,
    period_id            bigint NOT NULL,
    level_id             bigint NOT NULL,
    run                  integer NOT NULL CHECK (run >= 1),
    reward_definition_id bigint NOT NULL REFERENCES reward_definition,
    kind                 text NOT NULL CHECK (kind IN ('POINTS', 'COUPON', 'BADGE', 'CUSTOM')),
    points               numeric(18, 3),
    text                 text,
    allocation           text NOT NULL CHECK (allocation IN ('IMMEDIATE', 'PERIOD_END')),
    state                text NOT NULL CHECK (state IN ('pending', 'issued', 'failed', 'forfeited', 'reversed')),
    reason               text,
    earned_at            timestamptz NOT NULL,
    sequence             bigint NOT NULL,
    handed_over          boolean NOT NULL DEFAULT false,
    CONSTRAINT for_a_period_or_for_a_level CHECK ((period_id = 0) <> (level_id = 0)),
    CONSTRAINT a_period_is_rewarded_once_whatever_the_run CHECK (level_id <> 0 OR run = 1),
    CONSTRAINT only_period_end_rewards_are_forfeited CHECK (state <> 'forfeited' OR allocation = 'PERIOD_END'),
    CONSTRAINT what_is_lost_says_why CHECK (state NOT IN ('failed', 'forfeited', 'reversed') OR reason IS NOT NULL),
    PRIMARY KEY (bucket, organisation_id, customer_id, target_id, period_id, level_id, run, reward_definition_id),
    FOREIGN KEY (bucket, organisation_id, customer_id) REFERENCES customer
);

-- ---------------------------------------------------------------- for pgbench

-- Customers by number, because pgbench cannot compute a bucket.
CREATE TABLE place (
    number      integer PRIMARY KEY,
    bucket      smallint NOT NULL,
    customer_id bigint NOT NULL
);
