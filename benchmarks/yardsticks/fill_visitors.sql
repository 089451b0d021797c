-- After fill.sql: every customer came once, was enrolled in every target by it, and is on the way to each.

INSERT INTO activity
SELECT bucket, 1, customer_id, 'first', 1, 'transaction', '2031-01-15 12:00+00', '{"amount": 1.000}',
       sha256('first'), 1, '2031-01-15 12:00+00'
  FROM place
 ORDER BY bucket, customer_id;
INSERT INTO enrolment
SELECT p.bucket, 1, p.customer_id, t.target_id, 1, 'automatic', '2031-01-01 00:00+00', NULL, 1
  FROM place AS p
 CROSS JOIN target AS t
 ORDER BY p.bucket, p.customer_id, t.target_id;
INSERT INTO progress
SELECT p.bucket, 1, p.customer_id, t.target_id, t.target_id, 1, 1, 20, NULL, NULL, '{}', false, false, false, false
  FROM place AS p
 CROSS JOIN target AS t
 ORDER BY p.bucket, p.customer_id, t.target_id;
INSERT INTO fact
SELECT p.bucket, 1, p.customer_id, 1, 2 * (t.target_id - 1) + f.ordinal, f.name, '2031-01-15 12:00+00', t.target_id,
       t.target_id, t.target_id, f.run, NULL, NULL, f.value, NULL
  FROM place AS p
 CROSS JOIN target AS t
 CROSS JOIN (VALUES (0, 'enrolled', NULL, NULL), (1, 'progressed', 1, 1)) AS f (ordinal, name, run, value)
 ORDER BY p.bucket, p.customer_id, t.target_id, f.ordinal;
