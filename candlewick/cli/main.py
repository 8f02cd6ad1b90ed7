"""The ``candlewick`` command. Each command imports what it needs when it is called, so that help is quick."""

import io
import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import typer

from candlewick.cli import audit, exchange, exporting, following, history, processes, records, replaying, symbols
from candlewick.cli import dead_letters as letters
from candlewick.up.child import COMMAND, watch_supervisor
from shared.errors import CandlewickError
from shared.text import printable, without_passwords

app = typer.Typer(
    name="candlewick",
    help="Record every closed kline of Binance's spot and futures markets, once, into Parquet.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_UsageError: Any = typer.BadParameter.__base__  # Click's UsageError, which Typer carries but does not export

_PANELS: tuple[tuple[str, tuple[Callable[..., Any], ...]], ...] = (
    ("Record", processes.COMMANDS),
    (
        "Look at what was recorded",
        (
            records.ls,
            records.read,
            *following.COMMANDS,
            *audit.COMMANDS,
            *replaying.COMMANDS,
            *exporting.COMMANDS,
            records.compact,
        ),
    ),
    ("Mend", history.COMMANDS),
    ("Look at the exchange, or do without it", exchange.COMMANDS),
)
for panel, commands in _PANELS:
    for command in commands:
        app.command(rich_help_panel=panel, no_args_is_help=False)(command)
app.add_typer(symbols.app, name="symbols", rich_help_panel="Record")
app.add_typer(letters.app, name="dead-letters", rich_help_panel="Mend")


@app.callback(invoke_without_command=True)
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
    """Run the command line; a user's mistake is one line on standard error and exit code 2."""
    _speak_utf8()
    watch_supervisor()
    try:
        code = app(prog_name="candlewick", standalone_mode=False)
        sys.stdout.flush()
    except _UsageError as error:
        if not str(error):  # no command at all
            print(error.ctx.get_help() if error.ctx else "", file=sys.stderr)
        else:
            where = error.ctx.command_path if error.ctx else "candlewick"
            print(f"{where}: {' '.join(error.format_message().split())}", file=sys.stderr)
        sys.exit(2)
    except CandlewickError as error:
        print(f"candlewick: {printable(without_passwords(str(error)), None)}", file=sys.stderr)
        sys.exit(2)
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output has seen enough, as in `candlewick read … | head`
        sys.stderr.close()
        sys.exit(0)
    except OSError as error:  # a file or folder that is not what it should be
        print(f"candlewick: {error.filename or 'output'}: {error.strerror or error}", file=sys.stderr)
        sys.stderr.flush()
        os._exit(2)  # what is still buffered for an output that refuses would fail once more
    sys.exit(code if isinstance(code, int) else 0)
