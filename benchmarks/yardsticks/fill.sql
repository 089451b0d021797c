-- Fills the yardsticks' tables: one organisation, so many targets with one period each, and so many customers. The
-- counts are the settings yardstick.customers and yardstick.targets of the session.
-- Rows go in by bucket and id, as keys are ordered.

INSERT INTO organisation VALUES (1, 'Acme', 'UTC', '2031-01-15 12:00+00', 1);
INSERT INTO period
SELECT n, 1, n, 1, '2031-01-01 00:00+00', '2031-02-01 00:00+00', '2031-02-01 00:00+00'
  FROM generate_series(1, current_setting('yardstick.targets')::integer) AS n;
INSERT INTO target
SELECT n, 1, n, 'Target ' || n
  FROM generate_series(1, current_setting('yardstick.targets')::integer) AS n;
INSERT INTO reward_definition
VALUES (1, 1, 1, 'POINTS', 10, NULL, 'IMMEDIATE'), (2, 1, 1, 'POINTS', 100, NULL, 'PERIOD_END');
-- A hash spreads customers over the buckets as evenly as any other.
INSERT INTO place
SELECT n - 1, get_byte(sha256(('1/' || n)::bytea), 0), n
  FROM generate_series(1, current_setting('yardstick.customers')::integer) AS n;
INSERT INTO customer
SELECT bucket, 1, customer_id, NULL, NULL, NULL, NULL, NULL, 1, '2031-01-15 12:00+00', '2031-01-15 12:00+00', 0
  FROM place
 ORDER BY bucket, customer_id;
