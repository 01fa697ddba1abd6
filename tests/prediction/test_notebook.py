"""The notebook of the docs: its cells run, and its results show as pictures."""

import json

import pytest

pytestmark = [pytest.mark.optimized, pytest.mark.slow]


def test_the_notebook_runs(repo, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    cells = json.loads((repo / "docs" / "predict.ipynb").read_text())["cells"]
    given, shown = {}, []
    for cell in cells:
        if cell["cell_type"] == "code":
            *lines, last = "".join(cell["source"]).splitlines()
            exec("\n".join(lines), given)
            try:
                shown.append(eval(last, given))  # the last line of a cell is shown
            except SyntaxError:
                exec(last, given)
    result = given["result"]
    assert "data:image/png;base64," in result._repr_html_() and result in shown
    assert any(hasattr(one, "_repr_png_") and one is not result for one in shown)  # plot()
    assert given["error"].mean() < 15 and (tmp_path / "hand.json").is_file()
    assert "index_tip" in capsys.readouterr().out
