"""The broker: whether it answers, keeps what it takes, and has room."""

from collections.abc import Iterator, Mapping
from typing import Any

from redis.exceptions import RedisError

from candlewick.checks.finding import Finding, Level, bad, doubtful, well
from candlewick.up import embedded
from shared.broker.address import broker_name
from shared.broker.client import check_server, fatal_answer, server_info, sync_client
from shared.broker.keys import Keys
from shared.errors import BrokerError
from shared.market import Market
from shared.settings.model import Settings

_FULL, _NEARLY_FULL = 0.95, 0.8


def check_broker(settings: Settings) -> Iterator[Finding]:
    """The broker that the settings name, or the embedded one."""
    if not settings.broker.url:
        try:
            runs = embedded.is_running(settings)
        except (BrokerError, OSError) as error:
            yield bad("broker", str(error), "the embedded broker needs a folder of its own below data.folder")
            return
        if not runs:
            yield well("broker", "the embedded Valkey: `candlewick up` starts it")
            return
    client, name = sync_client(settings), broker_name(settings)
    try:
        keys = Keys(settings.broker.prefix)
        infos = [server_info(client, keys.candles(market)) for market in Market]
        for info in infos:
            check_server(info, name)
    except (RedisError, OSError) as error:
        fatal = fatal_answer(error, settings) if isinstance(error, RedisError) else None
        remedy = "start it, or correct broker.url, broker.username and CANDLEWICK_BROKER_PASSWORD"
        yield bad("broker", str(fatal) if fatal else f"{name} does not answer: {error}", remedy)
        return
    except BrokerError as error:
        yield bad("broker", str(error), 'docs/running.md, "A broker of your own"')
        return
    finally:
        client.close()
    info = infos[0]
    version = info.get("valkey_version") or info.get("redis_version")
    yield well("broker", f"{name} answers, version {version}, and evicts nothing")
    for judge in (_persistence, _memory):  # of a cluster each market may be on a server of its own
        yield max(map(judge, infos), key=lambda finding: list(Level).index(finding.level))


def _persistence(info: Mapping[str, Any]) -> Finding:
    if not info.get("aof_enabled"):
        remedy = "appendonly yes, appendfsync always: else what is not stored yet is lost with its power"
        return doubtful("broker's disk", "it keeps no log of what it takes", remedy)
    if info.get("aof_last_write_status", "ok") != "ok":
        return bad("broker's disk", "its log could not be written", "make room on its disk")
    return well("broker's disk", "it logs what it takes")


def _memory(info: Mapping[str, Any]) -> Finding:
    used, most = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
    bound = most or int(info.get("total_system_memory", 0))
    text = f"{used / 1e6:,.0f} MB of {bound / 1e6:,.0f} MB in use"
    remedy = "raise its maxmemory, or keep less: broker.retention_days"
    if bound and used > _FULL * bound:
        return bad("broker's memory", text, remedy)
    if bound and used > _NEARLY_FULL * bound:
        return doubtful("broker's memory", text, remedy)
    return well("broker's memory", text)
