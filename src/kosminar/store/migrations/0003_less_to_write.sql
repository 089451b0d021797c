-- 0003: less to write for what is written all day. Reasons and measurements: docs/decisions/0027.

-- Customers' numbers are updated for as long as a customer comes. Where the old row's page has room,
-- the new one goes beside it and no index hears of it; without, it goes to another page, and each index too has a page
-- more to change, to log whole after a checkpoint, and to write. It holds for pages that are written from now on.
ALTER TABLE customer SET (fillfactor = 85);
