"""What hashes in the broker tell of a market's series: written, read, and believed or not."""

from producers.live.known import Known, anchors, beginning_text, checkpoint_text, known
from shared.broker.keys import ASKED, RECORDED, STORED_AT
from tests.support.candles import BTC, JUNE_30, MINUTE

ANCHOR = "1719705600000-0:00c0ffee"


def read(checkpoint: str, stored: dict[str, str] | None = None, *, stands: bool = True) -> Known:
    return known(BTC.market, {BTC.field: checkpoint}, stored or {}, {ANCHOR} if stands else set(), "")


def test_a_checkpoint_is_believed_while_its_anchor_stands() -> None:
    text = checkpoint_text(JUNE_30 + MINUTE, ANCHOR, JUNE_30)
    assert anchors({BTC.field: text, "ETHUSDT@1m": beginning_text(JUNE_30), "listed-at 1/1": "17"}) == {ANCHOR}
    found = read(text)
    assert (found.checkpoints_ms, found.doubtful_ms) == ({BTC: JUNE_30 + MINUTE}, {})
    assert found.since_ms == {BTC: JUNE_30}
    assert not found.is_new(BTC)
    assert not found.needs_disk(BTC)


def test_a_checkpoint_whose_anchor_is_gone_needs_the_disk() -> None:
    text = checkpoint_text(JUNE_30 + MINUTE, ANCHOR, JUNE_30)
    found = read(text, stands=False)
    assert (found.checkpoints_ms, found.doubtful_ms) == ({}, {BTC: JUNE_30 + MINUTE})
    assert found.needs_disk(BTC)
    assert found.safe_ms(BTC) == JUNE_30, "nothing is on disk"
    stored = {BTC.field: str(JUNE_30 + 7), f"{RECORDED}{BTC.field}": "1", STORED_AT: "word", ASKED: "word"}
    found = read(text, stored, stands=False)
    assert found.safe_ms(BTC) == JUNE_30 + 7
    assert (found.recorded, found.asked, found.answered) == (frozenset({BTC}), "word", "word")


def test_an_end_is_believed_as_a_checkpoint_is() -> None:
    text = checkpoint_text(JUNE_30, ANCHOR, None, ended=True)
    assert read(text).ended == {BTC}
    assert read(text, stands=False).ended == frozenset()


def test_what_earlier_versions_wrote_is_read() -> None:
    assert read(str(JUNE_30)).checkpoints_ms == {BTC: JUNE_30}
    assert read(f"{JUNE_30} ended").ended == {BTC}
    assert read(f"{JUNE_30} began").began_ms == {BTC: JUNE_30}
    for nonsense in ("", " ", "began", "-5 published", "² published"):
        assert read(nonsense).checkpoints_ms == {}
