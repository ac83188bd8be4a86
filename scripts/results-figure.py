#!/usr/bin/env python3
"""Draws docs/results.svg, the figure of the README, from the tables of docs/reproduction.md. No packages needed."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Heading of the table, title of the panel, column. Models that are not in all three tables are left out.
PANELS = [
    ("## MOOCCubeX 5-core", "MOOCCubeX 5-core, NDCG@10", "NDCG@10"),
    ("### XuetangX, 27 trials, none left behind", "XuetangX, NDCG@10", "NDCG@10"),
    ("## OULAD, two behaviours", "OULAD, NDCG@3", "NDCG@3"),
]
SHOWN = {
    "waa-ta": "WAA-TA",
    "ease": "EASE",
    "itemknn": "ItemKNN",
    "lightgcn": "LightGCN",
    "single-task": "single task",
    "bpr-mf": "BPR-MF",
    "esmm": "ESMM",
    "mmoe": "MMoE",
    "ple": "PLE",
    "fdn": "FDN",
    "popularity": "popularity",
}
STYLE = """
text { font: 12px system-ui, sans-serif; fill: #24292f; }
.title { font-weight: 600; font-size: 13px; }
.bar { fill: #b9c3cf; } .own { fill: #0969da; } .best { fill: #6e7f91; }
.whisker { stroke: #24292f; stroke-width: 1; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; } .bar { fill: #3d4752; } .own { fill: #4493f8; } .best { fill: #7d8b99; }
  .whisker { stroke: #e6edf3; }
}
"""
ROW, TOP, NAMES, BARS, GAP = 20, 30, 76, 150, 46
PANEL = NAMES + BARS + GAP


def table(text, heading, column):
    """{model: (value, deviation)} of the first table after the heading."""
    part = text[text.index(heading + "\n"):]
    lines = part[part.index("\n| model"):].strip().split("\n\n")[0].split("\n")
    cells = [[c.strip() for c in line.strip("|").split("|")] for line in lines]
    at = cells[0].index(column)
    found = {}
    for row in cells[2:]:
        numbers = [float(n) for n in re.findall(r"\.\d+", row[at])]
        found[row[0].strip("* ")] = (numbers[0], numbers[1] if len(numbers) > 1 else 0.0)
    return found


def panel(title, values, left):
    rows = sorted(((v, d, m) for m, (v, d) in values.items() if m in SHOWN), reverse=True)
    most = rows[0][0] + rows[0][1]
    others = [m for _, _, m in rows if m != "waa-ta"]
    out = [f'<text class="title" x="{left}" y="16">{title}</text>']
    for i, (value, deviation, model) in enumerate(rows):
        y = TOP + i * ROW
        kind = "own" if model == "waa-ta" else "best" if model == others[0] else "bar"
        x, width = left + NAMES, value / most * BARS
        out.append(f'<text x="{x - 6}" y="{y + 11}" text-anchor="end">{SHOWN[model]}</text>')
        out.append(f'<rect class="{kind}" x="{x}" y="{y}" width="{width:.1f}" height="14"/>')
        if deviation:
            ends = [x + (value + s * deviation) / most * BARS for s in (-1, 1)]
            out.append(f'<path class="whisker" d="M{ends[0]:.1f} {y + 7}H{ends[1]:.1f}"/>')
        behind = x + (value + deviation) / most * BARS + 5
        out.append(f'<text x="{behind:.1f}" y="{y + 11}">{f"{value:.3f}"[1:]}</text>')
    return out, len(rows)


def main():
    text = (ROOT / "docs/reproduction.md").read_text()
    body, most = [], 0
    for i, (heading, title, column) in enumerate(PANELS):
        lines, rows = panel(title, table(text, heading, column), 8 + i * PANEL)
        body += lines
        most = max(most, rows)
    width, height = 8 + len(PANELS) * PANEL, TOP + most * ROW + 6
    label = "NDCG of WAA-TA and its baselines on three data sets"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    svg = [f'{head} role="img" aria-label="{label}">', f"<style>{STYLE}</style>", *body, "</svg>", ""]
    (ROOT / "docs/results.svg").write_text("\n".join(svg))


if __name__ == "__main__":
    main()
