-- list_endpoints_due
-- System scope: the endpoints that may be tried now and for which something is due that nobody has leased. Order
-- and limit make it one look into webhook_queue_due for each endpoint, however much waits for it and for others.
SELECT e.organisation_id, e.webhook_endpoint_id, e.connection_count_max, e.failure_count
  FROM webhook_endpoint AS e
 CROSS JOIN LATERAL (SELECT q.due_at
                       FROM webhook_queue AS q
                      WHERE q.bucket = ANY(:buckets::smallint[])
                        AND q.webhook_endpoint_id = e.webhook_endpoint_id
                        AND q.due_at <= :now
                        AND (q.leased_until IS NULL OR q.leased_until <= :now)
                      ORDER BY q.due_at
                      LIMIT 1) AS due
 WHERE e.state = 'active'
   AND (e.not_before IS NULL OR e.not_before <= :now)
 ORDER BY e.webhook_endpoint_id

-- list_due
-- The customers whose turn it is at one endpoint, the longest due first. Locks nothing: it asks every bucket. Of those
-- that are due since the same instant, and these may be all there are, whichever the index gives first.
SELECT q.customer_id
  FROM webhook_queue AS q
 WHERE q.organisation_id = :organisation_id
   AND q.bucket = ANY(:buckets::smallint[])
   AND q.webhook_endpoint_id = :webhook_endpoint_id
   AND q.due_at <= :now
   AND (q.leased_until IS NULL OR q.leased_until <= :now)
 ORDER BY q.due_at
 LIMIT :limit

-- lease_queue
-- Waits for nobody: a row that is locked is being changed, and is found again.
UPDATE webhook_queue AS q
   SET leased_by = :holder,
       leased_until = :leased_until
  FROM (SELECT bucket, organisation_id, customer_id, webhook_endpoint_id
          FROM webhook_queue
         WHERE bucket = :bucket AND organisation_id = :organisation_id AND customer_id = :customer_id
           AND webhook_endpoint_id = :webhook_endpoint_id
           AND due_at <= :now
           AND (leased_until IS NULL OR leased_until <= :now)
           FOR UPDATE SKIP LOCKED) AS free
 WHERE q.bucket = :bucket AND q.organisation_id = free.organisation_id AND q.customer_id = free.customer_id
   AND q.webhook_endpoint_id = free.webhook_endpoint_id
RETURNING q.customer_id

-- hold_queue
-- Whether the lease is still ours; if so nobody takes it, and no batch inserts another delivery, until we commit.
SELECT 1
  FROM webhook_queue
 WHERE bucket = :bucket AND organisation_id = :organisation_id AND customer_id = :customer_id
   AND webhook_endpoint_id = :webhook_endpoint_id
   AND leased_by = :holder
   FOR UPDATE

-- find_head
-- The first delivery that waits, with what is sent and where to. A statement of its own after the one that holds the
-- queue, so that it sees what a batch committed while we waited for that.
SELECT d.number, d.attempt_count, d.expires_at, d.delivered_at, n.name, n.reward_id, n.body,
       e.url, e.headers, e.secret, e.previous_secret, e.previous_secret_until, e.state, e.failure_count, e.activated_at
  FROM delivery AS d
  JOIN notification AS n
    ON n.bucket = d.bucket AND n.organisation_id = d.organisation_id AND n.customer_id = d.customer_id
   AND n.number = d.number
  JOIN webhook_endpoint AS e
    ON e.webhook_endpoint_id = d.webhook_endpoint_id
 WHERE d.bucket = :bucket AND d.organisation_id = :organisation_id AND d.customer_id = :customer_id
   AND d.webhook_endpoint_id = :webhook_endpoint_id
   AND d.state = 'waiting'
 ORDER BY d.number
 LIMIT 1

