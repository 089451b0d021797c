-- Counts the customers that enrol_and_un_enrol.sql left in a state that cannot be: a sequence number that is not the
-- number of their activities and commands, or a number without a fact. An index refuses two enrolments at once.
SELECT count(*)
  FROM customer AS c
 CROSS JOIN LATERAL (
       SELECT count(*) AS activities
         FROM activity AS a
        WHERE a.bucket = c.bucket AND a.organisation_id = c.organisation_id AND a.customer_id = c.customer_id) AS came
 CROSS JOIN LATERAL (
       SELECT count(*) AS commands
         FROM command AS m
        WHERE m.bucket = c.bucket AND m.organisation_id = c.organisation_id AND m.customer_id = c.customer_id) AS asked
 CROSS JOIN LATERAL (
       SELECT count(DISTINCT f.sequence) AS numbers
         FROM fact AS f
        WHERE f.bucket = c.bucket AND f.organisation_id = c.organisation_id AND f.customer_id = c.customer_id) AS noted
 WHERE c.sequence <> came.activities + asked.commands OR c.sequence <> noted.numbers
