"""Memory that one training step needs beyond the weights: ours against the published loop.

    python benchmarks/memory.py
    python benchmarks/memory.py --backbone vit_small_patch14_dinov2 --batch-size 10

On a CPU every allocation of PyTorch during the step is added up and the highest sum is taken; on a GPU the allocator
says it. Gradients and Adam's moments exist before the step and are not counted; the second copy of the backbone that
the published loop holds is, in a column of its own."""
import torch
import torch.nn.functional as F
from common import facts, machine, parser, record, table
from naive import NaiveCufit
from step import K, Given, bend

from cufit.core import generator
from cufit.frozen.backbone import load_backbone
from cufit.train.record import train_config
from cufit.train.optimizer import make_optimizer
from cufit.train.loop import train_step
from cufit.methods.adapters import AdapterTuning, Branch
from cufit.train.contract import Method
from cufit.methods.curriculum import Cufit

COLUMNS = dict(backbone="backbone", rejected="rejected", variant="step", batch_size="batch", megabytes="MB beyond the weights", of_naive="of the published loop", backbones_mb="backbones, MB", machine="machine", date="date")


class Pair(Method):
    "Two adapters on all samples: one way back after the other, or one for both, where each loss depends on both."
    options = dict(coupled=False)
    def build(self): return dict(one=Branch(self.vit, self.n_classes), two=Branch(self.vit, self.n_classes))
    def step(self, batch):
        tokens, every, names = self.vit.start(batch.x, 1), torch.ones_like(batch.labels, dtype=torch.bool), list(self.modules)
        own = lambda n: F.cross_entropy(self.modules[n](self.vit, tokens), batch.labels)
        if not self.options["coupled"]:
            for n in names: yield n, own(n), every
        else: yield names, [own(n) for n in names], [every, every]


def peak(f, device):
    "Highest sum of live allocations during `f()`, in bytes, over what was there before."
    if device.type == "cuda":
        torch.cuda.synchronize(); torch.cuda.reset_peak_memory_stats(); before = torch.cuda.memory_allocated()
        f(); torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated()-before
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as prof: f()
    events = sorted((e.start_ns(), e.nbytes()) for e in prof.profiler.kineto_results.events() if e.name() == "[memory]")
    now = top = 0
    for _, n in events: now += n; top = max(top, now)
    return top


def main():
    p = parser(__doc__)
    p.add_argument("--backbone", default="deit_tiny_patch16_224"); p.add_argument("--img-size", type=int, default=224); p.add_argument("--batch-size", type=int, default=20)
    p.add_argument("--rejected", type=float, nargs="+", default=[0., 0.4, 0.6])
    args = p.parse_args()
    if args.table: return table("memory", COLUMNS, by=("backbone",))
    if args.threads: torch.set_num_threads(args.threads)
    vit = load_backbone(args.backbone, "random", None if args.backbone == "pocket_vit" else args.img_size, device=args.device)
    n, x = args.batch_size, torch.randn(args.batch_size, 3, vit.img_size, vit.img_size, generator=generator(0, "images")).to(vit.device)
    weights = sum(q.numel()*q.element_size() for q in vit.model.parameters())/1e6
    block = torch.zeros(2**20); assert abs(peak(lambda: block+1, torch.device("cpu"))-2**22) < 1000, "the count of bytes is wrong"
    for rejected in args.rejected:
        y = (torch.arange(n) >= n-round(rejected*n)).long().to(vit.device)
        naive = NaiveCufit(vit, K); bend(dict(naive.parts.items()))
        found = {}
        for name, method in dict(exact=Cufit(vit, range(K)), cached=Cufit(vit, range(K), views=4), rein=AdapterTuning(vit, range(K)), **({} if rejected else dict(two=Pair(vit, range(K)), coupled=Pair(vit, range(K), coupled=True)))).items():
            bend(method.modules); opt = make_optimizer(method, train_config())
            views = torch.randn(4, n, vit.dim, device=vit.device)
            step = lambda: train_step(method, Given(x, y, views), opt)
            step(); found[name] = peak(step, vit.device)   # the first step makes Adam's moments
        naive.step(x, y); found = dict(naive=peak(lambda: naive.step(x, y), vit.device)) | found
        rows = [dict(backbone=args.backbone, img_size=vit.img_size, rejected=f"{rejected:.0%}", variant=k, batch_size=n, megabytes=f"{v/1e6:.0f}", of_naive=f"{v/found['naive']:.2f}",
                     backbones_mb=f"{weights*(2 if k == 'naive' else 1):.0f}", **facts(vit.device)) for k, v in found.items()]
        record("memory", rows, ("backbone", "img_size", "rejected", "variant", "batch_size", "machine"))
        for r in rows: print(f"{rejected:.0%} rejected, {r['variant']:6}: {r['megabytes']:>6} MB, {r['of_naive']} of the published loop", flush=True)
    print(machine(vit.device))


if __name__ == "__main__": main()
