"""Documents unfolded into rows, for tests that look into the database with SQL of their own.

`{UNFOLDED} SELECT ...` has newest, target, period, level and reward_definition to join, of every group in its newest
version; of the journal activity, command and fact; and of every standing enrolment, progress and streak, wherever it
lies. Sets of numbers are read where they are written as ranges.
"""

UNFOLDED = """
WITH newest AS (
    SELECT DISTINCT ON (target_group_id) * FROM definition ORDER BY target_group_id, version DESC
), target AS (
    SELECT d.organisation_id, d.target_group_id, (t ->> 'target_id')::bigint AS target_id, t ->> 'name' AS name,
           t -> 'rewards' AS rewards
      FROM newest AS d CROSS JOIN jsonb_array_elements(d.document -> 'targets') AS t
), period AS (
    SELECT d.organisation_id, d.target_group_id, d.target_group_id * 1024 + number AS period_id,
           number::integer AS number, p ->> 'name' AS name, (p ->> 'due_at')::timestamptz AS due_at
      FROM newest AS d
     CROSS JOIN jsonb_array_elements(d.document #> '{window,periods}') WITH ORDINALITY AS each (p, number)
), level AS (
    SELECT d.organisation_id, d.target_group_id, (l ->> 'level_id')::bigint AS level_id, l ->> 'name' AS name,
           (l ->> 'count')::integer AS count, l -> 'rewards' AS rewards
      FROM newest AS d CROSS JOIN jsonb_array_elements(d.document -> 'levels') AS l
), reward_definition AS (
    SELECT organisation_id, target_group_id, target_id, (r ->> 'reward_definition_id')::bigint AS reward_definition_id
      FROM (SELECT organisation_id, target_group_id, target_id, rewards FROM target
             UNION ALL
            SELECT organisation_id, target_group_id, NULL, rewards FROM level) AS giver
     CROSS JOIN jsonb_array_elements(giver.rewards) AS r
), activity AS (
    SELECT bucket, organisation_id, customer_id, activity_id, number AS sequence, type, occurred_at, attributes,
           fingerprint, definitions_version, at
      FROM journal
     WHERE kind = 'activity'
), command AS (
    SELECT bucket, organisation_id, customer_id, number AS sequence, kind AS name, target_id, period_name,
           initial_balance_thousandths / 1000.0 AS initial_balance, reset, definitions_version, at, asked_by
      FROM journal
     WHERE kind IN ('enrol', 'un_enrol')
), layout (name, period, run, level, definition, amount, value, unit) AS (
    -- At which place of a fact's array its fields are, from 0.
    VALUES ('enrolled', 2, NULL::integer, NULL::integer, NULL::integer, NULL::integer, NULL::integer, NULL::integer),
           ('re_enrolled', 2, NULL, NULL, NULL, NULL, NULL, NULL),
           ('enrolment_moved_back', 2, NULL, NULL, NULL, NULL, NULL, NULL),
           ('streak_reset', NULL, 2, NULL, NULL, NULL, NULL, NULL),
           ('balance_set', 2, NULL, NULL, NULL, NULL, 3, 1000),
           ('achievement_withdrawn', 2, NULL, NULL, NULL, NULL, 3, 1000),
           ('progressed', 2, 3, NULL, NULL, 4, 5, 1000),
           ('achieved', 2, 3, NULL, NULL, NULL, 4, 1000),
           ('level_reached', NULL, 2, 3, NULL, NULL, 4, 1),
           ('streak_broken', 2, 3, NULL, NULL, NULL, 4, 1),
           ('period_ended', 2, NULL, NULL, NULL, NULL, 3, 1000),
           ('reward_earned', 4, 2, 5, 3, NULL, 6, 1000),
           ('reward_forfeited', 4, 2, 5, 3, NULL, 6, 1000),
           ('reward_issued', 4, 2, 5, 3, NULL, 6, 1000),
           ('reward_failed', 4, 2, 5, 3, NULL, 6, 1000),
           ('reward_reversed', 4, 2, 5, 3, NULL, 6, 1000),
           ('un_enrolled', 2, NULL, NULL, NULL, NULL, NULL, NULL),
           ('opted_out', NULL, NULL, NULL, NULL, NULL, NULL, NULL)
), part AS (
    -- A fact's array, or the instant of those that follow: how many instants there were says which one is a fact's.
    SELECT j.bucket, j.organisation_id, j.customer_id, j.number, j.reason, p.part, p.place,
           count(*) FILTER (WHERE json_typeof(p.part) = 'string') OVER (
               PARTITION BY j.bucket, j.organisation_id, j.customer_id, j.number ORDER BY p.place) AS instant_number
      FROM journal AS j CROSS JOIN json_array_elements(j.facts) WITH ORDINALITY AS p (part, place)
), fact AS (
    SELECT f.bucket, f.organisation_id, f.customer_id, f.number AS sequence, f.place - f.instant_number - 1 AS ordinal,
           l.name, (i.part #>> '{}')::timestamptz AS at, (f.part ->> 1)::bigint AS target_id,
           t.target_group_id * 1024 + (f.part ->> l.period)::integer AS period_id, (f.part ->> l.run)::integer AS run,
           (f.part ->> l.level)::bigint AS level_id, (f.part ->> l.definition)::bigint AS reward_definition_id,
           (f.part ->> l.amount)::numeric / 1000 AS amount, (f.part ->> l.value)::numeric / l.unit AS value,
           coalesce(f.reason, CASE l.name WHEN 'reward_forfeited' THEN f.part ->> 7 END) AS reason
      FROM part AS f
      JOIN part AS i USING (bucket, organisation_id, customer_id, number)
      JOIN layout AS l ON l.name = f.part ->> 0
      JOIN target AS t ON t.target_id = (f.part ->> 1)::bigint
     WHERE json_typeof(f.part) = 'array' AND json_typeof(i.part) = 'string' AND i.instant_number = f.instant_number
), kept AS (
    SELECT s.*, k.key::bigint AS target_id, k.value AS part
      FROM standing AS s CROSS JOIN json_each(s.document) AS k
), enrolment AS (
    SELECT p.bucket, p.organisation_id, p.customer_id, p.target_id, n::integer AS number, e ->> 0 AS method,
           (e ->> 1)::timestamptz AS starts_at, (e ->> 2)::timestamptz AS ends_at,
           (e ->> 3)::integer AS first_period_number
      FROM kept AS p
     CROSS JOIN json_array_elements(coalesce(p.part -> 'stretches', '[]')) WITH ORDINALITY AS each (e, n)
), progress_of_number AS (
    SELECT bucket, organisation_id, customer_id, target_group_id, target_id, period_number, run, value_thousandths,
           achieved_at, achieved_recorded_at,
           ARRAY(SELECT (part -> 'days' ->> 0)::date + number
                   FROM regexp_split_to_table(part -> 'days' ->> 1, ' ') AS range
                  CROSS JOIN generate_series(split_part(range, '-', 1)::integer,
                                             split_part(range, '-', -1)::integer) AS number) AS days,
           rewarded, forfeited, settled
      FROM kept WHERE period_number IS NOT NULL
     UNION ALL
    SELECT p.bucket, p.organisation_id, p.customer_id, p.target_group_id, p.target_id, (e ->> 0)::integer, (e ->> 1)::integer,
           (e ->> 2)::bigint, (e ->> 3)::timestamptz, (e ->> 4)::timestamptz,
           ARRAY(SELECT day::date FROM json_array_elements_text(e -> 5) AS day),
           (e ->> 6)::boolean, (e ->> 7)::boolean, (e ->> 8)::boolean
      FROM kept AS p CROSS JOIN json_array_elements(coalesce(p.part -> 'progress', '[]')) AS e
     UNION ALL
    SELECT bucket, organisation_id, customer_id, target_group_id, target_id, period_number, run, value_thousandths,
           achieved_at, achieved_recorded_at, days, rewarded, forfeited, settled
      FROM ended_period
), progress AS (
    SELECT bucket, organisation_id, customer_id, target_id, target_group_id * 1024 + period_number AS period_id, run,
           (value_thousandths / 1000.0)::numeric(24, 3) AS value, achieved_at, achieved_recorded_at, days, rewarded,
           forfeited, settled
      FROM progress_of_number
), streak AS (
    SELECT p.bucket, p.organisation_id, p.customer_id, p.target_id, (r ->> 0)::integer AS run,
           (r ->> 1)::timestamptz AS starts_at, (r ->> 2)::timestamptz AS ends_at,
           ARRAY(SELECT number
                   FROM regexp_split_to_table(nullif(r ->> 3, ''), ' ') AS range
                  CROSS JOIN generate_series(split_part(range, '-', 1)::integer,
                                             split_part(range, '-', -1)::integer) AS number) AS met,
           ARRAY(SELECT id::bigint FROM json_array_elements_text(r -> 4) AS id) AS reached,
           (r ->> 5)::integer AS broken_number
      FROM kept AS p CROSS JOIN json_array_elements(coalesce(p.part -> 'runs', '[]')) AS r
)
"""
