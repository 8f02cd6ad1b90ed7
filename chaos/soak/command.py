"""A soak as a person starts it: a folder, a report, and nothing left of the data when all is well."""

import shutil
import signal
import sys
import time
from pathlib import Path

from chaos.soak.bounds import growth
from chaos.soak.plan import Plan
from chaos.soak.report import ZEROS, published_an_hour, report
from chaos.soak.run import Soaked, run
from chaos.soak.usage import Usage, usages
from chaos.soak.watch import samples_in
from chaos.whole.pipeline import ChaosError
from shared.process.stopping import StopRequests, stop_signals


def run_and_tell(plan: Plan, report_path: Path | None) -> bool:
    """Run it in a folder of its own below ``.chaos``, print the report; whether everything is as it should be.

    Ctrl-C and SIGTERM end the faults early: what has run by then is compared and reported. A second one ends at once.
    """
    if report_path is not None and not report_path.parent.is_dir():
        print(f"soak: there is no folder {report_path.parent} for the report", file=sys.stderr)
        return False
    folder = Path(".chaos") / f"soak-{plan.seed}-{time.strftime('%Y-%m-%dT%H-%M-%S')}"
    folder.mkdir(parents=True)
    requests = _stop_requests()
    print(f"soak: {plan.hours:g} hours from seed {plan.seed}, in {folder}", file=sys.stderr, flush=True)
    try:
        soaked = run(folder, plan, lambda: requests.asked)
    except (ChaosError, OSError) as error:
        print(f"soak: no result: {error}; the log of all processes is in {folder}", file=sys.stderr)
        return False
    except KeyboardInterrupt:
        print(f"soak: interrupted a second time; data and log are in {folder}", file=sys.stderr)
        return False
    found, troubles = judged(soaked, folder)
    text = report(soaked, found, troubles)
    for path in filter(None, (folder / "report.md", report_path)):
        path.write_text(text)
    print(text)
    if troubles:
        print(f"FAILED; the data, the samples and the log of all processes are in {folder}")
        return False
    for name in ("data", "broker", "weight"):
        shutil.rmtree(folder / name, ignore_errors=True)
    print(f"The report, the samples and the log are in {folder}")
    return True


def _stop_requests() -> StopRequests:
    requests = StopRequests()

    def ask(*_: object) -> None:
        if requests.ask() == "again":
            raise KeyboardInterrupt

    for number in stop_signals():
        signal.signal(number, ask)
    return requests


def judged(soaked: Soaked, folder: Path) -> tuple[list[Usage], list[str]]:
    """What each process has used, and everything that is not as it must be, a line each."""
    found = usages(samples_in(folder / "samples.jsonl"), soaked.seconds)
    outcome = soaked.outcome
    troubles = [
        *outcome.troubles,
        *(line for difference in outcome.differences for line in difference.lines()),
        *growth(found, soaked.seconds, published_an_hour(soaked)),
    ]
    if not outcome.differences:
        troubles.append(f"nothing was compared: {', '.join(ZEROS)} are not known")
    return found, troubles
