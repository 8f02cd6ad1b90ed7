"""The Helm chart: its values are explained, Kubernetes takes what Helm makes of it, and its pods are confined."""

import functools
import json
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from shared.market import Market
from shared.settings.load import load_settings
from tests.support import helm
from tests.support.helm import CHART, Refused

REPOSITORY = Path(__file__).parents[1]
BROKER = {"url": "redis://redis:6379/0"}
PASSWORD = "p\"\\: '"

CASES: dict[str, dict[str, Any]] = {
    "least": {"broker": BROKER},
    "most": {
        "broker": {
            "url": "sentinel://one,two:26380/main/3",
            "username": "u",
            "password": PASSWORD,
            "sentinelPassword": "SENTINELS",
        },
        "image": {"tag": "2"},
        "imagePullSecrets": [{"name": "registry"}],
        "publicAddress": "node",
        "listen": "::",
        "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}],
        "extraVolumes": [{"name": "ca", "secret": {"secretName": "ca"}}],
        "extraVolumeMounts": [{"name": "ca", "mountPath": "/ca", "readOnly": True}],
        "podLabels": {"team": "data"},
        "podAnnotations": {"note": "one"},
        "nodeSelector": {"disk": "fast"},
        "tolerations": [{"operator": "Exists"}],
        "priorityClassName": "high",
        "producers": {"tag": "1", "spread": "DoNotSchedule", "markets": {"spot": {"replicas": 3}}},
        "writer": {"persistence": {"storageClass": "fast", "size": "1.5Ti"}},
        "dashboard": {"enabled": True, "names": ["candles.example.com"]},
        "watchdog": {"enabled": True, "urls": ["tgram://TOKEN/CHAT"]},
        "metrics": {"port": 9800, "podMonitor": {"enabled": True, "labels": {"release": "prometheus"}}},
        "networkPolicy": {
            "brokerTo": [{"podSelector": {"matchLabels": {"app": "redis"}}}],
            "extraEgress": [{"ports": [{"protocol": "TCP", "port": 3128}]}],
        },
    },
    "given": {
        "broker": {"url": "rediss://user@redis.example.com:6380/0?ssl_ca_certs=/ca/ca.crt", "existingSecret": "login"},
        "settings": "",
        "publicAddress": "",
        "producers": {"markets": {"coin_futures": {"enabled": False}}},
        "writer": {"persistence": {"existingClaim": "candles", "accessModes": ["ReadWriteMany"]}},
        "dashboard": {"enabled": True, "besideWriter": False},
        "watchdog": {"enabled": True, "existingSecret": "alarm"},
        "metrics": {"annotations": False},
        "networkPolicy": {"enabled": False},
    },
    "watchdog": {
        "broker": BROKER,
        "producers": {"markets": {market.value: {"enabled": False} for market in Market}},
        "writer": {"enabled": False},
        "watchdog": {"enabled": True, "existingSecret": "alarm"},
    },
}

needs_helm = pytest.mark.skipif(not helm.IS_THERE, reason="Helm is not installed")
every_case = pytest.mark.parametrize("case", CASES)


@functools.cache
def rendered(case: str) -> dict[tuple[str, str], dict[str, Any]]:
    """The objects of a case, by kind and name."""
    return {(found["kind"], found["metadata"]["name"]): found for found in helm.render(CASES[case])}


def pods(case: str) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """The name of each pod, its template, and its only container."""
    for (kind, name), found in rendered(case).items():
        if kind in ("Deployment", "StatefulSet"):
            template = found["spec"]["template"]
            (container,) = template["spec"]["containers"]
            yield name, template, container


def with_keys(values: Mapping[str, Any]) -> dict[str, Any]:
    """A case's values, filled up to those of the chart."""
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())

    def filled(ours: Any, given: Any) -> Any:
        if not (isinstance(ours, dict) and isinstance(given, dict)):
            return given
        return ours | {key: filled(ours.get(key), value) for key, value in given.items()}

    found: dict[str, Any] = filled(defaults, values)
    return found


def test_the_chart_installs_this_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert (chart["appVersion"], chart["description"]) == (project["version"], project["description"])


