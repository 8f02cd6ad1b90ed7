"""The fuzzer: inputs come to named outcomes, to every one that matters, and a broken parser is caught."""

from collections.abc import Callable

import orjson
import pytest
from typer.testing import CliRunner

from chaos.__main__ import app
from chaos.fuzz.fuzzer import Fuzzer, Outcome
from chaos.fuzz.targets import UnnamedOutcomeError, check_item, reason_class
from producers.exchange.frames import Malformed, parse_frame
from shared.candle import Series
from shared.interval import Interval
from shared.market import Market
from shared.series_fact import FactKind, SeriesFact
from tests.support.candles import BTC, JUNE_30, make_candle

COUNT = 20_000


@pytest.fixture(scope="module")
def outcome() -> Outcome:
    return Fuzzer(1).run(COUNT)


def test_hostile_inputs_come_to_named_outcomes_only(outcome: Outcome) -> None:
    assert outcome.failures == []
    assert outcome.failed == 0


def test_memory_stays_where_it_was(outcome: Outcome) -> None:
    assert outcome.is_flat, f"{outcome.growth_mb:.1f} MB more"


def test_every_outcome_that_matters_occurs(outcome: Outcome) -> None:
    """What is refused is refused for every reason there is, and what is good is still taken."""
    assert sum(outcome.counts.values()) == COUNT
    assert set(EXPECTED) - set(outcome.counts) == set()
    assert not [name for name in outcome.counts if "another reason" in name[1]]


EXPECTED = [
    *(("frame", name) for name in ("candle", "open kline, unread", "open kline, decoded", "not a kline", "shutdown")),
    *(("frame", name) for name in ("control, accepted", "control, refused", "malformed: not JSON")),
    *(
        ("frame", f"malformed: {reason}")
        for reason in (
            *("not a JSON object", "holds no event", "holds no kline", "neither true nor false", "is not known"),
            *("neither an event nor an answer", "is not text", "is not allowed", "is not a time", "is not on the grid"),
            *("are not plain decimals", "is not a count"),
        )
    ),
    *(("entry", name) for name in ("candle", "fact")),
    *(
        ("entry", f"dead letter: {reason}")
        for reason in (
            *("is missing", "is not UTF-8", "is not a whole number", "is not known", "is not allowed", "is not text"),
            *("is not a time", "is not on the grid", "are not plain decimals", "is not a count", "is not a word"),
            *("is not one", "is not a line of up to"),
        )
    ),
    *(("answer", name) for name in ("page", "page, in doubt", "page, empty", "time", "listings", "first open time")),
    *(("answer", f"unavailable: {reason}") for reason in ("answers", "is no list", "no serverTime", "no symbols")),
    ("answer", "refused: code"),
    *(
        ("archive", name)
        for name in ("rows", "refused: no kline", "refused: files, not one", "refused: its compression")
    ),
    *(("archive", name) for name in ("refused: that can be read", "refused: unpacks to more")),
]


def test_an_input_is_made_from_the_seed_and_its_number_alone() -> None:
    one, again, other = Fuzzer(1), Fuzzer(1), Fuzzer(2)
    for number in reversed(range(500)):
        assert one._case(number)[:2] == again._case(number)[:2]
    assert [one._case(number)[1] for number in range(20)] != [other._case(number)[1] for number in range(20)]
    assert Fuzzer(1).run(10, first=5).counts == again.run(10, first=5).counts


# It bites


def trusting(frame: bytes, market: Market) -> str:
    """A parser that believes a kline's symbol and time."""
    match parse_frame(frame, market, 0):
        case Malformed(reason=reason) if "is not allowed" in reason or "is not on the grid" in reason:
            event = orjson.loads(frame)
            kline = event.get("data", event)["k"]
            check_item(make_candle(Series(market, kline["s"], Interval(kline["i"])), kline["t"]))
    return "taken"


def careless(frame: bytes, market: Market) -> str:
    """A parser that looks for keys without asking whether they are there."""
    if b'"k"' in frame and parse_frame(frame, market, 0).__class__ is not Malformed:
        return "taken"
    return str(orjson.loads(frame)["k"])[:0] or "taken"


@pytest.mark.parametrize(
    ("broken", "errors"),
    [
        (trusting, {"UNNAMED: MalformedCandleError"}),
        (careless, {"UNNAMED: KeyError", "UNNAMED: JSONDecodeError", "UNNAMED: TypeError"}),
    ],
)
def test_a_broken_parser_is_caught_and_its_inputs_are_named(
    broken: Callable[[bytes, Market], str], errors: set[str]
) -> None:
    outcome = Fuzzer(3, broken).run(3000)
    assert errors <= {name for target, name in outcome.counts if target == "frame"}
    assert outcome.failed >= len(outcome.failures) > 0
    again = Fuzzer(3, broken)
    for failure in outcome.failures:
        assert again.run(1, first=failure.number).failed == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"series": Series(Market.SPOT, "../../x", Interval.M1)},
        {"series": Series(Market.SPOT, "A" * 61, Interval.M1)},
        {"open_time_ms": JUNE_30 + 1},
        {"open_time_ms": 10**16},
        {"close": "NaN"},
        {"close": "1e400"},
        {"volume": "-1"},
        {"trade_num": -1},
        {"source": "a b"},
    ],
)
def test_a_candle_that_is_none_is_told_from_one(changes: dict[str, object]) -> None:
    check_item(make_candle())
    with pytest.raises((UnnamedOutcomeError, ValueError)):
        check_item(make_candle(**changes))  # type: ignore[arg-type]


def test_a_fact_that_is_none_is_told_from_one() -> None:
    check_item(SeriesFact(BTC, FactKind.BEGAN, 0, 0, 0))
    with pytest.raises((UnnamedOutcomeError, ValueError)):
        check_item(SeriesFact(BTC, FactKind.ABSENT, 60_000, 0, 0))


def test_a_reason_too_long_for_a_log_has_no_name() -> None:
    assert reason_class("open time 12 is not a time in milliseconds") == "is not a time"
    with pytest.raises(UnnamedOutcomeError):
        reason_class("a" * 2000)


def test_memory_that_grows_is_seen_and_a_single_peak_is_not_taken_for_it() -> None:
    flat, growing = Outcome(), Outcome()
    flat.memory_mb = [100.0 + (500.0 if number == 190 else number % 3) for number in range(200)]
    growing.memory_mb = [100.0 + number / 2 for number in range(200)]
    assert flat.is_flat
    assert not growing.is_flat


# The command


def test_the_command_ends_with_0_1_or_2() -> None:
    run = CliRunner().invoke
    fine = run(app, ["fuzz", "--count", "20", "--seed", "1"])
    assert fine.exit_code == 0, fine.output
    assert "unnamed outcomes: 0" in fine.output
    assert "memory: first" in fine.output
    assert run(app, ["fuzz", "--count", "0"]).exit_code == 2
    assert run(app, ["fuzz", "--seed", "x"]).exit_code == 2


def test_the_command_names_what_failed_and_how_to_make_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(_fields: object, _market: Market) -> str:
        raise KeyError("k")

    monkeypatch.setattr("chaos.fuzz.fuzzer.take", failing)
    failed = CliRunner().invoke(app, ["fuzz", "--count", "30", "--seed", "1"])
    assert failed.exit_code == 1
    assert "KeyError: 'k'" in failed.output
    assert "again: python -m chaos fuzz --seed 1 --first " in failed.output
