"""FDN, ESM2, CTCVR, BPR-MF and LightGCN in numpy, written from their papers' formulas: no library has them as they are
defined here. Gradients are complex steps, Im f(x + ih) / h: exact to rounding, and no backward pass is written."""

import numpy as np

from common import away_from_zero, normal, version
from multitask import COURSES, DIM, LEARNERS, PAIRS, TOWER, WIDTHS, network

# Enrolment, an act, completion.
LABELS = np.array([[1, 1, 1], [1, 0, 0], [0, 0, 0], [1, 0, 1], [0, 0, 0], [1, 1, 0], [1, 1, 1], [0, 0, 0], [0, 0, 0], [1, 0, 0]])
PAIRS_OF_EXPERTS = 2
LAYERS = 2
L2 = 0.25
# A positive and a negative course of each row, for BPR.
ROWS, POSITIVE, NEGATIVE = np.array([0, 1, 2, 3, 0]), np.array([1, 1, 2, 0, 4]), np.array([3, 0, 3, 4, 2])
# (learner, course); course 3 and learner 3 have none.
ENROLMENTS = np.array([[0, 1], [0, 4], [1, 1], [1, 0], [1, 2], [2, 2]])


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def softplus(z):
    return np.log(1 + np.exp(z))


def logit(p):
    return np.log(p) - np.log(1 - p)


def cross_entropy(p, y):
    return -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))


def relu(x):
    away_from_zero("a ReLU", x.real, 1e-3)
    return np.where(x.real > 0, x, 0)


def mlp(p, name, x, last=relu):
    layers = sum(f"{name}.{i}.w" in p for i in range(9))
    for i in range(layers):
        x = x @ p[f"{name}.{i}.w"] + p[f"{name}.{i}.b"]
        x = relu(x) if i + 1 < layers else last(x)
    return x


def plain(x):
    return x


def bottom(p):
    u, i = p["entity"][:LEARNERS][PAIRS[:, 0]], p["entity"][LEARNERS:][PAIRS[:, 1]]
    return np.concatenate([u, i, u * i], axis=1)


def complex_step(total, p, h=1e-40):
    """d total / d each number of each parameter."""
    found = {}
    for name, value in p.items():
        grad = np.zeros(value.shape)
        for at in np.ndindex(*value.shape):
            moved = value.astype(complex)
            moved[at] += 1j * h
            grad[at] = total({**p, name: moved}).imag / h
        found[name] = grad
    return found


def record(p, forward, **more):
    """`forward` gives losses by name, and what is said of each pair."""
    losses, logits = forward(p)
    gradients = complex_step(lambda p: sum(forward(p)[0].values()), p)
    return {"parameters": p, "losses": losses, "logits": logits, "gradients": gradients, **more}


def table(rng):
    return {"entity": normal(rng, LEARNERS + COURSES, DIM)}


def fdn(rng):
    """Two tasks; head k is one linear layer over its specific vectors and all shared ones."""
    p, m, d = table(rng), PAIRS_OF_EXPERTS, WIDTHS[-1]
    for k in range(2):
        for i in range(m):
            p |= network(rng, f"shared.{k}.{i}", [3 * DIM, *WIDTHS])
            p |= network(rng, f"specific.{k}.{i}", [3 * DIM, *WIDTHS])
            p |= network(rng, f"aux.{k}.{i}", [d, 1])
        p |= network(rng, f"tower.{k}", [(m + 2 * m) * d, 1])
    labels = LABELS[:, [0, 2]]

    def forward(p):
        x, batch = bottom(p), len(PAIRS)
        s = [[mlp(p, f"shared.{k}.{i}", x) for i in range(m)] for k in range(2)]
        t = [[mlp(p, f"specific.{k}.{i}", x) for i in range(m)] for k in range(2)]
        z = [mlp(p, f"tower.{k}", np.concatenate([*t[k], *s[0], *s[1]], axis=1), plain)[:, 0] for k in range(2)]
        pairs = [(k, i) for k in range(2) for i in range(m)]
        # |C|_F^2 of real C, written without conjugates for the complex step.
        orth = sum(np.sum((s[k][i].T @ t[k][i]) ** 2) for k, i in pairs) / batch**2
        own = [(k, sigmoid(mlp(p, f"aux.{k}.{i}", t[k][i], plain)[:, 0])) for k, i in pairs]
        losses = {
            "bce/enrolled": cross_entropy(sigmoid(z[0]), labels[:, 0]),
            "bce/completed": cross_entropy(sigmoid(z[1]), labels[:, 1]),
            "auxiliary": sum(cross_entropy(y, labels[:, k]) for k, y in own),
            "orthogonality": orth,
        }
        return losses, np.stack(z, axis=1)

    return record(p, forward, labels=labels)


