"""Decoding of stored records: each once, within a bound of bytes, and a damaged one harms no other.

A record read twice is decoded once: values are immutable, so the bytes themselves are the cache key.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from typing import Final, Generic, TypeVar

from google.protobuf.message import Message

from bbs.models.errors import BBSError, ErrorType
from bbs.wire.mapping import decode, to_model

logger = logging.getLogger(__name__)

M = TypeVar("M")

DECODED: Final = 65536
"""Records of each kind kept decoded. Convergence looks at all of them: where they do not fit, a pass
decodes each one anew and takes ten times as long (50 us for an instance)."""

DECODED_BYTES: Final = 32 << 20
"""Of the records of each kind kept decoded, in their encoded form."""


class Decoder(Generic[M]):
    """Decodes the records of one kind. Used by one thread at a time.

    message: of the records. model: of the values.
    """

    def __init__(self, message: type[Message], model: type[M], *, most_bytes: int = DECODED_BYTES) -> None:
        self._message = message
        self._model = model
        self._most_bytes = most_bytes
        self._kept: OrderedDict[bytes, M] = OrderedDict()
        self.bytes = 0

    def __call__(self, record: bytes) -> M:
        """The value of a record. Raises BBSError Deserialize for a damaged one."""
        known = self._kept.get(record)
        if known is not None:
            self._kept.move_to_end(record)
            return known
        try:
            value = to_model(decode(self._message, record), self._model)
        except BBSError as error:
            raise BBSError(ErrorType.Deserialize) from error
        self._kept[record] = value
        self.bytes += len(record)
        while self.bytes > self._most_bytes or len(self._kept) > DECODED:
            oldest, _ = self._kept.popitem(last=False)
            self.bytes -= len(oldest)
        return value

    def readable(self, name: str, record: bytes) -> list[M]:
        """The value of a record as a list, for a list of many: empty for a damaged one, which is logged."""
        try:
            return [self(record)]
        except BBSError as error:
            data = {"kind": self._model.__name__, "guid": name, "error": str(error)}
            logger.error("unreadable-record", extra={"data": data})
            return []
