-- lock_migrations
-- One process migrates at a time; the others wait and then find nothing to do.
SELECT pg_advisory_lock(:key)

-- unlock_migrations
-- Session locks outlive transactions, so this one is given back by hand.
SELECT pg_advisory_unlock(:key)

-- create_migration_table
-- The first thing in an empty database.
CREATE TABLE IF NOT EXISTS migration (
    number     integer PRIMARY KEY,
    name       text NOT NULL,
    checksum   bytea NOT NULL,
    applied_at timestamptz NOT NULL
)

-- find_migration_table
-- Whether anything was ever migrated here.
SELECT to_regclass('migration') IS NOT NULL

-- list_migrations
-- What has been applied.
SELECT number, name, checksum
  FROM migration
 ORDER BY number

-- insert_migration
-- In the same transaction as the migration itself.
INSERT INTO migration (number, name, checksum, applied_at)
VALUES (:number, :name, :checksum, :now)
