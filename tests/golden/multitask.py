"""MMoE, PLE and ESMM by torch-rechub's own classes, on given vectors and weights.

torch-rechub has batch normalisation in every network, gates included. In evaluation mode, with eps = 0 and the
statistics of a fresh layer, it is the identity: what is left is the paper's formula. Its gates have a bias, here 0."""

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy

from common import away_from_zero, gradients, normal, version

LEARNERS, COURSES, DIM = 4, 5, 3
WIDTHS, TOWER = [5, 4], [3]
EXPERTS = 3
# More shared experts than specific ones, and a level below the last.
OWN, SHARED, LEVELS = 1, 2, 2
TASKS = 2
PAIRS = np.array([[0, 1], [0, 4], [1, 0], [1, 1], [2, 3], [2, 2], [3, 0], [3, 4], [0, 3], [2, 1]])
LABELS = np.array([[1, 1], [1, 0], [0, 0], [1, 1], [0, 0], [1, 0], [1, 1], [0, 0], [0, 0], [1, 0]])


def network(rng, name, widths, bias=True):
    """Weights by the names of the Rust parameters."""
    made = {}
    for i, (rows, cols) in enumerate(zip(widths, widths[1:])):
        made[f"{name}.{i}.w"] = normal(rng, rows, cols, scale=0.6)
        if bias:
            made[f"{name}.{i}.b"] = normal(rng, cols, scale=0.3)
    return made


def gate(rng, name, inputs, outputs):
    return {f"{name}.w": normal(rng, inputs, outputs, scale=0.7)}


def neutral(model):
    """A model of torch-rechub without the effect of its batch normalisation."""
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            module.eps = 0.0
    return model.double().eval()


class Placed:
    """Recorded weights in a model of torch-rechub, and where their gradients come from."""

    def __init__(self):
        self.tensors, self.back = {}, {}

    def put(self, name, tensor, value, columns=None, transposed=False):
        value = np.asarray(value)
        if columns is not None:
            value = value[..., columns]
        with torch.no_grad():
            tensor.copy_(torch.tensor(value.T if transposed else value))

        def back(grad):
            grad = grad.T if transposed else grad
            if columns is not None:
                grad = grad[..., np.argsort(columns)]
            return grad.contiguous()

        self.tensors[name], self.back[name] = tensor, back

    def mlp(self, name, mlp, p):
        linears = [layer for layer in mlp.mlp if isinstance(layer, torch.nn.Linear)]
        for i, linear in enumerate(linears):
            self.put(f"{name}.{i}.w", linear.weight, p[f"{name}.{i}.w"], transposed=True)
            self.put(f"{name}.{i}.b", linear.bias, p[f"{name}.{i}.b"])

    def gate(self, name, mlp, p, columns=None):
        linear = mlp.mlp[0]
        self.put(f"{name}.w", linear.weight, p[f"{name}.w"], columns, transposed=True)
        with torch.no_grad():
            linear.bias.zero_()

    def embeddings(self, model, p):
        tables = model.embedding.embed_dict
        self.put("entity.learners", tables["learner"].weight, p["entity"][:LEARNERS])
        self.put("entity.courses", tables["course"].weight, p["entity"][LEARNERS:])

    def gradients(self, loss):
        found = {name: self.back[name](g) for name, g in gradients(loss, self.tensors).items()}
        entity = torch.cat([found.pop("entity.learners"), found.pop("entity.courses")])
        return {"entity": entity, **found}


def features():
    from torch_rechub.basic.features import SparseFeature

    return [SparseFeature("learner", LEARNERS, DIM), SparseFeature("course", COURSES, DIM)]


def inputs():
    return {"learner": torch.tensor(PAIRS[:, 0]), "course": torch.tensor(PAIRS[:, 1])}


def record(name, model, placed, p, probabilities, more):
    """Cross-entropies of the probabilities that losses are on, and the gradient of their sum."""
    relu_inputs(name, model)
    labels = torch.tensor(LABELS, dtype=torch.float64)
    names = ("bce/enrolled", "bce/completed")
    losses = {n: binary_cross_entropy(probabilities[:, k], labels[:, k]) for k, n in enumerate(names)}
    return {"parameters": p, "losses": losses, "gradients": placed.gradients(sum(losses.values())), **more}


def relu_inputs(name, model):
    """Refuses weights that put a unit next to its kink."""
    seen = []
    units = [module for module in model.modules() if isinstance(module, torch.nn.ReLU)]
    hooks = [unit.register_forward_pre_hook(lambda _, x: seen.append(x[0].clone())) for unit in units]
    with torch.no_grad():
        model(inputs())
    for hook in hooks:
        hook.remove()
    for x in seen:
        away_from_zero(name, x, 1e-3)


def tower_params():
    return [{"dims": TOWER, "activation": "relu"}] * TASKS


