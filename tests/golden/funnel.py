"""Losses along the funnel where probabilities have no digits left: mpmath with 200 decimal digits, in probabilities.

Each point has the logits of a model's networks; `losses[t][y]` is the cross-entropy of task t's probability with label
y, `gradients[t][y]` its derivatives along the logits."""

import itertools

import mpmath
import numpy as np

from common import version

mpmath.mp.dps = 200


def s(z):
    return 1 / (1 + mpmath.exp(-z))


def esmm(z):
    return [s(z[0]), s(z[0]) * s(z[1])]


def esm2(z):
    y1, y2, y3, y4 = map(s, z)
    return [y1, y1 * y2, y1 * (y2 * y3 + (1 - y2) * y4)]


def ctcvr(z):
    return [s(z[0])]


def point(model, logits):
    """Complex steps again: h is far below the working precision's square root."""
    h = mpmath.mpf(10) ** -90
    z = [mpmath.mpf(x) for x in logits]

    def losses(z):
        return [[-mpmath.log(1 - p), -mpmath.log(p)] for p in model(z)]

    moved = [losses([x + (mpmath.mpc(0, h) if i == j else 0) for j, x in enumerate(z)]) for i in range(len(z))]
    values = losses(z)
    return {
        "logits": np.array(logits, dtype=float),
        "losses": [[float(loss) for loss in task] for task in values],
        "gradients": [
            [[float(mpmath.im(other[t][y]) / h) for other in moved] for y in range(2)] for t in range(len(values))
        ],
    }


def make():
    ends = [-80, -20, 0, 20, 80]
    models = {
        "ctcvr": (ctcvr, [[a] for a in ends]),
        "esmm": (esmm, list(itertools.product(ends, ends))),
        "esm2": (esm2, list(itertools.product([-80, 0, 80], repeat=4))),
    }
    return {
        "source": f"{version('mpmath')}, 200 digits; gradients by complex steps",
        "models": {name: [point(model, logits) for logits in points] for name, (model, points) in models.items()},
    }
