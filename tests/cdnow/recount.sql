-- An independent recount of milestones and streaks from the raw rows, with nothing but SQL.
--
-- In:  cdnow_setting, cdnow_programme, cdnow_programme_level, cdnow_purchase, cdnow_intervention; filled by recount.py.
-- Out: cdnow_milestone, cdnow_streak_period, cdnow_level, cdnow_turn and cdnow_stretch.
-- It leans on two facts of its input: amounts and balances are never negative, so a value only falls where a balance
-- replaces it; and nothing is ever returned or edited. The numbers in brackets are the decisions' rules.

-- Time ----------------------------------------------------------------------------------------------------------------

-- Every period's bounds, at local midnights [7], and the instant until which late activity is in time [20].
CREATE TEMP TABLE cdnow_period AS
SELECT
    programme,
    period_number,
    (starts_on + (period_number - 1) * every::interval) AT TIME ZONE zone AS starts_at,
    (starts_on + period_number * every::interval) AT TIME ZONE zone AS ends_at,
    (starts_on + period_number * every::interval + make_interval(days => offset_days)) AT TIME ZONE zone AS due_at
FROM cdnow_programme
CROSS JOIN cdnow_setting
CROSS JOIN LATERAL generate_series(1, period_count) AS period_number;

ANALYZE cdnow_period;

-- Each purchase as each programme sees it: dated at its day's midnight, in the period of that date.
-- `number` is the import's place among all steps; number and line are the order of acceptance.
CREATE TEMP TABLE cdnow_activity AS
WITH day AS (
    SELECT purchased_on, purchased_on::timestamp AT TIME ZONE zone AS dated_at
    FROM (SELECT DISTINCT purchased_on FROM cdnow_purchase) AS bought
    CROSS JOIN cdnow_setting
)
SELECT
    period.programme,
    purchase.customer_id,
    purchase.number,
    purchase.line,
    purchase.imported_at,
    day.dated_at,
    period.period_number,
    period.starts_at,
    period.ends_at,
    CASE programme.measure WHEN 'SALES' THEN purchase.amount ELSE 1 END AS amount
FROM cdnow_purchase AS purchase
JOIN day USING (purchased_on)
JOIN cdnow_period AS period ON day.dated_at >= period.starts_at AND day.dated_at < period.ends_at
JOIN cdnow_programme AS programme ON programme.programme = period.programme
WHERE purchase.imported_at < period.due_at;  -- Too late counts for nothing, and enrols nobody [20].

CREATE INDEX ON cdnow_activity (programme, customer_id, number, line);
ANALYZE cdnow_activity;

-- Who is in, and when -------------------------------------------------------------------------------------------------

-- What changed a customer's enrolment: calls, and the first activity if no call came before it [11].
-- A call that asks for what already is changes nothing [10, 17]. An un-enrolment that comes first of all is an opt-out.
CREATE TEMP TABLE cdnow_turn AS
WITH first_activity AS (
    SELECT DISTINCT ON (programme, customer_id) programme, customer_id, number, imported_at
    FROM cdnow_activity
    ORDER BY programme, customer_id, number, line
),
asked AS (
    SELECT
        programme,
        customer_id,
        number,
        at,
        CASE kind WHEN 'enrol' THEN 'in' ELSE 'out' END AS turn,
        FALSE AS automatic,
        balance,
        coalesce(reset, FALSE) AS reset
    FROM cdnow_intervention
    UNION ALL
    SELECT programme, customer_id, number, imported_at, 'in', TRUE, NULL, FALSE
    FROM first_activity
    WHERE NOT EXISTS (
        SELECT
        FROM cdnow_intervention AS earlier
        WHERE earlier.programme = first_activity.programme
            AND earlier.customer_id = first_activity.customer_id
            AND earlier.number < first_activity.number
    )
),
compared AS (
    SELECT *, lag(turn) OVER (PARTITION BY programme, customer_id ORDER BY number) AS turn_before
    FROM asked
)
SELECT
    programme,
    customer_id,
    number,
    at,
    turn,
    automatic,
    balance,
    reset,
    -- The period that the call means: the running one, else the nearest to come [7, 13].
    (
        SELECT min(period_number)
        FROM cdnow_period AS period
        WHERE period.programme = compared.programme AND period.ends_at > compared.at
    ) AS period_number
FROM compared
WHERE turn IS DISTINCT FROM turn_before;

ANALYZE cdnow_turn;

