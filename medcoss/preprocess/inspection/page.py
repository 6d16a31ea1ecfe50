"""The report as one page that needs no other file."""

import base64
from collections.abc import Iterable
from html import escape
from pathlib import Path

from medcoss.preprocess.inspection.report import Range, Report

_STYLE = ("body{font:15px/1.5 system-ui,sans-serif;max-width:76em;margin:2em auto;padding:0 1em}table{border-collapse:"
          "collapse;margin:.5em 0}td,th{border:1px solid #ccc;padding:.2em .6em;text-align:left}img{max-width:100%}"
          ".w{border-left:4px solid #c60;padding:.2em .8em;margin:.6em 0;background:#fff6ec}")  # fmt: skip
_LISTED = 200


def page(report: Report, folder: Path) -> str:
    """HTML with the pictures of `folder` in it."""
    body = [f"<h1>Dataset inspection</h1><p>{report.samples:,} samples, {escape(report.source)}"
            f"{', modality ' + escape(report.modality) if report.modality else ''}.</p>",
            f"<h2>Warnings ({len(report.warnings)})</h2>"]  # fmt: skip
    for one in report.warnings:
        where = f"<br><small>{escape('; '.join(one.where))}</small>" if one.where else ""
        body.append(f"<div class=w><b>{escape(one.code)}</b>: {escape(one.detail)}. {escape(one.advice)}{where}</div>")
    if not report.warnings:
        body.append("<p>None.</p>")
    body.append("<h2>Counts</h2>" + _counts(report))
    body.append("<h2>Sizes and values</h2>" + _sizes(report))
    for name in report.pictures:
        data = base64.b64encode((folder / name).read_bytes()).decode()
        title = name.removesuffix(".png").replace("_", " ")
        body.append(f'<h2>{escape(title)}</h2><img alt="{escape(title)}" src="data:image/png;base64,{data}">')
    for title, files in (("Files that cannot be read", report.unreadable), ("Files left out", report.left_out)):
        if files:
            more = f"<p>{len(files) - _LISTED:,} more are in report.json.</p>" if len(files) > _LISTED else ""
            rows = ((f.path, f.reason) for f in files[:_LISTED])
            body.append(f"<h2>{title} ({len(files)})</h2>" + _table(("file", "reason"), rows) + more)
    return (f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Dataset inspection</title><style>{_STYLE}'
            f"</style>{''.join(body)}</html>\n")  # fmt: skip


def _table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    cells = "".join(f"<tr>{''.join(f'<td>{escape(str(cell))}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><tr>{''.join(f'<th>{escape(name)}</th>' for name in head)}</tr>{cells}</table>"


def _counts(report: Report) -> str:
    names = sorted({name for counts in report.classes.values() for name in counts})
    head = ["split", "samples", *(["patients"] if report.patients else []), *names]
    rows = [[split, n, *([report.patients.get(split, "not known")] if report.patients else []),
             *(report.classes.get(split, {}).get(name, 0) for name in names)]
            for split, n in report.splits.items()]  # fmt: skip
    files = _table(("files", "number"), report.files.items()) if report.files else ""
    return _table(head, rows) + files


def _sizes(report: Report) -> str:
    axes = ("slices (z)", "rows (y)", "columns (x)")
    rows = [(f"{name}", *_told(one)) for name, one in zip(axes[3 - len(report.size) :], report.size, strict=True)]
    rows += [(f"spacing {name}, mm", *_told(one))
             for name, one in zip("zyx"[3 - len(report.spacing) :], report.spacing, strict=True)]  # fmt: skip
    if report.texts and report.texts.words and report.texts.characters:
        rows += [("words of a report", *_told(report.texts.words)), ("characters", *_told(report.texts.characters))]
    parts = [_table(("", "minimum", "median", "maximum"), rows)]
    if report.texts:
        parts.append(f"<p>{report.texts.reports:,} reports, {report.texts.empty:,} without a word, "
                     f"{report.texts.vocabulary:,} different words.</p>")  # fmt: skip
    if report.target_spacing:
        told = " x ".join(f"{s:.3g}" for s in report.target_spacing)
        parts.append(f"<p>Target spacing by nnU-Net's rule: {told} mm (z, y, x).</p>")
    for head, counts in (("shape", report.shapes), ("channels", report.channels), ("stored as", report.types),
                         ("label value", report.label_voxels)):  # fmt: skip
        if counts:
            parts.append(_table((head, "voxels" if head == "label value" else "samples"), counts.items()))
    found = report.intensities | ({"foreground": report.foreground} if report.foreground else {})
    if found:
        told = ([name, *(f"{v:.4g}" for v in (i.minimum, i.percentiles["0.5"], i.percentiles["50"],
                 i.percentiles["99.5"], i.maximum, i.mean, i.std))] for name, i in found.items())  # fmt: skip
        parts.append(_table(("intensities", "minimum", "0.5 %", "median", "99.5 %", "maximum", "mean", "std"), told))
    return "".join(parts)


def _told(one: Range) -> tuple[str, str, str]:
    return (f"{one.minimum:.4g}", f"{one.median:.4g}", f"{one.maximum:.4g}")
