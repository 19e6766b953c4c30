"""Error groups, with the server's reply to one contact of each."""

from __future__ import annotations

import json
from typing import Any

from airflow_whatsapp_flows.flow.delivery.table import Fate
from airflow_whatsapp_flows.ledger import ContactState, Ledger
from airflow_whatsapp_flows.ledger.groups import error_groups
from airflow_whatsapp_flows.ledger.replays import tally
from airflow_whatsapp_flows.ledger.results import contact_results
from tests.ledger.filling import FLOW, a_replay, attempt, change, end, response

C, F, D = ContactState.COMPLETED, ContactState.FAILED, ContactState.IN_DOUBT
ERROR = json.dumps(
    {"step": "Create", "kind": "status", "message": "no", "sent": "yes", "status_code": 422, "host": "crm:443"}
)


def refused_result(said: Any) -> str:
    return json.dumps({"outcome": "error", "response": said, "error": {"kind": "status", "sent": "yes"}})


def test_a_group_counts_what_was_handled_and_shows_one_reply(ledger: Ledger) -> None:
    replay = a_replay(ledger, [response(number) for number in range(1, 5)])
    end(ledger, replay, [C, F, D, C], error=ERROR, fingerprint="f", handled_errors=1)
    attempt(ledger, "r-1", Fate.ANSWERED, replay, result=refused_result("Ana is known"), status_code=422)

    (group,) = error_groups(ledger, replay)

    assert (group.count, group.handled, group.in_doubt) == (4, 2, 1)
    assert (group.sample.id, group.reply) == ("r-1", "*** is known")
    assert tally(ledger, replay.no).handled == 2


def test_the_reply_of_a_group_hides_platform_ids(ledger: Ledger) -> None:
    told = {**response(1), "flow_execution_variables": {"user_id": "MX.aBcD"}}
    replay = a_replay(ledger, [told])
    end(ledger, replay, [F], error=ERROR, fingerprint="f")
    attempt(ledger, "r-1", Fate.ANSWERED, replay, result=refused_result("no user MX.aBcD here"))

    assert error_groups(ledger, replay)[0].reply == "no user *** here"


def test_a_group_without_a_reply_shows_none(ledger: Ledger) -> None:
    replay = a_replay(ledger, [response(1)])
    end(ledger, replay, [F], error=ERROR, fingerprint="f")
    attempt(ledger, "r-1", Fate.NOT_SENT, replay, error_kind="connect")

    assert error_groups(ledger, replay)[0].reply is None


def test_results_show_replies_of_failed_and_handled_actions(ledger: Ledger) -> None:
    replay = a_replay(ledger, [response(1), response(2), response(3)])
    end(ledger, replay, [C, F], error=ERROR, handled_errors=1)
    attempt(ledger, "r-1", Fate.ANSWERED, replay, result=refused_result("first"))
    attempt(ledger, "r-1", Fate.ANSWERED, replay, result=refused_result("second"), number=2)
    attempt(ledger, "r-1", Fate.ANSWERED, replay, result=refused_result("later"), number=3, begun_at=2000.0)
    attempt(ledger, "r-2", Fate.SUCCEEDED, replay, result=json.dumps({"outcome": "success", "response": "secret"}))

    first, second = contact_results(ledger, replay, handled=True)

    assert first.error is not None
    assert (first.error["reply"], first.actions[0].reply, first.actions[0].attempts) == ("second", "later", 3)
    assert second.actions[0].reply is None


def test_omits_a_reply_whose_secrets_are_unknown(ledger: Ledger) -> None:
    replay = a_replay(ledger, [response(1)], flow={**FLOW, "sensitive": ["contact.phone"]})
    (number,) = end(ledger, replay, [F], error=ERROR, fingerprint="f")
    attempt(ledger, "r-1", Fate.ANSWERED, replay, result=refused_result("+525500000001 is wrong"))
    assert error_groups(ledger, replay)[0].reply == "*** is wrong"

    change(ledger, number, response=None)

    assert error_groups(ledger, replay)[0].reply is None
