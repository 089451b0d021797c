"""The committed OpenAPI document is the one that is served: a change of the API shows as a change of the file."""

import json
from pathlib import Path

from kosminar.api.app import OPERATIONS
from kosminar.api.openapi import document

COMMITTED = Path(__file__).parents[2] / "docs" / "openapi.json"


def test_the_committed_document_is_the_served_one() -> None:
    served = json.loads(json.dumps(document(OPERATIONS)))

    assert json.loads(COMMITTED.read_text()) == served, "refresh it with `make openapi`"
