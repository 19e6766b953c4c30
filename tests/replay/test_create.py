"""Which replay is resumed, and when a new one starts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_whatsapp_flows.errors import ReplayError, SourceError
from airflow_whatsapp_flows.flow.loading.load import load_flow
from airflow_whatsapp_flows.flow.model import Flow
from airflow_whatsapp_flows.ledger import Ledger
from airflow_whatsapp_flows.ledger.replays import Replay
from airflow_whatsapp_flows.replay.create import ReplayRequest, create_or_resume_replay, find_existing_replay
from airflow_whatsapp_flows.replay.sources import SourceSpec, open_source
from tests.replay.ledger_history import read_states
from tests.replay.runs import sqlite_url

Begin = Callable[..., Replay]


def _flow(**keys: Any) -> Flow:
    return load_flow({"flow_format": 1, "id": "crm_flow", "steps": [{"name": "End", "type": "end"}], **keys})


@pytest.fixture
def source(tmp_path: Path) -> Path:
    file = tmp_path / "r.jsonl"
    file.write_text('{"id": "r-1"}\n{"id": "r-2"}\n')
    return file


@pytest.fixture
def begin(tmp_path: Path, source: Path) -> Begin:
    ledger = Ledger(sqlite_url(tmp_path))

    def create(location: Path = source, flow: Flow | None = None, **keys: Any) -> Replay:
        flow = flow or _flow()
        asked = ReplayRequest(flow=flow, source=open_source(SourceSpec(str(location)), flow), **keys)
        existing = find_existing_replay(ledger, asked)
        replay = create_or_resume_replay(ledger, asked)
        assert existing is None or existing.no == replay.no
        return replay

    return create


def test_the_same_flow_and_source_resume_the_same_replay(begin: Begin, tmp_path: Path) -> None:
    first = begin()

    assert begin().no == first.no
    assert read_states(sqlite_url(tmp_path), first.id) == {"pending": 2}


def test_changed_source_content_is_another_replay(begin: Begin, source: Path) -> None:
    first = begin()
    source.write_text('{"id": "r-3"}\n')

    assert begin().no != first.no


def test_a_forced_replay_is_separate(begin: Begin) -> None:
    first = begin()
    forced = begin(force=True)

    assert forced.no != first.no
    assert begin(force=True).no == forced.no  # it has not come to its end
    with pytest.raises(ReplayError, match="without --force"):
        begin(replay_id=first.id, force=True)
    with pytest.raises(ReplayError, match="with --force"):
        begin(replay_id=forced.id)


def test_refuses_a_changed_flow_unless_accepted(begin: Begin) -> None:
    first = begin(replay_id="one")
    changed = _flow(name="New")

    with pytest.raises(ReplayError, match=r"the flow has changed .* --accept-changed-flow"):
        begin(flow=changed, replay_id="one")
    assert begin(flow=changed, replay_id="one", accept_changed_flow=True).no == first.no
    assert begin(flow=changed, replay_id="one").no == first.no  # it is the replay's flow now


def test_refuses_another_flow_source_or_column_options_under_its_name(begin: Begin, tmp_path: Path) -> None:
    begin(replay_id="one")
    other = tmp_path / "other.jsonl"
    other.write_text('{"id": "r-1"}\n')

    with pytest.raises(ReplayError, match="was started with another source"):
        begin(other, replay_id="one")
    with pytest.raises(ReplayError, match="was started with another limit: none then, 1 now"):
        begin(replay_id="one", limit=1)
    with pytest.raises(ReplayError, match="is of the flow 'crm_flow'"):
        begin(flow=_flow(id="other_flow"), replay_id="one")


def test_a_partly_read_replay_accepts_other_settings(tmp_path: Path, source: Path) -> None:
    flow, ledger = _flow(), Ledger(sqlite_url(tmp_path))
    (tmp_path / "r.csv").write_text("Folio\nr-9\n")
    wrong = SourceSpec(str(tmp_path / "r.csv"), {}, "Folo")
    right = SourceSpec(str(tmp_path / "r.csv"), {}, "Folio")
    with pytest.raises(SourceError):
        create_or_resume_replay(
            ledger, ReplayRequest(flow=flow, source=open_source(wrong, flow), replay_id="r", limit=5)
        )

    replay = create_or_resume_replay(ledger, ReplayRequest(flow=flow, source=open_source(right, flow), replay_id="r"))

    assert read_states(sqlite_url(tmp_path), replay.id) == {"pending": 1}


@pytest.mark.parametrize("on_changed", ["reject", "update"])
def test_a_replay_that_died_while_reading_binds_no_other(
    begin: Begin, source: Path, tmp_path: Path, on_changed: str
) -> None:
    flow = _flow(replay={"on_changed": on_changed})
    asked = ReplayRequest(flow=flow, source=open_source(SourceSpec(str(source)), flow), replay_id="died")

    def die(rows: int) -> None:
        raise KeyboardInterrupt

    with Ledger(sqlite_url(tmp_path)) as ledger, pytest.raises(KeyboardInterrupt):
        create_or_resume_replay(ledger, asked, die)
    source.write_text('{"id": "r-1", "contact": {"first_name": "Ana"}}\n{"id": "r-2"}\n{"id": "r-2"}\n')

    replay = begin(flow=flow, replay_id="next")

    assert read_states(sqlite_url(tmp_path), replay.id) == {"pending": 2, "skipped": 1}
    with Ledger(sqlite_url(tmp_path)) as ledger:
        (epoch,) = {
            row[0] for row in _rows(ledger, "SELECT epoch FROM whatsapp_flows_contacts WHERE state = 'pending'")
        }
    assert epoch == 1


def _rows(ledger: Ledger, statement: str) -> list[Any]:
    with ledger.read() as connection:
        return list(connection.exec_driver_sql(statement).all())
