-- 0003: less to write for what is written all day. Reasons and measurements: docs/decisions/0027.

-- As batches of a process that goes on meanwhile have them: first the customer, then the fact.
LOCK TABLE customer, fact IN ACCESS EXCLUSIVE MODE;

-- Customers' numbers, progress and runs are updated for as long as a customer comes. Where the old row's page has room,
-- the new one goes beside it and no index hears of it; without, it goes to another page, and each index too has a page
-- more to change, to log whole after a checkpoint, and to write. It holds for pages that are written from now on.
ALTER TABLE customer SET (fillfactor = 85);
ALTER TABLE progress SET (fillfactor = 85);
ALTER TABLE streak SET (fillfactor = 85);

-- A fact is only ever added in a transaction that holds its customer's row, which is proof enough that there is one; to
-- look it up again for each fact was a quarter of a period end's time. The audit still looks for facts without a
-- customer.
ALTER TABLE fact DROP CONSTRAINT fact_bucket_organisation_id_customer_id_fkey;
