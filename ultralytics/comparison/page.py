"""compare.html: the report as one file that needs nothing else, to send to somebody and open in any browser."""

import re
from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from pathlib import Path

from ultralytics.comparison.chart import Trial, svg_charts
from ultralytics.comparison.ledger import COLUMN_NAMES, Record
from ultralytics.utils.files import atomic_write

Table = Sequence[Sequence[str]]  # a header and lines
# Nothing may be loaded, whatever a label says.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
RUN_COLUMNS = (
    *("name", "data", "seed", "precision", "recall", "map50", "map", "best_map", "best_epoch", "epochs", "imgsz"),
    *("seconds", "device", "version", "date", "key"),
)
DIGITS = 4


def write_page(
    path: Path,
    title: str,
    tables: Mapping[str, Table],
    trials: Mapping[str, Sequence[Trial]],
    paragraphs: Sequence[str],
    records: Sequence[Record],
    command: str,
) -> None:
    """Write the page: per dataset its table and charts, then the paragraphs, how to repeat it, and every run."""
    here = resources.files("ultralytics.comparison")
    style, script = (here.joinpath(name).read_text("utf-8") for name in ("page.css", "page.js"))
    parts = [f"<h1>{escape(title)}</h1>"]
    for i, (data, lines) in enumerate(tables.items()):
        charts = "".join(f"<figure>{svg}</figure>\n" for svg in svg_charts(trials[data], f"c{i}"))
        parts.append(
            f"<section>\n<h2>{escape(data)}</h2>\n<p>{escape(verdicts(lines))}</p>\n{html_table(lines)}\n"
            f'<div class="charts">\n{charts}</div>\n</section>'
        )
    emphasized = [re.sub(r"[*]([a-z ]+)[*]", r"<em>\1</em>", escape(text)) for text in paragraphs]
    parts.append("<section>\n<h2>How the numbers were made</h2>\n" + "\n".join(f"<p>{text}</p>" for text in emphasized))
    if command:
        parts.append(f"<p>The comparison again, or what is missing of it:</p>\n<pre>{escape(command)}</pre>")
    values = [[getattr(record, name) for name in RUN_COLUMNS] for record in records]
    rows = [[f"{v:.{DIGITS}f}" if isinstance(v, float) else str(v) for v in row] for row in values]
    header = [COLUMN_NAMES.get(name, name) for name in RUN_COLUMNS]
    runs = html_table([header, *rows])
    parts.append(f"<details><summary>All {len(rows)} finished runs</summary>\n{runs}\n</details>\n</section>")
    body = "\n".join(parts)
    text = (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n<script>\n{script}</script>\n</body>\n</html>\n"
    )
    atomic_write(path, lambda file: file.write(text.encode("utf-8", "replace")))


def html_table(lines: Table) -> str:
    """Table that a click on a heading sorts; a column of numbers by value, any other as text."""
    header, *rows = lines
    heads = "".join(f'<th scope="col"><button type="button">{escape(name)}</button></th>' for name in header)
    body = ""
    for first, *cells in rows:
        body += f'<tr><th scope="row">{escape(first)}</th>'
        for cell in cells:  # a verdict has a color of its own
            known = re.fullmatch(r"(?:perhaps )?(better|worse)|within noise|dropped|one seed: unknown", cell)
            body += f'<td class="verdict {known[1] or ""}">{escape(cell)}</td>' if known else f"<td>{escape(cell)}</td>"
        body += "</tr>\n"
    # In a box of its own that can be scrolled with the keyboard: a phone is narrower than any table.
    table = f"<table>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{body}</tbody>\n</table>"
    return f'<div class="wide" tabindex="0">{table}</div>'


def verdicts(lines: Table) -> str:
    """Sentence that says which variants are better, worse and so on than the first."""
    header, base, *others = lines
    column = header.index("verdict")
    by_verdict: dict[str, list[str]] = {}
    for line in others:
        by_verdict.setdefault(line[column] or "not there yet", []).append(line[0])
    parts = [f"{', '.join(names)} ({verdict})" for verdict, names in by_verdict.items()]
    return f"Against {base[0]}: {'; '.join(parts)}." if parts else "One variant: nothing to compare it with."
