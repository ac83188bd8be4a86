"""Popularity, ItemKNN and EASE in numpy, float64, from their definitions."""

import numpy as np

from common import grid, version

LEARNERS, COURSES = 16, 9


def taken(rng):
    """0 and 1, (learners, courses). Nobody took the last course, the last learner took none."""
    x = (rng.random((LEARNERS, COURSES)) < rng.uniform(0.2, 0.7, COURSES)).astype(float)
    x[-1] = 0
    x[:, -1] = 0
    return x


def itemknn(x, neighbours, shrink):
    """w[i, j]: what course j, which was taken, adds to the score of course i."""
    n = x.T @ x
    own = np.diag(n)
    w = n / (np.sqrt(np.outer(own, own)) + shrink + (np.outer(own, own) == 0))
    np.fill_diagonal(w, 0)
    if neighbours:
        for j in range(COURSES):
            order = np.argsort(-w[:, j], kind="stable")
            last, next_one = w[order[neighbours - 1], j], w[order[neighbours], j]
            if 0 < last - next_one < 1e-4 or (last == next_one and last > 0):
                raise ValueError(f"course {j}: a tie decides which neighbours are kept; change the seed")
            w[order[neighbours:], j] = 0
    return w


def ease(x, penalty):
    p = np.linalg.inv(x.T @ x + penalty * np.eye(COURSES))
    b = -p / np.diag(p)
    np.fill_diagonal(b, 0)
    # B[j, i] is what course j adds to course i.
    return b.T


def make():
    for seed in range(1000):
        x = taken(np.random.default_rng(seed))
        try:
            weights = [
                ({"itemknn_neighbours": 0, "itemknn_shrink": 0.0}, "itemknn", itemknn(x, 0, 0.0)),
                ({"itemknn_neighbours": 3, "itemknn_shrink": 2.0}, "itemknn", itemknn(x, 3, 2.0)),
                ({"ease_lambda": 0.5}, "ease", ease(x, 0.5)),
                ({"ease_lambda": 200.0}, "ease", ease(x, 200.0)),
            ]
            break
        except ValueError:
            continue
    popular = np.tile(x.sum(axis=0), (LEARNERS, 1))
    cases = [{"model": "popularity", "settings": {}, "scores": popular}]
    cases += [{"model": model, "settings": settings, "scores": x @ w.T} for settings, model, w in weights]
    return {
        "source": f"{version('numpy')}: numpy.linalg.inv and the definitions as written in rankers.py",
        "taken": grid(x).astype(int),
        "cases": cases,
    }
