-- find_oldest_period_end
-- Since when the oldest due period end, or end of a deactivated programme, waits. A test clock's are left out: they
-- fall due by the call that moves it, and their seconds are not ours.
SELECT LEAST((SELECT min(due.at)
                FROM organisation AS o
               CROSS JOIN LATERAL (SELECT min(d.due_at) AS at
                                     FROM due_instant AS d
                                    WHERE d.organisation_id = o.organisation_id
                                      AND d.due_at > o.settled_at
                                      AND d.due_at <= :now::timestamptz) AS due
               WHERE NOT o.test_clock),
             (SELECT min(d.deactivated_at)
                FROM definition AS d
                JOIN organisation AS o ON o.organisation_id = d.organisation_id
               WHERE NOT o.test_clock
                 AND d.version > o.settled_version
                 AND d.deactivated_at IS NOT NULL))

-- count_waiting_deliveries
-- Those of paused endpoints too.
SELECT count(*)
  FROM delivery
 WHERE bucket BETWEEN 0 AND 255
   AND state = 'waiting'

-- find_oldest_delivery
-- When the notification of the delivery that will be the first to be parked was made.
SELECT n.created_at
  FROM (SELECT d.bucket, d.organisation_id, d.customer_id, d.number
          FROM delivery AS d
         WHERE d.bucket BETWEEN 0 AND 255
           AND d.state = 'waiting'
         ORDER BY d.expires_at
         LIMIT 1) AS first
  JOIN notification AS n
    ON n.bucket = first.bucket AND n.organisation_id = first.organisation_id
   AND n.customer_id = first.customer_id AND n.number = first.number

-- find_oldest_due_queue
-- Since when the longest waiting queue is due that somebody could send from.
-- Order and limit make it one look into webhook_queue_due for each endpoint, however much waits.
SELECT min(GREATEST(due.due_at, e.not_before))
  FROM webhook_endpoint AS e
 CROSS JOIN LATERAL (SELECT q.due_at
                       FROM webhook_queue AS q
                      WHERE q.bucket BETWEEN 0 AND 255
                        AND q.webhook_endpoint_id = e.webhook_endpoint_id
                        AND q.due_at <= :now
                        AND (q.leased_until IS NULL OR q.leased_until <= :now)
                      ORDER BY q.due_at
                      LIMIT 1) AS due
 WHERE e.state = 'active'
   AND (e.not_before IS NULL OR e.not_before <= :now)
