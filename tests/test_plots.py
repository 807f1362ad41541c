"""A figure's colours and shapes mean the same in every panel."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from asd.plots import adaptation


def markers(sections: list[int]) -> dict[int, np.ndarray]:
    """The outline of each section's marker when points of these sections are drawn as one group."""
    _, ax = plt.subplots()
    adaptation.plane(ax, np.zeros((len(sections), 2)), sections, "source")
    outlines = [collection.get_paths()[0].vertices for collection in ax.collections]
    plt.close(ax.figure)
    return dict(zip(sorted(set(sections)), outlines, strict=True))


@pytest.mark.parametrize("group", [[1, 2], [2], [0, 2, 2]])
def test_a_section_has_the_same_marker_in_every_group(group):
    everywhere = markers([0, 1, 2])
    for section, outline in markers(group).items():
        np.testing.assert_array_equal(outline, everywhere[section], err_msg=f"section {section}")


def test_sections_have_different_markers():
    outlines = [outline.tolist() for outline in markers(list(range(6))).values()]
    assert all(first != second for i, first in enumerate(outlines) for second in outlines[i + 1 :])
