"""The errors of this package that callers may catch.

::

    FlowsError
    ├── FlowFileError          a flow is invalid; lists every fault with its location
    ├── ResponseError          a contact response is invalid: not an object, unknown keys, wrong types
    ├── SourceError            a source of contact responses cannot be read, or not completely
    ├── RenderError            one contact's values cannot be rendered into a request or a text
    │   └── MissingValueError  a reference has no value and the flow says ``"missing": "error"``
    ├── ConnectionConfigError  a connection or setting is missing or invalid
    ├── ReplayError            a replay cannot be started or resumed
    ├── MissingExtraError      an optional dependency is not installed
    ├── OnceClaimedError       another response already sent this step to the same person under ``only_once``
    └── LedgerError            the ledger cannot be opened, read, or written
        ├── LedgerReplacedError the ledger was deleted, replaced, or restored from an older copy
        ├── OwnershipLostError another worker has taken over this one's work
        └── IntentConflictError another worker is sending the same request

A failure on the wire is not an exception but data
(:class:`~airflow_whatsapp_flows.flow.request.messages.TransportFailure`), and so is an action that ended in an error:
see its result. Faults of templates and bodies have their own classes, which stay inside the package and reach callers
as the faults of a :class:`FlowFileError`. Inside a task, Airflow's own exceptions decide whether it is retried.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong in a flow file.

    Attributes:
        message: what is wrong, what is allowed, and "did you mean" if there is a close match.
        path: keys and list positions from the top of the file, ``("steps", 3, "body", "name")``.
        line: line in the file, from 1; ``None`` if the flow was not loaded from text.
        column: column in that line, in characters, from 1.
        step: name of the step that contains the fault, if any.
    """

    message: str
    path: tuple[str | int, ...] = ()
    line: int | None = None
    column: int | None = None
    step: str | None = None

    def where(self) -> str:
        """The location for people: ``3:14`` from text, else ``steps[3].body.name``."""
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
        """Pickle support: an exception is rebuilt from its arguments, and the message is not one of them."""
        return type(self), (self.source, self.faults)


class ResponseError(FlowsError):
    """A contact response is invalid: it is not an object, or a part of it has the wrong type."""


class SourceError(FlowsError):
    """A source of responses or step records is missing, has the wrong format, or cannot be read completely.

    An unusable row is not an error: the source yields it with its problem and continues.
    """


class RenderError(FlowsError):
    """One contact's values cannot be rendered into a request or a text.

    Attributes:
        reason: what is wrong, without the location.
        where: the location in the step, such as ``body.name`` or ``headers.X-Source``; empty if unknown.
    """

    def __init__(self, reason: str, where: str = "") -> None:
        self.reason = reason
        self.where = where
        super().__init__(f"{where}: {reason}" if where else reason)

    def __reduce__(self) -> tuple[type[RenderError], tuple[str, str]]:
        """How it is pickled."""
        return type(self), (self.reason, self.where)

    def at(self, where: str) -> RenderError:
        """The same error, with a location prepended to its own."""
        inner = self.where
        joined = where + (inner if inner.startswith("[") else f".{inner}" if inner else "")
        return type(self)(self.reason, joined)


class MissingValueError(RenderError):
    """A reference has no value, and the flow says ``"missing": "error"``."""


class ConnectionConfigError(FlowsError):
    """A connection or setting is missing or invalid."""


class ReplayError(FlowsError):
    """A replay cannot be found, or cannot be started or resumed with these options."""


class MissingExtraError(FlowsError):
    """An optional dependency cannot be imported.

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
    """Under ``only_once``, another response has sent, or is sending, this step to the same person."""


class LedgerError(FlowsError):
    """The ledger cannot be opened, read, or written. Nothing is sent that it does not record first."""


class LedgerReplacedError(LedgerError):
    """The ledger differs from the one used before: it was deleted, replaced, or restored from an older copy.

    Attributes:
        can_be_copied: whether its complete contents can still be read through open connections.

    Args:
        message: what happened and what to do.
        can_be_copied: as above.
    """

    def __init__(self, message: str, *, can_be_copied: bool = False) -> None:
        super().__init__(message)
        self.can_be_copied = can_be_copied


class OwnershipLostError(LedgerError):
    """Another worker has taken over; this commit was rolled back."""


class IntentConflictError(LedgerError):
    """The ledger already contains this attempt: another worker is sending the same request."""
