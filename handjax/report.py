"""handjax report: several results on one page.

    handjax report RUN RUN ... --output OUT [--overwrite]

RUN is the folder of a finished training, or any folder that holds the metrics.json of an
evaluation; NAME=FOLDER gives it a name on the page. OUT gets report.html and comparison.json:
metrics side by side, curves over one another, learning curves, the error of each joint, the config
keys that differ and, where two evaluations saw the same frames, the difference frame by frame with
its 95 % interval. The first RUN is the one that the others are compared with.
"""

from collections.abc import Sequence
from pathlib import Path

from handjax.engine import cli
from handjax.engine.files import refuse_to_replace
from handjax.reports import comparison, comparison_page


def parser() -> cli.Parser:
    flags = cli.Parser(prog="handjax report", description=__doc__)
    flags.add_argument(
        "runs", nargs="+", metavar="RUN", help="folder with a metrics.json, or NAME=FOLDER"
    )
    flags.add_argument("--output", metavar="OUT", required=True, help="folder for the page")
    flags.add_argument(
        "--overwrite", action="store_true", help="replace the page of an earlier comparison"
    )
    return flags


def main(argv: Sequence[str]) -> None:
    flags = parser().parse_args(argv)
    folder = Path(flags.output)
    refuse_to_replace(folder, comparison_page.OUTPUTS, flags.overwrite)
    results = comparison.read([_named(text) for text in flags.runs])
    print(comparison.as_text(results))
    print(f"report: {comparison_page.write(folder, results).resolve()}")


def _named(text: str) -> tuple[str, Path]:
    """NAME=FOLDER, or a folder, whose name is empty then."""
    name, equals, path = text.partition("=")
    if equals and not Path(text).is_dir():
        return name, Path(path)
    return "", Path(text)


if __name__ == "__main__":
    cli.run(main)
