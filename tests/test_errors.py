"""Errors survive pickling, which Airflow uses between processes."""

from __future__ import annotations

import pickle

import pytest

from airflow_whatsapp_flows import errors
from airflow_whatsapp_flows.errors import Fault, FlowsError
from airflow_whatsapp_flows.operators.retry import ActionRetryError

FAULTS = (Fault("unknown key 'nmae'", ("steps", 3, "nmae"), 7, 12, "Ask"), Fault("no steps"))
EXAMPLES: list[Exception] = [
    FlowsError("root"),
    errors.FlowFileError("lead.json", FAULTS),
    errors.ResponseError("step is an object"),
    errors.SourceError("responses.csv: the file does not exist"),
    errors.RenderError("a line break", "headers.X-A"),
    errors.RenderError("a line break"),
    errors.MissingValueError("contact.email has no value", "body.email"),
    errors.ConnectionConfigError("connection 'crm' has no host"),
    errors.ReplayError("there is no replay 'spring'"),
    errors.LedgerError("the ledger sqlite:////srv/l.db cannot be written: disk full"),
    errors.LedgerReplacedError("the ledger sqlite:////srv/l.db was deleted", can_be_copied=True),
    errors.OwnershipLostError("another worker has taken over"),
    errors.MissingExtraError("an SVG drawing", "graphlay", "draw"),
    errors.OnceClaimedError("only_once: another response of this person was sent"),
    errors.IntentConflictError("another worker is sending the same request"),
    ActionRetryError("the CRM answered 503", 2.5),
]


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_an_error_survives_pickling(error: Exception) -> None:
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is type(error)
    assert str(back) == str(error)
    assert vars(back) == vars(error)


def test_every_error_class_is_tested_here() -> None:
    classes = {found for found in vars(errors).values() if isinstance(found, type) and issubclass(found, FlowsError)}
    assert classes <= {type(error) for error in EXAMPLES}


def test_the_documented_error_tree_is_complete() -> None:
    for error in EXAMPLES[:-1]:
        assert type(error).__name__ in str(errors.__doc__)
