"""HTML of a page that needs no network: sections, images and tables."""

import re
from base64 import b64encode
from html import escape
from pathlib import Path

import numpy as np
import pandas as pd

DECIMALS = {"seconds": 1, "minutes": 0, "detections per hour": 1, "false reports per hour": 1}
"""Number of decimals of columns whose values are not between 0 and 1."""


def section(heading: str, *parts: str) -> str:
    """Return a section; `heading` is text, `parts` are HTML."""
    return f"<section><h2>{escape(heading)}</h2>{''.join(parts)}</section>"


def image(file: Path) -> str:
    """Return a PNG file as an image embedded in the page."""
    data = b64encode(file.read_bytes()).decode("ascii")
    return f'<img alt="{escape(file.stem)}" src="data:image/png;base64,{data}">'


def table(rows: pd.DataFrame, sortable: bool = False) -> str:
    """Return a table; if it is `sortable`, a click on a column heading sorts the rows by that column."""
    places = [DECIMALS.get(str(column), 3) for column in rows.columns]
    head = "".join(f"<th>{escape(str(column))}</th>" for column in rows.columns)
    body = "".join(
        "<tr>" + "".join(_cell(value, n) for value, n in zip(row, places, strict=True)) + "</tr>"
        for row in rows.itertuples(index=False)
    )
    kind = ' class="sortable"' if sortable else ""
    return f'<div class="wide"><table{kind}><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(value: object, n_decimals: int) -> str:
    if isinstance(value, float):
        return f'<td class="number">{"-" if np.isnan(value) else f"{value:.{n_decimals}f}"}</td>'
    if isinstance(value, int | np.integer):
        return f'<td class="number">{value}</td>'
    return f"<td>{escape(str(value))}</td>"


def page(title: str, lead: str, sections: list[str]) -> str:
    """Return the page; `title` is text, `lead` and `sections` are HTML."""
    parts = {"title": escape(title), "lead": lead, "body": "\n".join(sections)}
    # All are replaced together, because a name in one of them may look like a marker.
    return re.sub(r"{{(title|lead|body)}}", lambda marker: parts[marker[1]], PAGE)


PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{title}} - Understory</title>
<style>
:root { color-scheme: light; --ink: #1d2b24; --line: #dfe6e1; --leaf: #238b45; }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); }
body { max-width: 70rem; margin: 0 auto; padding: 1rem; }
h1 { margin: .5rem 0 0; } h2 { margin: 2rem 0 .5rem; border-bottom: 2px solid var(--leaf); }
p { max-width: 46rem; } .lead { color: #52635a; }
img { max-width: 100%; height: auto; display: block; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .875rem; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
th { background: #f3f7f4; } td { white-space: nowrap; }
td:last-child { white-space: normal; min-width: 24rem; }
.number { text-align: right; font-variant-numeric: tabular-nums; min-width: 0 !important; }
.sortable th { cursor: pointer; }
figure { margin: 0 0 1.5rem; } figcaption { font-size: .875rem; max-width: 46rem; }
pre { overflow-x: auto; background: #f3f7f4; padding: .5rem; font-size: .8rem; }
</style>
</head>
<body>
<h1>{{title}}</h1>
{{lead}}
{{body}}
<script>
for (const table of document.querySelectorAll("table.sortable")) {
  table.querySelectorAll("th").forEach((head, column) => {
    let down = false;
    head.addEventListener("click", () => {
      down = !down;
      const key = (row) => row.cells[column].textContent;
      const compare = (a, b) => {
        const x = parseFloat(key(a)), y = parseFloat(key(b));
        const order = isNaN(x) || isNaN(y) ? key(a).localeCompare(key(b)) : x - y;
        return down ? -order : order;
      };
      const body = table.tBodies[0];
      body.append(...[...body.rows].sort(compare));
    });
  });
}
</script>
</body>
</html>
"""
