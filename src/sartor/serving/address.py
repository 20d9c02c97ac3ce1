"""Where a server listens: a socket on an address of this machine, and which names mean itself."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
from typing import Any

from sartor.errors import ServingError


def listen(host: str, port: int, api_key: str | None) -> socket.socket:
    """A socket bound to the address, or a ServingError that says why not.

    Costs nothing, so it can be tried before a model is loaded. Port 0 takes any free one.
    """
    refuse_blank(api_key)
    if not 0 <= port <= 65535:
        raise ServingError(f"port is {port}; a port is a number from 0 to 65535 (0: any free one).")
    family, kind, protocol, _, address = _found(host, port)
    if api_key is None and not is_local(host):
        raise ServingError(
            f"host {host!r} can be reached from other machines, and there is no API key: anyone "
            "could use the model and read its documents. Set the environment variable "
            "SARTOR_API_KEY to a long random text, or keep the host 127.0.0.1."
        )
    try:
        return _bound(socket.socket(family, kind, protocol), address)
    except OSError as error:
        raise ServingError(f"cannot listen on {host}:{port}: {_why(error, port)}") from error


def refuse_blank(api_key: str | None) -> None:
    """ServingError for a key that anyone could guess."""
    if api_key is not None and not api_key.strip():
        raise ServingError(
            "the API key is empty. Set SARTOR_API_KEY to a long random text, or unset it."
        )


def is_local(host: str) -> bool:
    """Whether the name or address means this machine, and no other can reach it there."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def url(listener: socket.socket) -> str:
    """Where it can be reached."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _found(host: str, port: int) -> Any:
    try:
        return socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError) as error:  # UnicodeError: no name could be like this
        why = getattr(error, "strerror", None) or error
        raise ServingError(
            f"cannot listen on {host}:{port}: no such host ({why}). Use 127.0.0.1, or an address "
            "of this machine."
        ) from error


def _bound(listener: socket.socket, address: tuple[Any, ...]) -> socket.socket:
    try:
        if os.name == "posix":  # elsewhere it would share the port instead of waiting it out
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen()
    except BaseException:
        listener.close()
        raise
    return listener


def _why(error: OSError, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"the port is in use. Stop what listens there, or choose another, such as {port + 1}."
        )
    if error.errno == errno.EACCES:
        return "not allowed. Choose a port above 1023."
    return f"{error.strerror}. Use 127.0.0.1, or an address of this machine."
