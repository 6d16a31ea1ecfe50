"""Progress: a bar on a terminal, plain lines elsewhere, on stderr, with what matters beside it."""

import io

import pytest
from rich.console import Console

from medcoss.library import display as module
from medcoss.library.display import Display

ROW = {"loss/xray": 0.91234, "distill/report": 0.5, "samples_per_s": 34.21, "data_wait": 0.031, "grad_norm": 2.0}


def shown(terminal: bool) -> tuple[Display, io.StringIO]:
    out = io.StringIO()
    return Display("pretrain", console=Console(file=out, force_terminal=terminal, width=160)), out


def test_plain_lines_say_how_far_how_fast_and_how_long(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 10_000, 20))
    monkeypatch.setattr(module.time, "monotonic", lambda: float(next(clock)))
    display, out = shown(terminal=False)
    with display:
        display.progress(50, 100)
        display.metrics(ROW)
        display.progress(60, 100)
        display.metrics(ROW)
        display.progress(100, 100)
        display.line("model written [to a folder]")
    lines = out.getvalue().splitlines()
    assert lines[0] == "pretrain 50/100"
    numbers = "loss/xray 0.9123, distill/report 0.5, 34.2 samples/s, data wait 3%"
    assert lines[1].startswith(f"pretrain 60/100 {numbers} 0:0")
    assert lines[1].endswith(" left")
    assert lines[2:] == [f"pretrain 100/100 {numbers}", "model written [to a folder]"]


def test_plain_lines_are_few() -> None:
    display, out = shown(terminal=False)
    with display:
        for done in range(1000):
            display.progress(done, 1000)
        display.progress(1000, 1000)
    assert out.getvalue().splitlines() == ["pretrain 1000/1000"]


def test_a_terminal_has_a_bar() -> None:
    display, out = shown(terminal=True)
    with display:
        display.progress(0, 8)
        display.metrics(ROW)
        display.progress(4, 8)
        display.line("checkpoint written")
        display.progress(8, 8)
    text = out.getvalue()
    assert "8/8" in text
    assert "loss/xray 0.9123" in text
    assert "checkpoint written" in text


def test_output_of_the_script_stays_clean(capsys: pytest.CaptureFixture[str]) -> None:
    with Display("embed") as display:
        display.progress(3, 3)
    with Display("embed", quiet=True) as display:
        display.progress(4, 4)
        display.line("unseen")
    assert capsys.readouterr() == ("", "embed 3/3\n")