def mmoe(rng):
    from torch_rechub.models.multi_task import MMOE

    p, bottom = {"entity": normal(rng, LEARNERS + COURSES, DIM)}, 2 * DIM
    for e in range(EXPERTS):
        p |= network(rng, f"expert.{e}", [bottom, *WIDTHS])
    for k in range(TASKS):
        p |= gate(rng, f"gate.{k}", bottom, EXPERTS) | network(rng, f"tower.{k}", [WIDTHS[-1], *TOWER, 1])
    model = neutral(MMOE(features(), ["classification"] * TASKS, EXPERTS, {"dims": WIDTHS}, tower_params()))
    placed = Placed()
    placed.embeddings(model, p)
    for e, expert in enumerate(model.experts):
        placed.mlp(f"expert.{e}", expert, p)
    for k in range(TASKS):
        placed.gate(f"gate.{k}", model.gates[k], p)
        placed.mlp(f"tower.{k}", model.towers[k], p)
    y = model(inputs())
    return record("mmoe", model, placed, p, y, {"logits": torch.logit(y)})


def ple(rng):
    from torch_rechub.models.multi_task import PLE

    p, width = {"entity": normal(rng, LEARNERS + COURSES, DIM)}, 2 * DIM
    for j in range(LEVELS):
        for k in range(TASKS):
            for i in range(OWN):
                p |= network(rng, f"level.{j}.specific.{k}.{i}", [width, *WIDTHS])
            p |= gate(rng, f"level.{j}.gate.{k}", width, SHARED + OWN)
        for i in range(SHARED):
            p |= network(rng, f"level.{j}.shared.{i}", [width, *WIDTHS])
        if j + 1 < LEVELS:
            p |= gate(rng, f"level.{j}.gate.shared", width, SHARED + TASKS * OWN)
        width = WIDTHS[-1]
    for k in range(TASKS):
        p |= network(rng, f"tower.{k}", [width, *TOWER, 1])
    types = ["classification"] * TASKS
    model = neutral(PLE(features(), types, LEVELS, OWN, SHARED, {"dims": WIDTHS}, tower_params()))
    placed = Placed()
    placed.embeddings(model, p)
    # Recorded gates have the shared experts first, those of torch-rechub last.
    last = lambda own: [*range(SHARED, SHARED + own), *range(SHARED)]
    for j, level in enumerate(model.cgc_layers):
        for k in range(TASKS):
            for i in range(OWN):
                placed.mlp(f"level.{j}.specific.{k}.{i}", level.experts_specific[k * OWN + i], p)
            placed.gate(f"level.{j}.gate.{k}", level.gates_specific[k], p, last(OWN))
        for i in range(SHARED):
            placed.mlp(f"level.{j}.shared.{i}", level.experts_shared[i], p)
        if j + 1 < LEVELS:
            placed.gate(f"level.{j}.gate.shared", level.gate_shared, p, last(TASKS * OWN))
    for k in range(TASKS):
        placed.mlp(f"tower.{k}", model.towers[k], p)
    y = model(inputs())
    return record("ple", model, placed, p, y, {"logits": torch.logit(y)})


def esmm(rng):
    from torch_rechub.models.multi_task import ESMM

    p, bottom = {"entity": normal(rng, LEARNERS + COURSES, DIM)}, 2 * DIM
    for k in range(TASKS):
        p |= network(rng, f"net.{k}", [bottom, *WIDTHS, *TOWER, 1])
    learner, course = features()
    params = {"dims": [*WIDTHS, *TOWER], "activation": "relu"}
    model = neutral(ESMM([learner], [course], params, params))
    placed = Placed()
    placed.embeddings(model, p)
    placed.mlp("net.0", model.tower_ctr, p)
    placed.mlp("net.1", model.tower_cvr, p)
    cvr, ctr, ctcvr = model(inputs()).unbind(dim=1)
    # Losses are on enrolment and on the product; answers are what is said of a task given enrolment.
    answers = torch.logit(torch.stack([ctr, cvr], dim=1))
    return record("esmm", model, placed, p, torch.stack([ctr, ctcvr], dim=1), {"logits": answers})


def make():
    # Each with a seed that keeps its units away from their kinks.
    rng = np.random.default_rng
    settings = {"learners": LEARNERS, "courses": COURSES, "dim": DIM, "widths": WIDTHS, "tower": TOWER}
    settings |= {"experts": EXPERTS, "specific_experts": OWN, "shared_experts": SHARED, "levels": LEVELS}
    return {
        "source": f"{version('torch-rechub', 'torch')}: models.multi_task.MMOE, PLE, ESMM; batch normalisation neutral; "
        "gradients of the losses' sum by torch.autograd",
        "settings": settings,
        "pairs": PAIRS,
        "labels": LABELS,
        "models": {"mmoe": mmoe(rng(0)), "ple": ple(rng(2)), "esmm": esmm(rng(0))},
    }
