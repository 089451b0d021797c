-- list_customer_page
-- The next customers of a bucket, up to one: the audit walks through all of them, of any organisation.
SELECT organisation_id, customer_id, sequence, notification_number, changed_at, created_at, external_id, mobile, email
  FROM customer
 WHERE bucket = :bucket
   AND (organisation_id, customer_id) > (:after_organisation, :after_customer)
   AND (organisation_id, customer_id) <= (:last_organisation, :last_customer)
 ORDER BY organisation_id, customer_id
 LIMIT :limit

-- count_customers
-- How many there are to go through.
SELECT count(*)
  FROM customer
 WHERE (organisation_id, customer_id) > (:after_organisation, :after_customer)
   AND (organisation_id, customer_id) <= (:last_organisation, :last_customer)

-- find_organisation_state
-- Where an organisation's time and definitions stand, in the snapshot of the page; and which generations there were.
SELECT test_clock, clock_at, settled_at, settled_version, definitions_version,
       ARRAY(SELECT generation FROM generation) AS generations
  FROM organisation
 WHERE organisation_id = :organisation_id

-- list_standing_rows
-- A range of customers' standings, each column of them.
SELECT customer_id, target_group_id, version, wakes_at, likeness, enrolled, left_at, period_number, run,
       value_thousandths, target_value_thousandths, achieved_at, achieved_recorded_at, rewarded, forfeited, settled,
       document::text AS document
  FROM standing
 WHERE bucket = :bucket AND organisation_id = :organisation_id AND customer_id BETWEEN :first AND :last

-- list_ended_period_rows
-- A range of customers' ended periods, each column of them.
SELECT customer_id, target_group_id, target_id, period_number, run, value_thousandths, target_value_thousandths,
       achieved_at, achieved_recorded_at, days, rewarded, forfeited, settled, awaits_end
  FROM ended_period
 WHERE bucket = :bucket AND organisation_id = :organisation_id AND customer_id BETWEEN :first AND :last

-- list_reward_rows
-- A range of customers' rewards, each column of them.
SELECT customer_id, target_id, period_id, level_id, run, reward_definition_id, kind, points, text, allocation, state,
       reason, earned_at, sequence, handed_over
  FROM reward
 WHERE bucket = :bucket AND organisation_id = :organisation_id AND customer_id BETWEEN :first AND :last

-- list_notification_rows
-- A range of customers' notifications in the order of their numbers; of what they say only the event id, which comes
-- first, is read again.
SELECT customer_id, number, generation, substring(left(body, 200) FROM '^{"eventId":"([^"]*)"') AS event_id, name,
       target_id, period_id, reward_id, at
  FROM notification
 WHERE bucket = :bucket AND organisation_id = :organisation_id AND customer_id BETWEEN :first AND :last
 ORDER BY customer_id, number

-- list_identifier_page
-- The next identifiers of a bucket, up to an organisation: each must be its customer's.
SELECT organisation_id, type, value, customer_id
  FROM customer_identifier
 WHERE bucket = :bucket
   AND (organisation_id, type, value) > (:after_organisation, :after_type, :after_value)
   AND organisation_id <= :last_organisation
 ORDER BY organisation_id, type, value
 LIMIT :limit

-- list_identifiers_of_customer
-- Every identifier that names one customer, wherever its own bucket is.
SELECT bucket, type, value
  FROM customer_identifier
 WHERE bucket = ANY(:buckets::smallint[]) AND organisation_id = :organisation_id AND customer_id = :customer_id

-- list_customers_named
-- What these customers themselves say their identifiers are.
SELECT c.organisation_id, c.customer_id, c.external_id, c.mobile, c.email
  FROM unnest(:buckets::smallint[], :organisation_ids::bigint[], :customer_ids::bigint[])
       AS k (bucket, organisation_id, customer_id)
  JOIN customer AS c
    ON c.bucket = k.bucket AND c.organisation_id = k.organisation_id AND c.customer_id = k.customer_id

-- list_strays
-- Whose rows stand in a bucket without a customer, and deliveries without a notification: foreign keys forbid it of
-- all but the journal, and a restored or damaged database may still have some.
WITH told AS (
    SELECT 'journal' AS table_name, organisation_id, customer_id FROM journal WHERE bucket = :bucket
     UNION ALL
    SELECT 'standing', organisation_id, customer_id FROM standing WHERE bucket = :bucket
     UNION ALL
    SELECT 'ended_period', organisation_id, customer_id FROM ended_period WHERE bucket = :bucket
     UNION ALL
    SELECT 'reward', organisation_id, customer_id FROM reward WHERE bucket = :bucket
     UNION ALL
    SELECT 'notification', organisation_id, customer_id FROM notification WHERE bucket = :bucket
     UNION ALL
    SELECT 'webhook_queue', organisation_id, customer_id FROM webhook_queue WHERE bucket = :bucket
)
SELECT t.table_name, t.organisation_id, t.customer_id, count(*) AS row_count
  FROM told AS t
 WHERE t.organisation_id BETWEEN :first_organisation AND :last_organisation
   AND NOT EXISTS (SELECT 1
                     FROM customer AS c
                    WHERE c.bucket = :bucket
                      AND c.organisation_id = t.organisation_id
                      AND c.customer_id = t.customer_id)
 GROUP BY t.table_name, t.organisation_id, t.customer_id
 UNION ALL
SELECT 'delivery', d.organisation_id, d.customer_id, count(*)
  FROM delivery AS d
 WHERE d.bucket = :bucket
   AND d.organisation_id BETWEEN :first_organisation AND :last_organisation
   AND NOT EXISTS (SELECT 1
                     FROM notification AS n
                    WHERE n.bucket = d.bucket
                      AND n.organisation_id = d.organisation_id
                      AND n.customer_id = d.customer_id
                      AND n.number = d.number)
 GROUP BY d.organisation_id, d.customer_id
 ORDER BY organisation_id, customer_id, table_name
 LIMIT :limit
