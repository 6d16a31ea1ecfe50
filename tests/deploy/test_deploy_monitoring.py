"""Dashboard and alerts ask for what the services tell, and alerts fire on what they are named for."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser as promql
import pytest
import yaml
from prometheus_client import REGISTRY
from prometheus_client.metrics import MetricWrapperBase

from services.api.metrics import PlatformNumbers
from services.core.figures import Figures, Training, Waiting, WorkerFigures
from services.inference import metrics as _gateway
from services.worker import metrics as _worker
from tests.deploy.alert_cases import CASES, MINUTES

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDER = REPOSITORY / "deploy" / "monitoring"
DASHBOARD = FOLDER / "grafana" / "dashboards" / "medcoss.json"
PAGE = REPOSITORY / "docs" / "monitoring.md"
# what Prometheus adds to every sample
ADDED = {"job", "instance"}
# what a histogram or a counter is stored as
PARTS = {"histogram": ("_bucket", "_count", "_sum"), "counter": ("_total",)}

assert _gateway and _worker, "their metrics are registered by their import"


def exported() -> dict[str, set[str]]:
    """Every series of the services, with its labels."""
    found: dict[str, set[str]] = {"up": set(), "ALERTS": {"alertname", "alertstate", "severity"}}
    for metric in set(REGISTRY._collector_to_names):
        if isinstance(metric, MetricWrapperBase) and metric._name.startswith("medcoss_"):
            for part in PARTS.get(metric._type, ("",)):
                labels = {*metric._labelnames, *(("le",) if part == "_bucket" else ())}
                found[metric._name + part] = labels
    worker = WorkerFigures("w", "idle", 1.0, 1, 0.5, 1, 2)
    full = Figures({"queued": 1}, {"cpu": 1}, {"cpu": 1.0}, 0, {"data": 1}, {"pretrain": Training()}, Waiting(0, 0.0),
                   Waiting(0, 0.0), 0, [worker])  # fmt: skip
    numbers = PlatformNumbers(lambda: full, {"object_store": lambda: True, "broker": lambda: True})
    for family in numbers.collect():
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    numbers.close()
    return found


EXPORTED = exported()


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    return [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]


def queries() -> list[tuple[str, str]]:
    """Every query, with where it stands."""
    board = json.loads(DASHBOARD.read_text())
    asked = [(rule["alert"], rule["expr"]) for rule in rules()]
    asked += [(f"panel {panel['title']}", target["expr"]) for panel in panels() for target in panel["targets"]]
    return asked + [("annotations", one["expr"]) for one in board["annotations"]["list"]]


def parsed(text: str) -> Any:
    return promql.parse(text.replace("$__rate_interval", "5m"))


def selectors(node: Any) -> Iterator[tuple[Any, set[str]]]:
    """Selectors of a query, each with the labels that aggregations above it keep or compare."""
    yield from _below(node, set())


def _below(node: Any, grouped: set[str]) -> Iterator[tuple[Any, set[str]]]:
    match node:
        case promql.VectorSelector():
            yield node, grouped
        case promql.MatrixSelector():
            yield node.vector_selector, grouped
        case promql.AggregateExpr():
            labels = set(node.modifier.labels) if node.modifier is not None else set()
            yield from _below(node.expr, grouped | labels)
        case promql.BinaryExpr():
            yield from _below(node.lhs, grouped)
            yield from _below(node.rhs, set())
        case promql.ParenExpr() | promql.UnaryExpr() | promql.SubqueryExpr():
            yield from _below(node.expr, grouped)
        case promql.Call():
            for argument in node.args:
                yield from _below(argument, grouped)
        case promql.NumberLiteral() | promql.StringLiteral():
            return
        case _:
            raise AssertionError(f"a kind of query that this test does not know: {type(node)}")


@pytest.mark.parametrize(("where", "text"), [pytest.param(*each, id=each[0]) for each in queries()])
def test_what_is_asked_for_is_told(where: str, text: str) -> None:
    found = list(selectors(parsed(text)))
    assert found, "a query of no metric"
    for selector, grouped in found:
        assert selector.name in EXPORTED, f"{selector.name} is told by no service"
        matched = {matcher.name for matcher in selector.matchers.matchers}
        unknown = (matched | grouped) - EXPORTED[selector.name] - ADDED
        assert not unknown, f"{selector.name} has no label {sorted(unknown)}, only {sorted(EXPORTED[selector.name])}"


def test_every_metric_is_looked_at() -> None:
    """Numbers that nobody sees are a gap in the dashboard, or not worth telling."""
    asked = {selector.name for _, text in queries() for selector, _ in selectors(parsed(text))}
    families = {re.sub("_(bucket|count|sum)$", "", name) for name in asked}
    unseen = {re.sub("_(bucket|count|sum)$", "", name) for name in EXPORTED} - families
    assert unseen == set()


def test_the_numbers_of_the_whole_platform_are_not_added_up() -> None:
    """Each of several control planes tells them all: a sum over instances would count a job twice."""
    own = {name for name in EXPORTED if name.startswith("medcoss_")} - {
        metric + part for metric in map(str, _own_metrics()) for part in ("", "_total", "_bucket", "_count", "_sum")
    }
    assert "medcoss_jobs" in own and "medcoss_http_requests_total" not in own
    for where, text in queries():
        for name in own & {selector.name for selector, _ in selectors(parsed(text))}:
            bare = re.sub(r"\{[^}]*\}", "", text)
            inside = rf"(max|min)( by \([a-z_, ]+\))? \((increase\()?{name}\b|(max|min)\((increase\()?{name}\b"
            assert re.search(inside, bare), f"{where}: {name} has to be taken by max or min first"


def _own_metrics() -> list[str]:
    return [metric._name for metric in REGISTRY._collector_to_names if isinstance(metric, MetricWrapperBase)]


def test_alerts_are_complete() -> None:
    names = [rule["alert"] for rule in rules()]
    assert len(names) == len(set(names))
    page = PAGE.read_text()
    for rule in rules():
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}, rule["alert"]
        assert re.fullmatch("Medcoss[A-Z][A-Za-z]+", rule["alert"])
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert re.fullmatch(r"\d+[smh]", rule.get("for", "0s"))
        assert rule["annotations"]["summary"]
        assert f"| `{rule['alert']}` |" in page, f"{rule['alert']} is not in docs/monitoring.md"
    assert set(re.findall(r"^\| `(Medcoss\w+)` \|", page, re.MULTILINE)) == set(names)
    assert set(CASES) == set(names), "every alert has a case in which it fires"


def test_the_jobs_of_the_alerts_are_scraped() -> None:
    config = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    assert config["rule_files"] == ["alerts.yml"]
    scraped = {job["job_name"] for job in config["scrape_configs"]}
    named = {m.value for _, text in queries() for s, _ in selectors(parsed(text)) for m in s.matchers.matchers
             if m.name == "job"}  # fmt: skip
    assert named == {"medcoss-api", "medcoss-.*"}
    assert "medcoss-api" in scraped and all(job.startswith("medcoss-") for job in scraped)


def test_the_dashboard_is_provisioned_as_it_is() -> None:
    board = json.loads(DASHBOARD.read_text())
    (variable,) = board["templating"]["list"]
    assert (variable["name"], variable["type"], variable["query"]) == ("datasource", "datasource", "prometheus")
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids))
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"])
                 for y in range(place["y"], place["y"] + place["h"])}  # fmt: skip
        assert place["x"] + place["w"] <= 24 and not cells & taken, f"{panel['title']} covers another panel"
        taken |= cells
    for panel in panels():
        assert panel["title"] and panel["fieldConfig"]["defaults"]["unit"]
        sources = [panel["datasource"], *(target["datasource"] for target in panel["targets"])]
        assert all(source == {"type": "prometheus", "uid": "${datasource}"} for source in sources)
    for file in (FOLDER / "grafana" / "provisioning").rglob("*.yml"):
        assert yaml.safe_load(file.read_text())["apiVersion"] == 1


def _case(alert: str, series: dict[str, str], firing: bool) -> dict[str, Any]:
    return {
        "name": f"{alert}, {'bad' if firing else 'good'}",
        "interval": "30s",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [{
            "expr": f'count(ALERTS{{alertname="{alert}",alertstate="firing"}}) > bool 0',
            "eval_time": f"{MINUTES}m",
            "exp_samples": [{"labels": "{}", "value": 1}] if firing else [],
        }],
    }  # fmt: skip


def test_alerts_fire_on_what_they_are_named_for(tmp_path: Path) -> None:
    """Prometheus' own tool runs each rule on numbers on which it has to fire, and on such on which it must not."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("there is no promtool; it comes with the package prometheus")
    files = []
    for rule in rules():
        # each beside no other: they are computed for every half minute of the hour
        alert, (bad, good) = rule["alert"], CASES[rule["alert"]]
        alone = tmp_path / f"{alert}.rules.json"
        alone.write_text(json.dumps({"groups": [{"name": "one", "rules": [rule]}]}))
        files.append(tmp_path / f"{alert}.test.json")
        tests = [_case(alert, bad, True), _case(alert, good, False)]
        files[-1].write_text(json.dumps({"rule_files": [alone.name], "evaluation_interval": "30s", "tests": tests}))
    for command in (["check", "rules", str(FOLDER / "alerts.yml")], ["check", "config", str(FOLDER / "prometheus.yml")],
                    ["test", "rules", *map(str, files)]):  # fmt: skip
        done = subprocess.run([promtool, *command], capture_output=True, text=True)
        assert done.returncode == 0, f"promtool {' '.join(command)}\n{done.stdout}{done.stderr}"