-- mark_delivery
-- What came of an attempt; the caller holds the queue.
UPDATE delivery
   SET state = :state,
       attempt_count = attempt_count + 1,
       attempted_at = :now,
       delivered_at = CASE WHEN :state::text = 'delivered' THEN COALESCE(delivered_at, :now::timestamptz) ELSE delivered_at END,
       status = :status,
       error = :error
 WHERE bucket = :bucket AND organisation_id = :organisation_id AND customer_id = :customer_id
   AND webhook_endpoint_id = :webhook_endpoint_id AND number = :number

-- has_expired
-- Whether a failure now is the last one; not while the endpoint is held back, nor in its first days after that. The
-- caller holds the queue.
SELECT d.expires_at <= :now AND e.activated_at <= :activated_before AND e.state = 'active'
  FROM delivery AS d
  JOIN webhook_endpoint AS e
    ON e.webhook_endpoint_id = d.webhook_endpoint_id
 WHERE d.bucket = :bucket AND d.organisation_id = :organisation_id AND d.customer_id = :customer_id
   AND d.webhook_endpoint_id = :webhook_endpoint_id
   AND d.number = :number

-- park_delivery
-- Not to be sent any more, tried or not; the caller holds the queue.
UPDATE delivery
   SET state = 'parked',
       error = :error
 WHERE bucket = :bucket AND organisation_id = :organisation_id AND customer_id = :customer_id
   AND webhook_endpoint_id = :webhook_endpoint_id
   AND number = :number
   AND state = 'waiting'

-- renew_lease
-- The same worker goes on with the next delivery; the caller holds the queue.
UPDATE webhook_queue
   SET leased_until = :leased_until
 WHERE bucket = :bucket AND organisation_id = :organisation_id AND customer_id = :customer_id
   AND webhook_endpoint_id = :webhook_endpoint_id

-- give_back_lease
-- Whoever still has the lease gives it back; without a time the turn is as due as it was.
UPDATE webhook_queue
   SET due_at = COALESCE(:due_at::timestamptz, due_at),
       leased_by = NULL,
       leased_until = NULL
 WHERE bucket = :bucket AND organisation_id = :organisation_id AND customer_id = :customer_id
   AND webhook_endpoint_id = :webhook_endpoint_id
   AND leased_by = :holder

-- remove_from_queue
-- Nothing waits, as find_head told; the caller has held the queue since before.
DELETE FROM webhook_queue
 WHERE bucket = :bucket AND organisation_id = :organisation_id AND customer_id = :customer_id
   AND webhook_endpoint_id = :webhook_endpoint_id

-- clear_failures
-- Somebody got through, or somebody says that one may try; seldom writes.
UPDATE webhook_endpoint
   SET failure_count = 0,
       not_before = NULL
 WHERE organisation_id = :organisation_id
   AND webhook_endpoint_id = :webhook_endpoint_id
   AND (failure_count <> 0 OR not_before IS NOT NULL)

-- count_failure
-- Those who failed side by side saw the same count, and are one failure.
UPDATE webhook_endpoint
   SET failure_count = :failure_count::integer + 1,
       not_before = :not_before
 WHERE organisation_id = :organisation_id
   AND webhook_endpoint_id = :webhook_endpoint_id
   AND failure_count = :failure_count

-- take_probe
-- Of those who would try a slowed endpoint, in any process, the first does; the others find it resting.
UPDATE webhook_endpoint
   SET not_before = :until
 WHERE organisation_id = :organisation_id
   AND webhook_endpoint_id = :webhook_endpoint_id
   AND state = 'active'
   AND failure_count = :failure_count
   AND (not_before IS NULL OR not_before <= :now)
RETURNING webhook_endpoint_id

-- disable_endpoint
-- The receiver at this URL says that it is gone; not if somebody has named another one meanwhile.
UPDATE webhook_endpoint
   SET state = 'disabled',
       reason = :reason,
       updated_at = :now
 WHERE organisation_id = :organisation_id
   AND webhook_endpoint_id = :webhook_endpoint_id
   AND state = 'active'
   AND url = :url

