"""deploy/prometheus: rules of metrics that exist, and alerts that fire when they should and only then."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "deploy" / "prometheus"
RULES = ("recording.rules.yaml", "alerts.rules.yaml")
PROMTOOL = shutil.which("promtool")
METRIC = re.compile(r"(?<!:)\b(?:parley|gen_ai)_[a-z0-9_]+")
RECORDED = re.compile(r"\bjob[a-z_]*:[a-z0-9_]+:[a-z0-9_]+")


def rules() -> list[dict[str, str]]:
    groups = [group for name in RULES for group in yaml.safe_load((FOLDER / name).read_text("utf-8"))["groups"]]
    return [rule for group in groups for rule in group["rules"]]


def test_the_rules_are_of_metrics_that_exist() -> None:
    known = set(re.findall(r"^\| `([a-z0-9_]+)`", (ROOT / "docs" / "metrics.md").read_text("utf-8"), re.MULTILINE))
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    for rule in rules():
        for name in METRIC.findall(rule["expr"]):
            assert re.sub(r"_(bucket|sum|count)$", "", name) in known, f"{name}: {rule}"
        for name in RECORDED.findall(rule["expr"]):
            assert name in recorded, f"{name}: {rule}"


def test_every_alert_has_a_test() -> None:
    alerts = {rule["alert"] for rule in rules() if "alert" in rule}
    tests = yaml.safe_load((FOLDER / "tests" / "alerts.test.yaml").read_text("utf-8"))["tests"]
    fired = {case["alertname"] for test in tests for case in test.get("alert_rule_test", ()) if case.get("exp_alerts")}
    assert fired == alerts


@pytest.mark.skipif(PROMTOOL is None, reason="promtool (Debian: prometheus) is not installed")
@pytest.mark.parametrize(
    "command", [("check", "config", "prometheus.yaml"), ("test", "rules", "tests/alerts.test.yaml")], ids=" ".join
)
def test_promtool_is_content(command: tuple[str, ...]) -> None:
    assert PROMTOOL is not None
    done = subprocess.run((PROMTOOL, *command), cwd=FOLDER, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
