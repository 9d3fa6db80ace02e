"""The dashboard and the alert rules ask for metrics that the code sends, under names that Prometheus gives them."""

import json
import re
from pathlib import Path
from typing import Any, TypeVar

import promql_parser as promql
import pytest
import yaml

from cath_dagster.adapters.instruments import INSTRUMENTS, PREFIX, Instrument, Kind
from cath_dagster.registry import all_specs

T = TypeVar("T")

FOLDER = Path(__file__).parents[1] / "dashboards"
LABELS = {
    "cath_dagster_location",
    "cath_dagster_job",
    "cath_dagster_target",
    "cath_dagster_status",
    "cath_dagster_step",
    "cath_dagster_check",
    "cath_dagster_value",
    "le",
}
UNITS = {"s": "_seconds", "1": "_ratio", "{item}": ""}


def prometheus_names(instrument: Instrument) -> set[str]:
    """Return the names that Prometheus' OTLP receiver gives to a metric's series."""
    name = instrument.name.replace(".", "_") + UNITS[instrument.unit]
    endings = {Kind.COUNTER: ["_total"], Kind.GAUGE: [""], Kind.HISTOGRAM: ["_bucket", "_sum", "_count"]}
    return {f"{name}{ending}" for ending in endings[instrument.kind]}


NAMES = {name: instrument for instrument in INSTRUMENTS for name in prometheus_names(instrument)}


def dashboard() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((FOLDER / "grafana.json").read_text())
    return loaded


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load((FOLDER / "alert-rules.yaml").read_text())["groups"]
    return list(group["rules"])


def panel_expressions() -> list[str]:
    return [target["expr"] for panel in dashboard()["panels"] for target in panel["targets"]]


def rule_expressions() -> list[str]:
    return [rule["expr"] for rule in rules()]


def parts(expression: str, kind: type[T]) -> list[T]:
    """Return the parts of one kind of an expression, as Prometheus reads it; Grafana replaces its variable before."""
    found: list[T] = []

    def look(part: promql.Expr) -> None:
        if isinstance(part, kind):
            found.append(part)

    promql.walk(promql.parse(expression.replace("$__interval", "1d")), look)
    return found


def metrics(expression: str) -> set[str | None]:
    return {selector.name for selector in parts(expression, promql.VectorSelector)}


def kept_labels(expression: str) -> set[str]:
    """Return the labels by which an expression groups."""
    modifiers = [part.modifier for part in parts(expression, promql.AggregateExpr)]
    return {label for modifier in modifiers if modifier is not None for label in modifier.labels}


@pytest.mark.parametrize("expression", [*panel_expressions(), *rule_expressions()])
def test_every_expression_asks_for_metrics_that_are_sent(expression: str) -> None:
    assert metrics(expression)
    assert metrics(expression) <= set(NAMES)


@pytest.mark.parametrize("expression", [*panel_expressions(), *rule_expressions()])
def test_every_label_is_one_that_the_metrics_have(expression: str) -> None:
    matched = {matcher.name for part in parts(expression, promql.VectorSelector) for matcher in part.matchers.matchers}

    assert kept_labels(expression)
    assert kept_labels(expression) | matched <= LABELS


@pytest.mark.parametrize("expression", [*panel_expressions(), *rule_expressions()])
def test_every_check_that_is_named_is_one_of_a_jobs(expression: str) -> None:
    matchers = [each for part in parts(expression, promql.VectorSelector) for each in part.matchers.matchers]
    named = {name for each in matchers if each.name == "cath_dagster_check" for name in each.value.split("|")}

    assert named <= {check.name for spec in all_specs() for check in spec.checks}


def test_every_metric_that_is_sent_is_on_the_dashboard() -> None:
    shown = {NAMES[str(name)] for expression in panel_expressions() for name in metrics(expression)}

    assert shown == set(INSTRUMENTS)


def test_the_dashboards_variables_come_from_metrics_that_are_sent() -> None:
    queries = [each["query"]["query"] for each in dashboard()["templating"]["list"] if each["type"] == "query"]

    asked = [re.fullmatch(r"label_values\((\w+), (\w+)\)", query) for query in queries]
    assert [match is not None and match[1] in NAMES and match[2] in LABELS for match in asked] == [True, True]


def test_panels_do_not_lie_upon_each_other() -> None:
    cells = [
        (column, row)
        for panel in dashboard()["panels"]
        for column in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for row in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]

    assert len(cells) == len(set(cells))


def test_every_rule_says_how_bad_it_is_and_what_it_means() -> None:
    for rule in rules():
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}
        assert set(rule["annotations"]) == {"summary", "description"}


def test_every_label_in_a_rules_text_is_left_by_its_expression() -> None:
    for rule in rules():
        told = set(re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values())))
        assert told <= kept_labels(rule["expr"]), rule["alert"]


def test_the_names_of_all_metrics_are_ours() -> None:
    assert all(instrument.name.startswith(PREFIX) for instrument in INSTRUMENTS)
    assert len({instrument.name for instrument in INSTRUMENTS}) == len(INSTRUMENTS)
