"timm's own models, by name: cut into parts they give what timm gives, and both ends of CUFIT hang on them."
import copy

import pytest
import torch
from safetensors.torch import save_file

from cufit.core import CufitError
from cufit.frozen.backbone import load_backbone
from cufit.methods.adapters import Branch, all_adapters

# one of each family that is in use: supervised, DINOv2 without and with registers, DINO, MAE, CLIP, EVA-02, DINOv3
NAMES = ["deit_tiny_patch16_224", "vit_small_patch14_dinov2", "vit_small_patch14_reg4_dinov2", "vit_small_patch16_224.dino", "vit_base_patch16_224.mae",
         "vit_base_patch16_clip_quickgelu_224", "eva02_tiny_patch14_224", "vit_small_patch16_dinov3"]


@pytest.mark.parametrize("name", NAMES)
def test_parts_of_a_timm_model_make_the_whole(name):
    size = 56 if "14" in name else 64
    vit = load_backbone(name, weights="random", img_size=size)
    for k, p in vit.model.named_parameters():
        if "gamma" in k: p.fill_(0.5)   # untrained layer scales are so small that all images would look alike
    x = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    assert all(b.open for b in vit.blocks)
    with torch.no_grad(): whole = vit.model.forward_features(x)[:, 0]
    ours = vit.model.norm(vit.finish(vit.start(x, 1), 1))
    assert (whole[0]-whole[1]).abs().max() > 1e-3
    torch.testing.assert_close(ours, whole, atol=2e-4, rtol=1e-3)


@pytest.mark.parametrize("name", ["vit_small_patch14_reg4_dinov2", "eva02_tiny_patch14_224"])
def test_rein_skips_class_token_and_registers(name):
    "What enters a block differs from the bare model in the patch rows only."
    vit = load_backbone(name, weights="random", img_size=56)
    branch = Branch(vit, 3)
    with torch.no_grad(): branch.adapter.scale.fill_(1.)
    seen = []
    def block(tokens, only_class): seen.append(tokens); return tokens
    block.index = 1
    tokens = vit.start(torch.randn(2, 3, 56, 56, generator=torch.Generator().manual_seed(0)), 1)
    branch.adapter.block(block, tokens, False)
    assert torch.equal(seen[0][:, :vit.prefix], tokens[:, :vit.prefix])
    assert (seen[0][:, vit.prefix:]-tokens[:, vit.prefix:]).abs().min() > 0
    assert branch(vit, tokens).shape == (2, 3)


def test_position_table_is_resampled():
    "The same weights at another size: other tokens, same model; the pocket ViT refuses another size."
    small, large = (load_backbone("deit_tiny_patch16_224", weights="random", img_size=s) for s in (64, 96))
    assert (small.tokens, large.tokens) == (17, 37)
    assert small.sha256 != large.sha256


FILES = {"vit_tiny_patch16_224": 64, "deit_tiny_patch16_224": 64, "vit_small_patch14_dinov2": 56, "eva02_tiny_patch14_224": 56, "vit_base_patch16_clip_quickgelu_224": 64}


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if "base" in n else n for n in FILES])
def test_a_file_fits_whole_or_not_at_all(name, tmp_path):
    "With names as other programs leave them every tensor comes from the file; with one lost nothing is loaded. (timm itself left a random model.)"
    given = load_backbone(name, weights="random", img_size=FILES[name], seed=5).model.state_dict()
    for before in ("", "model.", "module.backbone."):
        save_file({before+k: v for k, v in given.items()} | {before+"head.weight": torch.zeros(3, 4)}, tmp_path/"w.safetensors")
        found = load_backbone(name, weights=str(tmp_path/"w.safetensors"), img_size=FILES[name])
        assert all(torch.equal(v, given[k]) for k, v in found.model.state_dict().items()), before
    lost = {k: v for k, v in given.items() if k != "blocks.1.mlp.fc1.weight"} if name != "eva02_tiny_patch14_224" else {k: v for k, v in given.items() if k != "blocks.1.norm1.weight"}
    save_file({"model."+k: v for k, v in lost.items()}, tmp_path/"w.safetensors")
    with pytest.raises(CufitError, match=r"1 of \d+ tensors missing"): load_backbone(name, weights=str(tmp_path/"w.safetensors"), img_size=FILES[name])


def test_files_of_other_models_are_counted(tmp_path):
    save_file(load_backbone("vit_small_patch16_224", weights="random", img_size=64).model.state_dict(), tmp_path/"w.safetensors")
    for name, words in (("vit_tiny_patch16_224", "of another shape"), ("pocket_vit", "unexpected")):
        with pytest.raises(CufitError, match=words) as e: load_backbone(name, weights=str(tmp_path/"w.safetensors"))
        assert "w.safetensors" in str(e.value) and name in str(e.value)
    (tmp_path/"cut.safetensors").write_bytes((tmp_path/"w.safetensors").read_bytes()[:1000])
    with pytest.raises(CufitError, match="whole file"): load_backbone(weights=str(tmp_path/"cut.safetensors"))


@pytest.mark.parametrize("name, words", [("resnet19", "no model"), ("vit_tiny_patch16_224.augreg_in22", "Did you mean 'vit_tiny_patch16_224.augreg_in21k"), ("swin_tiny_patch4_window7_224", "ViT or EVA"), ("vit_smal", "no model")])
def test_the_cause_is_named_without_asking_the_hub(name, words, monkeypatch):
    import timm.models._hub
    monkeypatch.setattr(timm.models._hub, "hf_hub_download", lambda *args, **kwargs: pytest.fail("the hub was asked"))
    with pytest.raises(CufitError, match=words): load_backbone(name)


@pytest.mark.slow
def test_lora_on_queries_and_values_is_that_of_peft():
    "peft adapts timm's joint layer as a whole: twice the rank, our two factors in it, and nothing for the keys."
    from peft import LoraConfig, get_peft_model
    vit, rank = load_backbone("deit_tiny_patch16_224", weights="random", img_size=64), 4
    ours = all_adapters()["lora"](vit, rank=rank, alpha=6.)
    g = torch.Generator().manual_seed(0)
    with torch.no_grad(): ours.up.copy_(.05*torch.randn(ours.up.shape, generator=g))
    theirs = get_peft_model(copy.deepcopy(vit.model), LoraConfig(r=2*rank, lora_alpha=2*6., target_modules=["qkv"]))
    for i, block in enumerate(theirs.base_model.model.blocks):
        layer = block.attn.qkv
        with torch.no_grad():
            layer.lora_A["default"].weight.copy_(ours.down[i].flatten(0, 1))
            up = layer.lora_B["default"].weight.zero_()
            up[:vit.dim, :rank] = ours.up[i, 0]; up[-vit.dim:, rank:] = ours.up[i, 1]
    x = torch.randn(2, 3, 64, 64, generator=g)
    with torch.no_grad():
        said = vit.model.norm(vit.finish(vit.start(x, 0), 0, ours))
        assert (said-vit.model.norm(vit.features(x))).abs().max() > 1e-2, "it changes something"
        torch.testing.assert_close(said, theirs.base_model.model.forward_features(x)[:, 0], atol=1e-5, rtol=0)
