"""Hostile input: thousands of requests that are wrong on purpose, each of which has to get a documented problem.

    python benchmarks/hostile.py --seed 1 --requests 10000
    python benchmarks/hostile.py --database postgresql --schemathesis 600

Starts Redis, SeaweedFS, the control plane and the gateway as processes on SQLite or PostgreSQL, with two projects in
them. What is sent is a function of the seed and of the services' own OpenAPI documents. Exits with 1 when anything is
violated.
"""

import argparse
import contextlib
import json
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import unquote, urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import httpx

from benchmarks import _hostile_schemathesis as schemathesis
from benchmarks import _hostile_wire as wire
from benchmarks._hostile_abuses import abuses
from benchmarks._hostile_cases import Cases
from benchmarks._hostile_contract import Answer, Attack, Contract, Line, Operation
from benchmarks._hostile_platform import Project, Target, attacked, foundation
from benchmarks._hostile_replay import replays

# share of each class in the requests
SHARES = {
    "specs": 20, "bodies": 15, "uploads": 10, "others": 10, "parameters": 15, "paths": 8, "types": 8, "keys": 8,
    "files": 4, "wire": 6, "replays": 4,
}  # fmt: skip
SHARED = frozenset({"parameters", "paths", "types", "keys"})
SHOWN = 40


class Report:
    """How much was sent of each class, and what was wrong."""

    def __init__(self) -> None:
        self.sent, self.wrong = Counter[str](), Counter[str]()
        self.statuses: dict[str, Counter[int]] = {}
        self.lines: list[str] = []

    def add(self, kind: str, words: str, wrong: Iterator[str] | list[str], status: int | None = None) -> None:
        """Note one request."""
        self.sent[kind] += 1
        if status is not None:
            self.statuses.setdefault(kind, Counter())[status] += 1
        for one in wrong:
            self.wrong[kind] += 1
            self.lines.append(f"{words}\n    {one}")

    def table(self) -> str:
        """A line for each class."""
        rows = [f"{'class':<14}{'requests':>9}{'violations':>12}  answers"]
        for kind, sent in self.sent.items():
            answers = ", ".join(f"{status}: {n}" for status, n in sorted(self.statuses.get(kind, {}).items()))
            rows.append(f"{kind:<14}{sent:>9}{self.wrong[kind]:>12}  {answers}")
        rows.append(f"{'all':<14}{self.sent.total():>9}{self.wrong.total():>12}")
        return "\n".join(rows)


def attack(target: Target, seed: int, requests: int, report: Report, *, slow: bool = True) -> None:
    """Send `requests` requests to both services, and look at every answer and at what they leave behind."""
    before = _theirs(target)
    for gateway, url in ((False, target.url), (True, target.gateway_url)):
        contract = Contract(_document(url), target.secrets())
        cases, line = Cases(target, contract, target.mine, gateway), Line(url)
        for kind, generate in cases.classes.items():
            # what both services have is shared between them
            share = SHARES[kind] * (1.0 if kind not in SHARED else 0.2 if gateway else 0.8)
            for one in islice(generate(Random(f"{seed} {kind} {gateway}")), _number(share, requests)):
                _one(line, contract, target, one, report)
        rng = Random(f"{seed} wire {gateway}")
        for abuse in islice(abuses(rng, target.mine.keys["operator"]), _number(SHARES["wire"] / 2, requests)):
            report.add("wire", abuse.words(), wire.violations(url, abuse))
        report.add("crowd", f"idle connections to {url}", wire.crowd(url, 60))
        line.close()
    if slow:
        _slow(target, report)
    number = _number(SHARES["replays"], requests)
    found = [*replays(Random(f"{seed} replays"), number)]
    report.sent["replays"] += number
    report.add("replays", "webhook receiver", found)
    after = _theirs(target)
    report.add("afterwards", "another project's records", [f"{n} has changed" for n in before if before[n] != after[n]])
    report.add("afterwards", "services", target.dead())


def _slow(target: Target, report: Report) -> None:
    """What waits for the timeouts of the services, all at once."""
    key = target.mine.keys["operator"]
    asked = [(url, abuse) for url, path in ((target.url, "/v1/jobs"), (target.gateway_url, "/v1/models/x/embed"))
             for abuse in wire.slow(key, path)]  # fmt: skip
    with ThreadPoolExecutor(len(asked)) as pool:
        for (_, abuse), wrong in zip(asked, pool.map(lambda one: [*wire.violations(*one)], asked), strict=True):
            report.add("slow", abuse.words(), wrong)


