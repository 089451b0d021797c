-- After fill.sql: every third customer has reached the first target, was rewarded at once, and awaits the period's end.
-- What the INSERT of rewards neither reads nor looks up (enrolments, activities, facts) is left out.

INSERT INTO progress
SELECT bucket, 1, customer_id, 1, 1, 1, 1, 1, '2031-01-15 12:00+00', '2031-01-15 12:00+00', '{}', true, false, false,
       true
  FROM place
 WHERE customer_id % 3 = 0
 ORDER BY bucket, customer_id;
INSERT INTO reward
SELECT bucket, 1, customer_id, 1, 1, 0, 1, 1, 'POINTS', 10, NULL, 'IMMEDIATE', 'issued', NULL, '2031-01-15 12:00+00',
       1, false
  FROM place
 WHERE customer_id % 3 = 0
 ORDER BY bucket, customer_id;
