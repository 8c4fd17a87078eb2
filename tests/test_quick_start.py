"""The mapping of docs/quick-start.md, on a table as the page describes it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from textwrap import dedent

import pytest

from dataflows.cli import main

PAGE = Path(__file__).resolve().parent.parent / "docs" / "quick-start.md"


def test_a_table_of_payments_becomes_scores_and_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    block = re.search(r"in a file `my.toml`:\n\n((?:    .*\n|\n)+)", PAGE.read_text("utf-8"))
    assert block is not None
    mapping = tmp_path / "my.toml"
    mapping.write_text(dedent(block[1]))
    columns = [
        field["column"] if isinstance(field, dict) and "column" in field else field
        for field in tomllib.loads(mapping.read_text())["stream"][0]["fields"].values()
    ]
    assert {"id", "client", "time", "amount", "shop"} <= {column for column in columns if isinstance(column, str)}
    rows = [f"{n},anna,2024-03-{1 + n // 2:02d} 1{n % 2}:00:00,{20 + n % 5}.499,bakery" for n in range(50)]
    (tmp_path / "my_data").mkdir()
    (tmp_path / "my_data" / "payments.csv").write_text("id,client,time,amount,shop\n" + "\n".join(rows) + "\n")
    command = re.search(r"^    segone (replay my_data/ .+)$", PAGE.read_text("utf-8"), re.MULTILINE)
    assert command is not None
    places = {"my_data/": "my_data", "my.toml": "my.toml", "out/mine": "out"}
    words = [str(tmp_path / places[word]) if word in places else word for word in command[1].split()]
    assert main(words) == 0, capsys.readouterr().err
    assert (tmp_path / "out" / "scores.parquet").exists()
    assert sum(len(path.read_bytes().splitlines()) for path in tmp_path.glob("out/scores/*.jsonl")) == 50
    assert list(tmp_path.glob("out/*.html")), "--report makes a page"
