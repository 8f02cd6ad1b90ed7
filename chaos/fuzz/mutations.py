"""Mutations: well-formed input in, hostile input out, all of it decided by the random numbers handed in.

Three kinds: on bytes, whatever they mean; on JSON text, where one value, found by its place in the text, is replaced by
one of another type or size; on the fields of a stream entry. Most of what comes out is close to what went in, since
what is far away is refused by the first check that looks at it.
"""

import io
import random
import re
import zipfile
from collections.abc import Callable, Sequence
from functools import lru_cache

from chaos.fuzz.corpora import Fields, zipped

_VALUE = re.compile(rb'"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?|true|false|null|[\[{]')
_RARE = 2000  # one in so many values is replaced by megabytes

NUMBERS = (
    *(b"0", b"-0", b"-1", b"0.0", b"1.5", b"1e5", b"1e400", b"-1e400", b"1e-400", b"1e300", b"NaN", b"Infinity"),
    *(b"-Infinity", b"9007199254740993", b"9223372036854775807", b"9223372036854775808", b"18446744073709551616"),
    *(b"7258118400000", b"7258118399999", b"1719705600001", b"1719705600", b"1719705600000000", b"253402300800000"),
    *(b"00012", b"0x10", b"1_000", b"+1", b".5", b"5.", b"1,5", b"9" * 31, b"9" * 30 + b"." + b"9" * 30),
    b"9" * 5000,
)
TEXTS = (
    *(b"", b" ", b".", b"..", b"../../x", b"../../../../../../tmp/x", b"/etc/passwd", b"C:\\x", b"\\\\host\\x", b"a/b"),
    *(b"BTC/USDT", b"BTCUSDT\n", b"BTCUSDT ", b"btcusdt", b"BTC\x00USDT", b"\x00", b"%2e%2e%2fx", b"symbol=X", b"~"),
    *(b"A" * 60, b"A" * 61, b"A" * 5000, b"-", b"_", b"CON", b"1m", b"1M", b"1mo", b"2m", b"None", b"absent", b"began"),
    *(
        text.encode()
        for text in ("币" * 60, "𠀀" * 60, "𠀀" * 61, "İ", "ſ", "ß", "Ⅷ", "²", "١٢٣", "１２３", "é", "e\u0301")
    ),
    *(text.encode() for text in ("\u202eTDSU", "\u200bBTC", "\ufeffBTC", "\u2028", "\u2044", "\uff0f", "\u2024\u2024")),
    *(b"\xff\xfe", b"\xc0\xae\xc0\xae\xc0\xaf", b"\xed\xa0\x80", b"\x80"),  # not UTF-8, overlong, a surrogate
)
_ESCAPES = (b'"\\ud800"', b'"\\u0000"', b'"\\u002e\\u002e\\u002f"', b'"\\x"', b'"\\u202e"', b'"\\ud83d\\ude00"')
_CONTAINERS = (b"null", b"true", b"false", b"{}", b"[]", b"[[]]", b'{"a":1}', b"[null]", b'["1"]', b"[1,2,3]")
_DEPTHS = (3, 100, 900, 990, 1000, 1010, 1020, 1023, 1024, 1025, 5000)
_DEEPEST = 100_000


