"""The notebook of the docs: its cells run, and what is saved in it is what they show."""

import json
import re

import pytest

pytestmark = [pytest.mark.optimized, pytest.mark.slow]


def test_the_notebook_runs(repo, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    cells = json.loads((repo / "docs" / "notebook.ipynb").read_text())["cells"]
    given, shown = {}, []
    for cell in cells:
        if cell["cell_type"] == "code":
            *lines, last = "".join(cell["source"]).splitlines()
            exec("\n".join(lines), given)
            try:
                shown.append(eval(last, given))  # the last line of a cell is shown
            except SyntaxError:
                exec(last, given)
    printed = capsys.readouterr().out
    saved = [out for cell in cells for out in cell.get("outputs", ())]
    text = "".join("".join(out["text"]) for out in saved if out["output_type"] == "stream")
    assert re.sub(r"[-\d. ]+", " ", text) == re.sub(r"[-\d. ]+", " ", printed)
    assert float(text.split()[-2]) == pytest.approx(float(printed.split()[-2]), abs=1.0)  # mm
    assert sum("text/html" in out.get("data", {}) for out in saved) == 1

    result = given["result"]
    assert "data:image/png;base64," in result._repr_html_() and result in shown
    assert any(hasattr(one, "_repr_png_") and one is not result for one in shown)  # plot()
    assert given["error"].mean() < 15 and (tmp_path / "hand.json").is_file()
    assert "index_tip" in printed
