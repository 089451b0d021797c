"""What stands in for Citus, which no package index has: an entry among the extensions, and functions of its names.

They refuse what Citus was seen to refuse. That Citus itself takes what they take is not shown by them.
"""

import asyncpg

# What a server lists that has Citus.
EXTENSION = """
INSERT INTO pg_extension (oid, extname, extowner, extnamespace, extrelocatable, extversion)
SELECT 16000, 'citus', oid, 'pg_catalog'::regnamespace, false, '13.2-1' FROM pg_roles WHERE rolname = current_user
"""

# Of the session alone, so that no test of the schema finds it among our tables.
CATALOGUE = """
CREATE TEMPORARY TABLE pg_dist_partition (
    logicalrelid   regclass PRIMARY KEY,
    partmethod     text NOT NULL,
    shard_count    integer,
    colocated_with text
)
"""

SHARD_OF_BUCKET = """
CREATE FUNCTION get_shard_id_for_distribution_column(regclass, anyelement) RETURNS bigint
LANGUAGE sql STABLE AS $$ SELECT 102008 + $2::bigint * 7 % 32 $$
"""

# A foreign key is taken from any table to a reference table, and between distributed ones; tables that are not
# distributed yet must have none with one that is being distributed.
REFUSE_STRANGERS = """
CREATE FUNCTION refuse_strangers(one regclass) RETURNS void LANGUAGE plpgsql AS $$
DECLARE key record;
BEGIN
    FOR key IN
        SELECT conname FROM pg_constraint
         WHERE contype = 'f' AND conrelid = one AND confrelid <> one
           AND confrelid NOT IN (SELECT logicalrelid FROM pg_dist_partition)
         UNION ALL
        SELECT conname FROM pg_constraint
         WHERE contype = 'f' AND confrelid = one AND conrelid <> one
           AND (SELECT partmethod FROM pg_dist_partition WHERE logicalrelid = one) = 'h'
           AND conrelid NOT IN (SELECT logicalrelid FROM pg_dist_partition WHERE partmethod = 'h')
    LOOP
        RAISE EXCEPTION 'cannot distribute %: foreign key % is with a table that is not distributed', one, key.conname;
    END LOOP;
END $$
"""

REFERENCE = """
CREATE FUNCTION create_reference_table(one regclass) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO pg_dist_partition VALUES (one, 'n');
    PERFORM refuse_strangers(one);
END $$
"""

DISTRIBUTE = """
CREATE FUNCTION create_distributed_table(one regclass, by text, distribution_type text DEFAULT 'hash',
                                         colocate_with text DEFAULT 'default', shard_count integer DEFAULT NULL)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM pg_index AS k
      WHERE k.indrelid = one AND k.indisunique
        AND NOT EXISTS (SELECT 1 FROM pg_attribute AS a
                         WHERE a.attrelid = one AND a.attnum = ANY(k.indkey) AND a.attname = by);
    IF FOUND THEN
        RAISE EXCEPTION 'cannot distribute %: a key lacks %', one, by;
    END IF;
    INSERT INTO pg_dist_partition VALUES (one, 'h', shard_count, colocate_with);
    PERFORM refuse_strangers(one);
END $$
"""


async def stand_in(connection: asyncpg.Connection) -> None:
    """From now on the database looks as if it had Citus; the catalogue of what is distributed is this session's."""
    for statement in (EXTENSION, CATALOGUE, SHARD_OF_BUCKET, REFUSE_STRANGERS, REFERENCE, DISTRIBUTE):
        await connection.execute(statement)
