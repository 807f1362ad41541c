"""The metrics agree with scikit-learn and scipy, and say so where there is nothing to measure."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn import metrics as sklearn_metrics

from asd.errors import InputError
from asd.evaluation import cells, metrics


def score_table(seed: int = 0, n: int = 20, machine_types=("fan", "valve"), sections=(0, 1, 3)) -> pd.DataFrame:
    """A score table with train and test clips of both domains; anomalous clips score higher by one."""
    random = np.random.default_rng(seed)
    rows = []
    for machine_type in machine_types:
        for section in sections:
            folder = f"{'dev' if section <= 2 else 'eval'}_data/{machine_type}"
            key = {"machine_type": machine_type, "section": section}
            for i in range(10):
                clip = f"{folder}/train/section_{section:02d}_source_train_normal_{i:04d}.wav"
                rows.append(
                    {**key, "domain": "source", "split": "train", "label": 0, "clip": clip, "score": random.normal()}
                )
            for domain in ("source", "target"):
                for label in (0, 1):
                    for i in range(n):
                        clip = f"{folder}/{domain}_test/section_{section:02d}_{domain}_test_{label}_{i:04d}.wav"
                        score = random.normal() + label + 2 * (domain == "target")
                        rows.append(
                            {**key, "domain": domain, "split": "test", "label": label, "clip": clip, "score": score}
                        )
    return pd.DataFrame(rows)


def one(table: pd.DataFrame, **where) -> pd.Series:
    for column, value in where.items():
        table = table[table[column] == value]
    assert len(table) == 1
    return table.iloc[0]


@pytest.mark.parametrize("n_normal", [1, 3, 10, 37, 200])
@pytest.mark.parametrize("levels", [2, 5, 1000])  # few levels: many ties
def test_auc_and_pauc_agree_with_scikit_learn(n_normal, levels):
    random = np.random.default_rng(n_normal + levels)
    label = random.permutation(np.repeat([0, 1], [n_normal, 25]))
    score = random.integers(levels, size=label.size) + label * levels // 4
    assert metrics.auc(label, score) == pytest.approx(sklearn_metrics.roc_auc_score(label, score), abs=1e-12)
    expected = sklearn_metrics.roc_auc_score(label, score, max_fpr=0.1)
    assert metrics.pauc(label, score) == pytest.approx(expected, abs=1e-12)


def test_weighted_areas_are_those_of_the_clips_repeated():
    random = np.random.default_rng(3)
    label = np.repeat([0, 1], [15, 12])
    score = random.integers(8, size=label.size).astype(float)
    weight = random.integers(0, 4, size=(20, label.size))
    areas, partial_areas = metrics.weighted_areas(label, score, weight)
    for repeats, area, partial in zip(weight, areas, partial_areas, strict=True):
        labels, scores = np.repeat(label, repeats), np.repeat(score, repeats)
        assert area == pytest.approx(sklearn_metrics.roc_auc_score(labels, scores), abs=1e-12)
        assert partial == pytest.approx(sklearn_metrics.roc_auc_score(labels, scores, max_fpr=0.1), abs=1e-12)


def test_precision_recall_and_f1_agree_with_scikit_learn():
    random = np.random.default_rng(1)
    label, decision = random.integers(2, size=50), random.integers(2, size=50)
    expected = sklearn_metrics.precision_recall_fscore_support(label, decision, average="binary")[:3]
    assert metrics.precision_recall_f1(label, decision) == pytest.approx(expected)


def test_precision_recall_and_f1_are_zero_where_nothing_is_flagged_or_nothing_is_anomalous():
    assert metrics.precision_recall_f1([0, 1, 1], [0, 0, 0]) == (0, 0, 0)
    assert metrics.precision_recall_f1([0, 0, 0], [1, 0, 0]) == (0, 0, 0)


def test_harmonic_mean_agrees_with_scipy_and_is_floored_at_the_float_epsilon():
    values = np.random.default_rng(2).random((6, 4))
    np.testing.assert_allclose(metrics.harmonic_mean(values), stats.hmean(values), rtol=1e-12)
    assert metrics.harmonic_mean([0.0, 1.0]) == pytest.approx(2 * np.finfo(float).eps, rel=1e-6)
    assert np.isnan(metrics.harmonic_mean([np.nan, 0.5]))
    assert np.isnan(metrics.harmonic_mean([]))


def test_one_class_alone_has_no_auc_and_says_so():
    with pytest.warns(UserWarning, match="one class"):
        assert np.isnan(metrics.auc([0, 0], [1.0, 2.0]))
    with pytest.warns(UserWarning, match="one class"):
        assert np.isnan(metrics.pauc([1, 1], [1.0, 2.0]))


@pytest.mark.parametrize(
    ("label", "score", "said"),
    [
        ([0, 1], [1.0, np.nan], "1 of 2 scores"),
        ([0, 1], [np.inf, 0.0], "not finite"),
        ([0, 2], [1.0, 2.0], "allowed: 0"),
        ([0, 1, 1], [1.0, 2.0], "shape"),
        ([[0, 1]], [[1.0, 2.0]], "shape"),
    ],
)
def test_arrays_that_make_no_sense_are_errors(label, score, said):
    with pytest.raises(InputError, match=said):
        metrics.auc(label, score)


def test_every_cell_has_its_row_and_the_mixed_cell_holds_both_domains():
    table = score_table()
    results = cells.evaluate_scores(table)
    assert len(results) == 2 * 3 * 3
    test = table[(table.machine_type == "fan") & (table.section == 3) & (table.split == "test")]
    target = test[test.domain == "target"]
    row = one(results, machine_type="fan", section=3, domain="target")
    assert (row.part, row.n_normal, row.n_anomalous) == ("eval", 20, 20)
    assert row.auc == pytest.approx(sklearn_metrics.roc_auc_score(target.label, target.score))
    mixed = one(results, machine_type="fan", section=3, domain="mixed")
    assert mixed.n_normal == 40
    assert mixed.auc == pytest.approx(sklearn_metrics.roc_auc_score(test.label, test.score))


def test_order_of_the_rows_does_not_matter():
    table = score_table()
    shuffled = table.sample(frac=1, random_state=5)
    pd.testing.assert_frame_equal(cells.evaluate_scores(table), cells.evaluate_scores(shuffled))


def test_a_table_read_back_from_csv_gives_the_same(tmp_path):
    table = score_table()
    table["label"] = table["label"].astype("Int64").mask(table.section == 1)
    table.to_csv(tmp_path / "scores.csv", index=False)
    again = cells.evaluate_scores(pd.read_csv(tmp_path / "scores.csv"))
    pd.testing.assert_frame_equal(cells.evaluate_scores(table), again)


def test_a_section_with_one_class_is_nan_and_named_and_left_out_of_the_means():
    table = score_table()
    lost = (table.machine_type == "fan") & (table.section == 1) & (table.domain == "target") & (table.label == 1)
    with pytest.warns(UserWarning, match="fan section 01 target: no anomalous test clips"):
        results = cells.evaluate_scores(table[~lost])
    row = one(results, machine_type="fan", section=1, domain="target")
    assert np.isnan(row.auc)
    assert (row.n_normal, row.n_anomalous) == (20, 0)
    mean = one(cells.summarise(results), machine_type="fan", part="dev", mean="target harmonic mean")
    assert (mean.n_cells, mean.n_undefined) == (1, 1)
    assert mean.auc == one(results, machine_type="fan", section=0, domain="target").auc


def test_sections_without_labels_are_nan_without_a_warning():
    table = score_table()
    table["label"] = table["label"].astype("Int64").mask(table.section == 3)
    results = cells.evaluate_scores(table)
    assert results[results.part == "eval"].auc.isna().all()
    assert results[results.part == "dev"].auc.notna().all()


def test_the_official_score_is_the_harmonic_mean_of_all_auc_and_pauc_without_the_mixed_cells():
    results = cells.evaluate_scores(score_table())
    summary = cells.summarise(results)
    dev = results[(results.part == "dev") & (results.domain != "mixed")]
    expected = stats.hmean(np.concatenate([dev.auc, dev.pauc]))
    overall = one(summary, machine_type=cells.ALL_MACHINES, part="dev", mean="harmonic mean")
    assert overall.official_score == pytest.approx(expected, rel=1e-12)
    assert overall.n_cells == len(dev) == 8
    assert metrics.official_score(dev.auc, dev.pauc) == pytest.approx(expected, rel=1e-12)
    source = one(summary, machine_type="valve", part="eval", mean="source harmonic mean")
    assert source.auc == pytest.approx(one(results, machine_type="valve", section=3, domain="source").auc)


def test_a_threshold_for_both_domains_is_harder_where_target_scores_are_higher():
    summary = cells.summarise(cells.evaluate_scores(score_table(n=100)))
    means = summary[(summary.machine_type == cells.ALL_MACHINES) & (summary.part == "dev")].set_index("mean").auc
    assert means["mixed harmonic mean"] < min(means["source harmonic mean"], means["target harmonic mean"]) - 0.05


def test_decisions_give_precision_recall_and_f1():
    table = score_table()
    table["decision"] = (table.score > 0.5).astype(int)
    row = one(cells.evaluate_scores(table), machine_type="fan", section=0, domain="source")
    cell = table[
        (table.machine_type == "fan") & (table.section == 0) & (table.domain == "source") & (table.split == "test")
    ]
    assert row.f1 == pytest.approx(sklearn_metrics.f1_score(cell.label, cell.decision))
    assert np.isnan(cells.evaluate_scores(score_table()).f1).all()


def test_dev_and_eval_follow_the_folder_and_else_the_section():
    table = score_table(sections=(0, 5))
    table["clip"] = (
        table["clip"].str.replace("dev_data/fan", "home/fan").str.replace("eval_data/valve", "dev_data/valve")
    )
    results = cells.evaluate_scores(table)
    parts = results.drop_duplicates(["machine_type", "section"]).set_index(["machine_type", "section"]).part.to_dict()
    assert parts == {("fan", 0): "dev", ("fan", 5): "eval", ("valve", 0): "dev", ("valve", 5): "dev"}


def test_clips_of_unknown_domain_count_in_the_mixed_cell_alone():
    table = score_table().assign(domain=np.nan)
    assert set(cells.evaluate_scores(table).domain) == {"mixed"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda table: table.drop(columns="clip"), "columns"),
        (lambda table: table.assign(score=table.score.mask(table.index == 0)), "section_00_source_train_normal_0000"),
        (lambda table: table.assign(score=table.score.mask(table.index == 9, -np.inf)), "-inf"),
        (lambda table: pd.concat([table, table.head(1)]), "is listed twice"),
        (lambda table: table.assign(domain="both"), "'both'"),
        (lambda table: table.assign(label=7), "label '7'"),
        (lambda table: table.assign(split="Test"), "split 'Test'"),
    ],
)
def test_a_table_that_makes_no_sense_is_an_error_that_names_the_clip_or_column(change, said):
    with pytest.raises(InputError, match=said):
        cells.evaluate_scores(change(score_table()))
