"""A thousand bad days: seeded worlds lived through by real servers under fire, and told again by a slow, honest model.

    make simulate SEEDS=100        the seeds 0 to 99; SEEDS=100-199 a range, SEED=7 one of them, WORKERS=2 side by side

A seed is one life. `plan.py` makes everything that is asked and everything that goes wrong from the seed alone: a few
organisations on test clocks with programmes of all kinds, customers who buy, return late, leave and come back, input that
is doubled, delayed and out of order, clocks that are moved meanwhile, servers and databases that die. What the plan
cannot fix is who wins each race: a seed replayed asks the same again, and the machine schedules anew.

Two server processes on one PostgreSQL answer real HTTP (`nursery.py` forks them, `machine.py` looks after both).
Their connections to the database break by the seed (`faults.py`); the database is read-only or stands still for a while
(`outages.py`). What got no answer is asked again until it is
answered (`asking.py`). In a share of the lives the database is restored to an instant, and what came after it is lost
(`restores.py`). After every round, quiet for a moment, `verdict.py` reads the accepted order of every customer,
has tests/model/slow_model.py live through it, and compares everything: enrolments, values, achievements, counts, levels,
rewards with states and reasons; and that what was acknowledged is in that order exactly once and what was refused is not.
At the end the auditor must be content too. `life.py` tells the order of all this.

The model shares no code with kosminar.core: a rule that both have wrong must have been misread twice.
"""