-- Enrolled stretches [enrolled_at, left_at), with the steps that opened and closed them. `run` is the streak's run that
-- goes on in it: a reset starts the next one, but a first enrolment has nothing to reset [16]. `covers_from` is the
-- earliest date that counts: a first enrolment by call reaches back over its own period [12]; an automatic one holds
-- from the earliest period in which an activity counted while it lasted [11].
CREATE TEMP TABLE cdnow_stretch AS
WITH turn AS (
    SELECT
        *,
        coalesce(lead(at) OVER story, 'infinity') AS left_at,
        coalesce(lead(number) OVER story, 2147483647) AS left_number
    FROM cdnow_turn
    WINDOW story AS (PARTITION BY programme, customer_id ORDER BY number)
),
stretch AS (
    SELECT *, row_number() OVER (PARTITION BY programme, customer_id ORDER BY number) AS position
    FROM turn
    WHERE turn = 'in'
),
dated AS (
    SELECT
        stretch.*,
        CASE
            WHEN automatic THEN (
                SELECT min(activity.starts_at)
                FROM cdnow_activity AS activity
                WHERE activity.programme = stretch.programme
                    AND activity.customer_id = stretch.customer_id
                    AND activity.number < stretch.left_number
            )
            ELSE at
        END AS enrolled_at
    FROM stretch
)
SELECT
    dated.programme,
    dated.customer_id,
    dated.position,
    dated.number AS enrolled_number,
    dated.enrolled_at,
    dated.left_number,
    dated.left_at,
    CASE
        WHEN dated.position = 1 THEN least(dated.enrolled_at, period.starts_at)
        ELSE dated.enrolled_at
    END AS covers_from,
    1 + count(*) FILTER (WHERE dated.reset AND dated.position > 1) OVER (
        PARTITION BY dated.programme, dated.customer_id
        ORDER BY dated.number
    ) AS run
FROM dated
LEFT JOIN cdnow_period AS period USING (programme, period_number);

CREATE INDEX ON cdnow_stretch (programme, customer_id);
ANALYZE cdnow_stretch;

-- What counts ---------------------------------------------------------------------------------------------------------

-- Judged once, with what was known on arrival [12]: stretches opened before it; a stretch not yet closed has no end.
CREATE TEMP TABLE cdnow_counted AS
SELECT activity.*, inside.run
FROM cdnow_activity AS activity
JOIN cdnow_stretch AS inside
    ON inside.programme = activity.programme
    AND inside.customer_id = activity.customer_id
    AND inside.enrolled_number <= activity.number
    AND inside.covers_from <= activity.dated_at
    AND (inside.left_number > activity.number OR inside.left_at > activity.dated_at)
WHERE EXISTS (
    SELECT
    FROM cdnow_stretch AS present
    WHERE present.programme = activity.programme
        AND present.customer_id = activity.customer_id
        AND present.enrolled_number <= activity.number
        AND CASE
            -- An ended period asks for the enrolment at its end; left in the instant of its end is left after it.
            WHEN activity.ends_at <= activity.imported_at
                THEN present.enrolled_at < activity.ends_at AND present.left_at >= activity.ends_at
            -- The running one asks for the enrolment now.
            ELSE present.left_number > activity.number
        END
);

ANALYZE cdnow_counted;

-- Milestones ----------------------------------------------------------------------------------------------------------

-- Everything that happened to the value of one customer's period, in the order of acceptance.
CREATE TEMP TABLE cdnow_entry AS
WITH turn AS (
    SELECT
        cdnow_turn.*,
        lag(period_number) OVER story AS period_left,
        count(*) FILTER (WHERE turn = 'in') OVER story AS position
    FROM cdnow_turn
    JOIN cdnow_programme USING (programme)
    WHERE tracking = 'MILESTONE'
    WINDOW story AS (PARTITION BY programme, customer_id ORDER BY number)
),
entry AS (
    SELECT programme, customer_id, period_number, number, line, 'add' AS kind, amount
    FROM cdnow_counted
    JOIN cdnow_programme USING (programme)
    WHERE tracking = 'MILESTONE'
    UNION ALL
    -- Back without a balance in the period that was left, all is as it stood; else the value is the call's [14].
    SELECT programme, customer_id, period_number, number, 0, 'replace', coalesce(balance, 0)
    FROM turn
    WHERE turn = 'in'
        AND NOT automatic
        AND (position = 1 OR balance IS NOT NULL OR period_left <> period_number)
    UNION ALL
    SELECT programme, customer_id, period_number, number, 0, 'leave', 0
    FROM turn
    WHERE turn = 'out' AND position > 0
),
chapter AS (
    SELECT
        *,
        count(*) FILTER (WHERE kind = 'replace') OVER (
            PARTITION BY programme, customer_id, period_number
            ORDER BY number, line
        ) AS replacement_count
    FROM entry
),
running AS (
    SELECT
        *,
        sum(amount) OVER told AS value,
        count(*) FILTER (WHERE kind = 'add') OVER told AS add_count
    FROM chapter
    WINDOW told AS (PARTITION BY programme, customer_id, period_number, replacement_count ORDER BY number, line)
)
SELECT
    running.*,
    -- A balance alone never achieves; the next counted activity does, whatever its amount [14].
    value >= target_value AND add_count > 0 AS achieved
