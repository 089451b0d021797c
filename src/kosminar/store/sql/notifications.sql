-- insert_notifications
-- The outbox is only ever added to, in the transaction of what it tells of.
INSERT INTO notification (bucket, organisation_id, customer_id, number, generation, name, target_id, period_id,
                          reward_id, body, at, created_at)
SELECT p.bucket, k.organisation_id, k.customer_id, k.number, k.generation, k.name, k.target_id, k.period_id,
       k.reward_id, k.body, k.at, k.created_at
  FROM unnest(:buckets::text::smallint[], :organisation_ids::text::bigint[], :customer_ids::text::bigint[],
              :numbers::text::bigint[], :generations::text::bigint[], :names::text::text[],
              :target_ids::text::bigint[], :period_ids::text::bigint[], :reward_ids::text::text[], :bodies::text[],
              :ats::text::timestamptz[], :created_ats::text::timestamptz[])
       AS k (bucket, organisation_id, customer_id, number, generation, name, target_id, period_id, reward_id, body, at,
             created_at)
  JOIN place AS p
    ON p.bucket = k.bucket
   AND p.bucket = ANY(:buckets::text::smallint[])  -- Citus

-- insert_deliveries
-- One for each endpoint that subscribes.
INSERT INTO delivery (bucket, organisation_id, customer_id, webhook_endpoint_id, number, state, attempt_count,
                      expires_at)
SELECT p.bucket, k.organisation_id, k.customer_id, k.webhook_endpoint_id, k.number, 'waiting', 0,
       :expires_at::timestamptz
  FROM unnest(:buckets::text::smallint[], :organisation_ids::text::bigint[], :customer_ids::text::bigint[],
              :webhook_endpoint_ids::text::bigint[], :numbers::text::bigint[])
       AS k (bucket, organisation_id, customer_id, webhook_endpoint_id, number)
  JOIN place AS p
    ON p.bucket = k.bucket
   AND p.bucket = ANY(:buckets::text::smallint[])  -- Citus

-- wake_queues
-- In key order. A queue that is there already keeps its turn: what waits before decides when it is tried again. The
-- update is what makes a courier that is about to remove the row wait for us.
INSERT INTO webhook_queue (bucket, organisation_id, customer_id, webhook_endpoint_id, due_at)
SELECT p.bucket, k.organisation_id, k.customer_id, k.webhook_endpoint_id, :due_at::timestamptz
  FROM unnest(:buckets::text::smallint[], :organisation_ids::text::bigint[], :customer_ids::text::bigint[],
              :webhook_endpoint_ids::text::bigint[])
       AS k (bucket, organisation_id, customer_id, webhook_endpoint_id)
  JOIN place AS p
    ON p.bucket = k.bucket
   AND p.bucket = ANY(:buckets::text::smallint[])  -- Citus
 ORDER BY k.bucket, k.organisation_id, k.customer_id, k.webhook_endpoint_id
    ON CONFLICT (bucket, organisation_id, customer_id, webhook_endpoint_id) DO UPDATE
   SET due_at = webhook_queue.due_at

-- list_completed_periods
-- Which of these ended periods the customers were told of.
SELECT k.organisation_id, k.customer_id, k.target_id, k.period_id
  FROM unnest(:buckets::smallint[], :organisation_ids::bigint[], :customer_ids::bigint[], :target_ids::bigint[],
              :period_ids::bigint[])
       AS k (bucket, organisation_id, customer_id, target_id, period_id)
       -- One by one: while there are few notifications, all of them would be gone through.
 CROSS JOIN LATERAL (SELECT
                       FROM notification AS n
                      WHERE n.bucket = k.bucket AND n.organisation_id = k.organisation_id
                        AND n.customer_id = k.customer_id AND n.target_id = k.target_id
                        AND n.period_id = k.period_id AND n.name = 'targetPeriodCompleted'
                      LIMIT 1) AS told

-- list_notifications
-- One customer's outbox, oldest first, a page after a number.
SELECT number, generation, name, target_id, period_id, reward_id, body, at, created_at
  FROM notification
 WHERE bucket = :bucket AND organisation_id = :organisation_id AND customer_id = :customer_id
   AND number > :after
 ORDER BY number
 LIMIT :limit
