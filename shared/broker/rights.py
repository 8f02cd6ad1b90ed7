"""What a broker's user has to be allowed: every command that Candlewick sends, and nothing else.

A test runs the whole pipeline and every command as a user with exactly these rights. A right that is missing ends the
process with exit code 2 and its name, but for the optional ones.
"""

COMMANDS = (
    *("del", "exists", "expire", "get", "hdel", "hget", "hgetall", "hincrby", "hkeys", "hmget", "hset"),
    *("hsetnx", "info", "ping", "scan", "set", "time", "multi", "exec", "discard", "watch", "unwatch"),
    *("xack", "xadd", "xautoclaim", "xdel", "xgroup|create", "xinfo|groups", "xinfo|stream", "xlen", "xpending"),
    *("xrange", "xread", "xreadgroup", "xrevrange", "xtrim"),
)
"""As an access control list names them, subcommands behind ``|``."""

CLUSTER = ("cluster|slots",)
"""On a Redis Cluster, besides."""

OPTIONAL = ("eval", "wait", "xgroup|delconsumer", "xgroup|setid", "xinfo|consumers")
"""Without these names of consumers that are gone stay, an entry that is no candle may become two dead letters,
``broker.replicas`` counts none, and ``replay --group`` moves no group."""


def access_rules(prefix: str) -> str:
    """What follows ``ACL SETUSER NAME on >PASSWORD`` for a user whose keys begin with a prefix."""
    return " ".join((f"~{prefix}:*", "resetchannels", "-@all", *(f"+{name}" for name in (*COMMANDS, *OPTIONAL))))
