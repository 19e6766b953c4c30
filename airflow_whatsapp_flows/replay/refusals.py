"""Detects that a server refuses all credentials or all requests of a step, even if the flow handles refusals."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from airflow_whatsapp_flows.flow.delivery.decision import Attempt, may_have_been_applied
from airflow_whatsapp_flows.flow.delivery.rule import SAFE_METHODS, fate_of
from airflow_whatsapp_flows.flow.model import Action
from airflow_whatsapp_flows.flow.reply.excerpt import reply_excerpt
from airflow_whatsapp_flows.flow.reply.result import ActionResult
from airflow_whatsapp_flows.flow.request.messages import ErrorKind
from airflow_whatsapp_flows.replay.breaker import BatchStoppedError

CREDENTIALS = (401, 403)
"""Statuses that mean that the sender is not authorized, usually regardless of the contact."""
CREDENTIALS_IN_A_ROW = 20
STEP_IN_A_ROW = 50

Account = tuple[str, str | None]
"""A host, and the connection whose credentials it may refuse, if there is one."""

# A reply about one contact: not found, already exists, or wrong time.
_ABOUT_ONE = frozenset({408, 409, 423, 425, 429})
_NOT_THERE = frozenset({404, 410})  # usual for lookups


@dataclass(frozen=True, slots=True)
class Refusal:
    """A refused request.

    Attributes:
        connection: its connection, if it has one.
        step: the step that sent it; ``None`` if the credentials were refused.
        words: status and reply, for people.
    """

    host: str
    connection: str | None
    step: str | None
    status: int
    words: str

    @property
    def account(self) -> Account:
        """Host and connection."""
        return self.host, self.connection

    def stop_after(self, times: int) -> BatchStoppedError:
        """Return why the batch must stop after so many of them."""
        if self.step is None:
            whose = f"the credentials of the connection {self.connection!r}" if self.connection else ""
            return BatchStoppedError(
                f"{self.host} rejected {whose or 'requests without a connection'} {times} times in a row "
                f"({self.words}); none of these requests was applied, and their contacts stay pending unless an error "
                "exit sent something else",
                needs_help=True,
            )
        return BatchStoppedError(
            f"{self.host} rejected each of the first {times} requests of {self.step!r} ({self.words}): check the step "
            "and the data; `replay retry` sends these again (with --handled if an error exit handled them). If "
            f"{self.status} is this server's answer for a single contact, such as one that already exists, resume with "
            '--no-stop-when-refused, or set "stop_when_refused": false in the flow\'s replay block '
            "(stop_when_refused=False in a task)",
            needs_help=True,
        )


@dataclass(slots=True)
class _Row:
    """Consecutive refusals of one connection's credentials.

    Attributes:
        since: time of the first one, epoch seconds.
        contacts: the contacts concerned.
        before: contacts of earlier series, ended by requests in progress at ``since``: these may have been answered
            before the credentials were refused.
        served: contacts of either for which something else was sent since then, such as by an error exit.
    """

    since: float
    contacts: list[int] = field(default_factory=list)
    before: list[int] = field(default_factory=list)
    served: set[int] = field(default_factory=set)


class Refusals:
    """Counts refusals, and stops the batch if continuing is pointless.

    It stops the batch if the credentials of a connection are refused 20 times in a row (401 or 403) at any time, or if
    a step is refused 50 times (any other 3xx or 4xx) before its first success. Refused requests are not applied, so the
    rest is better sent once the cause is fixed.

    Attributes:
        turned_away: numbers of the contacts whose credentials were refused, once the batch must stop for that; without
            those for which a later request may have been applied, such as by an error exit.
        on_accepted: called with the name of a step when it has its first success.
        on_credentials_accepted: called with host and connection when the server first accepts their credentials.
        on_refused: called with every refusal before that first success.

    Args:
        shows_reply: whether the server's reply may be shown.
        accepted: steps that had a success in an earlier run.
        clock: epoch seconds.
    """

    def __init__(
        self,
        *,
        shows_reply: bool = True,
        accepted: Iterable[str] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._clock = clock
        self.on_accepted: Callable[[str], None] = lambda _: None
        self.on_credentials_accepted: Callable[[Account], None] = lambda _: None
        self.on_refused: Callable[[Refusal], None] = lambda _: None
        self.turned_away: list[int] = []
        self._shows_reply = shows_reply
        self._stopped_for: Account | None = None
        self._rows: dict[Account, _Row] = {}
        self._accepted = set(accepted)
        self._credentials_accepted: set[Account] = set()
        self._refused: Counter[str] = Counter()

    @property
    def refused_account(self) -> Account | None:
        """The host and connection whose credentials were refused, once the batch must stop for that."""
        return self._stopped_for

    def accept(self, step: str) -> None:
        """Record that a step had a success in another process."""
        self._accepted.add(step)

    def turn_away(self, account: Account) -> None:
        """Treat refusals like those of a batch that must stop, because another process found the credentials refused.

        Args:
            account: host and connection.
        """
        if self._stopped_for is None:
            self._turn_away(account, self._rows.get(account) or _Row(self._clock()))

    def note(
        self, contact_id: int, host: str, step: Action, result: ActionResult, begun_at: float
    ) -> BatchStoppedError | None:
        """Count the outcome of a request.

        Args:
            contact_id: number of the contact.
            host: target of the request.
            step: the action that sent it.
            result: of the attempt.
            begun_at: when it was started, epoch seconds.

        Returns:
            Why the batch must stop; only the first time.
        """
        account = (host, step.plan.connection)
        if result.status_code in CREDENTIALS:
            return self._note_credentials(account, contact_id, result)
        if result.status_code is not None and account not in self._credentials_accepted:
            self._credentials_accepted.add(account)
            self.on_credentials_accepted(account)
        if self._rows or self.turned_away:
            self._note_served(contact_id, step, result)
        if self._rows and result.status_code is not None and account in self._rows:
            self._end_row(account, begun_at)
        if result.error is None:
            if step.name not in self._accepted:
                self._accepted.add(step.name)
                self.on_accepted(step.name)
            return None
        return self._note_step(account, step, result) if _is_refusal(step, result) else None

    def _note_credentials(self, account: Account, contact_id: int, result: ActionResult) -> BatchStoppedError | None:
        if self._stopped_for is not None:
            if self._stopped_for == account:  # it was in progress
                self.turned_away.append(contact_id)
            return None
        row = self._rows.get(account) or self._rows.setdefault(account, _Row(self._clock()))
        row.contacts.append(contact_id)
        refusal = Refusal(*account, None, result.status_code or 0, self._words(result))
        if account not in self._credentials_accepted:
            self.on_refused(refusal)
        if len(row.contacts) < CREDENTIALS_IN_A_ROW:
            return None
        self._turn_away(account, row)
        return refusal.stop_after(len(row.contacts))

    def _turn_away(self, account: Account, row: _Row) -> None:
        self._stopped_for = account
        self.turned_away = [contact for contact in row.before + row.contacts if contact not in row.served]

    def _note_served(self, contact_id: int, step: Action, result: ActionResult) -> None:
        """Note contacts served by an error exit: resending would repeat for them what the exit has done another way."""
        rows = [row for row in self._rows.values() if contact_id in row.contacts or contact_id in row.before]
        if not (rows or contact_id in self.turned_away) or step.plan.method in SAFE_METHODS:
            return
        made = Attempt(1, "", 0.0, fate_of(result, step.retry), result)
        if may_have_been_applied(step.retry, made):
            for row in rows:
                row.served.add(contact_id)
            self.turned_away = [other for other in self.turned_away if other != contact_id]

    def _end_row(self, account: Account, begun_at: float) -> None:
        row = self._rows[account]
        if begun_at > row.since:  # the credentials were accepted after the refusal
            del self._rows[account]
        else:
            row.before += row.contacts
            row.contacts = []

    def _note_step(self, account: Account, step: Action, result: ActionResult) -> BatchStoppedError | None:
        if step.name in self._accepted:
            return None
        self._refused[step.name] += 1
        refusal = Refusal(*account, step.name, result.status_code or 0, self._words(result))
        self.on_refused(refusal)
        return refusal.stop_after(STEP_IN_A_ROW) if self._refused[step.name] == STEP_IN_A_ROW else None

    def _words(self, result: ActionResult) -> str:
        status = f"{result.status_code} {result.reason}".strip()
        reply = reply_excerpt(result) if self._shows_reply else None
        return f"{status}; reply: {reply}" if reply else status


def _is_refusal(step: Action, result: ActionResult) -> bool:
    status, error = result.status_code or 0, result.error
    if error is None or error.kind is not ErrorKind.STATUS or not 300 <= status <= 499 or status in _ABOUT_ONE:
        return False
    if status in _NOT_THERE and step.plan.method in SAFE_METHODS:
        return False
    return not step.retry.asks_to_slow_down(result)
