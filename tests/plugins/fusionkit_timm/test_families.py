"""Which families of timm models work as encoders; tests the smallest model of each."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
import timm
import torch

from fusionkit.errors import FusionkitError
from fusionkit_timm.backbone import TimmUNet

UNUSABLE = {
    "beit": "a patch embedding of one size",
    "cait": "a patch embedding of one size",
    "coat": "a patch embedding of one size",
    "convit": "a patch embedding of one size",
    "csatv2": "a stem that cuts colour images into blocks of cosines",
    "efficientformer": "attention biases of one size",
    "efficientformer_v2": "attention biases of one size",
    "gcvit": "windows whose size follows from one image size",
    "hiera": "position embeddings of one size",
    "levit": "attention biases of one size",
    "maxxvit": "relative positions of one size; maxvit_nano_rw_256 works, by multiples of 256",
    "mlp_mixer": "layers that mix a fixed number of patches",
    "nest": "a patch embedding of one size",
    "pit": "position embeddings of one size",
    "tnt": "a patch embedding of one size",
    "visformer": "a patch embedding of one size",
    "vision_transformer_relpos": "relative positions of one size",
    "volo": "position embeddings of one size",
}
"""Family -> why its smallest model does not work."""

SMALLEST = dict(
    line.split()
    for line in """
    beit beit_base_patch16_224
    byoanet halonet_h1
    byobnet test_byobnet
    cait cait_xxs24_224
    coat coat_tiny
    convit convit_tiny
    convmixer convmixer_768_32
    convnext test_convnext
    cpubone cpubone_nano
    crossvit crossvit_tiny_240
    csatv2 csatv2
    cspnet cs3darknet_focus_s
    cspnext cspnext_tiny
    davit davit_tiny
    deepseek_vit deepseek_vit_412m
    deit deit_tiny_patch16_224
    densenet densenet121
    dla dla46x_c
    dpn dpn48b
    edgenext edgenext_xx_small
    efficientformer efficientformer_l1
    efficientformer_v2 efficientformerv2_s0
    efficientnet test_efficientnet
    efficientvim efficientvim_m1
    efficientvit_mit efficientvit_b0
    efficientvit_msra efficientvit_m0
    eva vit_tiny_patch16_dinov3_qkvb
    fasternet fasternet_t0
    fastvit fastvit_t8
    focalnet focalnet_tiny_srf
    gcvit gcvit_xxtiny
    gemma4_vit gemma4_vit_167m
    ghostnet ghostnet_050
    hardcorenas hardcorenas_b
    hgnet hgnetv2_b0
    hiera hiera_tiny_224
    hieradet_sam2 sam2_hiera_tiny
    hrnet hrnet_w18_small
    iformer iformer_t
    inception_next inception_next_atto
    inception_resnet_v2 inception_resnet_v2
    inception_v3 inception_v3
    inception_v4 inception_v4
    lcnetv2 lcnetv2_small
    levit levit_128s
    lowformer lowformer_b0
    mambaout test_mambaout
    maxxvit test_coatnet
    metaformer poolformerv2_s12
    mlp_mixer gmlp_ti16_224
    mobilenetv3 lcnet_035
    mobilenetv5 mobilenetv5_base
    mobilevit mobilevit_xxs
    mvitv2 mvitv2_tiny
    naflexvit naflexvit_base_patch16_parfac_gap
    nasnet nasnetalarge
    nest nest_tiny
    nextvit nextvit_small
    nfnet test_nfnet
    pit pit_ti_224
    pnasnet pnasnet5large
    pvt_v2 pvt_v2_b0
    qwen3_vit qwen3_vit_88m
    rdnet rdnet_tiny
    regnet regnetx_002
    repghost repghostnet_050
    repvit repvit_m1
    res2net res2next50
    resnest resnest14d
    resnet test_resnet
    resnetv2 resnetv2_18
    rexnet rexnet_100
    selecsls selecsls42
    senet legacy_seresnet18
    sequencer sequencer2d_s
    shvit shvit_s1
    sknet skresnet18
    starnet starnet_s050
    swiftformer swiftformer_xs
    swin_transformer swin_tiny_patch4_window7_224
    swin_transformer_v2 swinv2_tiny_window8_256
    swin_transformer_v2_cr swinv2_cr_tiny_224
    tiny_vit tiny_vit_5m_224
    tnt tnt_s_legacy_patch16_224
    tresnet tresnet_m
    twins twins_svt_small
    vgg vgg11
    visformer visformer_tiny
    vision_transformer test_vit
    vision_transformer_hybrid vit_tiny_r_s16_p8_224
    vision_transformer_relpos test_vit_relpos
    vision_transformer_sam samvit_base_patch16_224
    vitamin vitamin_small_224
    volo volo_d1_224
    vovnet ese_vovnet19b_slim_dw
    xception legacy_xception
    xception_aligned xception41p
    xcit xcit_nano_12_p8_224