def test_every_value_is_explained_and_in_the_schema_and_the_schema_names_no_other() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    text = (CHART / "values.yaml").read_text()
    lines = text.splitlines()

    def compare(values: yaml.MappingNode, allowed: Mapping[str, Any]) -> None:
        if "$ref" in allowed:
            allowed = schema["definitions"][allowed["$ref"].rpartition("/")[2]]
        named = {key.value: (key.start_mark.line, value) for key, value in values.value}
        assert allowed["additionalProperties"] is False, named
        assert set(named) <= set(allowed["properties"]) <= set(named) | {"global", "claims"}, named
        for key, (line, value) in named.items():
            inner = allowed["properties"][key]
            has_parts = "properties" in inner or "$ref" in inner
            assert has_parts or lines[line - 1].lstrip().startswith("#"), key
            if has_parts:
                compare(value, inner)

    compare(yaml.compose(text), schema)


def test_its_settings_are_candlewick_s_own_and_record_every_market(tmp_path: Path) -> None:
    file = tmp_path / "candlewick.toml"
    file.write_text(with_keys({})["settings"])
    assert {group.market for group in load_settings(file).check_record().record} == set(Market)


@needs_helm
@every_case
def test_helm_finds_nothing_wrong(case: str) -> None:
    assert helm.lint(CASES[case]) == ""


@needs_helm
@every_case
@pytest.mark.parametrize("version", ["1.27", "1.37"])
def test_kubernetes_takes_every_object(case: str, version: str) -> None:
    schemas = pytest.importorskip("kubernetes_validate")
    for found in rendered(case).values():
        if found["kind"] != "PodMonitor":  # the Prometheus operator's
            schemas.validate(found, version, strict=True)


@needs_helm
@every_case
def test_every_pod_is_confined(case: str) -> None:
    for name, template, container in pods(case):
        spec = template["spec"]
        assert spec["automountServiceAccountToken"] is False, name
        assert spec["enableServiceLinks"] is False, name  # CANDLEWICK_DASHBOARD_PORT=tcp://… would be no setting
        assert spec["terminationGracePeriodSeconds"] >= 10, name
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["runAsUser"] == 10001, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, name
        assert set(container["resources"]) == {"requests", "limits"}, name
        volumes = {volume["name"] for volume in spec["volumes"]}
        assert volumes == {mount["name"] for mount in container["volumeMounts"]}, name
    assert "--uid 10001" in (REPOSITORY / "Dockerfile").read_text()


