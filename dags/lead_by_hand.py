"""A flow written by hand: the Action step and its two exits as operators among other tasks.

Trigger it with a contact's answers, for example::

    {"contact": {"phone": "+525512345678"}, "step": {"Ask name": "Ana María", "Ask interests": ["shoes", "hats"]}}
"""

from typing import Any

from airflow.sdk import DAG, get_current_context, task

from airflow_whatsapp_flows import WhatsAppActionOperator, WhatsAppBranchOperator


def _interests() -> list[str]:
    conf = get_current_context()["dag_run"].conf
    return conf.get("step", {}).get("Ask interests") or []


with DAG("lead_by_hand", schedule=None, catchup=False, tags=["whatsapp"], doc_md=__doc__):

    @task
    def score() -> int:
        """How promising the contact is; in earnest a query or a model."""
        return len(_interests()) * 10

    @task
    def interests() -> list[dict[str, Any]]:
        """One request body for each interest."""
        phone = get_current_context()["dag_run"].conf["contact"]["phone"]
        return [{"phone": phone, "interest": interest} for interest in _interests()]

    @task(trigger_rule="none_failed_min_one_success")
    def report(result: dict[str, Any]) -> str:
        """Both ways meet here."""
        return f"{result['outcome']}: {result['status_code']}"

    # Airflow's context, a flow's scopes and the result of another task stand side by side.
    create_contact = WhatsAppActionOperator(
        task_id="create_contact",
        http_conn_id="crm",
        url="/v1/contacts",
        query_params={"upsert": "true"},
        headers={"X-Dag": "{{ dag.dag_id }}"},
        body={
            "name": '{{ step["Ask name"] }}',
            "phone": "{{ contact.phone }}",
            "score": score(),
            "seen_on": "{{ dag_run.run_after | ds }}",
        },
    )
    created = WhatsAppBranchOperator(
        task_id="created", action="create_contact", on_success="interests", on_error="tell_sales"
    )
    to_note = interests()
    # What is mapped is data: an interest called "{{ 7*7 }}" is sent as it was typed.
    note_interest = WhatsAppActionOperator.partial(
        task_id="note_interest", http_conn_id="crm", url="/v1/leads", body_type="form", on_error="fail"
    ).expand(body=to_note)
    tell_sales = WhatsAppActionOperator(
        task_id="tell_sales",
        http_conn_id="crm",
        url="/v1/leads",
        body_type="form",
        body={"phone": "{{ contact.phone }}", "status": '{{ ti.xcom_pull("create_contact")["status_code"] }}'},
        on_error="fail",
    )

    create_contact >> created >> [to_note, tell_sales]
    [note_interest, tell_sales] >> report(create_contact.output)
