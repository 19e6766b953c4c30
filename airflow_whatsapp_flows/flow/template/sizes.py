"""How much room a contact's values may take, asked before they are written."""

from __future__ import annotations

from collections.abc import Mapping

from airflow_whatsapp_flows.errors import RenderError


class Room:
    """What is left of a limit that several values share.

    Args:
        size: the limit.
        reason: what is wrong when it is passed; says the limit.
        where: the place in the step, where one room is one place.
    """

    __slots__ = ("_reason", "_where", "left")

    def __init__(self, size: int, reason: str, where: str = "") -> None:
        self.left = size
        self._reason = reason
        self._where = where

    def take(self, size: int) -> None:
        """Take some of it.

        Raises:
            RenderError: there is less.
        """
        self.left -= size
        if self.left < 0:
            raise RenderError(self._reason, self._where)

    def check(self, size: int) -> None:
        """Ask for some of it without taking it.

        Raises:
            RenderError: there is less.
        """
        if size > self.left:
            raise RenderError(self._reason, self._where)

    def take_value(self, value: object) -> None:
        """Take what a value needs at least.

        Raises:
            RenderError: there is less.
        """
        self.take(least_size(value, self.left))


def least_size(value: object, most: int) -> int:
    """Characters that a value has at least as JSON, counted no further than to one size.

    A list may name one long text a hundred times: its items are counted, not written.

    Args:
        value: plain data.
        most: where to stop; the result is larger when the value is.
    """
    if isinstance(value, str):
        return len(value)
    size = 0
    waiting: list[object] = [value]
    while waiting and size <= most:
        item = waiting.pop()
        if isinstance(item, str):
            size += len(item) + 2
        elif isinstance(item, (list, tuple)):
            size += len(item) + 1
            if size <= most:
                waiting.extend(item)
        elif isinstance(item, Mapping):
            size += 4 * len(item) + 1
            if size <= most:
                size += sum(len(key) for key in item if isinstance(key, str))
                waiting.extend(item.values())
        elif isinstance(item, int):
            size += max(1, item.bit_length() * 3 // 10)  # a digit holds a little more than 10/3 bits
        else:
            size += 1
    return size
