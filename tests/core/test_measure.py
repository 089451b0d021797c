"""What each measure hears and gives, and that a new measure is one new file."""

import json
import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest
from tests.core.builders import day

from kosminar.core.activity import Activity
from kosminar.core.amount import ONE
from kosminar.core.measure.catalogue import MEASURES, measure_of
from kosminar.core.measure.measure import Entity

SOURCE = Path(__file__).parents[2] / "src"
BILL = {"amount": Decimal("12.5"), "grossAmount": "15", "minutes": 30}


def build(**overrides: object) -> Activity:
    return Activity(**{"activity_id": "a", "type": "run", "occurred_at": day(1), "attributes": {}, **overrides})


@pytest.mark.parametrize(
    ("value", "amount"),
    [
        (Decimal("12.3455"), 12_346),
        ("12.5", 12_500),
        (0, 0),
        (Decimal(-1), None),
        ("1_000", None),
        (True, None),
        (None, None),
        (Decimal("1E+12"), None),
    ],
)
def test_a_sum_takes_amounts_and_nothing_else(value: object, amount: int | None) -> None:
    measure = measure_of(Entity.EVENT, "EVENT_ATTRIBUTE", "run", "minutes")

    assert measure.number(build(attributes={"minutes": value})) == amount


def test_a_measure_hears_its_own_type_only() -> None:
    assert measure_of(Entity.EVENT, "COUNT", "run", None).number(build()) == ONE
    assert measure_of(Entity.EVENT, "COUNT", "walk", None).number(build()) is None
    assert measure_of(Entity.TRANSACTION, "COUNT", "x", None).number(build(type="transaction")) == ONE


@pytest.mark.parametrize(
    ("entity", "measure_type", "attribute", "number"),
    [
        (Entity.TRANSACTION, "SALES", None, 12_500),
        (Entity.TRANSACTION, "GROSS_SALES", None, 15_000),
        (Entity.TRANSACTION, "COUNT", None, ONE),
        (Entity.TRANSACTION, "VISIT", None, ONE),
        (Entity.EVENT, "COUNT", None, ONE),
        (Entity.EVENT, "VISIT", None, ONE),
        (Entity.EVENT, "EVENT_ATTRIBUTE", "minutes", 30_000),
        (Entity.EVENT, "EVENT_ATTRIBUTE", "metres", None),
    ],
)
def test_each_measure_gives_its_number(
    entity: Entity, measure_type: str, attribute: str | None, number: int | None
) -> None:
    heard = build(type="transaction" if entity is Entity.TRANSACTION else "run", attributes=BILL)

    assert measure_of(entity, measure_type, "run", attribute).number(heard) == number


def test_a_sale_without_its_amount_does_not_count() -> None:
    for measure_type in ("SALES", "GROSS_SALES"):
        measure = measure_of(Entity.TRANSACTION, measure_type, "TransactionAdd", None)

        assert measure.number(build(type="transaction", attributes={"billNumber": "B1"})) is None


def test_what_each_measure_fits_and_asks() -> None:
    told = {
        name: (measure.entities, measure.whole, measure.daily, measure.names_attribute)
        for name, measure in MEASURES.items()
    }

    both = (Entity.TRANSACTION, Entity.EVENT)
    assert told == {
        "COUNT": (both, True, False, False),
        "EVENT_ATTRIBUTE": ((Entity.EVENT,), False, False, True),
        "GROSS_SALES": ((Entity.TRANSACTION,), False, False, False),
        "SALES": ((Entity.TRANSACTION,), False, False, False),
        "VISIT": (both, True, True, False),
    }


def test_measures_are_the_same_if_they_measure_the_same() -> None:
    sales = measure_of(Entity.TRANSACTION, "SALES", "TransactionAdd", None)

    assert sales == measure_of(Entity.TRANSACTION, "SALES", "TransactionAdd", None)
    assert sales != measure_of(Entity.TRANSACTION, "GROSS_SALES", "TransactionAdd", None)
    assert measure_of(Entity.EVENT, "COUNT", "run", None) != measure_of(Entity.EVENT, "COUNT", "walk", None)


NEW_MEASURE = """
from kosminar.core.measure.measure import Entity, Measure

class Pairs(Measure):
    type = "PAIRS"
    entities = (Entity.EVENT,)
    whole = True

    def _number(self, activity):
        return 2_000

OFFERED = (Pairs,)
"""

ASKED = """
import json, sys
from zoneinfo import ZoneInfo
import kosminar.core.measure
kosminar.core.measure.__path__.append(sys.argv[1])
from kosminar.api.app import OPERATIONS
from kosminar.api.compat.definitions import read_definition
from kosminar.core.decoder import Fields

def complaints(**target):
    value = target.pop("value", 2)
    target = {"name": "T", "eventName": "run", "defaultValues": [{"defaultValue": value}], **target}
    body = {"name": "G", "trackingType": "DEFAULT", "frequencyType": "DAILY", "frequency": 1, "totalPeriods": 1,
            "fromDate": "2031-01-01", "targets": [target]}
    return [complaint.message for complaint in read_definition(Fields.of(body), ZoneInfo("UTC"))[1]]

create = next(each for each in OPERATIONS if each.path == "/targetGroups" and each.method == "POST")
print(json.dumps({
    "document": create.request["properties"]["targets"]["items"]["properties"]["targetType"]["enum"],
    "right": complaints(targetEntity="EVENT", targetType="PAIRS"),
    "part": complaints(targetEntity="EVENT", targetType="PAIRS", value="2.5"),
    "wrong": complaints(targetEntity="TRANSACTION", targetType="PAIRS", eventName="TransactionAdd"),
}))
"""


def test_a_new_measure_is_one_new_file(tmp_path: Path) -> None:
    (tmp_path / "pairs.py").write_text(NEW_MEASURE, encoding="utf-8")

    asked = subprocess.run(
        [sys.executable, "-c", ASKED, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert json.loads(asked.stdout) == {
        "document": ["COUNT", "EVENT_ATTRIBUTE", "GROSS_SALES", "PAIRS", "SALES", "VISIT"],
        "right": [],
        "part": ["targets[0].defaultValues[0].defaultValue: must be whole for PAIRS"],
        "wrong": ["Invalid target entity and target type combination"],
    }
