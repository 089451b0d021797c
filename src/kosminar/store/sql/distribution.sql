-- has_citus
-- Whether the database may be distributed.
SELECT EXISTS (SELECT 1 FROM pg_extension WHERE extname = 'citus')

-- list_shards
-- Which shard of Citus each bucket lies in, the same for every table with a bucket; nothing before they are distributed.
SELECT b.bucket, get_shard_id_for_distribution_column('customer', b.bucket) AS shard_id
  FROM unnest(:buckets::smallint[]) AS b (bucket)
 WHERE EXISTS (SELECT 1 FROM pg_dist_partition WHERE logicalrelid = 'customer'::regclass)
