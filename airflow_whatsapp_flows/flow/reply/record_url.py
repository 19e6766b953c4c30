"""``record_url``: where a person finds what an action created, as a link for Airflow's pages.

Nothing is sent there. It's a template over the reply: a URL with a literal origin, whose placeholders are encoded, or
one placeholder whose value is the URL. Whatever the server answers, the link is an ``http`` or ``https`` URL, or none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote, unquote, urlsplit

from airflow_whatsapp_flows.errors import RenderError
from airflow_whatsapp_flows.flow.reply.result import RESULT_NAMES
from airflow_whatsapp_flows.flow.request.url import UrlPlan, parse_url
from airflow_whatsapp_flows.flow.secrets import HIDDEN
from airflow_whatsapp_flows.flow.template.caged import CagedLanguage
from airflow_whatsapp_flows.flow.template.language import Template, TemplateFault
from airflow_whatsapp_flows.flow.template.placeholders import Placeholder, find_placeholders

MAX_RECORD_URL = 2_000
"""Characters in a link; a browser opens more, and nobody has a record that needs them."""
_WEB = re.compile("https?://", re.IGNORECASE)
_FRAGMENT_SAFE = "%!$&'()*+,;=:@-._~/?"
_NO_LINK = re.compile(r"[^\x21-\x7e]|[\"<>\\^`{|}]")


@dataclass(frozen=True, slots=True)
class RecordUrl:
    """A parsed ``record_url``.

    Attributes:
        plan: of a URL with a literal origin.
        fragment: what follows its ``#``; ``None`` without one.
        whole: the placeholder whose value is the URL.
    """

    plan: UrlPlan | None = None
    fragment: Template | str | None = None
    whole: Template | None = None

    def build(self, result: Mapping[str, object]) -> str | None:
        """Return the link for one result; ``None`` if the reply gives none.

        Args:
            result: of an action, as plain data.
        """
        try:
            return _keep_web_address(self._render(result))
        except RenderError:
            return None

    def _render(self, result: Mapping[str, object]) -> str:
        if self.whole is not None:
            found = self.whole.evaluate(result)
            return found if isinstance(found, str) else ""
        url = self.plan.build(result) if self.plan else ""
        if self.fragment is None:
            return url
        text = self.fragment if isinstance(self.fragment, str) else self.fragment.render(result)
        return f"{url}#{quote(text, safe=_FRAGMENT_SAFE)}"


def parse_record_url(text: str) -> RecordUrl:
    """Parse a ``record_url``, whose placeholders may use what a ``success_when`` may.

    Raises:
        TemplateFault: it isn't a URL that starts with ``http://`` or ``https://``, nor a single placeholder, or a
            placeholder is not allowed.
    """
    language = CagedLanguage(names=RESULT_NAMES)
    placeholders = list(find_placeholders(text, language))
    if len(placeholders) == 1 and placeholders[0].source == text:
        whole = language.parse(text)
        return RecordUrl(whole=None if isinstance(whole, str) else whole)
    if not _WEB.match(text):
        raise TemplateFault(
            "write a URL that starts with https:// or http://, or one placeholder whose value is the whole URL"
        )
    at = _hash_outside(text, placeholders)
    before = text if at < 0 else text[:at]
    plan = parse_url(before, language, has_connection=False)
    if at < 0:
        return RecordUrl(plan)
    try:
        return RecordUrl(plan, language.parse(text[at + 1 :]))
    except TemplateFault as fault:
        raise TemplateFault(fault.message, at + 1 + fault.offset) from None


def _hash_outside(text: str, placeholders: Sequence[Placeholder]) -> int:
    """Position of the first ``#`` that isn't in a placeholder; -1 without one."""
    inside = {position for one in placeholders for position in range(one.start, one.end)}
    return next((found.start() for found in re.finditer("#", text) if found.start() not in inside), -1)


def _keep_web_address(url: str) -> str | None:
    if len(url) > MAX_RECORD_URL or not _WEB.match(url) or _NO_LINK.search(url) or HIDDEN in unquote(url):
        return None
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    return url if parts.hostname and "@" not in parts.netloc else None