@needs_helm
@every_case
def test_every_pod_s_environment_is_made_of_settings(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "candlewick.toml"
    file.write_text(rendered(case)["ConfigMap", "candlewick"]["data"]["candlewick.toml"])
    for name, _, container in pods(case):
        with monkeypatch.context() as environment:
            for variable in container["env"]:
                value = variable.get("value") or ('["json://one"]' if variable["name"].endswith("URLS") else "node-1")
                environment.setenv(variable["name"], value)
            settings = load_settings(file)
        assert settings.broker.url == CASES[case]["broker"]["url"], name
        if "livenessProbe" not in container:
            assert container["args"] == ["watchdog"]
            continue
        role = container["args"][-1]
        role, port = ("writer", 0) if role == "write" else (role, settings.dashboard.port)
        port = port if role == "dashboard" else settings.metrics.port_of(role)
        assert container["ports"] == [{"name": "http", "containerPort": port}], name
        probes = [container[f"{probe}Probe"]["httpGet"] for probe in ("startup", "liveness", "readiness")]
        assert [(probe["path"], probe["port"]) for probe in probes] == [
            ("/healthz", "http"),
            ("/healthz", "http"),
            ("/readyz", "http"),
        ], name


@needs_helm
@every_case
def test_a_secret_is_in_secrets_alone(case: str) -> None:
    secrets = ["SENTINELS", "TOKEN", json.dumps(PASSWORD)[1:-1]]
    seen = {kind for (kind, _), found in rendered(case).items() if any(one in json.dumps(found) for one in secrets)}
    assert seen == ({"Secret"} if case == "most" else set())
    if case == "most":
        assert rendered(case)["Secret", "candlewick-broker"]["stringData"]["password"] == PASSWORD


@needs_helm
def test_a_market_has_a_deployment_that_can_be_left_out_and_a_budget_when_there_are_several_replicas() -> None:
    of = {
        "spot": "candlewick-spot",
        "usdt_futures": "candlewick-usdt-futures",
        "coin_futures": "candlewick-coin-futures",
    }
    for case in CASES:
        markets = with_keys(CASES[case])["producers"]["markets"]
        for market, name in of.items():
            found = rendered(case).get(("Deployment", name))
            assert (found is not None) == markets[market]["enabled"]
            assert (("PodDisruptionBudget", name) in rendered(case)) == (markets[market]["replicas"] > 1)
            if found is not None:
                assert found["spec"]["replicas"] == markets[market]["replicas"]
                assert found["spec"]["template"]["spec"]["containers"][0]["args"] == ["produce", market]


@needs_helm
def test_producers_can_be_held_back_while_the_writer_is_upgraded() -> None:
    before, after = (
        {
            (found["kind"], found["metadata"]["name"]): found["spec"]["template"]
            for found in helm.render({"broker": BROKER, **tags})
            if found["kind"] in ("Deployment", "StatefulSet")
        }
        for tags in ({"image": {"tag": "1"}}, {"image": {"tag": "2"}, "producers": {"tag": "1"}})
    )
    assert [name for name in before if before[name] != after[name]] == [("StatefulSet", "candlewick-writer")]


@needs_helm
def test_writer_and_dashboard_use_one_claim_which_outlives_the_release_or_is_given() -> None:
    claims = {case: {kind: name for kind, name in rendered(case) if "Claim" in kind} for case in CASES}
    made = {"PersistentVolumeClaim": "candlewick-data"}
    assert claims == {"least": made, "most": made, "given": {}, "watchdog": {}}
    kept = rendered("least")["PersistentVolumeClaim", "candlewick-data"]["metadata"]["annotations"]
    assert kept == {"helm.sh/resource-policy": "keep"}
    for case, claim in (("most", "candlewick-data"), ("given", "candles")):
        users = [
            (name, volume["persistentVolumeClaim"]["claimName"])
            for name, template, _ in pods(case)
            for volume in template["spec"]["volumes"]
            if "persistentVolumeClaim" in volume
        ]
        assert sorted(users) == [("candlewick-dashboard", claim), ("candlewick-writer", claim)]


@needs_helm
@pytest.mark.parametrize(
    ("url", "ports"),
    [
        ("redis://redis", [6379]),
        ("rediss://user@redis.example.com:6380/0?ssl_ca_certs=/ca:1/ca.crt", [6380]),
        ("redis://[fd00::1]:7000", [7000]),
        ("sentinel://one,two:26380,three/main/3", [26379, 26380, 6379]),
    ],
)
def test_the_network_policy_lets_out_to_the_broker_s_ports(url: str, ports: list[int]) -> None:
    (policy,) = (
        found
        for found in helm.render({"broker": {"url": url}})
        if (found["kind"], found["metadata"]["name"]) == ("NetworkPolicy", "candlewick")
    )
    assert [rule["port"] for rule in policy["spec"]["egress"][1]["ports"]] == ports


@needs_helm
@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({}, "broker.url is needed"),
        ({"broker": {"url": "redis://user:secret@redis"}}, "broker.url holds a password"),
        ({"broker": {"url": "unix:///run/redis"}}, "not match pattern"),
        ({"broker": BROKER, "producer": {}}, "producer'? (is )?not allowed"),
        ({"broker": BROKER, "watchdog": {"enabled": True}}, "nobody to tell"),
        ({"broker": BROKER, "writer": {"enabled": False}, "dashboard": {"enabled": True}}, "reads the writer's claim"),
        ({"broker": BROKER, "runAs": {"user": 0}}, "runAs.user"),
    ],
)
def test_what_could_not_work_is_refused_with_its_reason(values: dict[str, Any], why: str) -> None:
    with pytest.raises(Refused, match=why):
        helm.render(values)
