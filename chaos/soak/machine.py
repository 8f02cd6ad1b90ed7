"""What a run ran on, as far as it matters to its figures: no names and no paths."""

import platform
from importlib.metadata import version
from typing import Any

import psutil
import pyarrow as pa


def machine(broker: Any) -> dict[str, str]:
    """Class of the machine, and versions; ``broker`` is a client."""
    server = broker.info("server")
    name = server.get("server_name", "redis")
    return {
        "processor": f"{psutil.cpu_count()} cores, {platform.machine()}",
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": platform.system(),
        "Python": platform.python_version(),
        "broker": f"{name} {server.get(f'{name}_version', server['redis_version'])}",
        "pyarrow": pa.__version__,
        "websockets": version("websockets"),
    }
