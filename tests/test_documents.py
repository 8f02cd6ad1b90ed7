"""The documents say what is so: settings, failures with their tests, commands, containers."""

import re
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from candlewick.cli.main import command_line
from shared.settings.load import describe, load_settings
from tests.support.command_reference import command_reference

REPOSITORY = Path(__file__).parents[1]
DOCUMENTS = sorted([*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").glob("*.md")])


def test_every_setting_stands_in_the_settings_document_with_its_meaning() -> None:
    text = (REPOSITORY / "docs" / "settings.md").read_text()
    for name, _, meaning in describe(load_settings()):
        if name != "CANDLEWICK_RECORD":
            assert f"| {meaning} |" in text, name


def test_every_setting_reaches_the_containers() -> None:
    text = (REPOSITORY / "docker-compose.yml").read_text()
    for name, _, _ in describe(load_settings()):
        if name not in ("CANDLEWICK_DATA_FOLDER", "CANDLEWICK_EXCHANGE_SIMULATOR"):  # the compose file's own
            assert f"  {name}:" in text, name


def compose_services() -> dict[str, str]:
    text = (REPOSITORY / "docker-compose.yml").read_text()
    listed = text.partition("\nservices:\n")[2].partition("\nvolumes:\n")[0]
    services = re.split(r"^  (?=\S)", listed, flags=re.MULTILINE)[1:]
    assert len(services) >= 11
    return {service.partition(":")[0]: service for service in services}


def test_the_compose_file_is_yaml_and_all_that_a_service_waits_for_is_a_service() -> None:
    services = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())["services"]
    assert set(services) == set(compose_services())
    for name, service in services.items():
        assert set(service.get("depends_on", ())) <= set(services), name
        assert {"image", "cap_drop"} <= service.keys(), name
    assert services["watchdog"]["command"] == ["watchdog"]


def test_every_container_is_confined_and_opens_no_port_but_what_people_look_at_on_this_host() -> None:
    text = (REPOSITORY / "docker-compose.yml").read_text()
    assert "read_only: true\n  tmpfs: /tmp\n  cap_drop: [ALL]\n" in text
    for base in ("process", "broker"):
        assert f"x-{base}: &{base}\n  <<: *confined\n" in text
    for base in ("producer", "writer", "demo-producer"):
        assert f"x-{base}: &{base}\n  <<: *process\n" in text
    for service in compose_services().values():
        bases = "broker|process|producer|writer|demo-producer"
        is_monitoring = "profiles: [monitoring]" in service
        bases = "confined" if is_monitoring else bases
        assert re.search(rf"^    <<: \*({bases})$", service, re.MULTILINE), service
        ports = re.findall(r"ports: (.*)", service)
        assert all(re.fullmatch(r'\["127\.0\.0\.1:\d+:\d+"\]', port) for port in ports)
        assert bool(ports) == (is_monitoring or "command: [dashboard]" in service)
    assert "\nUSER candlewick\n" in (REPOSITORY / "Dockerfile").read_text()


def test_the_demonstration_and_what_is_real_share_no_folder_volume_or_broker() -> None:
    text = (REPOSITORY / "docker-compose.yml").read_text()
    bases = {name: text.partition(f"\nx-{name}:")[2].partition("\n\n")[0] for name in ("producer", "demo-producer")}
    mounts: dict[bool, set[str]] = {True: set(), False: set()}
    for name, service in compose_services().items():
        base = re.search(r"<<: \*(\S+)", service)
        assert base is not None, service
        whole = service + bases.get(base[1], "")
        is_demo = "profiles: [demo]" in whole
        assert is_demo == (name.startswith("demo") or name == "simulator")
        if is_demo and name not in ("demo-redis", "simulator"):
            assert "environment: *demo-settings" in whole
        mounts[is_demo] |= set(re.findall(r"^ +- (\S+):/(?:data|weight)(?::ro)?$", whole, re.MULTILINE))
    assert mounts == {False: {"broker", "weight", "./data"}, True: {"demo-broker", "demo-weight", "./demo-data"}}
    assert "x-demo-settings: &demo-settings\n  <<: *settings\n  CANDLEWICK_BROKER_URL: redis://demo-redis:" in text


def test_no_container_leaves_a_volume_without_a_name() -> None:
    assert "VOLUME" not in (REPOSITORY / "Dockerfile").read_text()
    for name in ("redis", "demo-redis"):  # whose image declares a volume at /data
        assert re.search(r"- \S*broker:/data$", compose_services()[name], re.MULTILINE)


def test_every_failure_names_a_test_that_exists() -> None:
    sources = "".join(path.read_text() for path in (REPOSITORY / "tests").rglob("test_*.py"))
    lines = (REPOSITORY / "docs" / "failures.md").read_text().splitlines()
    rows = [line for line in lines if line.startswith("|") and not line.startswith(("| what fails", "|---"))]
    assert len(rows) > 20
    for row in rows:
        cell = row.rstrip("| ").rpartition("|")[2]
        for name in re.findall(r"`(\w+)`", cell):
            assert re.search(rf"def test_\w*{name}\w*\(", sources), row


def test_the_command_reference_is_what_the_command_line_says() -> None:
    assert (REPOSITORY / "docs" / "commands.md").read_text() == command_reference(), "make docs"


def test_no_help_text_has_a_part_in_brackets_that_a_terminal_takes_for_markup_and_hides() -> None:
    assert re.findall(r"\[[a-z][^\]\n]*\](?!\()", command_reference()) == []


def test_the_table_of_decisions_names_files_that_exist_and_few_of_them() -> None:
    text = (REPOSITORY / "docs" / "design.md").read_text().partition("## Where is it decided")[2].partition("\n## ")[0]
    answers = [re.findall(r"[\w/]+\.py", row.split("|")[2]) for row in text.splitlines() if row.startswith("| ")][1:]
    assert len(answers) >= 20
    for file in (file for files in answers for file in files):
        assert (REPOSITORY / file).is_file(), file
    assert sum(map(len, answers)) / len(answers) <= 1.5


def test_sections_that_docstrings_name_exist() -> None:
    named = {
        match
        for room in ("shared", "producers", "consumer", "candlewick", "simulator", "chaos", "bench")
        for path in (REPOSITORY / room).rglob("*.py")
        for match in re.findall(r'(docs/\w+\.md), "([^"]+)"', path.read_text())
    }
    assert len(named) > 3
    for document, section in named:
        assert re.search(rf"^#+ {re.escape(section)}$", (REPOSITORY / document).read_text(), re.MULTILINE), section


def test_the_index_leads_to_every_document() -> None:
    docs = REPOSITORY / "docs"
    linked = set(re.findall(r"\]\(([\w-]+\.md)\)", (docs / "index.md").read_text()))
    assert linked == {path.name for path in docs.glob("*.md")} - {"index.md"}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text()):
        assert (document.parent / target).exists(), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_commands_that_documents_name_exist(document: Path) -> None:
    known: Any = getattr(typer.main.get_command(command_line()), "commands", {})
    for name in re.findall(r"`candlewick ([a-z-]+)", document.read_text()):
        assert name in known, name


def test_readme_s_pictures_are_there_and_fetch_nothing_from_elsewhere() -> None:
    named = set(re.findall(r"docs/pictures/[\w-]+\.svg", (REPOSITORY / "README.md").read_text()))
    assert {f"docs/pictures/{path.name}" for path in (REPOSITORY / "docs" / "pictures").iterdir()} == named
    for name in named:
        assert not re.search(r"(href|src)=\"http|url\(", (REPOSITORY / name).read_text().replace("url(#status", ""))
