"""Charts as inline SVG, drawn by pygal; the page's own style colours them, so that they follow light and dark.

Of what pygal writes, scripts, styles and tooltips that need a script are taken out; each bar has its value as a title.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any, Final
from xml.etree import ElementTree as ET

from backfill.extras import required

#: Labels below a chart, at most.
_LABELS: Final = 6
#: A count that is so many times another one.
_DWARFS: Final = 20
#: Where a logarithmic axis begins, so that one has a bar.
_BELOW_ONE: Final = 0.5
_SIZE: Final = {"width": 460, "height": 210}
_SETTINGS: Final = {
    "js": [],
    "show_legend": False,
    "margin": 4,
    "show_dots": False,
    "truncate_label": 18,
    "show_minor_x_labels": False,
    "no_data_text": "",
}
_SVG: Final = "{http://www.w3.org/2000/svg}"


def bars(values: Mapping[str, int], *, label: str, labels: int = _LABELS, logarithmic: bool = False) -> str:
    """A bar for each name, of which so many `labels` are shown; `label` says of what.

    `logarithmic`: where one count dwarfs another (`dwarfs`), each power of ten has one height, and the label says so.
    """
    most, unlike = max(values.values(), default=1), logarithmic and dwarfs(values)
    scale = {"logarithmic": True, "range": (_BELOW_ONE, most), "zero": _BELOW_ONE} if unlike else {}
    chart = _chart("Bar", **scale)
    chart.x_labels = list(values)
    chart.x_labels_major = _some(list(values), labels)
    chart.y_labels = [10**power for power in range(len(str(most)))] if unlike else _whole_steps(most)
    chart.add("", list(values.values()))
    return _svg(chart, f"{label}, logarithmic" if unlike else label)


def dwarfs(values: Mapping[str, int]) -> bool:
    """Whether beside the largest of these counts the smallest would hardly have a bar."""
    return max(values.values(), default=1) > _DWARFS * min(values.values(), default=1)


def lines(series: Mapping[str, Sequence[float | None]], labels: Sequence[str], *, label: str) -> str:
    """A line for each name, over the same labels."""
    chart = _chart("Line")
    chart.x_labels = list(labels)
    chart.x_labels_major = _some(labels)
    for name, values in series.items():
        chart.add(name, list(values))
    return _svg(chart, label)


def pygal() -> ModuleType:
    """The library; raises UsageError where it is missing.

    It puts a finder of an interface that is gone into Python's import, for plugins of its own: that is taken out again.
    """
    library = required("pygal", "report", "reports", made="made")
    sys.meta_path[:] = [finder for finder in sys.meta_path if type(finder).__module__ != "pygal"]
    return library


def _chart(kind: str, **more: object) -> Any:  # noqa: ANN401 (a library without types)
    scale = more or {"range_min": 0, "min_scale": 3, "max_scale": 5}
    return getattr(pygal(), kind)(**_SETTINGS, **_SIZE, value_formatter=_number, **scale)


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value == round(value) or value >= 100 else f"{value:.3g}"  # noqa: PLR2004


def _some(labels: Sequence[str], most: int = _LABELS) -> list[str]:
    step = -(-len(labels) // most)
    return list(labels[:: max(1, step)])


def _whole_steps(most: int) -> list[int]:
    """Labels of an axis of counts: whole numbers, at most six."""
    step = next(size * 10**power for power in range(20) for size in (1, 2, 5) if size * 10**power * 5 >= most)
    return list(range(0, most + step, step))


def _svg(chart: Any, label: str) -> str:  # noqa: ANN401
    root = ET.fromstring(chart.render(is_unicode=True, disable_xml_declaration=True))  # noqa: S314 (written by pygal)
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag == f"{_SVG}defs" or "overlay" in child.get("class", ""):
                parent.remove(child)
        for element in parent:
            element.attrib.pop("style", None)
        _with_title(parent)
    root.attrib.pop("id", None)
    root.set("role", "img")
    root.set("aria-label", label)
    ET.register_namespace("", _SVG[1:-1])
    return ET.tostring(root, encoding="unicode")


def _with_title(parent: ET.Element) -> None:
    """Make one title of the descriptions of a bar, which a script would show."""
    told = {found.get("class"): found.text or "" for found in parent.findall(f"{_SVG}desc")}
    for found in parent.findall(f"{_SVG}desc"):
        parent.remove(found)
    if told.get("value"):
        title = ET.SubElement(parent, f"{_SVG}title")
        title.text = f"{told.get('x_label', '')}: {told['value']}".strip(": ")
