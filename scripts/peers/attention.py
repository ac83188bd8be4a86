"""Attention over the enrolments, both directions: softmax of q . x over each node's edges, the weighted sum of x, and the
gradients of x and q. Formulas as in docs/benchmarks.md."""

import torch

from common import Setting, compiled, import_dgl


def segment_softmax(logits: torch.Tensor, target: torch.Tensor, nodes: int) -> torch.Tensor:
    """Softmax of logits over the edges of each target."""
    top = logits.new_full((nodes,), -1e30).scatter_reduce(0, target, logits.detach(), "amax")
    e = torch.exp(logits - top.index_select(0, target))
    return e / logits.new_zeros(nodes).index_add(0, target, e).index_select(0, target)


def peers(setting: Setting):
    nodes, d = setting.nodes, setting.sizes["dim"]
    source, target = setting.edges()
    x = setting.random(nodes, d, std=0.5).requires_grad_()
    q = torch.tanh(setting.random(nodes, d, std=0.5)).requires_grad_()
    upstream = setting.random(nodes, d)

    def eager(x, q):
        heard = x.index_select(0, source)
        alpha = segment_softmax((q.index_select(0, target) * heard).sum(-1), target, nodes)
        return x.new_zeros(nodes, d).index_add(0, target, heard * alpha.unsqueeze(1))

    def both(forward):
        def work():
            x.grad = q.grad = None
            forward(x, q).backward(upstream)

        return work

    def forward_only(forward):
        def work():
            with torch.no_grad():
                forward(x, q)

        return work

    with torch.no_grad():
        expected = eager(x, q)

    def same(name, forward):
        """Every peer has to do the same work: its output is held against the plain formula's."""
        with torch.no_grad():
            error = (forward(x, q) - expected).abs().max().item()
        if error > 1e-3:
            setting.problems.append(f"{name} differs from the formula by {error:.1e}")

    yield "attention/forward+backward", "torch eager", both(eager)
    yield "attention/forward", "torch eager", forward_only(eager)
    if (fast := compiled(setting, eager)) is not None:
        yield "attention/forward+backward", "torch.compile", both(fast)

    geometric = pyg(setting, source, target)
    if geometric is not None:
        same("PyG", geometric)
        yield "attention/forward+backward", "PyG MessagePassing + softmax", both(geometric)

    if (dgl := import_dgl()) is not None:
        graph = dgl.graph((source.int(), target.int()), num_nodes=nodes)
        graph.create_formats_()

        def fused(x, q):
            alpha = dgl.nn.functional.edge_softmax(graph, dgl.ops.u_dot_v(graph, x, q))
            return dgl.ops.u_mul_e_sum(graph, x, alpha)

        import dgl.nn.functional  # noqa: F401
        import dgl.ops  # noqa: F401

        same("DGL", fused)
        yield "attention/forward+backward", "DGL u_dot_v + edge_softmax + u_mul_e_sum", both(fused)
        yield "attention/forward", "DGL u_dot_v + edge_softmax + u_mul_e_sum", forward_only(fused)

    weights = torch.rand(len(source), device=setting.device)
    matrix = torch.sparse_coo_tensor(torch.stack([target, source]), weights, (nodes, nodes)).coalesce()
    matrix = matrix.to_sparse_csr()

    def fixed():
        x.grad = None
        torch.sparse.mm(matrix, x).backward(upstream)

    yield "attention/fixed/forward+backward", "torch.sparse.mm CSR", fixed


def pyg(setting: Setting, source, target):
    try:
        from torch_geometric.nn import MessagePassing
        from torch_geometric.utils import softmax
    except ImportError:
        return None

    class Dot(MessagePassing):
        def __init__(self):
            super().__init__(aggr="add", node_dim=0)

        def forward(self, x, q):
            return self.propagate(edges, x=x, q=q, size=(setting.nodes, setting.nodes))

        def message(self, x_j, q_i, index, ptr, size_i):
            return x_j * softmax((q_i * x_j).sum(-1), index, ptr, size_i).unsqueeze(-1)

    edges = torch.stack([source, target])
    return Dot().to(setting.device)
