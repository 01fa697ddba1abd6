"""Rows of which only some joints have a label."""

import numpy as np

from handjax.engine.contracts import Rows


def labelled_rows(rows: Rows) -> Rows:
    """The rows with a labelled joint: of the others no error can be asked for. Joints without a
    label become NaN in `true_joints_xyz`; where all have one, `true_labelled` is left out."""
    if "true_labelled" not in rows:
        return rows
    kept = rows["true_labelled"].any(-1)
    result = {name: values[kept] for name, values in rows.items()}
    labelled = result["true_labelled"]
    if labelled.all():
        del result["true_labelled"]
        return result
    unknown = np.float32(np.nan)
    return result | {
        "true_joints_xyz": np.where(labelled[..., None], result["true_joints_xyz"], unknown)
    }
