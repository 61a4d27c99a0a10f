"""One training step: ours against the published loop, and against one Rein step, at a fixed share of rejected samples.

    python benchmarks/step.py                                                     DeiT-Tiny, 224 px
    python benchmarks/step.py --backbone vit_small_patch14_dinov2 --batch-size 10  ViT-S/14, 224 px
    python benchmarks/step.py --switches                                          bfloat16 and torch.compile beside float32

Weights are random: time does not depend on them. First losses, selections and gradients of both loops are compared on
a batch as it comes. Then the heads are bent so that all modules predict class 0, and labels say which rows are
rejected; what is timed are whole steps, the update included. The features of cached views are there before: computing
them once per view is not part of a step; neither are the tokens of late adapters, which are kept as float16."""
import statistics
from contextlib import nullcontext

import torch
from common import clock, facts, in_turns, machine, parser, ratio, record, table, wait
from naive import NaiveCufit

from cufit.core import generator, matrix_precision
from cufit.frozen.backbone import load_backbone
from cufit.train.record import train_config
from cufit.train.optimizer import make_optimizer
from cufit.train.loop import train_step
from cufit.methods.adapters import AdapterTuning
from cufit.methods.curriculum import Cufit

K = 8
LATE = 6, 9   # blocks at which adapters begin on kept tokens
COLUMNS = dict(backbone="backbone", rejected="rejected", variant="step", precision="precision", compile="compiled", batch_size="batch", ms="ms (median)", speedup="times as fast as the published loop", low="lowest", high="highest", over_rein="times one published Rein step", over_ours="times our Rein step", gain="times as fast as without", first="first step, s", machine="machine", date="date")

SWITCHES = dict(bfloat16=("bfloat16", False), compile=("float32", True), both=("bfloat16", True))   # precision, compiled


class Given:
    "A batch whose images are on the device already: feeding is another benchmark."
    def __init__(self, x, labels, name="x", views=None): self.x, self.labels, self.whole, self.inputs, self.views, self.index, self.gen = x, labels, len(labels), (name,), views, torch.arange(len(labels)), generator(0, "views")
    def __len__(self): return self.whole
    def __getitem__(self, name): return self.views[torch.randint(len(self.views), (self.whole,), generator=self.gen), self.index].float()


def check_same(vit, x, y):
    "Losses, selections and gradients of both loops, on labels of which a third is what the IAM says, and a third what the LPM says."
    ours = Cufit(vit, range(K)); naive = NaiveCufit(vit, K)
    with torch.no_grad():
        for n in ("iam", "lam"): ours.modules[n].adapter.scale.fill_(0.5)   # at the start it is 0.001, and adapters hardly get a gradient
    naive.copy_from(ours)
    with torch.no_grad(): said = {n: z.argmax(1) for n, z in ours.logits(x).items()}
    third = torch.arange(len(y), device=y.device) % 3
    y = torch.where(third == 0, said["iam"], torch.where(third == 1, said["lpm"], y))
    losses, by_lpm, by_iam = naive.losses(x, y)
    for l in losses: l.backward()
    for p in ours.modules.parameters(): p.grad = torch.zeros_like(p)
    seen = {}
    for name, loss, rows in ours.step(Given(x, y)):
        if loss.requires_grad: loss.backward()
        seen[name] = loss.detach(), rows
    assert torch.equal(seen["iam"][1], by_lpm) and torch.equal(seen["lam"][1], by_iam), "the loops select other rows"
    assert 0 < by_lpm.sum() < len(y) and 0 < by_iam.sum() < len(y), "nothing or everything is selected: the comparison would say little"
    for n, l in zip(seen, losses): torch.testing.assert_close(seen[n][0], l.detach(), atol=1e-4, rtol=1e-4)
    theirs = dict(naive.parts.named_parameters())
    for n, p in ours.modules.named_parameters():
        g = theirs[n].grad
        if n.endswith("tokens"):
            assert g[-1].abs().max() == 0, "the last adapter layer was said to be dead"
            g = g[:-1]
        gap, size = torch.linalg.norm(p.grad-g), torch.linalg.norm(g)
        assert size > 0 and gap <= 1e-3*size, f"gradient of {n}: differs by {gap:.2e} of {size:.2e}"
    print(f"same losses, selections and gradients: LPM hands on {int(by_lpm.sum())} of {len(y)}, IAM {int(by_iam.sum())}", flush=True)


def bend(modules):
    "All modules predict class 0, without a doubt and without a gradient of zero."
    with torch.no_grad():
        for m in modules.values():
            head = getattr(m, "head", m)
            head.weight.mul_(0.1); head.bias[0] += 4


def variants(vit, args, precision="float32"):
    "Name -> a step on (x, y)."
    config = train_config(precision=precision)
    def ours(method, name):
        bend(method.modules); opt = make_optimizer(method, config)
        late = method.options["tokens"]
        views = torch.randn(4, args.batch_size, *((vit.tokens+1,) if late else ()), vit.dim, device=vit.device)
        views = views.half() if late else views   # as they are kept
        return lambda x, y: train_step(method, Given(x, y, "tokens" if late else "lpm" if method.options.get("views") else "x", views), opt, precision)
    late = {f"late {b}": ours(Cufit(vit, range(K), begins=b, tokens=4), "late") for b in LATE if b < vit.depth}
    return dict(exact=ours(Cufit(vit, range(K)), "exact"), cached=ours(Cufit(vit, range(K), views=4), "cached"), rein=ours(AdapterTuning(vit, range(K)), "rein")) | late


