-- A batch of activities, as bare SQL; the customers' sequence numbers are the caller's. Parameters: organisation,
-- instant, and of each activity bucket, customer, id, sequence number and attributes.
INSERT INTO activity (bucket, organisation_id, customer_id, activity_id, sequence, type, occurred_at, attributes,
                      fingerprint, definitions_version, at)
SELECT k.bucket, $1, k.customer_id, k.activity_id, k.sequence, 'transaction', $2, k.attributes::jsonb,
       decode(repeat('ab', 32), 'hex'), 1, $2
  FROM unnest($3::smallint[], $4::bigint[], $5::text[], $6::bigint[], $7::text[])
       AS k (bucket, customer_id, activity_id, sequence, attributes)
