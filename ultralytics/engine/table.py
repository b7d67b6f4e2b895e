"""results.csv: one row an epoch, never a half one, under the public package's column names."""

import csv
import io
from pathlib import Path

from ultralytics.utils.files import atomic_write


class ResultsTable:
    """Rows by column name; every `add` rewrites the small file as a whole."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.rows: list[dict[str, str]] = []

    def resume(self, epochs: int) -> None:
        """Take over the rows of the first `epochs` epochs from the file, where they are."""
        if self.path.exists():
            with self.path.open(encoding="utf-8", newline="") as file:
                self.rows = [row for row in csv.DictReader(file) if int(row["epoch"]) <= epochs]

    def add(self, row: dict[str, float | int | None]) -> None:
        """Append a row; None and columns that only other rows have stay empty."""
        self.rows.append({k: "" if v is None else f"{v:.6g}" for k, v in row.items()})
        columns = list(dict.fromkeys(column for r in self.rows for column in r))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        atomic_write(self.path, lambda file: file.write(text.getvalue().encode()))
