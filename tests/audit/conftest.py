"""The ledger of the checkout, read once, and mines that runs written by hand were tested on."""

import pytest

from minseg.audit.ledger import read_claims


@pytest.fixture(scope="session")
def claims():
    """The claims of the checkout's ledger, by id."""
    return {one.id: one for one in read_claims()}