""".strip().splitlines()
)
"""Family -> its smallest model in timm 1.0.31; building all models to find it takes 7 minutes."""


def families():
    """Return all families of timm with their models."""
    return {
        name: models for name in timm.list_modules() if (models := timm.list_models(module=name))
    }


def smallest(models):
    """Return the smallest of the models that offer feature maps; None if none does."""
    sizes = {}
    for model in models:
        try:
            with torch.device("meta"):
                made = timm.create_model(model, features_only=True, in_chans=1)
        except Exception:
            continue
        sizes[model] = sum(p.numel() for p in made.parameters())
    return min(sizes, key=sizes.__getitem__, default=None)


@pytest.fixture
def quick_weights(monkeypatch) -> Iterator[None]:
    """Start networks from a few random numbers again and again: most of the time goes into these.

    Collections of garbage pass over what is there already.
    """
    block = torch.rand(4099) - 0.5

    def fill(tensor: torch.Tensor, *_: object, **__: object) -> torch.Tensor:
        with torch.no_grad():
            count = tensor.numel()
            values = block.repeat(-(-count // len(block)))[:count].view(tensor.shape)
            return tensor.copy_(values / max(count / len(tensor), 1) ** 0.5)

    monkeypatch.setattr(torch.nn.init, "kaiming_uniform_", fill)
    monkeypatch.setattr(torch.nn.init, "trunc_normal_", fill)
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # encoders of timm raise many warnings
@pytest.mark.usefixtures("quick_weights")
def test_every_family_works_or_is_listed_as_unusable():
    problems, refused = [], {}
    for family, models in families().items():
        model = SMALLEST.get(family)
        model = model if model in models else smallest(models)
        if model is None:
            refused[family] = "offers no features"
            continue
        try:
            network = TimmUNet(model, shared=True, decoder="sum", width=4).eval()
            # Other multiples of the stride than those that the encoder tries itself.
            h, w = 2 * network.stride, 3 * network.stride
            sources = {name: torch.rand(1, 1, h, w) for name in network.modalities}
            with torch.no_grad():
                fused = network(sources)
            if fused.shape != (1, 1, h, w):
                problems.append(f"{family}: {model} gave {tuple(fused.shape)} of {h}x{w}")
            elif not fused.isfinite().all():
                problems.append(f"{family}: {model} gave values that are not finite")
        except FusionkitError as refusal:
            refused[family] = str(refusal)
        except Exception as error:
            problems.append(f"{family}: {model} raised {type(error).__name__}: {error}")
        network = sources = fused = None
        gc.collect()  # the largest has 400 million weights
    problems += [f"{family}: {refused[family]}" for family in refused.keys() - UNUSABLE.keys()]
    problems += [
        f"{family} works, take it off UNUSABLE"
        for family in UNUSABLE.keys() & SMALLEST.keys() - refused.keys()
        if family in families()
    ]
    assert not problems, "\n".join(problems)


def test_table_of_smallest_models_is_correct():
    for family in ("lcnetv2", "sknet", "shvit", "swiftformer"):
        assert smallest(families()[family]) == SMALLEST[family]