-- list_expired
-- The customers with something that waited too long for one active endpoint, by bucket.
SELECT DISTINCT d.bucket, d.customer_id
  FROM delivery AS d
  JOIN webhook_endpoint AS e
    ON e.webhook_endpoint_id = d.webhook_endpoint_id
 WHERE d.organisation_id = :organisation_id
   AND d.bucket = ANY(:buckets::smallint[])
   AND d.webhook_endpoint_id = :webhook_endpoint_id
   AND d.state = 'waiting'
   AND d.expires_at <= :now
   AND e.state = 'active'
   AND e.activated_at <= :activated_before
   AND (d.bucket, d.customer_id) > (:after_bucket, :after_customer)
 ORDER BY d.bucket, d.customer_id
 LIMIT :limit

-- lock_queue
-- Of these customers of one bucket, those that nobody has leased or locked, until the transaction ends.
SELECT customer_id
  FROM webhook_queue
 WHERE bucket = :bucket AND organisation_id = :organisation_id AND customer_id = ANY(:customer_ids::bigint[])
   AND webhook_endpoint_id = :webhook_endpoint_id
   AND (leased_until IS NULL OR leased_until <= :now)
 ORDER BY customer_id
   FOR UPDATE SKIP LOCKED

-- park_expired
-- Some of what waited too long for an endpoint that answers nobody; the caller holds the queue of these customers. The
-- endpoint is read in the same moment: whoever brings it back has it active and its days begun at once.
UPDATE delivery AS d
   SET state = 'parked',
       error = :error
  FROM (SELECT w.customer_id, w.number
          FROM delivery AS w
          JOIN webhook_endpoint AS e
            ON e.webhook_endpoint_id = w.webhook_endpoint_id
         WHERE w.bucket = :bucket AND w.organisation_id = :organisation_id
           AND w.customer_id = ANY(:customer_ids::bigint[])
           AND w.webhook_endpoint_id = :webhook_endpoint_id
           AND w.state = 'waiting'
           AND w.expires_at <= :now
           AND e.state = 'active'
           AND e.activated_at <= :activated_before
         ORDER BY w.customer_id, w.number
         LIMIT :limit) AS old
 WHERE d.bucket = :bucket AND d.organisation_id = :organisation_id AND d.customer_id = old.customer_id
   AND d.webhook_endpoint_id = :webhook_endpoint_id AND d.number = old.number
RETURNING d.number

-- remove_empty_from_queue
-- Of these customers, those for whom nothing waits; a statement of its own, as find_head is.
DELETE FROM webhook_queue AS q
 WHERE q.bucket = :bucket AND q.organisation_id = :organisation_id AND q.customer_id = ANY(:customer_ids::bigint[])
   AND q.webhook_endpoint_id = :webhook_endpoint_id
   AND NOT EXISTS (SELECT 1
                     FROM delivery AS d
                    WHERE d.bucket = :bucket AND d.organisation_id = q.organisation_id
                      AND d.customer_id = q.customer_id AND d.webhook_endpoint_id = q.webhook_endpoint_id
                      AND d.state = 'waiting')

-- list_buckets
-- Where something waits for one endpoint: a look into each bucket.
SELECT b.bucket
  FROM unnest(:buckets::smallint[]) AS b (bucket)
 CROSS JOIN LATERAL (SELECT 1
                       FROM webhook_queue AS q
                      WHERE q.bucket = b.bucket
                        AND q.organisation_id = :organisation_id
                        AND q.webhook_endpoint_id = :webhook_endpoint_id
                      LIMIT 1) AS waiting
 ORDER BY b.bucket

-- list_later
-- Some customers of one bucket whose turn is yet to come. Locks nothing.
SELECT customer_id
  FROM webhook_queue
 WHERE bucket = :bucket AND organisation_id = :organisation_id
   AND webhook_endpoint_id = :webhook_endpoint_id
   AND customer_id > :after_customer
   AND due_at > :now
 ORDER BY customer_id
 LIMIT :limit