def mutated_bytes(rng: random.Random, content: bytes, others: Sequence[bytes]) -> bytes:
    """Bytes after one to three changes that know nothing of what they mean."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        content = rng.choice(_ON_BYTES)(rng, content, others)
    return content


def mutated_json(rng: random.Random, content: bytes, others: Sequence[bytes]) -> bytes:
    """JSON text after one or two of its values were replaced, doubled or removed; sometimes bytes besides."""
    for _ in range(rng.choice((1, 1, 2))):
        content = _value_changed(rng, content)
    return mutated_bytes(rng, content, others) if rng.random() < 0.1 else content


def mutated_fields(rng: random.Random, fields: Fields, others: Sequence[Fields]) -> Fields:
    """The fields of an entry after one or two changes to a name or a value."""
    fields = dict(fields)
    for _ in range(rng.choice((1, 1, 2))):
        name = rng.choice(tuple(fields) or (b"symbol",))
        match rng.randrange(20):
            case 0:
                fields.pop(name, None)
            case 1:
                fields[_raw_value(rng)] = fields.pop(name, b"")
            case 2 | 3 | 4 | 5:
                fields[name] = mutated_bytes(rng, fields.get(name, b""), (b"1", b"a"))
            case 6:
                fields |= rng.choice(others)
            case 7:
                fields[b"note"] = rng.choice((b"began", b"absent", b"ended", b"", b"x"))
            case _:
                fields[name] = _raw_value(rng)
    return fields


def mutated_zip(rng: random.Random, content: bytes, others: Sequence[bytes]) -> bytes:
    """A zip whose bytes, member or number of members changed."""
    match rng.randrange(8):
        case 0:
            return mutated_bytes(rng, content, others)
        case 1:
            return zipped(_csv(content), b"")
        case 2:
            return zipped()
        case 3:
            return zipped(_csv(content), method=zipfile.ZIP_BZIP2)
        case 4:
            return zipped(b"1" * rng.choice((100, 100_000, 3_000_000)))
        case _:
            lines = _csv(content).split(b"\n")
            at = rng.randrange(len(lines))
            cells = lines[at].split(b",")
            cells[rng.randrange(len(cells))] = _raw_value(rng)
            lines[at] = b",".join(cells)
            text = b"\n".join(lines)
            return zipped(mutated_bytes(rng, text, (text,)) if rng.random() < 0.3 else text)


@lru_cache(maxsize=16)
def _csv(content: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return archive.read(archive.namelist()[0])


def _raw_value(rng: random.Random) -> bytes:
    if rng.randrange(_RARE) == 0:
        return rng.choice((b"9", b"A", b"\xe5\xb8\x81")) * rng.randrange(2**20)
    return rng.choice(NUMBERS) if rng.random() < 0.5 else rng.choice(TEXTS)


def _json_value(rng: random.Random) -> bytes:  # noqa: PLR0911 # a table of choices
    """One value in JSON's spelling, though not all of them are JSON."""
    match rng.randrange(10):
        case 0 | 1:
            return rng.choice(NUMBERS)
        case 2:
            return b'"' + rng.choice(NUMBERS) + b'"'
        case 3 | 4:
            return b'"' + rng.choice(TEXTS).replace(b"\\", b"\\\\").replace(b"\n", b"\\n") + b'"'
        case 5:
            return rng.choice(_ESCAPES)
        case 6:
            return _nested(rng)
        case 7 if rng.randrange(_RARE // 10) == 0:
            return b'"' + rng.choice((b"9", b"A", b"\xe5\xb8\x81")) * rng.randrange(2**20) + b'"'
        case _:
            return rng.choice(_CONTAINERS)


def _nested(rng: random.Random) -> bytes:
    depth = _DEEPEST if rng.randrange(100) == 0 else rng.choice(_DEPTHS)
    if rng.random() < 0.3:
        return b'{"a":' * depth + b"1" + b"}" * depth
    return b"[" * depth + b"]" * rng.choice((depth, depth, 0))


def _spans(content: bytes) -> Sequence[tuple[int, int]]:
    """Where each name and value of a JSON text begins and ends, whole lists and objects among them."""
    spans, opened, at = [], [], 0
    tokens = re.compile(rb"[\]}]|" + _VALUE.pattern)
    while (found := tokens.search(content, at)) is not None:
        begin, at = found.span()
        if content[begin] in b"[{":
            opened.append(begin)
        elif content[begin] in b"]}":
            if opened:
                spans.append((opened.pop(), at))
        else:
            spans.append((begin, at))
    return spans or ((0, len(content)),)


def _value_changed(rng: random.Random, content: bytes) -> bytes:  # noqa: PLR0911 # a table of choices
    if len(content) > 10_000:
        return content  # it is hostile enough, and looking through it would take the time of many others
    begin, end = rng.choice(_spans(content))
    before, value, after = content[:begin], content[begin:end], content[end:]
    match rng.randrange(12):
        case 0:
            return before + after.lstrip(b":,")
        case 1:  # its key doubled, where it is a key
            return before + value + b":" + _json_value(rng) + b"," + value + after
        case 2:
            return before + value + b"," + value + after
        case 3 if value[:1] == b'"':
            return before + value[1:-1] + after
        case 3:
            return before + b'"' + value + b'"' + after
        case 4:
            return before + b"[" + value + b"]" + after
        case 5:
            other_begin, other_end = rng.choice(_spans(content))
            return before + content[other_begin:other_end] + after
        case _:
            return before + _json_value(rng) + after


def _place(rng: random.Random, content: bytes) -> tuple[int, int]:
    begin = rng.randrange(len(content) + 1)
    return begin, min(len(content), begin + rng.choice((1, 1, 2, 4, 16, 100)))


def _flip(rng: random.Random, content: bytes, _: Sequence[bytes]) -> bytes:
    if not content:
        return b"\x00"
    at = rng.randrange(len(content))
    return content[:at] + bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1 :]


def _insert(rng: random.Random, content: bytes, _: Sequence[bytes]) -> bytes:
    at, _end = _place(rng, content)
    new = rng.choice((b'"', b"{", b"}", b"[", b"]", b",", b":", b"\\", b"\x00", b"\xff", b"\xef\xbb\xbf", b"\n"))
    return content[:at] + (new if rng.random() < 0.7 else rng.randbytes(rng.randrange(1, 9))) + content[at:]


def _delete(rng: random.Random, content: bytes, _: Sequence[bytes]) -> bytes:
    begin, end = _place(rng, content)
    return content[:begin] + content[end:]


def _duplicate(rng: random.Random, content: bytes, _: Sequence[bytes]) -> bytes:
    begin, end = _place(rng, content)
    return content[:end] + content[begin:end] * rng.choice((1, 1, 2, 50)) + content[end:]


def _truncate(rng: random.Random, content: bytes, _: Sequence[bytes]) -> bytes:
    return content[: rng.randrange(len(content) + 1)]


def _splice(rng: random.Random, content: bytes, others: Sequence[bytes]) -> bytes:
    other = rng.choice(others)
    return content[: rng.randrange(len(content) + 1)] + other[rng.randrange(len(other) + 1) :]


def _recode(rng: random.Random, content: bytes, _: Sequence[bytes]) -> bytes:
    """The same text in an encoding that nobody expects; megabytes stay as they are."""
    if len(content) > 100_000:
        return content
    text = content.decode(errors="replace")
    return text.encode(rng.choice(("utf-16", "utf-32-le", "utf-8-sig", "utf-7", "latin-1", "gbk")), "replace")


def _renumber(rng: random.Random, content: bytes, _: Sequence[bytes]) -> bytes:
    numbers = list(re.finditer(rb"\d+(?:\.\d+)?", content[:10_000]))
    if not numbers:
        return content
    begin, end = rng.choice(numbers).span()
    return content[:begin] + rng.choice(NUMBERS) + content[end:]


_ON_BYTES: Sequence[Callable[[random.Random, bytes, Sequence[bytes]], bytes]] = (
    *(_flip, _flip, _insert, _delete, _duplicate, _truncate, _splice, _recode, _renumber, _renumber),
)