def _number(share: float, requests: int) -> int:
    return max(1, round(requests * share / sum(SHARES.values())))


def _document(url: str) -> dict[str, Any]:
    return dict(httpx.get(f"{url}/openapi.json", timeout=30, trust_env=False).json())


def _one(line: Line, contract: Contract, target: Target, one: Attack, report: Report) -> None:
    try:
        answer = line.send(one)
    except OSError as error:
        line.close()
        report.add(one.kind, one.words(), [f"no answer: {error!r}"])
        return
    wrong = [*contract.violations(one, answer)]
    if one.twin is not None:
        other = line.send(one.twin)
        if masked(answer, one.named) != masked(other, one.twin.named):
            wrong.append(f"tells theirs from nobody's: {answer.body[:300]!r} and {other.body[:300]!r}")
    if one.kind == "uploads" and answer.status == 201:
        wrong += leads_outside(json.loads(answer.body))
    report.add(one.kind, one.words(), wrong, answer.status)


def masked(answer: Answer, named: tuple[str, ...]) -> tuple[int, str]:
    """An answer without what differs between two requests."""
    document = json.loads(answer.body) if answer.body else {}
    document.pop("request_id", None)
    text = json.dumps(document)
    for name in sorted(named, key=len, reverse=True):
        text = text.replace(name, "#")
    return answer.status, text


def leads_outside(created: dict[str, Any]) -> list[str]:
    """URLs of uploads that lead out of their dataset."""
    prefix = f"/datasets/{created['dataset']['id']}/raw/"
    wrong = []
    for upload in created["uploads"]:
        path = unquote(urlsplit(upload["url"]).path)
        _, mark, inside = path.partition(prefix)
        if not mark or any(part in {"", ".", ".."} for part in inside.split("/")) or "\\" in inside:
            wrong.append(f"the upload leads to {path!r}")
    return wrong


def _theirs(target: Target) -> dict[str, Any]:
    """What the other project sees of itself; URLs are signed anew each time."""
    contract = Contract(_document(target.url), [])
    reads = [
        o
        for o in contract.operations
        if o.method == "GET" and o.needs_key and not o.streams and _is_of(o, target.others)
    ]
    with httpx.Client(
        base_url=target.url, headers={"Authorization": f"Bearer {target.others.keys['operator']}"}
    ) as client:
        return {
            o.name: _plain(client.get(o.at(target.others.ids), params=o.asked(target.others.ids)).json()) for o in reads
        }


def _is_of(operation: Operation, project: Project) -> bool:
    named = set(operation.takes)
    return bool(named) and named <= set(project.ids) and not operation.path.startswith("/v1/keys")


def _plain(found: Any) -> Any:
    if isinstance(found, dict):
        return {name: _plain(held) for name, held in found.items() if name != "url"}
    return [_plain(held) for held in found] if isinstance(found, list) else found


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description="Send hostile requests to the platform.")
    parser.add_argument("--seed", type=int, default=1, help="what is sent is a function of it")
    parser.add_argument("--requests", type=int, default=10_000, help="requests in all, about")
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument(
        "--schemathesis", type=int, default=0, metavar="S", help="also run Schemathesis, S seconds a service"
    )
    parser.add_argument("--out", type=Path, help="where logs are kept; by default nowhere")
    given = parser.parse_args()
    with ExitStack() as stack:
        folder = given.out or Path(tempfile.mkdtemp(prefix="medcoss-hostile-"))
        folder.mkdir(parents=True, exist_ok=True)
        if given.out is None:
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
        settings = stack.enter_context(foundation(folder.resolve(), given.database))
        target = stack.enter_context(attacked(settings, folder.resolve()))
        report, began = Report(), time.monotonic()
        with contextlib.suppress(KeyboardInterrupt):
            attack(target, given.seed, given.requests, report)
            for gateway in (False, True) if given.schemathesis else ():
                report.add(
                    "schemathesis",
                    f"gateway: {gateway}",
                    schemathesis.failures(target, given.seed, given.schemathesis, gateway=gateway),
                )
            report.add("afterwards", "services", target.dead())
    for line in report.lines[:SHOWN]:
        print(line)
    print(f"\n{report.table()}\n{time.monotonic() - began:.0f} s on {given.database}, seed {given.seed}")
    sys.exit(1 if report.lines else 0)


if __name__ == "__main__":
    main()
