"""Losses of the multi-task head: (14), (15), (8) as BPR, and cross-entropy over all courses."""

import numpy as np
import torch
import torch.nn.functional as F

from common import gradients, leaf, leaves, normal, version


def bce():
    rng = np.random.default_rng(31)
    logits = np.concatenate([normal(rng, 12, scale=4), [80, -80, 80, -80, 30, -30, 0, 0]])
    labels = np.concatenate([(rng.random(12) < 0.5) * 1.0, [1, 1, 0, 0, 0, 1, 0, 1]])
    cases = []
    for pos_weight in (None, 3.0, 0.25):
        x = leaf(logits)
        weight = None if pos_weight is None else torch.tensor(pos_weight)
        each = F.binary_cross_entropy_with_logits(x, torch.tensor(labels), pos_weight=weight, reduction="none")
        loss = torch.nn.BCEWithLogitsLoss(pos_weight=weight)(x, torch.tensor(labels))
        cases.append({"pos_weight": pos_weight, "each": each, "loss": loss, "gradient": gradients(loss, {"x": x})["x"]})
    return {"logits": logits, "labels": labels, "cases": cases}


def bpr_scores():
    """On scores alone, with differences far outside the range where a naive log(sigmoid) is finite in float32."""
    pos, neg = (leaf(v) for v in ([0, 40, -40, 0.5, 2, -1.25, 0], [0, -40, 40, -0.75, 1, 3.5, 110]))
    loss = -F.logsigmoid(pos - neg).mean()
    g = gradients(loss, {"pos": pos, "neg": neg})
    return {"pos": pos, "neg": neg, "loss": loss, "gradients": g}


def bpr_vectors():
    rng = np.random.default_rng(37)
    p = leaves({k: normal(rng, 5, 4) for k in ("user", "pos", "neg")})
    lam = 0.01
    difference = (p["user"] * (p["pos"] - p["neg"])).sum(1)
    loss = -F.logsigmoid(difference).mean()
    squares = sum((v * v).sum(1) for v in p.values())
    total = loss + lam / 2 * squares.mean()
    return {
        "inputs": p,
        "loss": loss,
        "gradients": gradients(loss, p),
        "with_l2": {"lambda": lam, "loss": total, "gradients": gradients(total, p)},
    }


def cross_entropy():
    rng = np.random.default_rng(41)
    p = leaves({"users": normal(rng, 5, 4, scale=2), "courses": normal(rng, 7, 4, scale=2)})
    target = np.array([0, 6, 3, 3, 1])
    logits = p["users"] @ p["courses"].T
    loss = F.cross_entropy(logits, torch.tensor(target))
    extreme = leaf([[80.0, -80.0, 0.0], [-80.0, -80.0, -79.0], [800.0, 0.0, -800.0]])
    extreme_target = np.array([1, 2, 0])
    extreme_loss = F.cross_entropy(extreme, torch.tensor(extreme_target))
    return {
        "inputs": p,
        "target": target,
        "logits": logits,
        "loss": loss,
        "gradients": gradients(loss, {**p, "logits": logits}),
        "extreme": {
            "logits": extreme,
            "target": extreme_target,
            "loss": extreme_loss,
            "gradient": gradients(extreme_loss, {"x": extreme})["x"],
        },
    }


def orthogonality():
    """The readings of (14); fdn_code is the angle-free penalty of the public FDN code, kept for comparison."""
    rng = np.random.default_rng(43)
    p = leaves({"s": normal(rng, 6, 4), "t": normal(rng, 6, 4)})
    s, t = p["s"], p["t"]
    batch = len(s)
    inner, s_norm, t_norm = (s * t).sum(1), s.norm(dim=1), t.norm(dim=1)
    forms = {
        "a": ((s.T @ t) ** 2).sum() / batch**2,
        "a0": ((s.T @ t) ** 2).sum(),
        "b": torch.linalg.matrix_norm(s.T @ t, "fro"),
        "c": (inner**2).mean(),
        "d": ((inner / (s_norm * t_norm)) ** 2).mean(),
        "fdn_code": torch.stack([torch.linalg.matrix_norm(torch.outer(a, b)) for a, b in zip(s, t)]).mean(),
    }
    return {"inputs": p, "forms": {k: {"loss": v, "gradients": gradients(v, p)} for k, v in forms.items()}}


def make():
    return {
        "source": f"{version('torch')}: BCEWithLogitsLoss, logsigmoid, cross_entropy; orthogonality forms written out "
        "in torch; gradients by torch.autograd; every loss is a mean over the batch unless the form says otherwise",
        "bce": bce(),
        "bpr_scores": bpr_scores(),
        "bpr_vectors": bpr_vectors(),
        "cross_entropy": cross_entropy(),
        "orthogonality": orthogonality(),
    }
