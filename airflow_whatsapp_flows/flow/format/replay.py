"""The block ``replay``: how recorded responses are replayed in batches."""

from typing import Annotated, Literal

from msgspec import Meta, field

from airflow_whatsapp_flows.flow.durations import PATTERN
from airflow_whatsapp_flows.flow.format.common import ByJsonType, FormatModel, TimeOfDay

MAX_CONCURRENCY = 1024
MAX_RATE = 100_000

OnChanged = Literal["reject", "update"]
"""What to do with a response whose id is known with different content."""
RESULT_FILES = (".jsonl", ".csv", ".parquet")
"""Endings of files of results, each of its format."""
Empty = Literal["fail", "ok"]
"""What a source without rows means."""
Rate = Annotated[float, Meta(gt=0, le=MAX_RATE)]
HostRates = dict[Annotated[str, Meta(min_length=1, max_length=255)], Rate]
RateOrRates = Annotated[HostRates | Rate, ByJsonType("object", "number")]
HandledErrors = Annotated[
    Annotated[int, Meta(ge=0)] | Annotated[str, Meta(pattern=r"^(100|[0-9]{1,2}(\.[0-9]{1,2})?)%\Z")],
    ByJsonType("number", "text"),
]


class QuietHoursFormat(FormatModel, frozen=True, kw_only=True):
    """Hours of the day during which nothing is sent, in the contact's time zone; the next day if end is earlier."""

    start: Annotated[TimeOfDay, Meta(description="HH:MM")]
    end: Annotated[TimeOfDay, Meta(description="HH:MM; the next day if it is earlier than start")]


Cron = Annotated[str, Meta(min_length=1, max_length=200)]
AssetUris = Annotated[list[Annotated[str, Meta(min_length=1, max_length=1500)]], Meta(min_length=1)]


class AnyAssetFormat(FormatModel, frozen=True, kw_only=True):
    """Assets of which any one starts a replay."""

    any_of: Annotated[AssetUris, Meta(description="URIs; an update of any one starts a replay")] = field(name="any")


class ScheduleFormat(FormatModel, frozen=True, kw_only=True):
    """When a replay starts: by time, when assets are updated, or both."""

    cron: Annotated[Cron | None, Meta(description="a cron expression or an Airflow preset")] = None
    assets: Annotated[
        Annotated[AssetUris | AnyAssetFormat, ByJsonType("array", "object")] | None,
        Meta(description='URIs of assets: once all of them are updated; or {"any": [...]}'),
    ] = None


class ApprovalFormat(FormatModel, frozen=True, kw_only=True):
    """Who approves a replay, how they learn of it, and what happens if nobody answers."""

    users: Annotated[
        list[Annotated[str, Meta(min_length=1, max_length=255)]],
        Meta(description="ids of the Airflow users who may answer; default: everybody who may answer tasks of the DAG"),
    ] = field(default_factory=list)
    emails: Annotated[
        list[Annotated[str, Meta(pattern=r"^[A-Za-z0-9._+-]{1,64}@[A-Za-z0-9.-]{1,255}\Z")]],
        Meta(description="e-mail addresses that are told that an answer is needed"),
    ] = field(default_factory=list)
    smtp_connection: Annotated[
        Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]{1,250}\Z")],
        Meta(description="id of the Airflow connection that sends the e-mail"),
    ] = "smtp_default"
    timeout: Annotated[
        Annotated[str, Meta(pattern=PATTERN)] | None,
        Meta(description="how long to wait for an answer, such as 4h; default: without end"),
    ] = None
    on_timeout: Annotated[
        Literal["approve", "reject", "fail"], Meta(description="what happens if nobody answers in time")
    ] = "fail"
    canary: Annotated[
        Annotated[int, Meta(ge=1, le=1_000_000)] | None,
        Meta(description="contacts to send first, as proposed to whoever approves; default: none"),
    ] = None


class ResultsTableFormat(FormatModel, frozen=True, kw_only=True):
    """A table in a database of an Airflow connection."""

    connection: Annotated[
        Annotated[str, Meta(min_length=1, max_length=250)], Meta(description="id of the Airflow connection")
    ]
    table: Annotated[
        Annotated[str, Meta(pattern=r"^([A-Za-z_][A-Za-z0-9_$]*\.){0,2}[A-Za-z_][A-Za-z0-9_$]{0,49}\Z")],
        Meta(description="name of the table, with or without its schema; `<table>_contacts` is the one of contacts"),
    ]


