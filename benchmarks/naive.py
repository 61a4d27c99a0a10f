"""The yardstick: the curriculum's training step as it was published, written from the paper's facts.

Two copies of the backbone in memory, three separate passes, every adapter behind every block, everything computed for
every sample; rejected samples are multiplied by zero. Attention uses the same kernel as ours."""
import copy
import math

import torch
import torch.nn.functional as F
from torch import nn


class PublishedRein(nn.Module):
    "Rein behind every block, the last one included, with the parameters that never get a gradient."
    def __init__(self, dim, depth, patch, n_tokens=100, query=256):
        super().__init__()
        bound = math.sqrt(6/(3*patch**2+dim))
        self.tokens = nn.Parameter(torch.empty(depth, n_tokens, dim).uniform_(-bound, bound))
        self.mlp_token, self.mlp_delta = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.scale = nn.Parameter(torch.tensor(1e-3))
        self.transform, self.merge = nn.Linear(dim, query), nn.Linear(query*3, query)   # for a segmentation head; unused here

    def forward(self, tokens, index, prefix):
        f = tokens[:, prefix:]
        a = F.softmax(f @ self.tokens[index].T/math.sqrt(f.shape[-1]), -1)
        delta = self.mlp_delta(a[..., 1:] @ self.mlp_token(self.tokens[index, 1:]) + f)
        return torch.cat([tokens[:, :prefix], f + self.scale*delta], 1)


class PublishedBranch(nn.Module):
    def __init__(self, vit, n_classes):
        super().__init__()
        self.adapter, self.head = PublishedRein(vit.dim, vit.depth, vit.patch), nn.Linear(vit.dim, n_classes)


def embed(model, x):
    tokens = model._pos_embed(model.patch_embed(x))
    return model.norm_pre(tokens)


def class_token(model, x, adapter=None):
    "timm's own blocks, all tokens of each, and the class token before the final norm."
    tokens = embed(model, x)
    for i, block in enumerate(model.blocks):
        tokens = block(tokens)
        if adapter is not None: tokens = adapter(tokens, i, model.num_prefix_tokens)
    return tokens[:, 0]


class NaiveCufit:
    "The published step."
    def __init__(self, vit, n_classes):
        self.plain, self.tuned = copy.deepcopy(vit.model), copy.deepcopy(vit.model)   # two backbones, as published
        self.parts = nn.ModuleDict(dict(lpm=nn.Linear(vit.dim, n_classes), iam=PublishedBranch(vit, n_classes), lam=PublishedBranch(vit, n_classes))).to(vit.device)
        self.optimizers = [torch.optim.Adam(p.parameters(), lr=1e-3, weight_decay=1e-5) for p in self.parts.values()]

    def copy_from(self, method):
        "The weights of our method: its adapters have one set of tokens less, the one that never mattered."
        self.parts["lpm"].load_state_dict(method.modules["lpm"].state_dict())
        for name in ("iam", "lam"):
            ours, mine = method.modules[name], self.parts[name]
            mine.head.load_state_dict(ours.head.state_dict())
            mine.adapter.mlp_token.load_state_dict(ours.adapter.mlp_token.state_dict()); mine.adapter.mlp_delta.load_state_dict(ours.adapter.mlp_delta.state_dict())
            with torch.no_grad(): mine.adapter.scale.copy_(ours.adapter.scale); mine.adapter.tokens[:-1].copy_(ours.adapter.tokens)

    def losses(self, x, y):
        with torch.no_grad(): features = class_token(self.plain, x)
        z = dict(lpm=self.parts["lpm"](features)) | {n: self.parts[n].head(class_token(self.tuned, x, self.parts[n].adapter)) for n in ("iam", "lam")}
        by_lpm, by_iam = z["lpm"].argmax(1) == y, z["iam"].argmax(1) == y
        each = {n: F.cross_entropy(v, y, reduction="none") for n, v in z.items()}
        return [each["lpm"].mean(), (by_lpm*each["iam"]).mean(), (by_iam*each["lam"]).mean()], by_lpm, by_iam

    def rein_step(self, x, y):
        "One adapter on all samples, as published: the second yardstick."
        branch, opt = self.parts["iam"], self.optimizers[1]
        loss = F.cross_entropy(branch.head(class_token(self.tuned, x, branch.adapter)), y)
        opt.zero_grad(); loss.backward(); opt.step()
        return loss.detach()

    def step(self, x, y):
        losses, by_lpm, by_iam = self.losses(x, y)
        for loss, opt in zip(losses, self.optimizers):
            opt.zero_grad(); loss.backward(); opt.step()
        return [l.detach() for l in losses], by_lpm, by_iam