-- make_turns_due
-- Whatever was to be tried later is to be tried now; waits for nobody, and tells whom it did.
UPDATE webhook_queue AS q
   SET due_at = :now
  FROM (SELECT customer_id
          FROM webhook_queue
         WHERE bucket = :bucket AND organisation_id = :organisation_id
           AND webhook_endpoint_id = :webhook_endpoint_id
           AND customer_id = ANY(:customer_ids::bigint[])
           AND due_at > :now
         ORDER BY customer_id
           FOR UPDATE SKIP LOCKED) AS free
 WHERE q.bucket = :bucket AND q.organisation_id = :organisation_id
   AND q.webhook_endpoint_id = :webhook_endpoint_id
   AND q.customer_id = free.customer_id
RETURNING q.customer_id

-- make_turn_due
-- The same for one, waiting for whoever changes it; a statement and a transaction of its own, so that nobody waits for us.
UPDATE webhook_queue
   SET due_at = :now
 WHERE bucket = :bucket AND organisation_id = :organisation_id AND customer_id = :customer_id
   AND webhook_endpoint_id = :webhook_endpoint_id
   AND due_at > :now

-- lock_some_queue
-- The first customers of one bucket for whom something waits at an endpoint, leased or not, until the transaction ends.
SELECT customer_id
  FROM webhook_queue
 WHERE bucket = :bucket AND organisation_id = :organisation_id
   AND webhook_endpoint_id = :webhook_endpoint_id
 ORDER BY customer_id
 LIMIT :limit
   FOR UPDATE

-- park_some
-- Some of what waits is waited for no longer; the caller holds the queue of these customers.
UPDATE delivery AS d
   SET state = 'parked',
       error = :error
  FROM (SELECT customer_id, number
          FROM delivery
         WHERE bucket = :bucket AND organisation_id = :organisation_id
           AND customer_id = ANY(:customer_ids::bigint[])
           AND webhook_endpoint_id = :webhook_endpoint_id
           AND state = 'waiting'
         ORDER BY customer_id, number
         LIMIT :limit) AS chosen
 WHERE d.bucket = :bucket AND d.organisation_id = :organisation_id AND d.customer_id = chosen.customer_id
   AND d.webhook_endpoint_id = :webhook_endpoint_id AND d.number = chosen.number

-- list_removed_endpoints
-- System scope: removed ones for which something waits all the same, because whoever removed them was cut off.
SELECT e.organisation_id, e.webhook_endpoint_id
  FROM webhook_endpoint AS e
 CROSS JOIN LATERAL (SELECT 1
                       FROM webhook_queue AS q
                      WHERE q.bucket = ANY(:buckets::smallint[])
                        AND q.webhook_endpoint_id = e.webhook_endpoint_id
                      LIMIT 1) AS waiting
 WHERE e.state = 'removed'
 ORDER BY e.webhook_endpoint_id

-- hold_endpoint
-- Whether it is there, and will be until the transaction ends: whoever removes it takes the row for himself first.
SELECT 1
  FROM webhook_endpoint
 WHERE organisation_id = :organisation_id
   AND webhook_endpoint_id = :webhook_endpoint_id
   AND state <> 'removed'
   FOR KEY SHARE

-- list_undelivered
-- Of one bucket, what an endpoint subscribes to and did not get, whether or not there was ever a delivery of it.
SELECT n.customer_id, n.number, n.name, n.reward_id, d.delivered_at
  FROM notification AS n
  JOIN webhook_endpoint AS e
    ON e.organisation_id = n.organisation_id AND e.webhook_endpoint_id = :webhook_endpoint_id
  LEFT JOIN delivery AS d
    ON d.bucket = n.bucket AND d.organisation_id = n.organisation_id AND d.customer_id = n.customer_id
   AND d.webhook_endpoint_id = e.webhook_endpoint_id AND d.number = n.number
 WHERE n.bucket = :bucket AND n.organisation_id = :organisation_id
   AND (n.customer_id, n.number) > (:after_customer, :after_number)
   AND n.created_at >= :since
   AND (e.event_names IS NULL OR n.name = ANY(e.event_names))
   AND d.state IS DISTINCT FROM 'delivered'
 ORDER BY n.customer_id, n.number
 LIMIT :limit

