"""Runs the command line as a user does and writes down every line, with the curl line that does the same."""

import json
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# what the command line says of a server that is away, how long it is waited for, and how often it is asked
AWAY = "does not answer"
PATIENCE_S = 300.0
PAUSE_S = 3.0


class StepFailed(Exception):
    """A step of the demo ended badly; the message says which line and why."""


@dataclass
class Step:
    """One thing that was done: the lines that do it, when it ran (seconds since the demo began).

    Steps without a kind are not in the timeline.
    """

    title: str
    cli: str
    curl: str
    began_s: float
    ended_s: float = 0.0
    kind: str = ""
    job_id: str = ""


@dataclass
class Recorder:
    """The demo's diary; lines name files relative to the present folder."""

    url: str
    gateway_url: str
    environment: dict[str, str]
    say: Callable[[str], None]
    steps: list[Step] = field(default_factory=list)
    zero: float = field(default_factory=time.monotonic)

    def run(self, title: str, arguments: list[str], curl: str, kind: str = "") -> Any:
        """Run `medcoss ARGUMENTS --json`; what it printed, parsed. Raises StepFailed."""
        step = Step(title, shlex.join(["medcoss", *arguments]), curl, self._now(), kind=kind)
        self.steps.append(step)
        self.say(f"[{step.began_s:4.0f} s] {title}")
        done = self._run(arguments)
        until = time.monotonic() + PATIENCE_S
        while done.returncode != 0 and AWAY in (done.stderr or "") and time.monotonic() < until:
            # a server that is being restarted; what it has done without having said so is done twice
            self.say(f"[{self._now():4.0f} s] the server does not answer; once more")
            time.sleep(PAUSE_S)
            done = self._run(arguments)
        step.ended_s = self._now()
        if done.returncode != 0:
            raise StepFailed(f"{step.cli}\nended with exit code {done.returncode}:\n{done.stderr or done.stdout}")
        return json.loads(done.stdout)

    def _run(self, arguments: list[str]) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "services.cli.main", *arguments, "--json"],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=None if sys.stderr.isatty() else subprocess.PIPE,
            text=True,
            check=False,
        )

    def _now(self) -> float:
        return time.monotonic() - self.zero


def shown(path: Path) -> str:
    """A path as the lines name it: relative to the present folder where it lies inside."""
    resolved = path.resolve()
    return str(resolved.relative_to(Path.cwd())) if resolved.is_relative_to(Path.cwd()) else str(resolved)


_AUTHORIZATION = '-H "Authorization: Bearer $MEDCOSS_KEY"'


def curl_json(url: str, body: dict[str, Any]) -> str:
    """The curl line that POSTs `body`."""
    data = shlex.quote(json.dumps(body))
    return f"curl -sS {_AUTHORIZATION} -H 'Content-Type: application/json' -d {data} {url}"


def curl_get(url: str) -> str:
    """The curl line that asks for the files of a job and fetches each. Needs jq."""
    return (
        f"curl -sS {_AUTHORIZATION} {url} | jq -r '.items[] | [.name, .url] | @tsv' |\n"
        '  while IFS=$\'\\t\' read -r name link; do curl -sS -o "$name" "$link"; done'
    )


def curl_file(url: str, path: Path, output: Path | None = None) -> str:
    """The curl line that sends a file to the gateway, the answer to standard output or to `output`."""
    target = f" -o {shlex.quote(shown(output))}" if output else ""
    return f"curl -sS {_AUTHORIZATION} -F {shlex.quote(f'file=@{shown(path)}')}{target} {url}"


def curl_upload(url: str, name: str, modality: str, folder: Path) -> str:
    """The calls that upload a folder: announce the files, PUT each, complete. Needs jq and sha256sum."""
    here = shlex.quote(shown(folder))
    return f"""\
find {here} -type f -printf '%P\\n' | while read -r f; do
  jq -n --arg p "$f" --arg h "$(sha256sum {here}/"$f" | cut -d' ' -f1)" --argjson s "$(stat -c %s {here}/"$f")" \\
    '{{path: $p, size: $s, sha256: $h}}'
done | jq -s '{{name: "{name}", modality: "{modality}", files: .}}' > announced.json
curl -sS {_AUTHORIZATION} -H 'Content-Type: application/json' -d @announced.json {url}/v1/datasets > answer.json
jq -r '.uploads[] | [.path, .url] | @tsv' answer.json | while IFS=$'\\t' read -r path put; do
  curl -sS -T {here}/"$path" "$put"
done
curl -sS {_AUTHORIZATION} -X POST {url}/v1/datasets/$(jq -r .dataset.id answer.json)/complete"""
