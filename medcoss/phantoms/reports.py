"""Radiology reports of chest radiographs from a small grammar, with the class that their text states."""

import csv
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from medcoss.phantoms.common import Item, generator

CLASSES = ("normal", "pneumonia", "effusion")
COUNTS = {"train": 140, "val": 30, "test": 30}
COLUMNS = ("study_id", "findings", "impression", "indication", "label", "split")
PATH = "reports/reports.csv"

# {slot} draws one of _WORDS[slot]; those of _AGREE are drawn once a report: findings and impression must not differ
_AGREE = ("side", "lobe", "amount", "change")
_WORDS: dict[str, tuple[str, ...]] = {
    "side": ("left", "right"),
    "lobe": ("upper lobe", "lower lobe", "mid lung", "lung base", "perihilar region"),
    "patchy": ("patchy", "hazy", "ill-defined", "confluent", "heterogeneous", "focal"),
    "opacity": ("opacity", "airspace opacity", "consolidation", "infiltrate", "airspace disease"),
    "hedge": ("concerning for", "compatible with", "suspicious for", "most consistent with", "likely representing"),
    "amount": ("small", "moderate", "large", "small to moderate", "trace"),
    "extent": ("12 mm", "18 mm", "2 cm", "3 cm", "4 cm", "5 cm", "6 cm"),
    "clear": ("clear", "well expanded and clear", "clear bilaterally", "hyperinflated but clear"),
    "absent": ("No", "No evidence of", "No radiographic evidence of", "There is no"),
    "organ": ("Heart", "Cardiac silhouette", "Cardiomediastinal silhouette"),
    "degree": ("mild", "moderate", "minimal"),
    "age": ("34", "41", "47", "52", "58", "63", "66", "71", "77", "84"),
    "person": ("man", "woman"),
    "complaint": ("cough", "fever", "chest pain", "shortness of breath", "fever and cough", "dyspnea", "fall"),
    "change": ("unchanged", "slightly increased", "slightly decreased", "new"),
}

_HEART = (
    "{organ} size is normal.",
    "The heart is normal in size.",
    "Heart size is at the upper limits of normal.",
    "There is {degree} cardiomegaly.",
    "The cardiomediastinal contours are within normal limits.",
    "{organ} is not enlarged.",
)
_BONES = (
    "Osseous structures are intact.",
    "No acute bony abnormality.",
    "{degree} degenerative changes of the thoracic spine.",
    "There is an old healed fracture of the {side} 6th rib.",
    "The visualized bones are unremarkable.",
    "Mild dextroscoliosis of the thoracic spine.",
)
_VESSELS = (
    "Pulmonary vascularity is within normal limits.",
    "The aorta is tortuous and calcified.",
    "The hila are unremarkable.",
    "Mediastinal contours are stable.",
    "No pulmonary edema.",
)
_EXTRAS = (
    "Surgical clips project over the {side} upper quadrant.",
    "A right internal jugular catheter terminates in the superior vena cava.",
    "Sternotomy wires are intact.",
    "A {extent} calcified granuloma is noted in the {side} lung.",
    "Comparison is made with the prior study.",
    "Lung volumes are low.",
)
_NO_PNEUMONIA = (
    "The lungs are {clear}.",
    "{absent} focal consolidation.",
    "{absent} focal airspace opacity.",
    "Lungs are clear without consolidation or infiltrate.",
    "{absent} pneumonia.",
)
_NO_EFFUSION = (
    "{absent} pleural effusion or pneumothorax.",
    "{absent} pneumothorax or pleural effusion.",
    "The costophrenic angles are sharp.",
    "The pleural spaces are clear without effusion.",
    "{absent} pleural fluid.",
)
_PNEUMONIA = (
    "There is a {patchy} {opacity} in the {side} {lobe}.",
    "{patchy} {opacity} is seen in the {side} {lobe}, {change} from prior.",
    "Interval development of {patchy} {side} {lobe} {opacity} measuring {extent}.",
    "In the {side} {lobe} there is {patchy} {opacity} with air bronchograms.",
    "A {extent} {patchy} {opacity} projects over the {side} {lobe}.",
)
_EFFUSION = (
    "There is a {amount} {side} pleural effusion.",
    "{amount} {side} pleural effusion, {change} from prior.",
    "Blunting of the {side} costophrenic angle consistent with a {amount} pleural effusion.",
    "A {amount} layering {side} effusion measures {extent} in depth.",
    "{amount} {side} pleural effusion with adjacent atelectasis.",
    "Meniscus at the {side} base in keeping with a {amount} effusion.",
)
_RESOLVED = (
    "The previously seen {side} pleural effusion has resolved.",
    "The previously described {side} {lobe} opacity has resolved.",
)
_IMPRESSIONS: dict[str, tuple[str, ...]] = {
    "normal": (
        "No acute cardiopulmonary abnormality.",
        "No acute cardiopulmonary process.",
        "Normal chest.",
        "1. No acute disease. 2. {absent} pneumonia or effusion.",
        "Unremarkable examination of the chest.",
        "No radiographic explanation for the symptoms of the patient.",
    ),
    "pneumonia": (
        "{side} {lobe} pneumonia.",
        "{patchy} {side} {lobe} {opacity} {hedge} pneumonia.",
        "1. {side} {lobe} {opacity} {hedge} infection. 2. Follow up radiographs are recommended.",
        "Findings {hedge} {side} {lobe} pneumonia. {absent} effusion.",
        "{opacity} in the {side} {lobe}, {hedge} pneumonia in the proper clinical setting.",
    ),
    "effusion": (
        "{amount} {side} pleural effusion.",
        "1. {amount} {side} effusion. 2. {absent} pneumonia.",
        "{side} pleural effusion, {change} since the prior examination.",
        "Findings {hedge} a {amount} {side} pleural effusion. {absent} consolidation.",
        "{amount} {side} pleural effusion. Consider thoracentesis if clinically indicated.",
    ),
}
_INDICATIONS = (
    "{age} year old {person} with {complaint}",
    "{complaint}, evaluate for pneumonia",
    "{age} year old {person}, {complaint}, rule out effusion",
    "{complaint}",
    "preoperative evaluation",
    "",
)


