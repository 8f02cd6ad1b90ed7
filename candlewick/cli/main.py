"""The ``candlewick`` command. Each command imports what it needs when it is called, so that help is quick."""

import contextlib
import io
import os
import sys
from importlib import import_module
from typing import Any, NoReturn

import typer

from candlewick.cli.plain_help import group
from candlewick.up.child import COMMAND, watch_supervisor
from shared.errors import CandlewickError
from shared.text import printable, without_passwords

os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # to look for them takes longer than to check settings

_UsageError: Any = typer.BadParameter.__base__  # Click's UsageError, which Typer carries but does not export

_SEEING, _MENDING, _EXCHANGE = "Look at what was recorded", "Mend", "Look at the exchange, or do without it"
_COMMANDS = (  # in the order of help: panel, module, commands
    ("Record", "processes", ("up", "down", "status", "settings", "produce", "write", "broker", "health", "watchdog")),
    ("Record", "starting", ("init",)),
    ("Record", "checking", ("check",)),
    ("Record", "symbols", ("symbols",)),
    ("Record", "alarming", ("alarm",)),
    (_SEEING, "records", ("ls", "read")),
    (_SEEING, "plotting", ("plot",)),
    (_SEEING, "looking", ("dashboard",)),
    (_SEEING, "following", ("follow", "wait")),
    (_SEEING, "audit", ("audit",)),
    (_SEEING, "replaying", ("replay",)),
    (_SEEING, "exporting", ("export",)),
    (_SEEING, "records", ("compact",)),
    (_SEEING, "sealing", ("seal", "verify")),
    (_MENDING, "history", ("backfill",)),
    (_MENDING, "dead_letters", ("dead-letters",)),
    (_EXCHANGE, "exchange", ("watch", "parse", "simulate", "demo")),
)


def command_line(only: str | None = None) -> typer.Typer:
    """All commands; or one of them alone, if there is one of that name: it starts twice as fast."""
    app = group("Record every closed kline of Binance's spot and futures markets, once, into Parquet.")
    app.callback(invoke_without_command=True)(_options)
    is_known = any(only in names for _, _, names in _COMMANDS)
    for panel, module_name, names in _COMMANDS:
        for name in names:
            if is_known and name != only:
                continue
            module = import_module(f"candlewick.cli.{module_name}")
            if hasattr(module, "app"):  # commands of its own
                app.add_typer(module.app, name=name, rich_help_panel=panel)
            else:
                app.command(name, rich_help_panel=panel, no_args_is_help=False)(getattr(module, name))
    return app


def _options(
    version: bool = typer.Option(False, "--version", help="Show the version and leave."),
) -> None:
    if version:
        from candlewick import __version__

        print(f"candlewick {__version__}")
        raise typer.Exit


def _speak_utf8() -> None:
    """Go on in Python's UTF-8 mode, whatever the locale: symbols are names of any script, in files and in output."""
    if not sys.flags.utf8_mode and sys.getfilesystemencoding() != "utf-8":
        os.execv(sys.executable, [*COMMAND, *sys.argv[1:]])  # noqa: S606 # this very command, and no shell
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.encoding != "utf-8":
            stream.reconfigure(encoding="utf-8")


def main() -> NoReturn:
    """Run the command line; a user's mistake is one line on standard error and exit code 2.

    What a command opened it has closed when it returns, so the process ends at once: to tidy up all that was imported
    would take the interpreter a tenth of a short command's time.
    """
    _speak_utf8()
    watch_supervisor()
    code = _run(sys.argv[1] if sys.argv[1:] else None)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # its reader has gone, or it is closed
            stream.flush()
    os._exit(code)


def _run(first: str | None) -> int:
    """Run the command that is named first on the command line; its exit code."""
    try:
        code = command_line(first)(prog_name="candlewick", standalone_mode=False)
        sys.stdout.flush()
    except _UsageError as error:
        if error.ctx is not None and str(error) == error.ctx.get_help():  # no command was named
            with contextlib.suppress(BrokenPipeError):
                print(error)
        else:
            where = error.ctx.command_path if error.ctx else "candlewick"
            print(f"{where}: {' '.join(error.format_message().split())}", file=sys.stderr)
        return 2
    except CandlewickError as error:
        print(f"candlewick: {printable(without_passwords(str(error)), None)}", file=sys.stderr)
        return 2
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except BrokenPipeError:  # the reader of our output has seen enough, as in `candlewick read … | head`
        return 0
    except OSError as error:  # a file or folder that is not what it should be
        print(f"candlewick: {error.filename or 'output'}: {error.strerror or error}", file=sys.stderr)
        return 2
    return code if isinstance(code, int) else 0
