"""The notebook runs from top to bottom and shows what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[2] / "examples" / "first_split.ipynb"
WHICH = """
latencies_s = plan.choices.figures["latency_s"]
print("quickest of all:", plan.name_of(min(range(len(latencies_s)), key=latencies_s.__getitem__)))
"""
"""One after the other: which of them it is depends on what this machine's segments take."""


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
def test_the_notebook_runs_and_draws(tmp_path: Path) -> None:
    import nbclient
    import nbformat

    notebook = nbformat.read(NOTEBOOK, as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell(WHICH))
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 3
    told = "".join(output.get("text", "") for output in outputs)
    assert "256 bytes instead of 4096 cross" in told
    (quickest,) = re.findall(r"^quickest of all: (.+)$", told, re.MULTILINE)
    assert f"best for latency: {quickest}, " in told
    assert (tmp_path / "digits.bundle" / "manifest.json").is_file()


def test_the_notebook_is_kept_without_outputs() -> None:
    import json

    for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]:
        assert cell.get("outputs", []) == []
        assert cell.get("execution_count") is None