def _filled(template: str, agreed: dict[str, str], rng: np.random.Generator) -> str:
    def word(slot: re.Match[str]) -> str:
        name = slot[1]
        if name not in _AGREE:
            return str(rng.choice(_WORDS[name]))
        return agreed.setdefault(name, str(rng.choice(_WORDS[name])))

    sentences = re.split(r"(?<=[.]) ", re.sub(r"\{(\w+)\}", word, template))
    return " ".join(s[:1].upper() + s[1:] for s in sentences)


def _findings(label: str, rng: np.random.Generator) -> list[str]:
    """Sentence templates in the order of reading, which varies."""
    lungs = [str(rng.choice(_PNEUMONIA if label == "pneumonia" else _NO_PNEUMONIA))]
    pleura = [str(rng.choice(_EFFUSION if label == "effusion" else _NO_EFFUSION))]
    if label == "normal" and rng.random() < 0.2:
        lungs.append(str(rng.choice(_RESOLVED)))
    if label == "pneumonia" and rng.random() < 0.3:
        pleura = []
    if label == "effusion" and rng.random() < 0.3:
        lungs = []
    parts = [[str(rng.choice(_HEART))], lungs, pleura]
    parts += [[str(rng.choice(pool))] for pool in (_BONES, _VESSELS, _EXTRAS) if rng.random() < 0.55]
    return [sentence for part in rng.permutation(len(parts)) for sentence in parts[part]]


def report(label: str, rng: np.random.Generator) -> dict[str, str]:
    """Findings, impression and indication of one study of the class `label`."""
    agreed: dict[str, str] = {}
    findings = " ".join(_filled(template, agreed, rng) for template in _findings(label, rng))
    return {
        "findings": findings,
        "impression": _filled(str(rng.choice(_IMPRESSIONS[label])), agreed, rng),
        "indication": _filled(str(rng.choice(_INDICATIONS)), agreed, rng),
    }


def rows(seed: int) -> Iterator[dict[str, str]]:
    """All reports as rows of the table, in an order that tells nothing about the class."""
    rng = generator(seed, PATH)
    places = [(split, label) for split, count in COUNTS.items() for label in CLASSES for _ in range(count)]
    for number, place in enumerate(rng.permutation(len(places)), start=1):
        split, label = places[place]
        yield {"study_id": f"S{number:05d}", **report(label, rng), "label": label, "split": split}


def items(seed: int) -> list[Item]:
    """The table of all reports."""

    def write(root: Path) -> None:
        target = root / PATH
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("w", encoding="utf-8", newline="") as handle:
            table = csv.DictWriter(handle, COLUMNS, lineterminator="\n")
            table.writeheader()
            table.writerows(rows(seed))

    return [Item(PATH, write)]
