"""TransD's margin loss with one corrupted tail per triple, and the gradients of all four tables."""

import torch
import torch.nn.functional as F

from common import LESS_WORK, Setting, compiled

RELATIONS = 30


def distances(h, h_p, t, t_p, n, n_p, r, r_p):
    """Squared distance of the triple and of the corrupted one."""

    def project(entity, p):
        return entity + (entity * p).sum(-1, keepdim=True) * r_p

    ahead = project(h, h_p) + r
    return ((ahead - project(t, t_p)) ** 2).sum(-1), ((ahead - project(n, n_p)) ** 2).sum(-1)


def margin(*rows):
    positive, negative = distances(*rows)
    return F.relu(1.0 + positive - negative).mean()


def peers(setting: Setting):
    entities, d = setting.sizes["learners"], setting.sizes["dim"]
    h, r, t, n = setting.load("triples").unbind(1)

    def tables(sparse):
        entity = [torch.nn.Embedding(entities, d, sparse=sparse, device=setting.device) for _ in range(2)]
        relation = [torch.nn.Embedding(RELATIONS, d, device=setting.device) for _ in range(2)]
        return entity + relation

    def step(tables, loss, after=lambda: None):
        e, p, rel, rel_p = tables

        def work():
            for table in tables:
                table.weight.grad = None
            loss(e(h), p(h), e(t), p(t), e(n), p(n), rel(r), rel_p(r)).backward()
            after()

        return work

    dense, sparse = tables(False), tables(True)

    def coalesce():
        for table in sparse[:2]:
            table.weight.grad.coalesce()

    case = "transd/loss+gradients"
    yield case, "torch eager, dense gradients", step(dense, margin)
    # A row that several triples share has a gradient in several parts until they are coalesced.
    yield case, f"torch eager, sparse gradients, {LESS_WORK}: not coalesced", step(sparse, margin)
    yield case, "torch eager, sparse gradients, coalesced", step(sparse, margin, coalesce)
    if (fast := compiled(setting, margin)) is not None:
        yield case, "torch.compile, dense gradients", step(dense, fast)
        yield case, f"torch.compile, sparse gradients, {LESS_WORK}: not coalesced", step(sparse, fast)
        yield case, "torch.compile, sparse gradients, coalesced", step(sparse, fast, coalesce)
