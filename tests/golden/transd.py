"""TransD projection, score and the two knowledge-graph losses: formulas (1) and (2)."""

import numpy as np
import torch
from pykeen.losses import MarginRankingLoss, SoftMarginRankingLoss
from pykeen.nn.modules import TransDInteraction
from pykeen.utils import project_entity

from common import away_from_zero, gradients, grid, leaves, normal, version

BATCH = 3
MARGIN = 1.0
KINK = 1e-3


def raw_projection(e, e_p, r_p):
    """(r_p e_p^T + I) e with the matrix written out; used only to tell on which side of the clamp a row is."""
    matrix = r_p[:, :, None] * e_p[:, None, :] + torch.eye(r_p.shape[1], e.shape[1])
    return torch.einsum("bij,bj->bi", matrix, e)


def inputs(rng, n, m, scale):
    arrays = {}
    for name in ("h", "h_p", "r", "r_p", "t", "t_p", "t_neg", "t_neg_p"):
        arrays[name] = grid(normal(rng, BATCH, m if name in ("r", "r_p") else n) * scale)
    return arrays


def case(seed, n, m, clamp):
    rng = np.random.default_rng(seed)
    # With the clamp, rows differ in scale so that some projections stay inside the unit ball.
    scale = np.array([[0.2], [1.5], [0.5]]) if clamp else 0.3
    p = leaves(inputs(rng, n, m, scale))
    pairs = {"h": ("h", "h_p"), "t": ("t", "t_p"), "t_neg": ("t_neg", "t_neg_p")}
    norms = torch.stack([raw_projection(p[e], p[e_p], p["r_p"]).norm(dim=1) for e, e_p in pairs.values()])
    away_from_zero("clamp", norms - 1, KINK)
    if clamp == bool((norms < 1).all()) or (norms > 1).all():
        raise ValueError("the clamp must act on some rows only, or on none; change the seed")

    interaction = TransDInteraction(p=2, power_norm=True)
    score = interaction((p["h"], p["h_p"]), (p["r"], p["r_p"]), (p["t"], p["t_p"]))
    score_neg = interaction((p["h"], p["h_p"]), (p["r"], p["r_p"]), (p["t_neg"], p["t_neg_p"]))
    hinge = MARGIN - score + score_neg
    away_from_zero("hinge", hinge, KINK)
    if (hinge > 0).all() or (hinge < 0).all():
        raise ValueError("the hinge must be active on some rows only; change the seed")
    if (score_neg - score).max() > 20:
        raise ValueError("torch's softplus turns linear above 20")
    upstream = torch.tensor(normal(rng, BATCH))
    positive = {k: v for k, v in p.items() if not k.startswith("t_neg")}
    margin = MarginRankingLoss(margin=MARGIN, reduction="mean")(score, score_neg)
    bpr = SoftMarginRankingLoss(margin=0.0, reduction="mean")(score, score_neg)
    return {
        "n": n,
        "m": m,
        "proj_norm": "clamp" if clamp else "none",
        "inputs": p,
        "projected": {f"{k}_perp": project_entity(p[e], p[e_p], p["r_p"]) for k, (e, e_p) in pairs.items()},
        "score": score,
        "score_neg": score_neg,
        "upstream": upstream,
        "score_gradients": gradients((upstream * score).sum(), positive),
        "margin": {"gamma": MARGIN, "loss": margin, "gradients": gradients(margin, p)},
        "bpr": {"loss": bpr, "gradients": gradients(bpr, p)},
    }


def first_case(n, m, clamp):
    """The first seed whose inputs keep clear of the kinks and reach both sides of each."""
    for seed in range(1, 1000):
        try:
            return case(seed, n, m, clamp)
        except ValueError:
            continue
    raise RuntimeError("no seed gives a usable case")


def make():
    dims = ((4, 4), (5, 3), (3, 5))
    return {
        "source": f"{version('pykeen', 'torch')}: TransDInteraction(p=2, power_norm=True), project_entity, "
        "MarginRankingLoss, SoftMarginRankingLoss(margin=0); gradients by torch.autograd",
        "cases": [first_case(n, m, clamp) for clamp in (False, True) for n, m in dims],
    }
