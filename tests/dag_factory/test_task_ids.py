"""The ids of tasks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_whatsapp_flows import load_flow
from airflow_whatsapp_flows.dag_factory import task_id_for, task_ids_of
from airflow_whatsapp_flows.dag_factory.task_ids import number_task_ids
from airflow_whatsapp_flows.operators.flow_exits import IN_DOUBT_SUFFIX
from tests.operators.flows import polling_flow


@pytest.mark.parametrize(
    ("name", "task_id"),
    [("Ask name", "ask_name"), ("Pregunta Ñandú", "pregunta_nandu"), ("¿Sí? 2", "si_2"), ("🎉", "step_3")],
)
def test_a_task_is_named_after_its_step(name: str, task_id: str) -> None:
    assert task_id_for(name, 3) == task_id


def test_the_steps_of_a_loop_have_one_task() -> None:
    ids = task_ids_of(load_flow(polling_flow()))
    assert [ids[name] for name in ("Get reply", "Is it ready?", "Wait", "Again")] == ["get_reply"] * 4
    assert len(set(ids.values())) == len(ids) - 3


@given(st.lists(st.text(min_size=1, max_size=100), unique=True, max_size=20))
def test_task_ids_are_unique_and_valid_in_airflow(names: list[str]) -> None:
    from airflow.sdk.definitions._internal.node import validate_key

    ids = number_task_ids(names, [])
    assert list(ids) == names
    assert len(set(ids.values())) == len(names)
    for task_id in ids.values():
        validate_key(f"{task_id}{IN_DOUBT_SUFFIX}")


def test_a_transliterated_name_still_fits() -> None:
    ids = number_task_ids(["㎯" * 100, "㎯" * 99], [])
    assert max(map(len, ids.values())) <= 250 - len(IN_DOUBT_SUFFIX)
    assert len(set(ids.values())) == 2
