-- list_customer_page
-- The next customers of a bucket, of any organisation: the audit walks through all of them.
SELECT organisation_id, customer_id, changed_at
  FROM customer
 WHERE bucket = :bucket
   AND (organisation_id, customer_id) > (:after_organisation, :after_customer)
 ORDER BY organisation_id, customer_id
 LIMIT :limit

-- count_customers
-- How many there are to go through.
SELECT count(*)
  FROM customer