def esm2(rng):
    p = table(rng)
    for name in ("enrol", "act", "after_act", "without_act"):
        p |= network(rng, f"net.{name}", [3 * DIM, *WIDTHS, *TOWER, 1])

    def forward(p):
        x = bottom(p)
        y1, y2, y3, y4 = (
            sigmoid(mlp(p, f"net.{name}", x, plain)[:, 0]) for name in ("enrol", "act", "after_act", "without_act")
        )
        completes = y2 * y3 + (1 - y2) * y4
        losses = {
            "bce/enrolled": cross_entropy(y1, LABELS[:, 0]),
            "bce/acted": cross_entropy(y1 * y2, LABELS[:, 1]),
            "bce/completed": cross_entropy(y1 * completes, LABELS[:, 2]),
        }
        return losses, logit(np.stack([y1, y2, completes], axis=1))

    return record(p, forward, labels=LABELS)


def ctcvr(rng):
    p = table(rng) | network(rng, "net", [3 * DIM, *WIDTHS, *TOWER, 1])
    labels = LABELS[:, [0, 2]]

    def forward(p):
        y = sigmoid(mlp(p, "net", bottom(p), plain)[:, 0])
        return {"bce/completed": cross_entropy(y, labels[:, 1])}, logit(np.stack([y, y], axis=1))

    return record(p, forward, labels=labels)


def bpr(z):
    u, courses = z[:LEARNERS][ROWS], z[LEARNERS:]
    i, j = courses[POSITIVE], courses[NEGATIVE]
    margin = np.sum(u * i, axis=1) - np.sum(u * j, axis=1)
    norms = np.mean(np.sum(u**2 + i**2 + j**2, axis=1))
    logits = np.sum(z[:LEARNERS][PAIRS[:, 0]] * courses[PAIRS[:, 1]], axis=1, keepdims=True)
    return {"bpr": np.mean(softplus(-margin)) + L2 / 2 * norms}, logits


def bpr_mf(rng):
    return record(table(rng), lambda p: bpr(p["entity"]), l2=L2)


def lightgcn(rng):
    nodes = LEARNERS + COURSES
    adjacency = np.zeros((nodes, nodes))
    for u, i in ENROLMENTS:
        adjacency[u, LEARNERS + i] = adjacency[LEARNERS + i, u] = 1
    degree = adjacency.sum(axis=1)
    scale = np.where(degree > 0, 1 / np.sqrt(np.maximum(degree, 1)), 0)
    smooth = scale[:, None] * adjacency * scale

    def propagated(p):
        states = [p["entity"]]
        for _ in range(LAYERS):
            states.append(smooth @ states[-1])
        return sum(states) / len(states)

    made = record(table(rng), lambda p: bpr(propagated(p)), l2=L2, layers=LAYERS)
    return {**made, "z": propagated(made["parameters"])}


def make():
    # Each with a seed that keeps its units away from their kinks.
    rng = np.random.default_rng
    return {
        "source": f"{version('numpy')}: the papers' formulas as written in baselines.py; gradients of the losses' sum by "
        "complex steps",
        "pairs": PAIRS,
        "enrolments": ENROLMENTS,
        "triplets": {"rows": ROWS, "positive": POSITIVE, "negative": NEGATIVE},
        "models": {
            "fdn": fdn(rng(1)),
            "esm2": esm2(rng(0)),
            "ctcvr": ctcvr(rng(0)),
            "bpr-mf": bpr_mf(rng(1)),
            "lightgcn": lightgcn(rng(2)),
        },
    }
