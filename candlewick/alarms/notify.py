"""Messages to people, by Apprise (https://github.com/caronc/apprise), which knows more than a hundred services."""

import logging
import re
from collections.abc import Sequence
from typing import Any

from pydantic import SecretStr

from candlewick.alarms.book import Message
from shared.errors import SettingsError

log = logging.getLogger(__name__)


class Notifier:
    """All addresses of the settings. SettingsError names the one, by its number, that is none; none is ever shown."""

    def __init__(self, urls: Sequence[SecretStr]) -> None:
        try:
            import apprise
        except ModuleNotFoundError:
            raise SettingsError("alarm.urls needs the extra `alarm`: pip install 'candlewick[alarm]'") from None
        logging.getLogger("apprise").setLevel(logging.CRITICAL)  # it would log addresses, and so tokens
        self._services: list[apprise.Apprise] = []
        for number, url in enumerate(urls):
            service = apprise.Apprise()
            if not service.add(url.get_secret_value()):
                match = re.match(r"([A-Za-z0-9.+-]{1,20})://", url.get_secret_value())
                named = f"{match[1]}://…" if match else "what has no scheme:// in front"
                text = f"no service is known by {named}, or a part of the address is missing"
                raise SettingsError(f"alarm.urls.{number}: {text}")
            self._services.append(service)

    def send(self, message: Message) -> list[int]:
        """Send to every address; the numbers of those that did not take it, which the log names, too."""
        kind: Any = "success" if message.is_well else "failure"
        failed = []
        for number, service in enumerate(self._services):
            if not service.notify(body="\n".join(message.lines), title=message.title, notify_type=kind):
                failed.append(number)
        if failed:
            log.warning("alarm.urls.%s did not take a message", ", ".join(map(str, failed)))
        return failed
