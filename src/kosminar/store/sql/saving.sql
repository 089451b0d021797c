-- save_batch
-- What a batch changed, under its customers' locks, in one statement: every table has its own rows, mostly none.
-- A stretch is ended or moved back, never deleted; of a period and of a run that were there before, what can change
-- does; the journal is only ever added to. That a key of it exists would be our own mistake and fails the batch.
WITH numbered AS (
    UPDATE customer AS c
       SET sequence = k.sequence,
           notification_number = k.notification_number,
           changed_at = k.changed_at
      FROM unnest(:buckets::smallint[], :organisation_ids::bigint[], :customer_ids::bigint[],
                  :sequences::bigint[], :notification_numbers::bigint[], :changed_ats::timestamptz[])
           AS k (bucket, organisation_id, customer_id, sequence, notification_number, changed_at)
     WHERE c.bucket = k.bucket AND c.organisation_id = k.organisation_id AND c.customer_id = k.customer_id
), enrolled AS (
    INSERT INTO enrolment (bucket, organisation_id, customer_id, target_id, number, method, starts_at, ends_at,
                           first_period_number)
    SELECT r.*
      FROM unnest(:enrolments::enrolment[]) AS r
        ON CONFLICT (bucket, organisation_id, customer_id, target_id, number) DO UPDATE
       SET starts_at = EXCLUDED.starts_at,
           ends_at = EXCLUDED.ends_at,
           first_period_number = EXCLUDED.first_period_number
), progressed AS (
    INSERT INTO progress (bucket, organisation_id, customer_id, target_id, period_id, run, value, target_value,
                          achieved_at, achieved_recorded_at, days, rewarded, forfeited, settled, awaits_end)
    SELECT r.*
      FROM unnest(:progress::progress[]) AS r
        ON CONFLICT (bucket, organisation_id, customer_id, target_id, period_id, run) DO UPDATE
       SET value = EXCLUDED.value,
           achieved_at = EXCLUDED.achieved_at,
           achieved_recorded_at = EXCLUDED.achieved_recorded_at,
           days = EXCLUDED.days,
           rewarded = EXCLUDED.rewarded,
           forfeited = EXCLUDED.forfeited,
           settled = EXCLUDED.settled,
           awaits_end = EXCLUDED.awaits_end
), ran AS (
    INSERT INTO streak (bucket, organisation_id, customer_id, target_id, run, starts_at, ends_at, met, reached,
                        broken_number, watch_number)
    SELECT r.*
      FROM unnest(:runs::streak[]) AS r
        ON CONFLICT (bucket, organisation_id, customer_id, target_id, run) DO UPDATE
       SET ends_at = EXCLUDED.ends_at,
           met = EXCLUDED.met,
           reached = EXCLUDED.reached,
           broken_number = EXCLUDED.broken_number,
           watch_number = EXCLUDED.watch_number
)
INSERT INTO journal (bucket, organisation_id, customer_id, number, at, occurred_at, definitions_version, entry, kind,
                     asked_by, request_id, activity_id, type, fingerprint, verdicts, facts, target_id, target_group_id,
                     initial_balance_thousandths, reset, period_name, reward_id, outcome, attributes, reason)
SELECT r.*
  FROM unnest(:entries::journal[]) AS r
