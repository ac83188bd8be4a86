"""The whole model on a graph of 13 nodes: formulas (1) and (3) to (16), written for clarity, not speed.

No library has this model. The code below follows the formulas literally (mapping matrices written out, one edge and
one pair at a time) and differentiates by torch.autograd; before writing, the gradients are checked against central
differences of an evaluation that keeps no autograd state."""

import functools

import numpy as np
import torch
import torch.nn.functional as F

from common import away_from_zero, gradients, leaves, normal, version

LEARNERS, COURSES, ATTRIBUTES = 4, 5, 4
NODES = LEARNERS + COURSES + ATTRIBUTES
KG_RELATIONS, ENROL, ENROLLED_BY = 2, 4, 5
RELATIONS = 2 * KG_RELATIONS + 2
ENTITY_DIM, RELATION_DIM = 6, 6
LAYER_DIMS = (5, 4)
EXPERT_DIMS = (8, 6)
TOWER_DIMS = (4, 1)
TASKS = 2
SLOPE = 0.01
KINK = 2e-4

ENROLMENTS = [(0, 0), (0, 1), (0, 3), (1, 1), (1, 2), (2, 0), (2, 4)]  # learner 3 has none: an empty row
TRIPLES = [(0, 0, 0), (0, 1, 0), (1, 0, 1), (2, 0, 1), (2, 1, 2), (3, 0, 3), (4, 1, 2), (4, 1, 3)]  # course, rel, attr
PAIRS = [(0, 0), (0, 2), (1, 1), (1, 4), (2, 4), (3, 3)]
LABELS = np.array([[1.0, 1.0], [0, 0], [1, 0], [0, 0], [1, 1], [1, 0]])


def graph_edges():
    """(head, relation, tail) with both directions, sorted; nodes: learners, then courses, then attributes."""
    edges = []
    for learner, course in ENROLMENTS:
        edges += [(learner, ENROL, LEARNERS + course), (LEARNERS + course, ENROLLED_BY, learner)]
    for course, relation, attribute in TRIPLES:
        head, tail = LEARNERS + course, LEARNERS + COURSES + attribute
        edges += [(head, relation, tail), (tail, relation + KG_RELATIONS, head)]
    return sorted(edges)


def parameter_arrays(seed):
    rng = np.random.default_rng(seed)
    arrays = {}

    def add(name, *shape, scale):
        arrays[name] = normal(rng, *shape, scale=scale, step=1 / 128)

    def linear(prefix, d_in, d_out):
        add(f"{prefix}.w", d_in, d_out, scale=1.3 * d_in**-0.5)
        add(f"{prefix}.b", d_out, scale=0.3)

    add("entity", NODES, ENTITY_DIM, scale=0.6)
    add("entity_proj", NODES, ENTITY_DIM, scale=0.5)
    add("relation", RELATIONS, RELATION_DIM, scale=0.6)
    add("relation_proj", RELATIONS, RELATION_DIM, scale=0.5)
    d = ENTITY_DIM
    for l, width in enumerate(LAYER_DIMS):
        for i in (1, 2):
            add(f"layers.{l}.w{i}", d, width, scale=0.5)
            add(f"layers.{l}.b{i}", width, scale=0.2)
        d = width
    bottom = 3 * (ENTITY_DIM + sum(LAYER_DIMS))
    for prefix in ["shared"] + [f"specific.{k}" for k in range(TASKS)]:
        d = bottom
        for i, width in enumerate(EXPERT_DIMS):
            linear(f"{prefix}.{i}", d, width)
            d = width
    for k in range(TASKS):
        linear(f"gate.{k}", 2 * EXPERT_DIMS[-1], EXPERT_DIMS[-1])
        d = EXPERT_DIMS[-1]
        for i, width in enumerate(TOWER_DIMS):
            linear(f"tower.{k}.{i}", d, width)
            d = width
        linear(f"aux.{k}", EXPERT_DIMS[-1], 1)
    return arrays


def attention(p, edges):
    """(1), (4), (5): one logit per edge, one softmax per head over all its edges."""
    logits = []
    for head, relation, tail in edges:
        r, r_p = p["relation"][relation], p["relation_proj"][relation]
        eye = torch.eye(RELATION_DIM, ENTITY_DIM)
        h_perp = (torch.outer(r_p, p["entity_proj"][head]) + eye) @ p["entity"][head]
        t_perp = (torch.outer(r_p, p["entity_proj"][tail]) + eye) @ p["entity"][tail]
        logits.append(torch.dot(t_perp, torch.tanh(h_perp + r)))
    alpha = [None] * len(edges)
    for node in range(NODES):
        row = [i for i, e in enumerate(edges) if e[0] == node]
        if row:
            for i, a in zip(row, torch.softmax(torch.stack([logits[i] for i in row]), 0)):
                alpha[i] = a
    return torch.stack(logits), torch.stack(alpha)


def encoder(p, edges, alpha, kinks):
    """(3), (6), (7): bi-interaction layers; the concat has layer 0 as it is and the others L2-normalised."""
    x, blocks = p["entity"], [p["entity"]]
    for l in range(len(LAYER_DIMS)):
        message = [torch.zeros(x.shape[1]) for _ in range(NODES)]
        for (head, _, tail), a in zip(edges, alpha):
            message[head] = message[head] + a * x[tail]
        message = torch.stack(message)
        z1 = (x + message) @ p[f"layers.{l}.w1"] + p[f"layers.{l}.b1"]
        z2 = (x * message) @ p[f"layers.{l}.w2"] + p[f"layers.{l}.b2"]
        kinks += [z1, z2]
        x = F.leaky_relu(z1, SLOPE) + F.leaky_relu(z2, SLOPE)
        blocks.append(x / x.norm(dim=1, keepdim=True).clamp_min(1e-12))
    return torch.cat(blocks, dim=1)


