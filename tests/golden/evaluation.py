"""Recall@K, NDCG@K and AUC: formulas (19) and (20)."""

import numpy as np
from ranx import Qrels, Run, evaluate
from sklearn.metrics import roc_auc_score

from common import version

CUTOFFS = (1, 3, 10, 20)


def metric_inputs():
    """8 learners, 30 courses; scores are a permutation of the grid, so none are equal."""
    rng = np.random.default_rng(23)
    n_learners, n_courses = 8, 30
    scores = np.stack([rng.permutation(n_courses * 4)[:n_courses] for _ in range(n_learners)]) / 64 - 1
    # learner: (relevant courses, masked courses)
    counts = [(1, 0), (3, 2), (5, 8), (25, 0), (2, 24), (6, 24), (0, 3), (12, 5)]
    relevant, masked = [], []
    for n_relevant, n_masked in counts:
        order = rng.permutation(n_courses)
        relevant.append(np.sort(order[:n_relevant]))
        masked.append(np.sort(order[n_relevant : n_relevant + n_masked]))
    return scores, relevant, masked


def make_metrics():
    scores, relevant, masked = metric_inputs()
    used = [u for u in range(len(scores)) if len(relevant[u])]
    qrels = Qrels({f"u{u}": {f"c{i}": 1 for i in relevant[u]} for u in used})
    run = Run(
        {f"u{u}": {f"c{i}": float(s) for i, s in enumerate(scores[u]) if i not in masked[u]} for u in used}
    )
    names = [f"{metric}@{k}" for metric in ("ndcg", "recall") for k in CUTOFFS]
    means = evaluate(qrels, run, names)
    # ranx orders its per-query arrays by query id; ids of one digit keep the learners' order.
    values = evaluate(qrels, run, names, return_mean=False)
    return {
        "source": f"{version('ranx')}: ranx.evaluate; masked courses are left out of the run, the learner without "
        "relevant courses is left out of the means",
        "scores": scores,
        "relevant": relevant,
        "masked": masked,
        "evaluated": used,
        "per_learner": {n: np.asarray(values[n], dtype=np.float64) for n in names},
        "mean": {n: float(means[n]) for n in names},
    }


def make_auc():
    rng = np.random.default_rng(29)
    cases = []
    for name, count, levels, share in (
        ("no ties", 60, None, 0.4),
        ("many ties", 120, 8, 0.3),
        ("two levels", 40, 2, 0.5),
        ("rare positives", 200, 40, 0.03),
        ("all equal", 10, 1, 0.5),
        ("two samples", 2, None, 0.5),
    ):
        order = rng.permutation(count)
        scores = order / 256 if levels is None else rng.integers(0, levels, count) / 16 - 0.25
        labels = np.zeros(count, dtype=np.int64)
        labels[rng.permutation(count)[: max(1, round(share * count))]] = 1
        cases.append({"name": name, "scores": scores, "labels": labels, "auc": float(roc_auc_score(labels, scores))})
    return {"source": f"{version('scikit-learn')}: sklearn.metrics.roc_auc_score", "cases": cases}
