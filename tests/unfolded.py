"""The definitions' documents unfolded into rows, for tests that look into the database with SQL of their own.

`{UNFOLDED} SELECT ...` has newest, target, period, level and reward_definition to join, of every group in its newest version.
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
)
"""
