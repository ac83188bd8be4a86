"""Statistics of a comparison: standard deviation, paired bootstrap, Holm's correction; and log-loss of logits."""

import numpy as np
import scipy.stats
from sklearn.metrics import log_loss
from statsmodels.stats.multitest import multipletests

from common import grid, version

RESAMPLES = 400


def philox(seed, stream, counters):
    """Philox4x32-10 of 64-bit counters, (counters, 4): the project's random numbers, written once more."""
    mask = np.uint64(0xFFFFFFFF)
    halves = lambda x: (np.uint64(x & 0xFFFFFFFF), np.uint64(x >> 32))
    (k0, k1), (c2, c3) = halves(seed), halves(stream)
    c0, c1 = counters & mask, counters >> np.uint64(32)
    c2, c3 = np.full_like(c0, c2), np.full_like(c0, c3)
    for _ in range(10):
        p0, p1 = np.uint64(0xD2511F53) * c0, np.uint64(0xCD9E8D57) * c2
        c0, c1, c2, c3 = (p1 >> np.uint64(32)) ^ c1 ^ k0, p1 & mask, (p0 >> np.uint64(32)) ^ c3 ^ k1, p0 & mask
        k0, k1 = (k0 + np.uint64(0x9E3779B9)) & mask, (k1 + np.uint64(0xBB67AE85)) & mask
    return np.stack([c0, c1, c2, c3], axis=-1)


def drawn(learners, seed, resample):
    """The learners of one resample: two draws a block, each the high half of 64 bits times their number."""
    blocks = philox(seed, 0x626F6F74 ^ (resample << 32), np.arange((learners + 1) // 2, dtype=np.uint64))
    bits = [(int(a) << 32) | int(b) for block in blocks for a, b in (block[:2], block[2:])]
    return [(x * learners) >> 64 for x in bits[:learners]]


def exact(d, seed):
    """The bootstrap with the project's own draws; ends and p by numpy."""
    means = np.array([np.mean(d[drawn(len(d), seed, b)]) for b in range(RESAMPLES)])
    low, high = np.percentile(means, [2.5, 97.5])
    p = min(1.0, 2 * (1 + min(np.sum(means <= 0), np.sum(means >= 0))) / (RESAMPLES + 1))
    return {"seed": seed, "resamples": RESAMPLES, "mean": np.mean(d), "low": low, "high": high, "p": float(p)}


def approximate(d):
    """scipy's interval of many resamples of its own, and the t-test that the bootstrap comes close to."""
    found = scipy.stats.bootstrap(
        (d,), np.mean, method="percentile", n_resamples=40_000, rng=np.random.default_rng(5), batch=4_000
    )
    low, high = found.confidence_interval
    return {"low": low, "high": high, "p": scipy.stats.ttest_1samp(d, 0).pvalue}


def make():
    rng = np.random.default_rng(41)
    cases = []
    for name, d in (
        ("a clear difference", rng.normal(0.02, 0.1, 400)),
        ("none", rng.normal(0.0, 0.1, 301)),
        ("few values", rng.choice([-1.0, 0.0, 1.0], 200, p=[0.1, 0.7, 0.2])),
        ("one learner in thirty", np.where(np.arange(300) % 30 == 0, 0.5, 0.0)),
    ):
        d = grid(d)
        cases.append(
            {"name": name, "differences": d, "sd": np.std(d, ddof=1), "exact": exact(d, 7), "scipy": approximate(d)}
        )
    p = grid(rng.uniform(0, 0.3, 12), 1 / 4096)
    p[3] = p[8]
    holm = multipletests(p, method="holm")[1]
    logits = grid(rng.normal(size=50) * 3)
    labels = rng.integers(0, 2, 50)
    return {
        "source": f"{version('scipy', 'numpy', 'scikit-learn', 'statsmodels')}: scipy.stats.bootstrap, "
        "scipy.stats.ttest_1samp, numpy.std, sklearn.metrics.log_loss, multipletests; `exact` is written here",
        "cases": cases,
        "holm": {"p": p, "corrected": holm},
        "log_loss": {"logits": logits, "labels": labels, "value": log_loss(labels, 1 / (1 + np.exp(-logits)))},
    }
