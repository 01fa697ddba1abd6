"""Data sets, one folder each.

A new set needs a folder here and its name in data/preparation/registry.py. The folder holds

raw.py                    the set's own files → samples, without TensorFlow; implements `RawFiles`
NAME_dataset_builder.py   the features that are written; a subclass of data/builder.py:RawBuilder
fake.py                   write(root, n, seed): small files in the set's own format, for tests
README.md, CITATIONS.bib, TAGS.txt, checksums.tsv   read by TensorFlow Datasets
"""

from collections.abc import Collection, Mapping
from typing import Protocol, runtime_checkable

from etils import epath

from handjax.data.preparation.examples import Examples


@runtime_checkable
class RawFiles(Protocol):
    """What the module `raw.py` of a data set provides.

    LAYOUT    The expected files and where to get them: the text of `prepare NAME --help`.
    CONFIGS   Names of the configurations, the default first; empty for a set that has only one.
    COUNTS    Published number of samples by split; by configuration where each configuration has
              one split of its own; or by "configuration/split". None or absent: not published.
    SKELETON  Name of the skeleton that the report draws joints with; None draws joints without
              bones.
    missing   Files that a configuration needs and `root` lacks, one line each; empty if complete.
              `only`: those of these splits; None for all.
    splits    Splits of a configuration; they may depend on the files in `root`.
    samples   Examples of one split in the order of the files. Their keys are unique; values have
              the names, shapes and units of the builder's features.

    A module whose joints are in its files has `skeleton(root, config)`: their names and bones.

    A module may also have `holes(root, split, config)`: samples or sequences that copies of the
    data set are known to lack and that `root` lacks, name → reason. `missing` does not list them,
    and `samples` leaves them out.

    `config` is one of CONFIGS, or None for the default. Unreadable files raise ValueError or
    OSError whose message is one line with the file, the problem and what was expected.
    """

    @property
    def LAYOUT(self) -> str: ...
    @property
    def CONFIGS(self) -> Collection[str]: ...
    @property
    def COUNTS(self) -> Mapping[str, int | None]: ...
    @property
    def SKELETON(self) -> str | None: ...
    def missing(
        self, root: epath.Path, config: str | None = None, only: Collection[str] | None = None
    ) -> list[str]: ...
    def splits(self, root: epath.Path, config: str | None = None) -> tuple[str, ...]: ...
    def samples(self, root: epath.Path, split: str, config: str | None = None) -> Examples: ...
