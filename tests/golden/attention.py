"""Relation attention, its softmax and the bi-interaction aggregator: formulas (3) to (6)."""

import numpy as np
import torch
from pykeen.utils import project_entity
from recbole.model.knowledge_aware_recommender.kgat import Aggregator

from common import away_from_zero, gradients, leaves, normal, version

KINK = 1e-3


def csr(n_nodes, heads):
    return np.concatenate([[0], np.cumsum(np.bincount(heads, minlength=n_nodes))])


def aggregator_case(seed, slope):
    rng = np.random.default_rng(seed)
    n_nodes, d_in, d_out = 7, 6, 4
    dense = rng.random((n_nodes, n_nodes)) < 0.4
    dense[3] = False  # a node without edges
    row, col = np.nonzero(dense)
    values = np.round(rng.random(len(row)) * 1024 + 1) / 1024
    matrix = torch.sparse_coo_tensor(np.stack([row, col]), torch.tensor(values), (n_nodes, n_nodes)).coalesce()
    p = leaves(
        {
            "x": normal(rng, n_nodes, d_in),
            "w1": normal(rng, d_in, d_out, scale=0.5),
            "b1": normal(rng, d_out, scale=0.3),
            "w2": normal(rng, d_in, d_out, scale=0.5),
            "b2": normal(rng, d_out, scale=0.3),
        }
    )
    layer = Aggregator(d_in, d_out, 0.0, "bi").double()
    layer.activation = torch.nn.LeakyReLU(slope)
    # torch.nn.Linear keeps the weight as (out, in); the files use x @ W.
    with torch.no_grad():
        for linear, w, b in ((layer.W1, "w1", "b1"), (layer.W2, "w2", "b2")):
            linear.weight.copy_(p[w].T)
            linear.bias.copy_(p[b])
    side = torch.sparse.mm(matrix, p["x"])
    away_from_zero("w1 side", (p["x"] + side) @ p["w1"] + p["b1"], KINK)
    away_from_zero("w2 side", (p["x"] * side) @ p["w2"] + p["b2"], KINK)
    out = layer(matrix, p["x"])
    upstream = torch.tensor(normal(rng, n_nodes, d_out))
    held = {"x": p["x"], "w1": layer.W1.weight, "b1": layer.W1.bias, "w2": layer.W2.weight, "b2": layer.W2.bias}
    grads = gradients((upstream * out).sum(), held)
    grads["w1"], grads["w2"] = grads["w1"].T.contiguous(), grads["w2"].T.contiguous()
    return {
        "slope": slope,
        "graph": {"rowptr": csr(n_nodes, row), "col": col, "value": values},
        "inputs": p,
        "upstream": upstream,
        "side": side,
        "out": out,
        "gradients": grads,
    }


def make_aggregator():
    return {
        "source": f"{version('recbole', 'torch')}: kgat.Aggregator(6, 4, 0.0, 'bi') in double precision "
        "(the class has slope 0.01; 0.2 by replacing its activation); gradients by torch.autograd",
        "cases": [aggregator_case(3, 0.01), aggregator_case(3, 0.2)],
    }


def attention_edges(rng, n_nodes, n_relations):
    """(head, relation, tail) sorted by head: a row of 40 edges, an empty row, rows with parallel edges."""
    edges = []
    for head in range(n_nodes):
        if head == 5:
            continue
        every = [(head, r, t) for t in range(n_nodes) for r in range(n_relations)]
        count = 40 if head == 2 else int(rng.integers(1, 5))
        edges += [every[i] for i in rng.choice(len(every), count, replace=False)]
    edges += [(0, 0, 9), (0, 1, 9), (0, 2, 9)]  # three relations between one pair
    return np.array(sorted(set(edges)))


def segment_softmax(logit, head, n_nodes):
    """Softmax over all edges of a head; torch.sparse.softmax would first add up parallel edges."""
    top = torch.full((n_nodes,), -torch.inf).scatter_reduce(0, head, logit.detach(), "amax")
    weight = torch.exp(logit - top[head])
    total = torch.zeros(n_nodes).index_add(0, head, weight)
    return weight / total[head]


def attention_case(seed, project, n, m, scale):
    rng = np.random.default_rng(seed)
    n_nodes, n_relations = 16, 3
    edges = attention_edges(rng, n_nodes, n_relations)
    head, rel, tail = (torch.tensor(c) for c in edges.T)
    p = leaves(
        {
            "entity": normal(rng, n_nodes, n, scale=scale),
            "entity_proj": normal(rng, n_nodes, n, scale=scale),
            "relation": normal(rng, n_relations, m, scale=scale),
            "relation_proj": normal(rng, n_relations, m, scale=scale),
        }
    )
    h_perp = project(p["entity"][head], p["entity_proj"][head], p["relation_proj"][rel])
    t_perp = project(p["entity"][tail], p["entity_proj"][tail], p["relation_proj"][rel])
    logit = (t_perp * torch.tanh(h_perp + p["relation"][rel])).sum(1)
    alpha = segment_softmax(logit, head, n_nodes)
    out = torch.zeros(n_nodes, n).index_add(0, head, alpha[:, None] * p["entity"][tail])
    upstream = torch.tensor(normal(rng, n_nodes, n))
    return h_perp, t_perp, {
        "graph": {"edges": edges, "rowptr": csr(n_nodes, edges[:, 0])},
        "inputs": p,
        "upstream": upstream,
        "logit": logit,
        "alpha": alpha,
        "out": out,
        "gradients": gradients((upstream * out).sum(), p),
    }


def explicit_projection(e, e_p, r_p):
    """(r_p e_p^T + I) e with the matrix written out; nothing is clamped."""
    matrix = r_p[:, :, None] * e_p[:, None, :] + torch.eye(r_p.shape[1], e.shape[1])
    return torch.einsum("bij,bj->bi", matrix, e)


def make_attention():
    cases = []
    for name, project, n, m, scale in (
        ("inside the unit ball", project_entity, 5, 4, 0.2),
        ("large logits", explicit_projection, 4, 5, 1.5),
    ):
        h_perp, t_perp, case = attention_case(11, project, n, m, scale)
        if project is project_entity and max(h_perp.norm(dim=1).max(), t_perp.norm(dim=1).max()) >= 1:
            raise ValueError("pykeen's clamp is active")
        cases.append({"name": name, "n": n, "m": m, **case})
    return {
        "source": f"{version('pykeen', 'torch')}: first case pykeen.utils.project_entity (its clamp inactive), second "
        "case the explicit matrix r_p e_p^T + I in torch; softmax by torch scatter_reduce and index_add per edge; "
        "gradients by torch.autograd",
        "cases": cases,
    }
