"""What is in a folder of a data set."""

from etils import epath


def names_in(folder: epath.Path) -> set[str]:
    """Names of the files and folders there; none if there is no such folder."""
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()