FROM running
JOIN cdnow_programme USING (programme);

ANALYZE cdnow_entry;

-- One row for each period that somebody was in and that left anything behind: a value, an achievement or a reward.
CREATE TEMP TABLE cdnow_milestone AS
WITH stood AS (
    SELECT DISTINCT ON (programme, customer_id, period_number) programme, customer_id, period_number, value, achieved
    FROM cdnow_entry
    ORDER BY programme, customer_id, period_number, number DESC, line DESC
),
happened AS (
    SELECT
        programme,
        customer_id,
        period_number,
        bool_or(achieved) AS ever_achieved,
        bool_or(achieved AND kind = 'leave') AS lost
    FROM cdnow_entry
    GROUP BY programme, customer_id, period_number
),
judged AS (
    SELECT
        stood.*,
        CASE
            -- At once, and once for ever [15, 27].
            WHEN allocation = 'IMMEDIATE' AND ever_achieved THEN 'issued'
            WHEN allocation = 'IMMEDIATE' THEN NULL
            -- Whoever achieved and is in at the end, also after a forfeit [9, 28].
            WHEN
                achieved
                AND due_at <= until
                AND EXISTS (
                    SELECT
                    FROM cdnow_stretch AS present
                    WHERE present.programme = stood.programme
                        AND present.customer_id = stood.customer_id
                        AND present.enrolled_at < ends_at
                        AND present.left_at >= ends_at
                )
                THEN 'issued'
            WHEN lost THEN 'forfeited'
        END AS reward_state
    FROM stood
    JOIN happened USING (programme, customer_id, period_number)
    JOIN cdnow_period USING (programme, period_number)
    JOIN cdnow_programme USING (programme)
    CROSS JOIN cdnow_setting
)
SELECT *, (reward_state IS NOT NULL)::integer AS reward_count
FROM judged
WHERE value <> 0 OR achieved OR reward_state IS NOT NULL;

-- Streaks -------------------------------------------------------------------------------------------------------------

-- The value of a period in each run that touched it [16].
CREATE TEMP TABLE cdnow_streak_period AS
SELECT
    programme,
    customer_id,
    run,
    period_number,
    sum(amount) AS value,
    sum(amount) >= target_value AS met
FROM cdnow_counted
JOIN cdnow_programme USING (programme)
WHERE tracking = 'STREAKS'
GROUP BY programme, customer_id, run, period_number, target_value;

ANALYZE cdnow_streak_period;

-- A run's periods in order, up to the last one met: met; or short, ended unmet with the customer in at its end, which
-- sets the count to 0; all others neither count nor break [19]. What comes after the last met period reaches nothing.
-- A level reached is never lost to later activity, which only turns short periods into met ones, so that the finished
-- course passes every level that any earlier state of it passed.
CREATE TEMP TABLE cdnow_course AS
WITH last_met AS (
    SELECT programme, customer_id, run, max(period_number) AS period_number
    FROM cdnow_streak_period
    WHERE met
    GROUP BY programme, customer_id, run
),
sighting AS (
    SELECT programme, customer_id, run, period_number, TRUE AS met
    FROM cdnow_streak_period
    WHERE met
    UNION ALL
    SELECT last_met.programme, last_met.customer_id, last_met.run, period.period_number, FALSE
    FROM last_met
    JOIN cdnow_stretch AS present
        ON present.programme = last_met.programme
        AND present.customer_id = last_met.customer_id
        AND present.run = last_met.run
    JOIN cdnow_period AS period
        ON period.programme = last_met.programme
        AND period.period_number < last_met.period_number
        AND present.enrolled_at < period.ends_at
        AND present.left_at >= period.ends_at
),
course AS (
    SELECT programme, customer_id, run, period_number, bool_or(met) AS met
    FROM sighting
    GROUP BY programme, customer_id, run, period_number
)
SELECT
    *,
    count(*) FILTER (WHERE NOT met) OVER (
        PARTITION BY programme, customer_id, run
        ORDER BY period_number
    ) AS break_count
FROM course;

-- The levels that each run passed, each of them one reward row for ever [27].
CREATE TEMP TABLE cdnow_level AS
WITH streak AS (
    SELECT programme, customer_id, run, count(*) FILTER (WHERE met) AS count
    FROM cdnow_course
    GROUP BY programme, customer_id, run, break_count
),
longest AS (
    SELECT programme, customer_id, run, max(count) AS count
    FROM streak
    GROUP BY programme, customer_id, run
)
SELECT longest.programme, longest.customer_id, longest.run, level.name, level.count
FROM longest
JOIN cdnow_programme_level AS level ON level.programme = longest.programme AND level.count <= longest.count;
