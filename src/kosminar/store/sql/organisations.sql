-- insert_organisation
-- Nothing is due before an organisation exists: it starts settled up to its clock.
INSERT INTO organisation (parent_id, name, zone, test_clock, clock_at, settled_at, created_at)
VALUES (:parent_id, :name, :zone, :test_clock, :clock_at, :clock_at, :now)
RETURNING organisation_id

-- find_organisation
-- One organisation by its id.
SELECT organisation_id, parent_id, name, zone, test_clock, clock_at, settled_at, definitions_version
  FROM organisation
 WHERE organisation_id = :organisation_id

-- find_hierarchy
-- Whom an organisation is connected to: its parent and its children. A sibling is nobody.
SELECT o.organisation_id, o.parent_id,
       ARRAY(SELECT c.organisation_id
               FROM organisation AS c
              WHERE c.parent_id = o.organisation_id
              ORDER BY c.organisation_id) AS child_ids
  FROM organisation AS o
 WHERE o.organisation_id = :organisation_id

-- ping
-- Whether the database answers, for the readiness probe.
SELECT true
