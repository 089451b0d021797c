-- Distributes the tables of a migrated database over the nodes of Citus, before it has customers or after. Run it once,
-- with nothing else at work, on the coordinator:
--
--     psql --set ON_ERROR_STOP=1 --file distribution.sql "$KOSMINAR_DATABASE_URL"
--
-- Definitions are copied to every node. What is kept per customer is cut by bucket into shards that lie together.
-- `migration` stays on the coordinator. Tested where functions stand in for Citus's; docs/decisions/0041 has the reasons.

-- ---------------------------------------------------------------- definitions, each after what it refers to

SELECT create_reference_table('organisation');
SELECT create_reference_table('access_group');
SELECT create_reference_table('access_grant');
SELECT create_reference_table('api_user');
SELECT create_reference_table('oauth_client');
SELECT create_reference_table('signing_key');
SELECT create_reference_table('definition');
SELECT create_reference_table('name');
SELECT create_reference_table('due_instant');
SELECT create_reference_table('webhook_endpoint');
SELECT create_reference_table('generation');

-- ---------------------------------------------------------------- what is kept per customer

-- A table that refers to one which is not distributed yet, or is referred to by one, is refused. So these keys go and
-- come back.
ALTER TABLE standing DROP CONSTRAINT standing_of_a_customer;
ALTER TABLE ended_period DROP CONSTRAINT ended_period_of_a_standing;
ALTER TABLE reward DROP CONSTRAINT reward_bucket_organisation_id_customer_id_fkey;
ALTER TABLE notification DROP CONSTRAINT notification_bucket_organisation_id_customer_id_fkey;
ALTER TABLE delivery DROP CONSTRAINT delivery_bucket_organisation_id_customer_id_number_fkey;
ALTER TABLE webhook_queue DROP CONSTRAINT webhook_queue_bucket_organisation_id_customer_id_fkey;
ALTER TABLE idempotency_result DROP CONSTRAINT idempotency_result_bucket_organisation_id_key_hash_fkey;

SELECT create_distributed_table('customer', 'bucket', shard_count => 32);
SELECT create_distributed_table('customer_identifier', 'bucket', colocate_with => 'customer');
SELECT create_distributed_table('journal', 'bucket', colocate_with => 'customer');
SELECT create_distributed_table('standing', 'bucket', colocate_with => 'customer');
SELECT create_distributed_table('ended_period', 'bucket', colocate_with => 'customer');
SELECT create_distributed_table('reward', 'bucket', colocate_with => 'customer');
SELECT create_distributed_table('notification', 'bucket', colocate_with => 'customer');
SELECT create_distributed_table('delivery', 'bucket', colocate_with => 'customer');
SELECT create_distributed_table('webhook_queue', 'bucket', colocate_with => 'customer');
SELECT create_distributed_table('idempotency_key', 'bucket', colocate_with => 'customer');
SELECT create_distributed_table('idempotency_result', 'bucket', colocate_with => 'customer');
SELECT create_distributed_table('place', 'bucket', colocate_with => 'customer');
SELECT create_distributed_table('counter_change', 'bucket', colocate_with => 'customer');
SELECT create_distributed_table('counter_total', 'bucket', colocate_with => 'customer');

ALTER TABLE standing ADD CONSTRAINT standing_of_a_customer
    FOREIGN KEY (bucket, organisation_id, customer_id) REFERENCES customer (bucket, organisation_id, customer_id);
ALTER TABLE ended_period ADD CONSTRAINT ended_period_of_a_standing
    FOREIGN KEY (bucket, organisation_id, customer_id, target_group_id)
    REFERENCES standing (bucket, organisation_id, customer_id, target_group_id);
ALTER TABLE reward ADD CONSTRAINT reward_bucket_organisation_id_customer_id_fkey
    FOREIGN KEY (bucket, organisation_id, customer_id) REFERENCES customer (bucket, organisation_id, customer_id);
ALTER TABLE notification ADD CONSTRAINT notification_bucket_organisation_id_customer_id_fkey
    FOREIGN KEY (bucket, organisation_id, customer_id) REFERENCES customer (bucket, organisation_id, customer_id);
ALTER TABLE delivery ADD CONSTRAINT delivery_bucket_organisation_id_customer_id_number_fkey
    FOREIGN KEY (bucket, organisation_id, customer_id, number)
    REFERENCES notification (bucket, organisation_id, customer_id, number);
ALTER TABLE webhook_queue ADD CONSTRAINT webhook_queue_bucket_organisation_id_customer_id_fkey
    FOREIGN KEY (bucket, organisation_id, customer_id) REFERENCES customer (bucket, organisation_id, customer_id);
ALTER TABLE idempotency_result ADD CONSTRAINT idempotency_result_bucket_organisation_id_key_hash_fkey
    FOREIGN KEY (bucket, organisation_id, key_hash)
    REFERENCES idempotency_key (bucket, organisation_id, key_hash) ON DELETE CASCADE;
