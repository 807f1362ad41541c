"""A figure's colours and shapes mean the same in every panel."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from asd.data.features import FeatureSettings
from asd.plots import adaptation, common, exploration


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


def test_the_line_of_a_part_is_the_mean_of_its_dots():
    changes = pd.DataFrame({"labels": [1.0, 4.0, -0.5], "nothing": [0.0, 0.0, 0.0]}, index=["fan", "pump", "valve"])
    (ax,) = adaptation.variants(changes).axes
    np.testing.assert_array_equal(ax.lines[0].get_xdata(), [1.0, 4.0, -0.5])
    assert [line.get_segments()[0][0][0] for line in ax.collections] == [1.5, 0.0]
    assert [text.get_text() for text in ax.texts] == ["+1.5", "+0.0"]
    plt.close(ax.figure)


def test_panels_side_by_side_share_one_colour_bar_per_row():
    frames = np.random.default_rng(0).normal(size=(20, 128))
    clips = {"a": (frames[0], frames), "b": (frames[1], frames)}
    figure = exploration.waveforms_and_spectrograms(clips, FeatureSettings())
    assert [ax.get_label() for ax in figure.axes].count("<colorbar>") == 1
    plt.close(figure)


def test_legends_stand_above_the_panels_where_they_cover_nothing():
    keys = [(s, d, label) for s in (0, 1) for d in ("source", "target") for label in (0, 1)]
    clips = pd.DataFrame(keys * 20, columns=["section", "domain", "label"]).assign(split="test", auc=0.7)
    clips[["score", exploration.LEVEL]] = np.random.default_rng(0).normal(size=(len(clips), 2))
    with plt.rc_context():
        common.set_style()
        figures = [common.score_distributions(clips), common.auc_bars(clips), exploration.levels(clips)]
    for figure, names in zip(figures, (["normal", "anomalous"], *[["source", "target"]] * 2), strict=True):
        (legend,) = figure.legends
        assert [text.get_text() for text in legend.get_texts()] == names
        figure.canvas.draw()
        for ax in figure.axes:
            assert ax.get_legend() is None and not legend.get_window_extent().overlaps(ax.get_window_extent())
        plt.close(figure)


def results(**columns: object) -> pd.DataFrame:
    """What ``evaluate_scores`` says about two sections."""
    return pd.DataFrame({"section": [0, 1], "domain": "source", "auc": [0.6, 0.7], "pauc": [0.5, 0.6]} | columns)


@pytest.mark.parametrize(
    ("changed", "title"),
    [({"domain": "mixed"}, "mixed: mean 0.650 → 0.650"), ({"auc": np.nan}, "mixed: no AUC")],
    ids=["no domain is known", "no label is known"],
)
def test_before_and_after_has_a_panel_where_a_domain_or_a_label_is_unknown(changed, title):
    figure = adaptation.before_and_after(results(**changed), results(**changed))
    assert [ax.get_title() for ax in figure.axes] == [title]
    plt.close(figure)


def test_scores_are_drawn_of_train_clips_where_there_are_no_test_clips():
    clips = {"section": [0, 0, 3], "domain": "", "split": "train", "label": pd.array([0, 0, 0], "Int64")}
    figure = common.score_distributions(pd.DataFrame(clips | {"score": [1.0, 2.0, 3.0]}))
    assert [ax.get_title() for ax in figure.axes] == ["section 00", "section 03"]
    plt.close(figure)
