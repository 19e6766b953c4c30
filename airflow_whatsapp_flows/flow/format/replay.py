"""The block ``replay``: how recorded responses are replayed in batches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag

from airflow_whatsapp_flows.flow.format.common import FormatModel, TimeOfDay

MAX_CONCURRENCY = 1024
MAX_RATE = 100_000

OnChanged = Literal["reject", "update"]
"""What to do with a response whose id is known with different content."""
Rate = Annotated[float, Field(gt=0, le=MAX_RATE)]
HostRates = dict[Annotated[str, Field(min_length=1, max_length=255)], Rate]
RateOrRates = Annotated[
    Annotated[Rate, Tag("number")] | Annotated[HostRates, Tag("object")],
    Discriminator(lambda value: "object" if isinstance(value, Mapping) else "number"),
]


HandledErrors = Annotated[
    Annotated[int, Field(ge=0), Tag("number")]
    | Annotated[str, Field(pattern=r"^(100|[0-9]{1,2}(\.[0-9]{1,2})?)%$"), Tag("text")],
    Discriminator(lambda value: "text" if isinstance(value, str) else "number"),
]


class QuietHoursFormat(FormatModel):
    """Hours of the day during which nothing is sent, in the contact's time zone; the next day if end is earlier."""

    start: TimeOfDay = Field(description="HH:MM")
    end: TimeOfDay = Field(description="HH:MM; the next day if it is earlier than start")


class ReplayFormat(FormatModel):
    """How recorded responses are sent in batches."""

    schedule: str | None = Field(
        None, min_length=1, max_length=200, description="a cron expression or an Airflow preset"
    )
    source: str | None = Field(
        None, min_length=1, max_length=2000, description="the file or database to read responses from"
    )
    query: str | None = Field(None, min_length=1, max_length=65_536, description="SQL query; source must be a database")
    send: Literal["failed", "all"] = Field(
        "failed", description="the actions to send when a response has recorded results"
    )
    on_changed: OnChanged = Field(
        "reject",
        description="what to do with a response whose id was sent before with different content, also in DAG runs",
    )
    rate: RateOrRates | None = Field(
        None, description="requests per second for each host; or an object of host to requests per second"
    )
    concurrency: int = Field(64, ge=1, le=MAX_CONCURRENCY, description="concurrent requests")
    chunk_size: int = Field(1000, ge=1, le=100_000, description="responses for each Airflow task")
    approve_above: int | None = Field(
        None, ge=0, description="number of responses above which a person must approve the replay"
    )
    max_failures: int | None = Field(None, ge=1, description="contacts that may fail before the replay stops")
    max_handled_errors: HandledErrors | None = Field(
        None,
        description="contacts that may take an error exit before the replay stops: a number, or a percentage "
        'such as "20%"',
    )
    stop_when_refused: bool = Field(
        True, description="whether the replay stops when a server rejects the credentials, or every request of a step"
    )
    fail_when: Literal["any", "budget", "never"] = Field("any", description="what makes the DAG run of the replay fail")
    max_age: float | None = Field(
        None, gt=0, description="maximum age in seconds, measured from created_on; older responses are skipped"
    )
    only_once: bool = Field(
        False, description="whether each person gets each step only once, whatever the id of the response"
    )
    opt_out: list[Annotated[str, Field(min_length=1, max_length=330)]] = Field(
        default_factory=list, description="phone numbers, e-mail addresses, and ids to which nothing is sent"
    )
    quiet_hours: QuietHoursFormat | None = Field(None, description="hours during which nothing is sent")
    effects: bool = Field(False, description="whether replays also apply 'effects'")
