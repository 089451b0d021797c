-- lock_definitions_exclusively
-- Waits for the batches that hold the organisation's definitions still, and keeps new ones waiting until commit.
SELECT pg_advisory_xact_lock(:key::bigint)

-- fetch_clock_of_change
-- Read after the lock, so that no batch is dated between this instant and the change.
SELECT test_clock, clock_at
  FROM organisation
 WHERE organisation_id = :organisation_id::bigint
   FOR NO KEY UPDATE

-- advance_definitions
-- The change's version; the clock never falls behind it, lest a wall set back date a command before the change.
UPDATE organisation
   SET definitions_version = definitions_version + 1,
       clock_at = :now::timestamptz
 WHERE organisation_id = :organisation_id::bigint
RETURNING definitions_version

-- find_names
-- Which of two names another programme of the organisation has, active or not.
SELECT EXISTS (SELECT 1
                 FROM name
                WHERE organisation_id = :organisation_id::bigint
                  AND kind = 'group'
                  AND name_key = :group_name_key::text) AS of_group,
       EXISTS (SELECT 1
                 FROM name
                WHERE organisation_id = :organisation_id::bigint
                  AND kind = 'target'
                  AND name_key = :target_name_key::text) AS of_target

-- take_definition_ids
-- Ids for a group, its targets, levels and rewards, from the one sequence; ascending.
SELECT nextval('definition_id') AS id
  FROM generate_series(1, :count::integer)
 ORDER BY id

-- insert_names
-- Taken for ever: a deactivated programme keeps its names.
INSERT INTO name (organisation_id, kind, name_key, target_group_id)
SELECT :organisation_id::bigint, n.kind, n.name_key, :target_group_id::bigint
  FROM unnest(:kinds::text[], :name_keys::text[]) AS n (kind, name_key)

-- insert_due_instants
-- So that the closer finds what falls due without reading documents.
INSERT INTO due_instant (organisation_id, due_at)
SELECT DISTINCT :organisation_id::bigint, d.due_at
  FROM unnest(:due_ats::timestamptz[]) AS d (due_at)
    ON CONFLICT (organisation_id, due_at) DO NOTHING

-- insert_definition
-- The first version of a group.
INSERT INTO definition (organisation_id, target_group_id, version, document, changed_at, changed_by)
VALUES (:organisation_id::bigint, :target_group_id::bigint, :version::integer, :document::jsonb, :now::timestamptz,
        :created_by::text)

-- deactivate_definition
-- A version of its own with the same document; a second time changes nothing.
INSERT INTO definition (organisation_id, target_group_id, version, document, deactivated_at, changed_at, changed_by)
SELECT d.organisation_id, d.target_group_id, :version::integer, d.document, :now::timestamptz, :now::timestamptz,
       :deactivated_by::text
  FROM (SELECT *
          FROM definition
         WHERE organisation_id = :organisation_id::bigint
           AND target_group_id = :target_group_id::bigint
         ORDER BY version DESC
         LIMIT 1) AS d
 WHERE d.deactivated_at IS NULL
RETURNING target_group_id

-- fetch_edition
-- The version of an organisation's definitions, and the generation in which it was given.
SELECT definitions_version, (SELECT max(generation) FROM generation) AS generation
  FROM organisation
 WHERE organisation_id = :organisation_id::bigint

-- list_names
-- What an organisation's groups and targets are called, as the audit compares it.
SELECT kind, name_key, target_group_id
  FROM name
 WHERE organisation_id = :organisation_id::bigint

-- list_due_instants
-- When periods of an organisation fall due, as the audit compares it.
SELECT due_at
  FROM due_instant
 WHERE organisation_id = :organisation_id::bigint

-- list_versions
-- Every version of an organisation's groups, for the audit.
SELECT target_group_id, version, document, deactivated_at
  FROM definition
 WHERE organisation_id = :organisation_id::bigint
 ORDER BY target_group_id, version

-- list_definitions
-- One of the organisation's groups, or all of them, as they stood at a version, or as they stand; and since when.
SELECT DISTINCT ON (target_group_id)
       target_group_id, version, document, deactivated_at, changed_at, changed_by,
       first_value(version) OVER history AS created_version,
       first_value(changed_at) OVER history AS created_at,
       first_value(changed_by) OVER history AS created_by,
       min(version) FILTER (WHERE deactivated_at IS NOT NULL) OVER history AS deactivated_version
  FROM definition
 WHERE organisation_id = :organisation_id::bigint
   AND (:target_group_id::bigint IS NULL OR target_group_id = :target_group_id::bigint)
   AND (:version::integer IS NULL OR version <= :version::integer)
WINDOW history AS (PARTITION BY target_group_id ORDER BY version)
 ORDER BY target_group_id, version DESC
