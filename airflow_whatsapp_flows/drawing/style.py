"""The colours of a drawing: those of a light page, and those of a dark one."""

from __future__ import annotations

# What steps do → fill and line, on a light page and on a dark one. Text has a contrast of 7 and more (WCAG 2.2, AAA).
_COLOURS = {
    "asks": ("#dbeafe", "#2563eb", "#172554", "#60a5fa"),
    "says": ("#dcfce7", "#16a34a", "#052e16", "#4ade80"),
    "chooses": ("#fef3c7", "#d97706", "#451a03", "#fbbf24"),
    "sends": ("#ede9fe", "#7c3aed", "#2e1065", "#a78bfa"),
    "waits": ("#cffafe", "#0891b2", "#083344", "#22d3ee"),
    "records": ("#f3f4f6", "#6b7280", "#1f2937", "#9ca3af"),
    "leads": ("#fce7f3", "#db2777", "#500724", "#f472b6"),
    "ends": ("#e5e7eb", "#374151", "#1f2937", "#d1d5db"),
    "fails": ("#fee2e2", "#dc2626", "#450a0a", "#f87171"),
}
_PAGE = ("#ffffff", "#0f172a")
_TEXT = ("#111827", "#f3f4f6")
_MUTED = ("#374151", "#d1d5db")
_LINES = {"next": ("#4b5563", "#9ca3af"), "back": ("#7c3aed", "#c4b5fd"), "error": ("#b91c1c", "#fca5a5")}
_ROOT = ".whatsapp-flow"


def _sheet(dark: int) -> str:
    rules = [
        f".page,.label rect{{fill:{_PAGE[dark]}}}",
        f".name{{fill:{_TEXT[dark]}}}",
        f".about,.exit{{fill:{_MUTED[dark]}}}",
        f".starts .box{{fill:{_TEXT[dark]};stroke:{_TEXT[dark]}}}",
    ]
    for does, colours in _COLOURS.items():
        fill, line = colours[2 * dark : 2 * dark + 2]
        rules.append(f".{does} .box{{fill:{fill};stroke:{line}}}")
        rules.append(f".{does} .rule{{stroke:{line}}}")
    rules.append(f".ends .inner{{fill:{_COLOURS['ends'][2 * dark + 1]}}}")
    for kind, tones in _LINES.items():
        rules.append(f".edge.{kind}{{stroke:{tones[dark]}}}")
        rules.append(f".arrow.{kind} path{{fill:{tones[dark]}}}")
        if kind != "next":
            rules.append(f".{kind} .exit{{fill:{tones[dark]}}}")
    return "".join(map(_scope, rules))


def _scope(rule: str) -> str:
    """A rule that holds in drawings only: the page around may have classes of these names too."""
    selectors, _, declarations = rule.partition("{")
    return ",".join(f"{_ROOT} {selector}" for selector in selectors.split(",")) + "{" + declarations


STYLE = (
    # Programs that know no page, which pass over what is for a medium, take a height of 'auto' for none.
    f"@media all{{{_ROOT}{{max-width:100%;height:auto}}}}"
    f'{_ROOT}{{font-family:system-ui,"Segoe UI",Roboto,Helvetica,Arial,sans-serif}}'
    f"{_ROOT} text{{text-anchor:middle}}"
    f"{_ROOT} .name{{font-size:14px;font-weight:600}}{_ROOT} .about{{font-size:11px}}{_ROOT} .exit{{font-size:12px}}"
    f"{_ROOT} .box{{stroke-width:1.5}}{_ROOT} .loop .box{{stroke-width:2.5}}{_ROOT} .rule{{stroke-width:1}}"
    f"{_ROOT} .edge{{fill:none;stroke-width:1.5}}{_ROOT} .edge.back{{stroke-dasharray:6 4;stroke-width:2}}"
    f"{_sheet(0)}@media(prefers-color-scheme:dark){{{_sheet(1)}}}"
)
