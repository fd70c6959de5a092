"""Packet rules through the library behind ``nft``, in this process.

The program is slow to start and slower to exit: the kernel closes a netlink socket only after a grace
period for deleted objects, 10 ms and more. A context that stays open avoids both costs: a container's
change takes a fraction of a millisecond.
"""

from __future__ import annotations

import ctypes
import socket
import threading

from executor.errors import NetworkError

LIBRARY = "libnftables.so.1"

_NETLINK_NETFILTER = 12
_JSON, _NUMERIC = 1 << 4, 0b1111 << 7  # like `nft -j -n`: protocols, priorities, symbols and times as numbers

_ONE_AT_A_TIME = threading.Lock()
"""The library keeps some of its parser's state outside of contexts."""


class NftContext:
    """A context of the library. Calls block; use it from one thread at a time."""

    def __init__(self, library: str = LIBRARY, *, json: bool = False) -> None:
        """json: list in JSON, with numbers instead of names. Raises NetworkError."""
        _refuse_kernel_without_netfilter()
        try:
            found = ctypes.CDLL(library)
        except OSError as error:
            raise NetworkError(f"{error}; install the Debian package nftables") from error
        found.nft_ctx_new.restype = ctypes.c_void_p
        for name in ("nft_ctx_get_output_buffer", "nft_ctx_get_error_buffer"):
            getattr(found, name).restype = ctypes.c_char_p
        self._library = found
        self._context = ctypes.c_void_p(found.nft_ctx_new(ctypes.c_uint32(0)))
        found.nft_ctx_buffer_output(self._context)
        found.nft_ctx_buffer_error(self._context)
        if json:
            found.nft_ctx_output_set_flags(self._context, ctypes.c_uint(_JSON | _NUMERIC))

    @classmethod
    def in_json(cls) -> NftContext:
        """A context for machine-readable listings. Raises NetworkError."""
        return cls(json=True)

    def run(self, text: str) -> tuple[str | None, str]:
        """Run ``text`` as one transaction: the listing (None if refused), and the error messages."""
        with _ONE_AT_A_TIME:
            status = self._library.nft_run_cmd_from_buffer(self._context, text.encode())
            output: bytes = self._library.nft_ctx_get_output_buffer(self._context)
            complaint: bytes = self._library.nft_ctx_get_error_buffer(self._context)
        return None if status else output.decode(), complaint.decode(errors="replace").strip()

    def close(self) -> None:
        """Close the socket. Closing twice is allowed."""
        if self._context:
            with _ONE_AT_A_TIME:
                self._library.nft_ctx_free(self._context)
            self._context = ctypes.c_void_p()


def _refuse_kernel_without_netfilter() -> None:
    """Without netfilter the library would exit the process."""
    try:
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER).close()
    except OSError as error:
        raise NetworkError(f"this kernel has no netfilter: {error.strerror}") from error
