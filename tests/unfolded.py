"""Documents unfolded into rows, for tests that look into the database with SQL of their own.

`{UNFOLDED} SELECT ...` has newest, target, period, level and reward_definition to join, of every group in its newest
version; and of the journal activity, command and fact.
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
)
"""
