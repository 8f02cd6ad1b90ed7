"""What monitoring/ brings along is accepted by those who read it, and asks for nothing that is not there."""

import json
import re
import shutil
import subprocess

import pytest

from tests.support.prometheus import MONITORING, alert_names


@pytest.fixture
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool is not installed")
    return found


@pytest.mark.parametrize("question", [("check", "rules", "rules.yml"), ("test", "rules", "rules_test.yml")])
def test_promtool_accepts_the_rules_and_each_alert_fires_when_it_should(
    promtool: str, question: tuple[str, ...]
) -> None:
    done = subprocess.run([promtool, *question], cwd=MONITORING, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_test_and_every_figure_that_is_asked_for_exists() -> None:
    rules, tests = ((MONITORING / name).read_text() for name in ("rules.yml", "rules_test.yml"))
    fired = {part.split()[0] for part in tests.split("alertname: ")[1:] if "exp_labels" in part}
    assert alert_names(rules) == fired
    root = MONITORING.parent
    known = "".join((root / name / "figures.py").read_text() for name in ("producers", "consumer"))
    known += (root / "shared" / "metrics" / "server.py").read_text()
    dashboard = (MONITORING / "grafana" / "dashboards" / "candlewick.json").read_text()
    for name in set(re.findall(r"candlewick_(\w+?)(?:_total|_bucket)?\b", rules + dashboard)):
        assert f'"{name}"' in known, name


def test_the_dashboard_is_one_that_grafana_can_load() -> None:
    found = json.loads((MONITORING / "grafana" / "dashboards" / "candlewick.json").read_text())
    assert found["uid"] == "candlewick"
    places = [panel["gridPos"] for panel in found["panels"]]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    assert len({panel["id"] for panel in found["panels"]}) == len(places)
