"""The errors of this package that callers may catch.

::

    FlowsError
    ├── FlowFileError          a flow cannot be used; holds every fault with its place
    ├── ResponseError          a contact response cannot be walked: not an object, unknown keys, wrong types
    ├── SourceError            a source of contact responses cannot be read at all, or not to its end
    ├── RenderError            one contact's values cannot be put into a request or a text
    │   └── MissingValueError  a reference has no value and the flow says ``"missing": "error"``
    ├── ConnectionConfigError  a connection or a setting is missing, or says something that cannot be used
    ├── ReplayError            a replay cannot be begun or gone on with
    ├── MissingExtraError      an optional dependency is needed and not installed
    ├── OnceClaimedError       a person was sent a step by another response, and the flow says ``only_once``
    └── LedgerError            the ledger cannot be opened, read or written
        ├── LedgerReplacedError the ledger was deleted, replaced or restored from an older copy
        ├── OwnershipLostError another worker has taken over what this one was doing
        └── IntentConflictError another worker is sending the same request

What went wrong on the wire is no exception but data
(:class:`~airflow_whatsapp_flows.flow.request.messages.TransportFailure`), and so is an action that ended in error:
its result says so. Faults of templates and bodies have classes of their own, which stay inside the package and reach
callers as the faults of a :class:`FlowFileError`. Inside a task, Airflow's own exceptions decide whether it is tried
again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong in a flow file.

    Attributes:
        message: what is wrong, what is allowed, and "did you mean" where something close exists.
        path: keys and list positions from the top of the file, ``("steps", 3, "body", "name")``.
        line: line in the file, from 1; ``None`` when the flow did not come from text.
        column: column in that line, in characters, from 1.
        step: name of the step that the fault is in, if it is in one.
    """

    message: str
    path: tuple[str | int, ...] = ()
    line: int | None = None
    column: int | None = None
    step: str | None = None

    def where(self) -> str:
        """The place as people read it: ``3:14`` from text, else ``steps[3].body.name``."""
        if self.line is not None:
            return f"{self.line}:{self.column}"
        place = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in self.path)
        return place.lstrip(".") or "flow"


class FlowsError(Exception):
    """Root of every error of this package."""


class FlowFileError(FlowsError):
    """A flow cannot be used.

    Attributes:
        source: name of the file, or ``"<flow>"``.
        faults: every fault found, in the order of the file; never empty.
    """

    def __init__(self, source: str, faults: Sequence[Fault]) -> None:
        self.source = source
        self.faults = tuple(faults)
        super().__init__("\n".join(f"{source}:{fault.where()}: {fault.message}" for fault in self.faults))

    def __reduce__(self) -> tuple[type[FlowFileError], tuple[str, tuple[Fault, ...]]]:
        """How it is pickled: an exception is made again of its arguments, and the message is none of them."""
        return type(self), (self.source, self.faults)


class ResponseError(FlowsError):
    """A contact response cannot be walked: it is not an object, or a part of it has the wrong type."""


class SourceError(FlowsError):
    """A source of responses or step records cannot be used: not there, not what its format says, or not to be read on.

    A row that cannot be used is no error: the source gives it with its problem, and goes on.
    """


class RenderError(FlowsError):
    """One contact's values cannot be put into a request or a text.

    Attributes:
        reason: what is wrong, without the place.
        where: the place in the step, such as ``body.name`` or ``headers.X-Source``; empty when not known.
    """

    def __init__(self, reason: str, where: str = "") -> None:
        self.reason = reason
        self.where = where
        super().__init__(f"{where}: {reason}" if where else reason)

    def __reduce__(self) -> tuple[type[RenderError], tuple[str, str]]:
        """How it is pickled."""
        return type(self), (self.reason, self.where)

    def at(self, where: str) -> RenderError:
        """The same error, with the place put before the place that it already knows."""
        inner = self.where
        joined = where + (inner if inner.startswith("[") else f".{inner}" if inner else "")
        return type(self)(self.reason, joined)


class MissingValueError(RenderError):
    """A reference has no value, and the flow says ``"missing": "error"``."""


class ConnectionConfigError(FlowsError):
    """A connection or a setting is missing, or says something that cannot be used."""


class ReplayError(FlowsError):
    """A replay cannot be begun, found or gone on with as it was asked for."""


class MissingExtraError(FlowsError):
    """An optional dependency is needed and cannot be imported.

    Attributes:
        purpose: what needs it.
        distribution: the missing dependency.
        extra: the extra of this package that installs it.
    """

    def __init__(self, purpose: str, distribution: str, extra: str) -> None:
        self.purpose = purpose
        self.distribution = distribution
        self.extra = extra
        super().__init__(f"{purpose} needs {distribution}: pip install 'airflow-whatsapp-flows[{extra}]'")

    def __reduce__(self) -> tuple[type[MissingExtraError], tuple[str, str, str]]:
        """How it is pickled."""
        return type(self), (self.purpose, self.distribution, self.extra)


class OnceClaimedError(FlowsError):
    """Under ``only_once`` another response of the same person was sent this step, or is being sent it."""


class LedgerError(FlowsError):
    """The ledger cannot be opened, read or written. Nothing is sent that it does not know of."""


class LedgerReplacedError(LedgerError):
    """The ledger is not the one that was used before: deleted, replaced, or restored from an older copy.

    Attributes:
        can_be_copied: whether all of it can still be read by way of connections that were open.

    Args:
        message: what happened, and what to do.
        can_be_copied: as above.
    """

    def __init__(self, message: str, *, can_be_copied: bool = False) -> None:
        super().__init__(message)
        self.can_be_copied = can_be_copied


class OwnershipLostError(LedgerError):
    """Another worker has taken over what this one was doing; nothing of this commit was kept."""


class IntentConflictError(LedgerError):
    """The ledger already holds this very attempt: another worker is sending the same request."""
