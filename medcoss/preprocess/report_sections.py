"""The impression and the findings of a radiology report, told by its headings."""

import re

# at the start of a line, in capitals, as "PA AND LATERAL CHEST:"; the two that count in any case
_HEADING = re.compile(
    r"^[ \t]*([A-Z][A-Z ()/,&-]*[A-Z)]|(?i:impressions?|findings?|conclusions?))[ \t]*:(?=\s|$)", re.MULTILINE
)
_IMPRESSION = re.compile(r"IMPRESSIONS?|CONCLUSIONS?|OPINION|SUMMARY|IMPRESSION (AND|/) ?RECOMMENDATIONS?")
_FINDINGS = re.compile(r"FINDINGS?|FINDINGS? ?(AND|/) ?IMPRESSIONS?|IMPRESSIONS? ?(AND|/) ?FINDINGS?")
# findings of older reports stand under the name of the examination
_VIEWS = re.compile(r"(?!COMPARISON|PRIOR|TECHNIQUE).*\b(CHEST|VIEWS?|RADIOGRAPHS?)\b.*")
_TITLE = re.compile(r"^\s*FINAL (REPORT|ADDENDUM)[ \t]*$", re.MULTILINE)
_BLANK_LINE = re.compile(r"\n[ \t]*\n")


def impression_and_findings(report: str) -> tuple[str, str]:
    """The impression and the findings of a report, either may be empty.

    Of several sections of a name the last one with text counts. With neither, what follows the first paragraph of
    the last section is the impression, or the whole report when it has one paragraph and no headings; both are
    empty when nothing is left.
    """
    text = _TITLE.sub("\n", report.replace("\r\n", "\n")).strip()
    before, *pieces = _HEADING.split(text)
    sections = [(name.upper(), content.strip()) for name, content in zip(pieces[::2], pieces[1::2], strict=True)]
    impression, findings, views = (_last(sections, names) for names in (_IMPRESSION, _FINDINGS, _VIEWS))
    if impression or findings or views:
        return impression, findings or views
    return _last_paragraph(sections[-1][1] if sections else before, bool(sections)), ""


def _last(sections: list[tuple[str, str]], names: re.Pattern[str]) -> str:
    return next((content for name, content in reversed(sections) if content and names.fullmatch(name)), "")


def _last_paragraph(section: str, headed: bool) -> str:
    """What follows the first paragraph; a text without heading may be that paragraph alone."""
    first, *rest = _BLANK_LINE.split(section, maxsplit=1)
    if rest:
        return rest[0].strip()
    return "" if headed else first
