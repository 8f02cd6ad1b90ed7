"""Where the broker is, by the settings. Nothing here connects, or imports what connects."""

import hashlib
import os
from pathlib import Path
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from shared.errors import BrokerError
from shared.settings.model import Settings
from shared.settings.types import without_secrets

FIXED_OPTIONS = ("protocol", "decode_responses", "encoding")
"""Options that an address is not asked for: others would change what answers look like."""

_SUN_PATH_BYTES = 100  # a Unix socket's path holds 104 bytes on macOS, 108 on Linux


def embedded_folder(settings: Settings) -> Path:
    """Folder of the embedded broker's files."""
    return settings.data.folder / "broker"


def embedded_socket(settings: Settings) -> Path:
    """Unix socket of the embedded broker, in the broker's folder.

    Where that path is too long for a socket, it lies in the user's state folder, which nobody cleans, under a name made
    from the broker's folder. BrokerError when that is too long, too.
    """
    folder = embedded_folder(settings).resolve()
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "candlewick"
    for socket in (folder / "valkey.sock", state / f"{hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]}.sock"):
        if len(os.fsencode(socket)) <= _SUN_PATH_BYTES:
            return socket
    raise BrokerError(f"the paths of {folder} and {state} are too long for the embedded broker's socket")


def broker_url(settings: Settings) -> str:
    """The URL to connect to: the setting, or the embedded broker's socket."""
    if not settings.broker.url:
        return f"unix://{quote(str(embedded_socket(settings)))}"
    parts = urlsplit(settings.broker.url)
    options = [(name, value) for name, value in parse_qsl(parts.query) if name not in FIXED_OPTIONS]
    url = urlunsplit(parts._replace(scheme=parts.scheme.replace("valkey", "redis"), query=urlencode(options)))
    return url if parts.netloc else url.replace(":", "://", 1)  # urlunsplit leaves the slashes of an empty host out


def broker_name(settings: Settings) -> str:
    """The broker's address for people: no user, no password, no options."""
    if not settings.broker.url:
        return f"the embedded Valkey at {embedded_socket(settings)}"
    return without_secrets(settings.broker.url)
