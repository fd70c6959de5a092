"""Decoder of stored records, with a bounded cache; a damaged record does not affect others.

Decoded values are immutable, so the encoded bytes are the cache key.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from typing import Final, Generic, TypeVar

from google.protobuf.message import Message

from bbs.models.errors import BBSError, ErrorType
from bbs.wire.mapping import decode, to_model

logger = logging.getLogger(__name__)

M = TypeVar("M")

DECODED: Final = 65536
"""Maximum cached records of each kind. Convergence reads all records: if they do not fit, each pass decodes
every record again and takes ten times as long (50 us for an instance)."""

DECODED_BYTES: Final = 32 << 20
"""Maximum encoded bytes of the cached records of each kind."""


class Decoder(Generic[M]):
    """Decodes the records of one kind. Thread-safe.

    message: type of the records.
    model: type of the values.
    """

    def __init__(self, message: type[Message], model: type[M], *, most_bytes: int = DECODED_BYTES) -> None:
        self._message = message
        self._model = model
        self._most_bytes = most_bytes
        self._kept: OrderedDict[bytes, M] = OrderedDict()
        self._mutex = threading.Lock()
        self.bytes = 0

    def __call__(self, record: bytes) -> M:
        """The value of a record. Raises BBSError Deserialize for a damaged one."""
        with self._mutex:
            known = self._kept.get(record)
            if known is not None:
                self._kept.move_to_end(record)
                return known
        try:
            value = to_model(decode(self._message, record), self._model)
        except BBSError as error:
            raise BBSError(ErrorType.Deserialize) from error
        with self._mutex:
            self._keep(record, value)
        return value

    def _keep(self, record: bytes, value: M) -> None:
        if record not in self._kept:
            self.bytes += len(record)
        self._kept[record] = value
        while self.bytes > self._most_bytes or len(self._kept) > DECODED:
            oldest, _ = self._kept.popitem(last=False)
            self.bytes -= len(oldest)

    def readable(self, name: str, record: bytes) -> list[M]:
        """The value as a list of one; a damaged record is logged and gives an empty list."""
        try:
            return [self(record)]
        except BBSError as error:
            self._log(name, error)
            return []

    def undamaged(self, name: str, record: bytes) -> bool:
        """Whether the record can be read; a damaged one is logged. Much cheaper than its value."""
        try:
            decode(self._message, record)
        except BBSError as error:
            self._log(name, error)
            return False
        return True

    def _log(self, name: str, error: BBSError) -> None:
        data = {"kind": self._model.__name__, "guid": name, "error": str(error)}
        logger.error("unreadable-record", extra={"data": data})
