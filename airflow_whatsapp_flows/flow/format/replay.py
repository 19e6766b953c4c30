"""The block ``replay``: how recorded responses are sent in batches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag

from airflow_whatsapp_flows.flow.format.common import FormatModel, TimeOfDay

MAX_CONCURRENCY = 1024
MAX_RATE = 100_000

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
    """Hours of the day at which nobody is sent anything, in the contact's zone; over midnight where end is earlier."""

    start: TimeOfDay = Field(description="HH:MM")
    end: TimeOfDay = Field(description="HH:MM; over midnight where it is earlier than start")


class ReplayFormat(FormatModel):
    """How recorded responses are sent in batches."""

    schedule: str | None = Field(None, min_length=1, max_length=200, description="cron expression or preset of Airflow")
    source: str | None = Field(None, min_length=1, max_length=2000, description="where the responses are read from")
    query: str | None = Field(None, min_length=1, max_length=65_536, description="SQL; then source is a database")
    send: Literal["failed", "all"] = Field("failed", description="actions that are sent when a response has results")
    on_changed: Literal["reject", "update"] = Field(
        "reject", description="what is done with a response whose id was sent with other content; of DAG runs too"
    )
    rate: RateOrRates | None = Field(None, description="requests a second and host; or an object, host to that")
    concurrency: int = Field(64, ge=1, le=MAX_CONCURRENCY, description="requests under way at a time")
    chunk_size: int = Field(1000, ge=1, le=100_000, description="responses for each task of Airflow")
    approve_above: int | None = Field(None, ge=0, description="responses above which a person must approve")
    max_failures: int | None = Field(None, ge=1, description="contacts that may fail before the replay is stopped")
    max_handled_errors: HandledErrors | None = Field(
        None, description='contacts that may take an error exit: a number, or a share such as "20%"'
    )
    stop_when_refused: bool = Field(
        True, description="whether the replay stops when a server refuses the credentials, or every request of a step"
    )
    fail_when: Literal["any", "budget", "never"] = Field("any", description="what makes the replay's DAG run fail")
    max_age: float | None = Field(None, gt=0, description="seconds since created_on; older responses are skipped")
    only_once: bool = Field(False, description="whether a person gets each step once, whatever the response's id")
    opt_out: list[Annotated[str, Field(min_length=1, max_length=330)]] = Field(
        default_factory=list, description="phones, e-mail addresses and ids that nothing is sent for"
    )
    quiet_hours: QuietHoursFormat | None = Field(None, description="hours at which nobody is sent anything")
    effects: bool = Field(False, description="whether a replay, too, does what 'effects' turns on")
