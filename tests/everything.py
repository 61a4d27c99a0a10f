"""A method that asks for everything the loop carries at once, and a program that trains it: alone, or as one of several processes.

    python tests/everything.py OUT"""
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from cufit.core import save_tensors, team
from cufit.data.imageset import ImageSet
from cufit.data.sampling import Beside, ClassBalanced, EveryRow
from cufit.frozen.backbone import load_backbone
from cufit.frozen.features import CLASS_TOKEN, tokens_before
from cufit.train.batch import Dropout, Kept, View
from cufit.train.contract import Method
from cufit.train.record import train_config

CONFIG = train_config(epochs=4, batch_size=8, lr=1e-2, optimizer="adamw", schedule="cosine", warmup=3, clip=1., rates=("two=2",), choose_by="balanced_accuracy", checkpoint_seconds=0)


class Everything(Method):
    "Two heads with dropout that look at images, at kept tokens, at a partner, at their memory and at a queue."
    name, sampler = "everything", Beside(EveryRow(), ClassBalanced())
    def build(self):
        head = lambda: nn.Sequential(Dropout(0.3), nn.Linear(self.vit.dim, self.n_classes))
        return dict(one=head(), two=head())
    def reads(self, training): return dict(x=View(), tokens=Kept(tokens_before(3), 2 if training else 0), f=Kept(CLASS_TOKEN, 2 if training else 0))
    def outputs(self, batch, names=None): return {n: self.modules[n](batch["f"]) for n in names or self.modules}
    def row_state(self, train): return dict(target=torch.full((len(train), self.n_classes), 1/self.n_classes), seen=torch.zeros(len(train), dtype=torch.long))
    def queues(self): return dict(keys=torch.empty(20, self.vit.dim))
    def begin_epoch(self, epoch, epochs): self.share = 1-0.5*epoch/epochs

    def step(self, batch):
        one, two = self.modules.values()
        f, other = self.vit.features(batch.x), batch.partner["f"]
        z1, z2 = one(f), two(self.vit.finish(batch["tokens"], 3))
        easy = F.cross_entropy(z1, batch.labels, reduction="none").detach() <= self.share*4
        target = 0.7*batch.recall("target") + 0.3*z1.detach().softmax(1)
        batch.remember("target", target)
        batch.remember("seen", batch.recall("seen")+1)
        batch.remember("keys", f[easy], easy)
        far = 0.1*batch.queue("keys").mean(0) if len(batch.queue("keys")) else 0
        between = F.mse_loss(z1, z2)   # couples both
        own = F.cross_entropy(z1, target) + F.cross_entropy(one(other-far), batch.partner.labels)
        yield ("one", "two"), (own+between, F.cross_entropy(z2, batch.labels)), (torch.ones_like(easy), easy)


def random_set(n, seed, shift=0):
    rng = np.random.default_rng(seed)
    return ImageSet(rng.integers(0, 256, (n, 3, 56, 56), dtype=np.uint8), rng.integers(0, 3, n), np.arange(n)+shift, ("a", "b", "c"))


SETS = random_set(37, 0), random_set(20, 1, 37)   # the last batch has 5 rows


def state(method): return method.last | method.memory.state()


if __name__ == "__main__":
    method = Everything(load_backbone(device="cpu"), "abc")
    method.fit(*SETS, CONFIG, sys.argv[1])
    if team().main: save_tensors(Path(sys.argv[1])/"state.safetensors", state(method), selection=method.history.selection.tolist(), filled=method.memory.filled)
    team().leave()
