"""Size limits of a contact's values, checked before they are written."""

from __future__ import annotations

from collections.abc import Mapping

from airflow_whatsapp_flows.errors import RenderError


class Room:
    """The remainder of a limit that several values share.

    Args:
        size: the limit.
        reason: error message if it is exceeded; includes the limit.
        where: the location in the step, if the limit is for one location.
    """

    __slots__ = ("_reason", "_where", "left")

    def __init__(self, size: int, reason: str, where: str = "") -> None:
        self.left = size
        self._reason = reason
        self._where = where

    def take(self, size: int) -> None:
        """Deduct a size.

        Raises:
            RenderError: the limit is exceeded.
        """
        self.left -= size
        if self.left < 0:
            raise RenderError(self._reason, self._where)

    def check(self, size: int) -> None:
        """Check a size without deducting it.

        Raises:
            RenderError: the limit is exceeded.
        """
        if size > self.left:
            raise RenderError(self._reason, self._where)

    def take_value(self, value: object) -> None:
        """Deduct the minimum size of a value.

        Raises:
            RenderError: the limit is exceeded.
        """
        self.take(least_size(value, self.left))


def least_size(value: object, most: int) -> int:
    """Minimum number of characters of a value as JSON; stops counting at a maximum.

    A list may contain one long text a hundred times: its items are counted, not written.

    Args:
        value: plain data.
        most: stops counting above this; a larger result means a larger value.
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
