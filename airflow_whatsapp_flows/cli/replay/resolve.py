"""``whatsapp-flows replay resolve``: records the outcome of requests that may have been applied."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from pathlib import Path
from typing import Any

from airflow_whatsapp_flows.cli import REFUSED, USAGE
from airflow_whatsapp_flows.cli.ledger_access import open_ledger, user_name
from airflow_whatsapp_flows.errors import ReplayError, ResponseError
from airflow_whatsapp_flows.flow.storable import storable_text
from airflow_whatsapp_flows.flow.walk.response_text import parse_response
from airflow_whatsapp_flows.ledger.replays import Replay
from airflow_whatsapp_flows.ledger.resolve import Resolution, ResolveResult, ResolveSelection
from airflow_whatsapp_flows.ledger.resolve import resolve as settle
from airflow_whatsapp_flows.quantities import plural
from airflow_whatsapp_flows.replay.commands import replay_command
from airflow_whatsapp_flows.replay.status import get_replay


def resolve(options: argparse.Namespace) -> int:
    """Set the fate of the selected requests; return 0, or 1 if none was found."""
    problem = _misuse(options)
    if problem:
        print(problem, file=sys.stderr)
        return USAGE
    reply = _reply(options.reply) if options.reply else None
    finding = Resolution(sent=options.as_ == "sent", by=user_name(), reply=reply)
    which = ResolveSelection(
        response_id=options.response,
        step=options.step,
        visit=options.visit,
        fingerprint=options.fingerprint,
        handled=options.handled,
    )
    with open_ledger(options) as ledger:
        replay = get_replay(ledger, options.id)
        resolved = settle(ledger, replay, which, finding)
    if options.format == "json":
        print(json.dumps(_as_json(replay, resolved), ensure_ascii=False))
    else:
        print(_as_text(replay, resolved, options))
    return 0 if resolved.contacts else REFUSED


def _misuse(options: argparse.Namespace) -> str | None:
    if options.response is None and options.step is None and options.fingerprint is None:
        return "specify the requests: RESPONSE, --step NAME (and --visit N), or --fingerprint F"
    if options.visit is not None and options.step is None:
        return "--visit requires --step NAME"
    if options.reply is not None and options.as_ != "sent":
        return "--reply requires --as sent"
    return None


def _reply(path: Path) -> Any:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ReplayError(f"{path}: the reply cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ReplayError(f"{path}: the reply is not UTF-8") from None
    try:
        return parse_response(text)
    except ResponseError as error:
        if text.lstrip().startswith(("{", "[")):
            raise ReplayError(f"{path}: {error}") from None
        return storable_text(text)


def _as_json(replay: Replay, resolved: ResolveResult) -> dict[str, Any]:
    return {
        "replay_id": replay.id,
        "contacts": resolved.contacts,
        "requests": resolved.attempts,
        "elsewhere": resolved.elsewhere,
        "purged": resolved.purged,
    }


def _as_text(replay: Replay, resolved: ResolveResult, options: argparse.Namespace) -> str:
    lines = []

    def retry(words: str = "") -> str:
        given = [words] if words else []
        given += [f"--ledger {shlex.quote(options.ledger)}"] if options.ledger else []
        return f"`whatsapp-flows {replay_command('retry', replay.id, options=' '.join(given))}`"

    if resolved.contacts:
        pending = "1 contact is" if resolved.contacts == 1 else f"{plural(resolved.contacts, 'contact')} are"
        lines.append(f"{plural(resolved.attempts, 'request')} resolved: {options.as_}")
        lines.append(f"{pending} pending; {retry()} resumes them")
    if resolved.elsewhere:
        reasons = "; ".join(resolved.reasons) or "it has no requests in doubt in this replay"
        lines.append(f"{plural(resolved.elsewhere, 'contact')} not changed: {reasons}")
        lines.append(f"once it is resolved there, {retry('--state in_doubt')} resumes it here")
    if resolved.purged:
        lines.append(f"{plural(resolved.purged, 'contact')} not changed: the response has been purged")
    return "\n".join(lines) or _no_match_text(options)


def _no_match_text(options: argparse.Namespace) -> str:
    if options.handled:
        return "no handled error matches whose request the server may have applied; nothing was changed"
    return (
        "no in-doubt request matches; nothing was changed. For an error that an error exit handled although the "
        "server may have applied the request, such as a 504, add --handled"
    )
