"""The template language of hand-written DAGs: Airflow's own, plus the four scopes of a flow.

DAG authors write code anyway, so these templates can use Airflow's context. Values from XCom, a mapping, or an answer
are data: they are inserted into the request and never searched for placeholders.
"""

from __future__ import annotations

import datetime as dt
import decimal
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import jinja2
from airflow.sdk.definitions._internal.mixins import ResolveMixin

from airflow_whatsapp_flows.errors import MissingValueError, RenderError
from airflow_whatsapp_flows.flow.template.filters import text_of
from airflow_whatsapp_flows.flow.template.language import Data, TemplateFault, TreeFault, Value
from airflow_whatsapp_flows.flow.template.placeholders import find_placeholders
from airflow_whatsapp_flows.operators.dated_templates import hint_without_date

if TYPE_CHECKING:
    from airflow.sdk import Context

_MARKS = ("{{", "{%", "{#")


@dataclass(frozen=True, slots=True)
class AuthorTemplate:
    """A text by the DAG's author, rendered once per task.

    Attributes:
        text: the original text.
        environment: Airflow's, sandboxed, never native.
        context: Airflow's context.
    """

    text: str
    environment: jinja2.Environment
    context: Mapping[str, Any]

    def render(self, values: Mapping[str, object]) -> str:
        """See :class:`~airflow_whatsapp_flows.flow.template.language.Template`."""
        value = self.evaluate(values)
        return value if isinstance(value, str) else text_of(value)

    def evaluate(self, values: Mapping[str, object]) -> Value:
        """See :class:`~airflow_whatsapp_flows.flow.template.language.Template`."""
        names = {**self.context, **{scope: values[scope] for scope in values}}
        try:
            placeholders = list(find_placeholders(self.text, longest=len(self.text)))
            if len(placeholders) == 1 and placeholders[0].source == self.text.strip():
                program = self.environment.compile_expression(placeholders[0].expression, undefined_to_none=False)
                value = program(**names)
                if isinstance(value, jinja2.Undefined):
                    raise MissingValueError(f"{self.text} has no value{hint_without_date(self.text, self.context)}")
                return plain_data(value)
            return self.environment.from_string(self.text).render(names)
        except RenderError:
            raise
        except jinja2.UndefinedError as error:
            raise MissingValueError(
                f"{self.text}: {error.message}{hint_without_date(self.text, self.context)}"
            ) from None
        except Exception as error:  # an author's template may call anything
            raise RenderError(f"{self.text} cannot be rendered: {error}") from None


@dataclass(frozen=True, slots=True)
class AuthorLanguage:
    """Parses texts by the DAG's author.

    Attributes:
        environment: Airflow's, sandboxed, never native.
        context: Airflow's context.
    """

    environment: jinja2.Environment
    context: Mapping[str, Any]

    def parse(self, text: str) -> AuthorTemplate | str:
        """See :class:`~airflow_whatsapp_flows.flow.template.language.TemplateLanguage`."""
        if not any(mark in text for mark in _MARKS):
            return text
        try:
            self.environment.parse(text)
        except jinja2.TemplateSyntaxError as error:
            raise TemplateFault(f"not a template: {error.message}") from None
        return AuthorTemplate(text, self.environment, self.context)


def fields_first(environment: jinja2.Environment) -> jinja2.Environment:
    """An environment in which ``contact.items`` is the field named items, if it exists, instead of a method."""
    by_attribute = environment.getattr

    def getattr_(obj: Any, attribute: str) -> Any:
        return obj[attribute] if isinstance(obj, Mapping) and attribute in obj else by_attribute(obj, attribute)

    environment.getattr = getattr_  # type: ignore[method-assign]  # compiled templates ask their environment for it
    return environment


def resolve(value: Any, context: Mapping[str, Any]) -> Any:
    """Replace every XComArg in an argument with its value, as data; the author's own text is unchanged.

    Raises:
        TreeFault: a value is of a type that cannot be sent.
    """
    if isinstance(value, (Data, str, bool, int, float)) or value is None:
        return value
    if isinstance(value, ResolveMixin):
        return Data(plain_data(value.resolve(cast("Context", context))))
    if isinstance(value, Mapping):
        return {key: resolve(item, context) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [resolve(item, context) for item in value]
    return plain_data(value)


def plain_data(value: Any) -> Value:
    """Convert a value to JSON types: dates to ISO 8601 text, decimals to numbers, tuples and sets to lists.

    Raises:
        TreeFault: it is of another type.
    """
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): plain_data(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)) or type(value).__name__ == "LazyXComSequence":
        return [plain_data(item) for item in value]
    if isinstance(value, (dt.datetime, dt.date, dt.time)):
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    raise TreeFault(f"a value of type {type(value).__name__} cannot be sent; use text, numbers, lists or objects")