-- find_notification
-- Whether a customer has a notification of that number.
SELECT 1
  FROM notification
 WHERE bucket = :bucket AND organisation_id = :organisation_id AND customer_id = :customer_id
   AND number = :number

-- put_in_queue
-- Each once and due now. The caller holds the customers.
INSERT INTO webhook_queue (bucket, organisation_id, customer_id, webhook_endpoint_id, due_at)
SELECT DISTINCT :bucket::smallint, :organisation_id::bigint, k.customer_id, :webhook_endpoint_id::bigint, :now::timestamptz
  FROM unnest(:customer_ids::bigint[]) AS k (customer_id)
 ORDER BY k.customer_id
    ON CONFLICT (bucket, organisation_id, customer_id, webhook_endpoint_id) DO UPDATE
   SET due_at = LEAST(webhook_queue.due_at, EXCLUDED.due_at)

-- make_waiting
-- Once more from the beginning, or for the first time; what was delivered meanwhile only if it is asked for by name.
INSERT INTO delivery (bucket, organisation_id, customer_id, webhook_endpoint_id, number, state, attempt_count, expires_at)
SELECT :bucket::smallint, :organisation_id::bigint, k.customer_id, :webhook_endpoint_id::bigint, k.number, 'waiting', 0,
       :expires_at::timestamptz
  FROM unnest(:customer_ids::bigint[], :numbers::bigint[]) AS k (customer_id, number)
    ON CONFLICT (bucket, organisation_id, customer_id, webhook_endpoint_id, number) DO UPDATE
   SET state = 'waiting',
       attempt_count = 0,
       expires_at = EXCLUDED.expires_at
 WHERE delivery.state <> 'delivered' OR :again::boolean

-- list_deliveries_of_customer
-- One customer's deliveries to an endpoint by number, a page after one.
SELECT d.customer_id, d.number, d.state, d.attempt_count, d.expires_at, d.attempted_at, d.status, d.error,
       n.generation, n.name, n.created_at, e.activated_at
  FROM delivery AS d
  JOIN notification AS n
    ON n.bucket = d.bucket AND n.organisation_id = d.organisation_id
   AND n.customer_id = d.customer_id AND n.number = d.number
  JOIN webhook_endpoint AS e
    ON e.webhook_endpoint_id = d.webhook_endpoint_id
 WHERE d.bucket = :bucket AND d.organisation_id = :organisation_id AND d.customer_id = :customer_id
   AND d.webhook_endpoint_id = :webhook_endpoint_id
   AND d.number > :after_number
   AND (:state::text IS NULL OR d.state = :state)
 ORDER BY d.number
 LIMIT :limit

-- list_unfinished_deliveries
-- What an endpoint did not get, by customer and number, a page after one: a short look into each bucket, however many
-- were delivered, and the notifications of the page alone.
SELECT found.customer_id, found.number, found.state, found.attempt_count, found.expires_at, found.attempted_at,
       found.status, found.error, n.generation, n.name, n.created_at, e.activated_at
  FROM (SELECT each.*
          FROM unnest(:buckets::smallint[]) AS b (bucket)
         CROSS JOIN LATERAL (SELECT d.*
                               FROM delivery AS d
                              WHERE d.bucket = b.bucket
                                AND d.organisation_id = :organisation_id
                                AND d.webhook_endpoint_id = :webhook_endpoint_id
                                AND d.state <> 'delivered'
                                AND (d.customer_id, d.number) > (:after_customer, :after_number)
                                AND (:state::text IS NULL OR d.state = :state)
                              ORDER BY d.customer_id, d.number
                              LIMIT :limit) AS each
         ORDER BY each.customer_id, each.number
         LIMIT :limit) AS found
  JOIN notification AS n
    ON n.bucket = found.bucket AND n.organisation_id = found.organisation_id
   AND n.customer_id = found.customer_id AND n.number = found.number
  JOIN webhook_endpoint AS e
    ON e.webhook_endpoint_id = found.webhook_endpoint_id
 ORDER BY found.customer_id, found.number
