"""Training steps: attention of TransD differentiated, over the whole graph or over sampled neighbourhoods; BPR, gradients,
Adam."""

import torch
import torch.nn.functional as F
from torch import nn

from attention import segment_softmax
from common import Setting, compiled, import_dgl

WIDTHS = [64, 32, 16]
FAN_OUTS = [10, 10]


def bpr(u, i, j):
    return -F.logsigmoid((u * i).sum(-1) - (u * j).sum(-1)).mean()


def peers(setting: Setting):
    source, target = setting.edges()
    yield from full_graph(setting, source, target)
    yield from sampled(setting, source, target)


def triplets(setting: Setting):
    """Nodes of learners, courses taken and courses not taken."""
    own, taken, other = setting.load("triplets").unbind(1)
    shift = setting.sizes["learners"]
    return own, taken + shift, other + shift


def full_graph(setting: Setting, source, target):
    nodes, d = setting.nodes, setting.sizes["dim"]
    batch = torch.cat(triplets(setting))
    e, p = (nn.Parameter(setting.random(nodes, d, std=0.1)) for _ in range(2))
    r, r_p = (nn.Parameter(setting.random(d, std=0.1)) for _ in range(2))
    widths = [d] + WIDTHS
    layers = nn.ModuleList(
        nn.ModuleList([nn.Linear(a, b), nn.Linear(a, b)]) for a, b in zip(widths[:-1], widths[1:])
    ).to(setting.device)
    fused = setting.device.type == "cuda"
    adam = torch.optim.Adam([e, p, r, r_p, *layers.parameters()], lr=1e-3, fused=fused or None)

    def keys():
        """Projected entities, and what each asks with."""
        projected = e + (e * p).sum(-1, keepdim=True) * r_p
        return projected, torch.tanh(projected + r)

    def propagate(aggregate):
        x, states = e, [e]
        for first, second in layers:
            heard = aggregate(x)
            x = F.leaky_relu(first(x + heard)) + F.leaky_relu(second(x * heard))
            states.append(x)
        # Only the batch's rows of all layers are normalised and stacked, as this program does.
        first, *further = [x.index_select(0, batch) for x in states]
        z = torch.cat([first, *map(F.normalize, further)], 1)
        return bpr(*z.chunk(3))

    def edgewise():
        projected, asked = keys()
        logits = (asked.index_select(0, target) * projected.index_select(0, source)).sum(-1)
        alpha = segment_softmax(logits, target, nodes).unsqueeze(1)
        return propagate(
            lambda x: x.new_zeros(nodes, x.shape[1]).index_add(0, target, x.index_select(0, source) * alpha)
        )

    def step(loss):
        def work():
            adam.zero_grad()
            loss().backward()
            adam.step()

        return work

    yield "step/full-graph", "torch eager", step(edgewise)
    if setting.device.type == "cuda" and (fast := compiled(setting, edgewise)) is not None:
        yield "step/full-graph", "torch.compile", step(fast)

    if (dgl := import_dgl()) is not None:
        import dgl.nn.functional  # noqa: F401
        import dgl.ops  # noqa: F401

        graph = dgl.graph((source.int(), target.int()), num_nodes=nodes)
        graph.create_formats_()

        def with_dgl():
            projected, asked = keys()
            alpha = dgl.nn.functional.edge_softmax(graph, dgl.ops.u_dot_v(graph, projected, asked))
            return propagate(lambda x: dgl.ops.u_mul_e_sum(graph, x, alpha))

        yield "step/full-graph", "DGL", step(with_dgl)


def sampled(setting: Setting, source, target):
    """Neighbours drawn with replacement, two hops of attention over them, row-sparse Adam on the table."""
    nodes, d = setting.nodes, setting.sizes["dim"]
    degree = torch.bincount(target, minlength=nodes)
    offsets = torch.cumsum(degree, 0) - degree
    seeds = torch.cat(triplets(setting))
    table = nn.Embedding(nodes, d, sparse=True, device=setting.device)
    table.weight.data.mul_(0.1)
    r = nn.Parameter(setting.random(d, std=0.1))
    rows, rest = torch.optim.SparseAdam(table.parameters(), lr=1e-3), torch.optim.Adam([r], lr=1e-3)

    def draw(v, count):
        at = (torch.rand(*v.shape, count, device=v.device) * degree[v].clamp(min=1).unsqueeze(-1)).long()
        return source[(offsets[v].unsqueeze(-1) + at).clamp(max=len(source) - 1)]

    def hop(x, neighbours):
        alpha = torch.softmax((torch.tanh(x + r).unsqueeze(-2) * neighbours).sum(-1), -1)
        return x + (alpha.unsqueeze(-1) * neighbours).sum(-2)

    def work():
        rows.zero_grad()
        rest.zero_grad()
        first = draw(seeds, FAN_OUTS[0])
        second = draw(first, FAN_OUTS[1])
        near = hop(table(first), table(second))
        u, i, j = hop(table(seeds), near).chunk(3)
        bpr(u, i, j).backward()
        rows.step()
        rest.step()

    yield "step/sampled", "torch eager, SparseAdam", work
