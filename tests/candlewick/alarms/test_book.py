"""When a trouble is told, and when its end."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from candlewick.alarms.book import AlarmBook, Message
from shared.settings.sections import AlarmSettings

BEGAN = datetime(2026, 11, 27, 7, 0, tzinfo=UTC)
SETTINGS = AlarmSettings(lasting_seconds=60, pause_seconds=100)


class Looks:
    """A book that is looked at as time goes on; what is to be sent is sent, unless the line is down."""

    def __init__(self, settings: AlarmSettings = SETTINGS) -> None:
        self.book = AlarmBook(settings, "here", BEGAN)
        self.got: list[Message] = []
        self.is_down = False

    def at(self, seconds: float, found: Mapping[str, str], *, is_blind: bool = False) -> Message | None:
        moment = BEGAN + timedelta(seconds=seconds)
        message = self.book.look(found, seconds, moment, lambda _: is_blind)
        if message is None:
            return None
        if self.is_down:
            self.book.failed(seconds)
            return None
        self.book.sent(seconds, moment)
        self.got.append(message)
        return message


@pytest.fixture
def looks() -> Looks:
    return Looks()


def test_a_trouble_that_lasts_is_told_once_and_its_end_once(looks: Looks) -> None:
    assert looks.at(0, {"spot:silent": "silent for 30 s"}) is None
    assert looks.at(59, {"spot:silent": "silent for 89 s"}) is None
    assert looks.at(60, {"spot:silent": "silent for 90 s"}) == Message(
        "Candlewick on here: 1 alarm", ("silent for 90 s",), is_well=False
    )
    for seconds in range(75, 3600, 15):
        assert looks.at(seconds, {"spot:silent": f"silent for {seconds} s"}) is None
    assert looks.at(3600, {}) is None
    assert looks.at(3645, {}) == Message(
        "Candlewick on here: all well", ("all clear: silent for 3585 s",), is_well=True
    )
    assert looks.at(9999, {}) is None


def test_what_comes_and_goes_in_a_moment_is_not_told_and_an_all_clear_waits_until_it_is_sure(looks: Looks) -> None:
    for seconds in range(0, 3600, 30):
        assert looks.at(seconds, {"a": "x"} if seconds % 60 else {}) is None
    looks.at(3600, {"a": "x"})
    assert looks.at(3660, {"a": "x"}) is not None
    for seconds in range(3690, 7200, 30):
        assert looks.at(seconds, {"a": "x"} if seconds % 60 else {}) is None, "it comes back: it has not ended"


def test_a_storm_is_one_message_and_what_comes_soon_after_waits_for_the_next(looks: Looks) -> None:
    storm = {f"key {number}": f"trouble {number}" for number in range(500)}
    looks.at(0, storm)
    message = looks.at(60, storm)
    assert message is not None
    assert (message.title, len(message.lines)) == ("Candlewick on here: 500 alarms", 500)
    more = storm | {"late": "one more"}
    assert looks.at(70, more) is None
    assert looks.at(131, more) is None, "the pause is not over"
    message = looks.at(161, more)
    assert message is not None
    assert (message.title, message.lines) == ("Candlewick on here: 501 alarms", ("one more",))


def test_a_message_that_nobody_took_is_told_again(looks: Looks) -> None:
    looks.at(0, {"a": "x"})
    looks.is_down = True
    for seconds in (60, 75, 90):
        looks.at(seconds, {"a": "x"})
    looks.is_down = False
    assert looks.at(105, {"a": "x"}) is None, "there is a pause between tries, too"
    assert looks.at(160, {"a": "x"}) is not None
    looks.is_down = True
    looks.at(300, {})
    looks.is_down = False
    message = looks.at(400, {})
    assert message is not None
    assert message.lines == ("all clear: x",)


def test_what_cannot_be_seen_stays_as_it_was(looks: Looks) -> None:
    looks.at(0, {"letters": "3 dead letters"})
    assert looks.at(60, {"letters": "3 dead letters"}) is not None
    assert looks.at(200, {"broker": "away"}, is_blind=True) is None
    message = looks.at(260, {"broker": "away"}, is_blind=True)
    assert message == Message("Candlewick on here: 2 alarms", ("away",), is_well=False)
    for seconds in range(300, 900, 15):
        assert looks.at(seconds, {"broker": "away"}, is_blind=True) is None
    message = looks.at(975, {"letters": "3 dead letters"})
    assert message == Message("Candlewick on here: 1 alarm", ("all clear: away",), is_well=False)


def test_what_was_seen_once_and_is_hidden_since_is_not_told(looks: Looks) -> None:
    looks.at(0, {"a": "x"})
    for seconds in range(15, 600, 15):
        assert looks.at(seconds, {}, is_blind=True) is None
    assert looks.at(600, {"a": "x"}) is not None


def test_a_daily_message_says_that_all_is_well_or_what_is_not() -> None:
    looks = Looks(AlarmSettings(lasting_seconds=60, pause_seconds=100, daily="08:00"))
    hour, day = 3600, 86_400
    assert looks.at(hour - 1, {}) is None
    assert looks.at(hour, {}) == Message("Candlewick on here: all well", ("all well",), is_well=True)
    assert looks.at(hour + 15, {}) is None
    looks.at(2 * hour, {"a": "x"})
    looks.at(3 * hour, {"a": "x"})
    message = looks.at(hour + day, {"a": "x for long"})
    assert message == Message("Candlewick on here: 1 alarm", ("still: x for long",), is_well=False)


@given(st.lists(st.sets(st.sampled_from("abc")), min_size=1, max_size=60))
def test_whatever_comes_and_goes_alarm_and_all_clear_alternate(story: list[set[str]]) -> None:
    looks = Looks(AlarmSettings(lasting_seconds=20, pause_seconds=15))
    for number, keys in enumerate(story):
        looks.at(10 * number, {key: key for key in keys})
    for key in "abc":
        told = [line for message in looks.got for line in message.lines if line in (key, f"all clear: {key}")]
        assert told == [key, f"all clear: {key}"] * (len(told) // 2) + [key] * (len(told) % 2)
