"""The steps that a contact answers: questions, menus and templates."""

from __future__ import annotations

import re
from typing import get_args

from airflow_whatsapp_flows.flow.answers import RANGED_TYPES
from airflow_whatsapp_flows.flow.format import AnswerType
from airflow_whatsapp_flows.flow.numbers import parse_number
from airflow_whatsapp_flows.hilos.links import Links
from airflow_whatsapp_flows.hilos.record import Record
from airflow_whatsapp_flows.hilos.record_versions import Plain
from airflow_whatsapp_flows.hilos.step_bodies import content_keys, duration


def answer_keys(record: Record, links: Links, kind: str) -> Plain:
    """Return the keys of a step that is answered, except name and type.

    Args:
        links: targets of its exits.
        kind: ``question``, ``menu`` or ``template``.
    """
    keys = content_keys(record)
    if kind != "menu":
        keys |= _answer(record, kind)
    default = links.target(record, "next_step_default")
    if record.flag("has_max_wait_time"):
        keys |= duration(record, "wait")
    if record.flag("has_max_answer_attempts") and (attempts := record.number("max_answer_attempts")):
        keys["max_answer_attempts"] = int(attempts)
    exits: Plain = {}
    if kind in ("menu", "template"):
        exits |= _options(record, links, kind, default)
    if kind != "menu":
        exits["next"] = default
    exits["on_no_answer"] = _no_answer(record, links)
    exits["on_answer_failed"] = links.target(record, "answer_failed_next_step")
    if kind == "template":
        _apply_next_action(record, keys, exits)
    return {**keys, **{key: value for key, value in exits.items() if value is not None}}


def _no_answer(record: Record, links: Links) -> str | None:
    target = links.target(record, "next_step_alternate")
    if target is not None:
        record.note("inferred", "next_step_alternate", "used as the exit for no answer")
    return target


def _apply_next_action(record: Record, keys: Plain, exits: Plain) -> None:
    """Apply ActiveCampaign's ``next_action``: whether a template waits for an answer."""
    action = (record.text("next_action") or "").strip().upper()
    if action == "CONTINUE" and exits["on_no_answer"] is None and exits.get("options"):
        exits["on_no_answer"] = exits["next"]
        record.note(
            "inferred",
            "next_action",
            "CONTINUE does not wait for an answer: 'on_no_answer' has the same target as 'next'",
        )
    elif action in ("ANY_RESPONSE", "BUTTON_RESPONSE") and "wait" not in keys:
        keys["wait"] = {"amount": 24, "unit": "HOUR"}
        message = f"{action} waits for an answer: for 24 hours, as the platform does by default"
        record.note("inferred", "next_action", message)
    if action == "BUTTON_RESPONSE":
        message = "the platform continues only with its buttons; here other answers take the exit 'next'"
        record.note("lost", "next_action", message)


def _answer(record: Record, kind: str) -> Plain:
    answer_type = (record.text("answer_type") or "ANY").strip().upper()
    if answer_type not in get_args(AnswerType):
        record.note("lost", "answer_type", f"{answer_type[:40]!r} is unknown; every answer fits")
        answer_type = "ANY"
    keys: Plain = {}
    if record.flag("has_options_from_variable"):
        keys |= _options_from_variable(record)
    elif kind == "question" and record.filled("answer_options"):
        options = [text for text in record.texts("answer_options") if text is not None and text.strip()]
        if answer_type not in ("SINGLE_OPTION", "ANY"):
            record.note("lost", "answer_options", f"an answer of type {answer_type} has no options")
        elif options:
            answer_type = "SINGLE_OPTION"
            keys["answer_options"] = list(dict.fromkeys(options))
    keys |= _limits(record, answer_type)
    return {**({"answer_type": answer_type} if answer_type != "ANY" else {}), **keys}


def _limits(record: Record, answer_type: str) -> Plain:
    keys: Plain = {}
    if record.flag("answer_has_range") and answer_type in RANGED_TYPES:
        bounds: Plain = {}
        for key in ("min", "max"):
            bound = record.text(f"answer_range_{key}")
            if bound is not None:
                bounds[key] = _bound(record, f"answer_range_{key}", bound.strip(), answer_type)
        keys |= {"answer_range": kept} if (kept := {k: v for k, v in bounds.items() if v is not None}) else {}
    if answer_type == "NUMBER" and record.raw.get("answer_allow_decimals") is False:
        record.take("answer_allow_decimals")
        keys["answer_allow_decimals"] = False
    country = record.text("answer_phone_default_country") if answer_type == "PHONE" else None
    if country is not None and re.fullmatch(r"[A-Za-z]{2}", country.strip()):
        keys["answer_phone_default_country"] = country.strip().upper()
    elif country is not None:
        record.note("lost", "answer_phone_default_country", "it is not a two-letter country code")
    return keys


def _bound(record: Record, field: str, bound: str, answer_type: str) -> object:
    if answer_type != "NUMBER":
        return bound
    number = parse_number(bound)
    if number is None:
        record.note("lost", field, "it is not a number")
    return number


def _options_from_variable(record: Record) -> Plain:
    source = record.reference("options_from_variable")
    value, title = record.text("option_from_variable_value"), record.text("option_from_variable_title")
    if source is None or (value is None and title is None):
        record.note("lost", "options_from_variable", "the variable, or the key of its values, is missing")
        return {}
    options: Plain = {"list": source, "value": (value or title or "").strip()}
    if value is not None and title is not None and title != value:
        options["title"] = title.strip()
    return {"options_from_variable": options}


def _options(record: Record, links: Links, kind: str, default: str | None) -> Plain:
    labels = record.texts("answer_options")
    targets = links.targets(record, len(labels))
    word = "Option" if kind == "menu" else "Button"
    options: dict[str, object] = {}
    for number, target in enumerate(targets, 1):
        label = (labels[number - 1] if number <= len(labels) else None) or ""
        if not label.strip():
            if target is None:
                continue
            label = f"{word} {number}"
            message = f"the label of this exit is not recorded: {label!r} is a placeholder; replace it"
            record.note("inferred", "answer_options", message)
        if label in options:
            record.note("lost", f"answer_options[{number - 1}]", "this option appears twice; the first one is kept")
            continue
        if target is None and default is not None and kind == "menu":
            target = default
            message = "it has no target, so it leads to next_step_default"
            record.note("inferred", f"next_steps_for_options[{number - 1}]", message)
        options[label] = target
    if options:
        return {"options": options}
    if kind == "menu":
        record.note("lost", "answer_options", "a menu needs options, but the record has none")
        return {"options": {f"{word} 1": default}}
    return {}
