"""What a person can do next about the contacts of a replay, each with its command."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_whatsapp_flows.flow.delivery.table import Delivery
from airflow_whatsapp_flows.ledger.groups import ErrorGroup
from airflow_whatsapp_flows.ledger.replays import Tally
from airflow_whatsapp_flows.ledger.rows import ContactState
from airflow_whatsapp_flows.replay.commands import replay_command


@dataclass(frozen=True, slots=True)
class NextStep:
    """A command of the group ``replay`` that a person may run next.

    Attributes:
        what: what it does, such as ``retry failed contacts``.
        verb: of the command.
        options: of the command, as they are written.
        names: what follows the name of the replay.
        or_else: the options to write instead if something else is true.
        retries: which contacts it sends again, where a DAG run can do that too: a state, or ``handled``.
    """

    what: str
    verb: str
    options: str = ""
    names: tuple[str, ...] = ()
    or_else: str = ""
    retries: str | None = None

    def command(self, replay_id: str, more_options: str = "") -> str:
        """Return the command.

        Args:
            replay_id: name of the replay.
            more_options: further options, as they are written.
        """
        options = " ".join(filter(None, (self.options, more_options)))
        return f"whatsapp-flows {replay_command(self.verb, replay_id, *self.names, options=options)}"


SHOW_IN_DOUBT = NextStep("show what is in doubt", "results", "--state in_doubt")


def next_steps(tally: Tally, errors: Sequence[ErrorGroup], delivery: Mapping[str, Delivery]) -> Iterator[NextStep]:
    """Find the next steps for a replay as a whole.

    Args:
        tally: its contacts by state.
        errors: its errors.
        delivery: of each action, by name.
    """
    if tally.states[ContactState.FAILED]:
        yield NextStep("show failed contacts", "results", "--state failed")
        yield NextStep("retry failed contacts", "retry", retries="failed")
    if tally.handled:
        yield NextStep("retry handled errors", "retry", "--handled", retries="handled")
    if tally.states[ContactState.IN_DOUBT]:
        yield SHOW_IN_DOUBT
        repeated = {may_repeat(group.sample.error, delivery) for group in errors if group.in_doubt} or {False}
        if True in repeated:
            yield NextStep("retry what is in doubt", "retry", "--state in_doubt", retries="in_doubt")
        if False in repeated:
            yield NextStep("record the outcome", "resolve", "--as sent", ("RESPONSE",), or_else="--as not_sent")
    if tally.states[ContactState.REJECTED]:
        yield NextStep("show rejected rows", "results", "--state rejected")


def next_steps_of_group(group: ErrorGroup, delivery: Mapping[str, Delivery]) -> Iterator[NextStep]:
    """Find the next steps for the contacts with one error.

    Args:
        group: the contacts.
        delivery: of each action, by name.
    """
    only = f"--fingerprint {group.fingerprint}"
    if group.count > group.in_doubt + group.handled:
        yield NextStep("retry failed contacts", "retry", only, retries="failed")
    if group.handled:
        yield NextStep("retry handled errors", "retry", f"--handled {only}", retries="handled")
    if group.in_doubt:
        if may_repeat(group.sample.error, delivery):
            options = f"--state in_doubt {only}"
            yield NextStep("retry what is in doubt", "retry", options, retries="in_doubt")
        yield NextStep("record the outcome", "resolve", f"{only} --as not_sent", or_else="--as sent")


def may_repeat(error: Mapping[str, Any] | None, delivery: Mapping[str, Delivery]) -> bool:
    """Whether a request that is in doubt may be resent.

    Args:
        error: of its contact.
        delivery: of each action, by name.
    """
    step = (error or {}).get("step", "")
    return delivery.get(step, Delivery.AT_MOST_ONCE) is not Delivery.AT_MOST_ONCE
