"""deploy/prometheus and deploy/grafana: of metrics that exist, and alerts that fire when they should and only then."""

import re
import shutil
import subprocess

import pytest
import yaml

from tests.support.prometheus import FOLDER, RULE_FILES, dashboard_queries, rules
from tests.support.servers import ROOT

PROMTOOL = shutil.which("promtool")
METRIC = re.compile(r"(?<!:)\b(?:parley|gen_ai)_[a-z0-9_]+")
RECORDED = re.compile(r"\bjob[a-z_]*:[a-z0-9_]+:[a-z0-9_]+")


def test_rules_and_dashboard_are_of_metrics_that_exist() -> None:
    known = set(re.findall(r"^\| `([a-z0-9_]+)`", (ROOT / "docs" / "metrics.md").read_text("utf-8"), re.MULTILINE))
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    for query in [rule["expr"] for rule in rules()] + dashboard_queries():
        for name in METRIC.findall(query):
            assert re.sub(r"_(bucket|sum|count)$", "", name) in known, f"{name}: {query}"
        for name in RECORDED.findall(query):
            assert name in recorded, f"{name}: {query}"


def test_every_alert_has_a_test_where_it_fires_and_one_where_it_does_not() -> None:
    alerts = {rule["alert"] for rule in rules() if "alert" in rule}
    tests = yaml.safe_load((FOLDER / "tests" / "alerts.test.yaml").read_text("utf-8"))["tests"]
    cases = [case for test in tests for case in test.get("alert_rule_test", ())]
    assert {case["alertname"] for case in cases if case.get("exp_alerts")} == alerts
    assert {case["alertname"] for case in cases if not case.get("exp_alerts")} == alerts


def test_every_alert_says_what_to_do_about_it() -> None:
    page = (ROOT / "docs" / "operations.md").read_text("utf-8")
    headings = {heading.lower() for heading in re.findall(r"^### `(\w+)`", page, re.MULTILINE)}
    for rule in rules():
        if "alert" in rule:
            place, _, heading = rule["annotations"]["runbook"].partition("#")
            assert (place, heading in headings) == ("docs/operations.md", True), rule["alert"]


@pytest.mark.skipif(PROMTOOL is None, reason="promtool (Debian: prometheus) is not installed")
@pytest.mark.parametrize(
    "command",
    [
        ("check", "config", "prometheus.yaml"),
        ("check", "rules", *RULE_FILES),
        ("test", "rules", "tests/alerts.test.yaml"),
    ],
    ids=" ".join,
)
def test_promtool_is_content(command: tuple[str, ...]) -> None:
    assert PROMTOOL is not None
    done = subprocess.run((PROMTOOL, *command), cwd=FOLDER, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
