-- lock_definitions_exclusively
-- Waits for the batches that hold the organisation's definitions still, and keeps new ones waiting until commit.
SELECT pg_advisory_xact_lock(:key)

-- fetch_clock_of_change
-- Read after the lock, so that no batch is dated between this instant and the change.
SELECT test_clock, clock_at
  FROM organisation
 WHERE organisation_id = :organisation_id
   FOR NO KEY UPDATE

-- advance_definitions
-- The change's version; the clock never falls behind it, lest a wall set back date a command before the change.
UPDATE organisation
   SET definitions_version = definitions_version + 1,
       clock_at = :now
 WHERE organisation_id = :organisation_id
RETURNING definitions_version

-- find_names
-- Which of two names another programme of the organisation has, active or not.
SELECT EXISTS (SELECT 1
                 FROM target_group
                WHERE organisation_id = :organisation_id
                  AND name_key = :group_name_key) AS of_group,
       EXISTS (SELECT 1
                 FROM target
                WHERE organisation_id = :organisation_id
                  AND name_key = :target_name_key) AS of_target

-- insert_target_group
-- The programme itself; everything else of it refers to this row.
INSERT INTO target_group (
       organisation_id, name, name_key, description, tracking_type, target_evaluation_type, frequency_type, frequency,
       recurring_cycles, preferred_till_id, zone, offset_days, track_from_enrolment, starts_at, ends_at,
       created_by, created_at, updated_by, updated_at, created_version)
VALUES (:organisation_id, :name, :name_key, :description, :tracking_type, 'FIXED_CALENDAR_WINDOW', :frequency_type,
        :frequency, :recurring_cycles, :preferred_till_id, :zone, :offset_days, :track_from_enrolment, :starts_at,
        :ends_at, :created_by, :now, :created_by, :now, :version)
RETURNING target_group_id

-- insert_periods
-- In their order, numbered from 1.
INSERT INTO period (
       organisation_id, target_group_id, number, name, name_key, description, starts_at, ends_at, due_at)
SELECT :organisation_id::bigint, :target_group_id::bigint, p.number, p.name, p.name_key, p.description,
       p.starts_at, p.ends_at, p.due_at
  FROM unnest(:names::text[], :name_keys::text[], :descriptions::text[],
              :starts_ats::timestamptz[], :ends_ats::timestamptz[], :due_ats::timestamptz[])
       WITH ORDINALITY AS p (name, name_key, description, starts_at, ends_at, due_at, number)
 ORDER BY p.number
RETURNING period_id, number

-- insert_target
-- The one target that a milestone or a streak has.
INSERT INTO target (
       organisation_id, target_group_id, name, name_key, description, target_entity, target_type, event_name,
       attribute_name, enrolment_method, expression_json)
VALUES (:organisation_id, :target_group_id, :name, :name_key, :description, :target_entity, :target_type, :event_name,
        :attribute_name, :enrolment_method, :expression_json)
RETURNING target_id

-- insert_target_values
-- What must be reached, one value for each period.
INSERT INTO target_value (organisation_id, target_id, period_id, value)
SELECT :organisation_id::bigint, :target_id::bigint, v.period_id, v.value
  FROM unnest(:period_ids::bigint[], :target_values::numeric[]) WITH ORDINALITY AS v (period_id, value, number)
 ORDER BY v.number

-- insert_levels
-- In their order, numbered from 1.
INSERT INTO level (organisation_id, target_group_id, number, name, name_key, count)
SELECT :organisation_id::bigint, :target_group_id::bigint, l.number, l.name, l.name_key, l.count
  FROM unnest(:names::text[], :name_keys::text[], :counts::integer[])
       WITH ORDINALITY AS l (name, name_key, count, number)
 ORDER BY l.number
RETURNING level_id, number

-- insert_reward_definitions
-- In the order in which they were written, first the target's, then the levels'.
INSERT INTO reward_definition (organisation_id, target_id, level_id, kind, points, text, allocation)
SELECT :organisation_id::bigint, :target_id::bigint, r.level_id, r.kind, r.points, r.text, r.allocation
  FROM unnest(:level_ids::bigint[], :kinds::text[], :points::numeric[], :texts::text[], :allocations::text[])
       WITH ORDINALITY AS r (level_id, kind, points, text, allocation, ordinal)
 ORDER BY r.ordinal

-- list_target_groups
-- One of the organisation's programmes, or all of them.
SELECT g.target_group_id, g.name, g.description, g.tracking_type, g.frequency_type, g.frequency, g.recurring_cycles,
       g.preferred_till_id, g.zone, g.offset_days, g.track_from_enrolment, g.starts_at, g.ends_at,
       g.created_by, g.created_at, g.updated_by, g.updated_at,
       g.created_version, g.deactivated_at, g.deactivated_version,
       t.target_id, t.name AS target_name, t.description AS target_description, t.target_entity, t.target_type,
       t.event_name, t.attribute_name, t.enrolment_method, t.expression_json
  FROM target_group AS g
  JOIN target AS t ON t.organisation_id = g.organisation_id AND t.target_group_id = g.target_group_id
 WHERE g.organisation_id = :organisation_id
   AND (:target_group_id::bigint IS NULL OR g.target_group_id = :target_group_id)
 ORDER BY g.target_group_id

-- list_periods
-- The periods of those programmes, each with its target value.
SELECT p.target_group_id, p.period_id, p.number, p.name, p.description, p.starts_at, p.ends_at, p.due_at,
       v.target_value_id, v.value
  FROM period AS p
  JOIN target_value AS v ON v.organisation_id = p.organisation_id AND v.period_id = p.period_id
 WHERE p.organisation_id = :organisation_id
   AND (:target_group_id::bigint IS NULL OR p.target_group_id = :target_group_id)
 ORDER BY p.target_group_id, p.number

-- list_levels
-- The levels of those programmes.
SELECT l.target_group_id, l.level_id, l.number, l.name, l.count
  FROM level AS l
 WHERE l.organisation_id = :organisation_id
   AND (:target_group_id::bigint IS NULL OR l.target_group_id = :target_group_id)
 ORDER BY l.target_group_id, l.number

-- list_reward_definitions
-- What the targets and levels of those programmes give, in the order in which it was written.
SELECT t.target_group_id, r.reward_definition_id, r.level_id, r.kind, r.points, r.text, r.allocation
  FROM reward_definition AS r
  JOIN target AS t ON t.organisation_id = r.organisation_id AND t.target_id = r.target_id
 WHERE r.organisation_id = :organisation_id
   AND (:target_group_id::bigint IS NULL OR t.target_group_id = :target_group_id)
 ORDER BY r.reward_definition_id

-- deactivate_target_group
-- Nothing of it is deleted; a second time changes nothing.
UPDATE target_group
   SET deactivated_at = :now,
       deactivated_version = :version,
       updated_by = :deactivated_by,
       updated_at = :now
 WHERE organisation_id = :organisation_id
   AND target_group_id = :target_group_id
   AND deactivated_version IS NULL
RETURNING target_group_id