def measure(vit, x, rejected, args, extra=(), only=()):
    "Rows of results: all variants in float32, or `only` those; the exact step with the `extra` switches too."
    n = len(x)
    if abs(rejected*n-round(rejected*n)) > 1e-6: raise SystemExit(f"{rejected:.0%} of {n} images is not a whole number: choose another --batch-size")
    y = (torch.arange(n) >= n-round(rejected*n)).long().to(vit.device)
    naive = NaiveCufit(vit, K); bend({"lpm": naive.parts["lpm"], "iam": naive.parts["iam"], "lam": naive.parts["lam"]})
    steps = {("naive", "float32", False): naive.step, ("naive rein", "float32", False): naive.rein_step} | {(n_, "float32", False): f for n_, f in variants(vit, args).items()}
    steps, first = {k: f for k, f in steps.items() if not only or k[0] in only}, {}
    for precision, compiled in extra:
        def run(x, y, f=variants(vit, args, precision)["exact"], compiled=compiled):
            with vit.compiled() if compiled else nullcontext(): return f(x, y)
        steps["exact", precision, compiled] = run
        start = clock(); run(x, y); wait(vit.device); first["exact", precision, compiled] = f"{clock()-start:.0f}"   # compiling
    with matrix_precision("float32"): seconds = in_turns({k: (lambda f=f: f(x, y)) for k, f in steps.items()}, args.repeats, vit.device)
    seen = Cufit(vit, range(K)); bend(seen.modules)   # the heads that were timed were bent alike, from the same seed
    assert all((z.argmax(1) == 0).all() for z in seen.logits(x).values()), "the heads are not bent enough: another share would be rejected"
    rows, over = [], lambda name, s: f"{ratio(s, seconds[name, 'float32', False])[0]:.2f}" if (name, "float32", False) in seconds else ""
    for (name, precision, compiled), s in seconds.items():
        mid, low, high = ratio(seconds["naive", "float32", False], s)
        rows.append(dict(backbone=args.backbone, img_size=vit.img_size, rejected=f"{rejected:.0%}", variant=name, precision=precision, compile="yes" if compiled else "no", batch_size=n, repeats=args.repeats, ms=f"{1000*statistics.median(s):.1f}",
                         speedup=f"{mid:.2f}", low=f"{low:.2f}", high=f"{high:.2f}", over_rein=over("naive rein", s), over_ours=over("rein", s),
                         gain=f"{ratio(seconds[name, 'float32', False], s)[0]:.2f}" if (name, precision, compiled) in first else "", first=first.get((name, precision, compiled), ""), **facts(vit.device)))
    return rows


def main():
    p = parser(__doc__)
    p.add_argument("--backbone", default="deit_tiny_patch16_224"); p.add_argument("--img-size", type=int, default=224); p.add_argument("--batch-size", type=int, default=20)
    p.add_argument("--rejected", type=float, nargs="+", default=[0.4, 0.6]); p.add_argument("--switches", nargs="*", choices=list(SWITCHES), help="the exact step with these switches, instead; all of them unless named")
    args = p.parse_args()
    if args.table: return table("step", COLUMNS, by=("backbone", "machine"))
    if args.threads: torch.set_num_threads(args.threads)
    vit = load_backbone(args.backbone, "random", None if args.backbone == "pocket_vit" else args.img_size, device=args.device)
    x = torch.randn(args.batch_size, 3, vit.img_size, vit.img_size, generator=generator(0, "images")).to(vit.device)
    with matrix_precision("float32"): check_same(vit, x, torch.randint(K, (args.batch_size,), generator=generator(0, "labels")).to(vit.device))
    extra = [] if args.switches is None else [SWITCHES[n] for n in args.switches or SWITCHES]
    lines = []
    for rejected in args.rejected:
        rows = measure(vit, x, rejected, args, extra, ("naive", "exact") if extra else ())
        if extra: rows = rows[2:]   # what is there in float32 without switches keeps the figures of its own run
        record("step", rows, ("backbone", "img_size", "rejected", "variant", "precision", "compile", "batch_size", "machine"))
        for r in rows: print(f"{r['variant']:10} {r['precision']:8} compiled {r['compile']:3} {rejected:.0%} rejected: {r['ms']} ms, {r['speedup']}x ({r['low']} to {r['high']}), {r['over_rein'] or '-'} of a published Rein step, {r['over_ours'] or '-'} of ours" + f", {r['gain']} times as fast as without, first step {r['first']} s"*bool(r['gain']), flush=True)
        lines += [f"{r['variant']} {rejected:.0%}: {r['speedup']}x" for r in rows if (r["variant"] in ("exact", "cached") or r["variant"].startswith("late")) and (r["precision"], r["compile"]) == ("float32", "no")]
    print(machine(vit.device)); print("\n".join(lines))


if __name__ == "__main__": main()