def mlp(p, prefix, x, depth, kinks, last_linear=False):
    for i in range(depth):
        x = x @ p[f"{prefix}.{i}.w"] + p[f"{prefix}.{i}.b"]
        if not (last_linear and i == depth - 1):
            kinks.append(x)
            x = torch.relu(x)
    return x


def forward(p):
    """All outputs, and the pre-activations of every kinked activation."""
    edges, kinks, out = graph_edges(), [], {}
    out["attention_logit"], out["alpha"] = attention(p, edges)
    z = out["z"] = encoder(p, edges, out["alpha"], kinks)
    z_u = z[[u for u, _ in PAIRS]]
    z_i = z[[LEARNERS + i for _, i in PAIRS]]
    bottom = torch.cat([z_u, z_i, z_u * z_i], dim=1)
    s = out["shared"] = mlp(p, "shared", bottom, len(EXPERT_DIMS), kinks)
    labels = torch.tensor(LABELS)
    losses = {"bce": [], "orth": torch.zeros(()), "auxf": torch.zeros(())}
    out["specific"], out["gate"], out["fused"], logits = [], [], [], []
    for k in range(TASKS):
        t = mlp(p, f"specific.{k}", bottom, len(EXPERT_DIMS), kinks)
        gate = torch.sigmoid(torch.cat([s, t], dim=1) @ p[f"gate.{k}.w"] + p[f"gate.{k}.b"])
        fused = gate * s + (1 - gate) * t
        logit = mlp(p, f"tower.{k}", fused, len(TOWER_DIMS), kinks, last_linear=True)[:, 0]
        aux = (t @ p[f"aux.{k}.w"] + p[f"aux.{k}.b"])[:, 0]
        losses["bce"].append(F.binary_cross_entropy_with_logits(logit, labels[:, k]))
        losses["orth"] = losses["orth"] + ((s.T @ t) ** 2).sum() / len(PAIRS) ** 2
        losses["auxf"] = losses["auxf"] + F.binary_cross_entropy_with_logits(aux, labels[:, k])
        logits.append(logit)
        for name, value in (("specific", t), ("gate", gate), ("fused", fused)):
            out[name].append(value)
    out["logits"] = torch.stack(logits, dim=1)
    losses["total"] = sum(losses["bce"]) + losses["orth"] + losses["auxf"]
    return out, losses, kinks


def check_differences(arrays, grads, eps=1e-6, samples=12):
    """Central differences at some entries of every parameter."""
    rng = np.random.default_rng(0)
    with torch.no_grad():
        for name, g in grads.items():
            for i in rng.permutation(g.numel())[:samples]:
                values = []
                for sign in (1, -1):
                    moved = {k: torch.tensor(v) for k, v in arrays.items()}
                    moved[name].view(-1)[i] += sign * eps
                    values.append(float(forward(moved)[1]["total"]))
                numeric, exact = (values[0] - values[1]) / (2 * eps), float(g.reshape(-1)[i])
                if abs(numeric - exact) > 1e-7 * max(1.0, abs(exact)):
                    raise AssertionError(f"{name}[{i}]: differences give {numeric}, autograd {exact}")


@functools.cache
def evaluated():
    """Inputs clear of every kink, with at most one dead unit per layer of the head, and everything computed from them."""
    for seed in range(1, 2000):
        arrays = parameter_arrays(seed)
        p = leaves(arrays)
        out, losses, kinks = forward(p)
        # The encoder's pre-activations have one row per node, those of the heads one row per pair.
        heads = [k for k in kinks if len(k) == len(PAIRS)]
        if any(int((k.max(dim=0).values < 0).sum()) > 1 for k in heads):
            continue
        try:
            away_from_zero("activation", torch.cat([k.flatten() for k in kinks]), KINK)
        except ValueError:
            continue
        grads = gradients(losses["total"], p)
        check_differences(arrays, grads)
        return seed, p, out, losses, grads
    raise RuntimeError("no seed gives a usable model")


def source():
    return (
        f"{version('torch')}: independent implementation of the formulas, gradients by torch.autograd and checked "
        "against central differences"
    )


def make_forward():
    seed, p, out, losses, _ = evaluated()
    edges = np.array(graph_edges())
    return {
        "source": source(),
        "seed": seed,
        "settings": {
            "learners": LEARNERS,
            "courses": COURSES,
            "attributes": ATTRIBUTES,
            "entity_dim": ENTITY_DIM,
            "relation_dim": RELATION_DIM,
            "layer_dims": list(LAYER_DIMS),
            "expert_dims": list(EXPERT_DIMS),
            "tower_dims": list(TOWER_DIMS),
            "tasks": TASKS,
            "leaky_relu_slope": SLOPE,
            "attention": "differentiated",
            "proj_norm": "none",
            "bottom": "concat_hadamard",
            "orth": "a",
            "dropout": 0.0,
            "loss_weights": 1.0,
        },
        "graph": {
            "edges": edges,
            "rowptr": np.concatenate([[0], np.cumsum(np.bincount(edges[:, 0], minlength=NODES))]),
        },
        "pairs": np.array(PAIRS),
        "labels": LABELS,
        "parameters": p,
        "outputs": out,
        "losses": losses,
    }


def make_gradients():
    seed, _, _, losses, grads = evaluated()
    return {"source": source(), "seed": seed, "of": "losses.total", "total": losses["total"], "gradients": grads}