class ReplayFormat(FormatModel, frozen=True, kw_only=True):
    """How recorded responses are sent in batches."""

    schedule: Annotated[
        Annotated[ScheduleFormat | Cron, ByJsonType("object", "text")] | None,
        Meta(description="a cron expression or an Airflow preset; or an object with assets"),
    ] = None
    source: Annotated[
        Annotated[str, Meta(min_length=1, max_length=2000)] | None,
        Meta(description="the file or database to read responses from; a template of the run's terms"),
    ] = None
    query: Annotated[
        Annotated[str, Meta(min_length=1, max_length=65_536)] | None,
        Meta(description="SQL query with the run's terms as parameters; source must be a database"),
    ] = None
    send: Annotated[
        Literal["failed", "all"], Meta(description="the actions to send when a response has recorded results")
    ] = "failed"
    on_changed: Annotated[
        OnChanged,
        Meta(
            description="what to do with a response whose id was sent before with different content, also in DAG runs"
        ),
    ] = "reject"
    rate: Annotated[
        RateOrRates | None,
        Meta(description="requests per second for each host; or an object of host to requests per second"),
    ] = None
    concurrency: Annotated[int, Meta(ge=1, le=MAX_CONCURRENCY, description="concurrent requests")] = 64
    chunk_size: Annotated[int, Meta(ge=1, le=100_000, description="responses for each Airflow task")] = 1000
    approve_above: Annotated[
        Annotated[int, Meta(ge=0)] | None,
        Meta(description="number of responses above which a person must approve the replay"),
    ] = None
    max_failures: Annotated[
        Annotated[int, Meta(ge=1)] | None, Meta(description="contacts that may fail before the replay stops")
    ] = None
    max_handled_errors: Annotated[
        HandledErrors | None,
        Meta(
            description="contacts that may take an error exit before the replay stops: a number, or a percentage "
            'such as "20%"'
        ),
    ] = None
    stop_when_refused: Annotated[
        bool,
        Meta(description="whether the replay stops when a server rejects the credentials, or every request of a step"),
    ] = True
    fail_when: Annotated[
        Literal["any", "budget", "never"], Meta(description="what makes the DAG run of the replay fail")
    ] = "any"
    max_age: Annotated[
        Annotated[float, Meta(gt=0)] | None,
        Meta(description="maximum age in seconds, measured from created_on; older responses are skipped"),
    ] = None
    only_once: Annotated[
        bool, Meta(description="whether each person gets each step only once, whatever the id of the response")
    ] = False
    opt_out: Annotated[
        list[Annotated[str, Meta(min_length=1, max_length=330)]],
        Meta(description="phone numbers, e-mail addresses, and ids to which nothing is sent"),
    ] = field(default_factory=list)
    quiet_hours: Annotated[QuietHoursFormat | None, Meta(description="hours during which nothing is sent")] = None
    effects: Annotated[bool, Meta(description="whether replays also apply 'effects'")] = False
    send_when: Annotated[
        Literal["always", "changed"],
        Meta(
            description="whether a contact is also sent when it would send the same requests as the last time, also in "
            "DAG runs"
        ),
    ] = "always"
    approve: Annotated[
        Annotated[ApprovalFormat | bool, ByJsonType("object", "boolean")] | None,
        Meta(description="whether a person must approve the replay; or an object with who, and how"),
    ] = None
    cursor: Annotated[
        Annotated[str, Meta(min_length=1, max_length=500)] | None,
        Meta(
            description="the column by which a replay reads only rows after those of earlier replays; or file_modified"
        ),
    ] = None
    cursor_overlap: Annotated[
        Annotated[float, Meta(ge=0, le=31_536_000)] | None,
        Meta(
            description="seconds before the watermark that are read again, for late rows; of a column with numbers, "
            "how much lower; default 300 for a time, or else 0"
        ),
    ] = None
    results_to: Annotated[
        Annotated[
            ResultsTableFormat | Annotated[str, Meta(min_length=1, max_length=2000)], ByJsonType("object", "text")
        ]
        | None,
        Meta(
            description="where the results of a replay's DAG are written: a table; or a .jsonl, .csv, or .parquet "
            "file, a template of the run's terms"
        ),
    ] = None
    empty: Annotated[
        Empty | None, Meta(description="what a source without rows means: an error, or nothing; default: a warning")
    ] = None
    deadline: Annotated[
        Annotated[str, Meta(pattern=PATTERN)] | None,
        Meta(description="how long a run of the replay's DAG may take until Airflow reports it, such as 30m"),
    ] = None
