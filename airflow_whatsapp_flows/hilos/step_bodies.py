"""Steps that neither wait for an answer nor send a request, such as messages, conditionals and delays."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import get_args

from airflow_whatsapp_flows.flow.format import Comparison
from airflow_whatsapp_flows.flow.waiting import SECONDS
from airflow_whatsapp_flows.hilos.links import Links
from airflow_whatsapp_flows.hilos.record import Record
from airflow_whatsapp_flows.hilos.record_masking import mask_placeholders
from airflow_whatsapp_flows.hilos.record_versions import Plain
from airflow_whatsapp_flows.hilos.secret_spans import query_spans

_MESSAGE_TYPES = {
    **{name.lower(): name for name in ("IMAGE", "VIDEO", "DOCUMENT", "AUDIO", "STICKER", "LOCATION")},
    "voice": "AUDIO",
}
_NOT = {"false", "no", "0"}


def content_keys(record: Record) -> Plain:
    """Return the content of a message: text, media, approved template."""
    keys: Plain = {}
    if (body := record.text("body")) is not None:
        keys["body"] = body
    written = (record.text("body_type") or "text").strip().lower()
    if written in _MESSAGE_TYPES:
        keys["message_type"] = _MESSAGE_TYPES[written]
    elif written not in ("text", "template", "interactive", "button"):
        record.note("lost", "body_type", f"{written[:40]!r} is not a message type of a flow; TEXT is used")
    if (file_url := _file_url(record)) is not None:
        keys["file_url"] = file_url
    if (template := record.text("whatsapp_template")) is not None:
        keys["whatsapp_template"] = template.strip()
    variables = record.take("whatsapp_template_variables")
    if isinstance(variables, dict) and variables:
        keys["whatsapp_template_variables"] = _rename(record, variables, "whatsapp_template_variables")
    elif variables:
        message = "it is not an object of names and values"
        record.note("lost", "whatsapp_template_variables", message)
    return keys


def _rename(record: Record, value: object, field: str) -> object:
    if isinstance(value, str):
        return record.rename_references(value, field)
    if isinstance(value, list):
        return [_rename(record, item, field) for item in value]
    if isinstance(value, dict):
        return {key: _rename(record, item, field) for key, item in value.items()}
    return value


def _file_url(record: Record) -> str | None:
    record.take("body_file_type")
    url, uploaded, field = record.text("body_file_url"), record.take("body_file"), "body_file_url"
    if url is None and isinstance(uploaded, dict):
        found = uploaded.get("url") or uploaded.get("uploaded_file")
        url, field = (
            record.rename_references(found, "body_file") if isinstance(found, str) and found.strip() else None,
            "body_file",
        )
    if url is None:
        return None
    hidden = mask_placeholders(url, record.syntax)
    start = hidden.find("?")
    if start >= 0 and query_spans(hidden, start + 1):
        record.note("secret", field, "the query of the file's URL contains a secret and was left out")
        url = url[:start]
    return url.strip()


def duration(record: Record, key: str) -> Plain:
    """Return ``{amount, unit}`` under a key; nothing if the waiting fields are not filled."""
    amount, unit = record.number("max_wait_time_amount"), record.text("max_wait_time_unit")
    if not amount or amount < 0:
        if unit is not None:
            record.note("lost", "max_wait_time_amount", "there is no duration")
        return {}
    written = (unit or "").strip().upper()
    if written not in SECONDS:
        record.note("lost", "max_wait_time_unit", f"{written[:40]!r} is not one of {', '.join(SECONDS)}")
        return {}
    return {key: {"amount": amount, "unit": written}}


def message_keys(record: Record, links: Links) -> Plain:
    """Return the keys of a message."""
    return {**content_keys(record), **_next(record, links)}


def conditional_keys(record: Record, links: Links) -> Plain:
    """Return the keys of a conditional: ``paths`` in newer records, one list of ``conditions`` in older ones."""
    paths = [path for path in record.objects("paths") if path.get("conditions")]
    single = not paths
    if single:
        paths = [{"conditions": record.take("conditions")}]
    targets = links.targets(record, len(paths))
    default, alternate = links.target(record, "next_step_default"), links.target(record, "next_step_alternate")
    field = "otherwise"
    if targets[0] is None and len(paths) == 1 and not record.filled("next_steps_for_options"):
        targets[0], otherwise = default, alternate
        record.note(
            "inferred",
            "next_step_default",
            "used as the exit when the conditions are true; next_step_alternate otherwise",
        )
    else:
        otherwise, field = (alternate, "next_step_alternate") if alternate else (default, "next_step_default")
        if otherwise is None and len(targets) == len(paths) + 1:
            otherwise, field = targets[-1], "next_steps_for_options"
        if alternate and default:
            record.note("lost", "next_step_default", "next_step_alternate is used as the exit when no path applies")
        record.note("inferred", field, "used as the exit when no path applies")
    for extra in targets[len(paths) + (field == "next_steps_for_options") :]:
        if extra is not None:
            record.note("lost", "next_steps_for_options", f"an exit without a path leads to {extra!r}")
    record.take("conditions")
    listed = [_path(record, path, target, at) for at, (path, target) in enumerate(zip(paths, targets, strict=False))]
    return {"paths": listed, **({"otherwise": otherwise} if otherwise is not None else {})}


def _path(record: Record, path: Plain, target: str | None, at: int) -> Plain:
    written = path["conditions"]
    conditions = [
        _condition(record, one, f"paths[{at}].conditions[{index}]")
        for index, one in enumerate(written if isinstance(written, list) else [written])
    ]
    return {"conditions": conditions, **({"next": target} if target is not None else {})}


def _condition(record: Record, written: object, where: str) -> Plain:
    # Dropping an invalid condition would make the path match too often: it is kept, as a fault.
    condition = written if isinstance(written, dict) else {}
    field, comparison, value = (condition.get(key) for key in ("field", "comparison", "value"))
    name = record.bare(field, where) if isinstance(field, str) else ""
    test = comparison.strip() if isinstance(comparison, str) else ""
    if test.lstrip("!") == "isnull" and test in get_args(Comparison):
        if str(value).strip().lower() in _NOT:
            test = "isnull" if test.startswith("!") else "!isnull"
            record.note("inferred", where, f"{comparison} with the value {str(value).strip()!r} is {test}")
        return {"field": name, "comparison": test}
    if isinstance(value, str):
        value = record.rename_references(value, where)
    elif isinstance(value, (dict, list)):
        record.note("lost", f"{where}.value", "it is not text")
        value = None
    return {"field": name, "comparison": test, "value": value}


def delay_keys(record: Record, links: Links) -> Plain:
    """Return the keys of a delay: for a duration or until a time, optionally within business hours."""
    kind = (record.text("delay_type") or "").strip()
    record.flag("has_max_wait_time")
    until = record.text("delay_until")
    keys: Plain = {}
    lasts = bool(record.raw.get("max_wait_time_amount"))
    if until is not None and (not lasts or re.search(r"until|date|specific|fixed", kind, re.IGNORECASE)):
        keys["until"] = until.strip()
    elif lasts:
        keys |= dict(_plain_object(duration(record, "delay").get("delay")))
        if until is not None:
            record.note("lost", "delay_until", "the delay also has a duration, which is used")
    if record.flag("set_time_window"):
        keys |= _time_windows(record)
    if not {"amount", "until"} & keys.keys():
        record.note("lost", "delay_type", "the record has neither a duration nor an end")
        keys = {"amount": 0, "unit": "SECOND", **keys}
    return {**keys, **_next(record, links)}


def _plain_object(value: object) -> Plain:
    return value if isinstance(value, dict) else {}


def _time_windows(record: Record) -> Plain:
    kind = (record.text("time_window_type") or "CUSTOM").strip().upper()
    if kind != "CUSTOM":
        record.take("time_windows")
        message = "business hours are a setting of the account, not of the flow; write them as 'time_windows'"
        record.note("lost", "time_window_type", message)
        return {}
    windows: list[Plain] = []
    for at, written in enumerate(record.objects("time_windows")):
        weekday = written.get("weekday")
        if written.get("is_available") is False:
            continue
        if isinstance(weekday, bool) or not isinstance(weekday, int) or not 0 <= weekday <= 6:
            record.note("lost", f"time_windows[{at}]", "its weekday is not a number from 0, Monday, to 6, Sunday")
            continue
        window: Plain = {"weekday": weekday}
        for key in ("start_at", "end_at"):
            if (time := _time_of_day(record, written.get(key), f"time_windows[{at}].{key}")) is not None:
                window[key] = time
        windows.append(window)
    if not windows:
        record.note(
            "lost", "time_windows", "no hours are open, so the contact would wait forever; here it does not wait"
        )
    return {"time_windows": windows} if windows else {}


def _time_of_day(record: Record, value: object, where: str) -> str | None:
    if value is None or value == "":
        return None
    match = re.match(r"([01][0-9]|2[0-3]):([0-5][0-9])(?::([0-5][0-9]))?", value) if isinstance(value, str) else None
    if match is None:
        record.note("lost", where, "it is not a time of day")
        return None
    seconds = f":{match.group(3)}" if match.group(3) not in (None, "00") else ""
    return f"{match.group(1)}:{match.group(2)}{seconds}"


def contact_update_keys(record: Record, links: Links) -> Plain:
    """Return the keys of a contact update; ActiveCampaign also has other names for the same fields."""
    keys: Plain = {}
    names = {
        "first_name": ("contact_first_name", "firstname"),
        "last_name": ("contact_last_name", "lastname"),
        "email": ("contact_email", "email"),
        "external_url": ("contact_external_url",),
    }
    for key, fields in names.items():
        found = [(field, text) for field in fields if (text := record.text(field)) is not None]
        if found:
            keys[key] = found[0][1]
        if len(found) > 1 and found[0][1] != found[1][1]:
            record.note("lost", found[1][0], f"{found[0][0]} has a different value, which is used")
    meta: Plain = {}
    for at, written in enumerate(record.objects("contact_custom_properties")):
        name, value = written.get("key"), written.get("value")
        if not isinstance(name, str) or not name.strip() or isinstance(value, (dict, list)):
            record.note("lost", f"contact_custom_properties[{at}]", "it has no key, or its value is not text")
            continue
        meta[name.strip()] = (
            record.rename_references(value, "contact_custom_properties") if isinstance(value, str) else value
        )
    return {**keys, **({"meta": meta} if meta else {}), **_next(record, links)}


def tag_keys(record: Record, links: Links) -> Plain:
    """Return the keys of a step that adds or removes tags."""
    keys: Plain = {}
    for field in ("contact_tags", "conversation_tags"):
        tags = [text for text in record.texts(field) if text is not None and text.strip()]
        if tags:
            keys[field] = tags
    if record.take("append_tags") is False:
        keys["append_tags"] = False
    return {**keys, **_next(record, links)}


def assignation_keys(record: Record, links: Links) -> Plain:
    """Return the keys of an assignation."""
    keys: Plain = {}
    for field in ("assign_to_users", "assign_to_teams"):
        value = record.take(field)
        listed = value if isinstance(value, list) else []
        numbers = [item for item in listed if isinstance(item, int) and not isinstance(item, bool)]
        if len(numbers) != len(listed) or (value and not listed):
            record.note("lost", field, "not all of its items are integers")
        if numbers:
            keys[field] = numbers
    return {**keys, **_next(record, links)}


def trigger_flow_keys(record: Record, links: Links) -> Plain:
    """Return the keys of a step that continues in another flow."""
    if links.target(record, "next_step_default") is not None:
        message = "the contact continues in the other flow; the steps after it are never reached"
        record.note("lost", "next_step_default", message)
    return {"next_flow": (record.text("next_flow") or "").strip()}


def _next(record: Record, links: Links) -> Plain:
    target = links.target(record, "next_step_default")
    return {"next": target} if target is not None else {}


BODIES: Mapping[str, Callable[[Record, Links], Plain]] = {
    "message": message_keys,
    "conditional": conditional_keys,
    "delay": delay_keys,
    "contact_update": contact_update_keys,
    "tag": tag_keys,
    "assignation": assignation_keys,
    "trigger_flow": trigger_flow_keys,
}
"""Parsers of the step types that neither wait for an answer nor send a request."""
