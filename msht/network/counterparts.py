"""What MSHT is compared with: the paper's eleven counterparts, and the families its literature discusses.

One table, name by name. Networks and pretrained weights are timm's; what the table adds is where each comes
from, which size it is at home at, what it costs, and which layer explains it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Counterpart:
    """A network, as tables show it."""

    label: str
    """Name in tables."""
    name: str
    """timm name."""
    size: int
    """Edge in pixels at which its weights were trained, or the paper's 384 where it has them for that."""
    parameters: int
    """Learned numbers, with a head of two classes."""
    gmacs: float
    """Multiply-accumulates for one image of that size, in units of 1e9."""
    source: str
    """The paper it comes from."""
    layer: str
    """Dotted path of the layer that explains it."""
    smallest: int
    """Smallest edge in pixels that it takes here."""
    in_paper: bool = False
    """Whether it is one of the eleven that MSHT was published against."""


OWN: tuple[Counterpart, ...] = (
    Counterpart(
        label="MSHT",
        name="msht_resnet50",
        size=384,
        parameters=87_816_514,
        gmacs=20.876,
        source="Zhang 2021, arXiv 2112.13513",
        layer="decoders.3.norm1",
        smallest=64,
    ),
    Counterpart(
        label="MSHT small",
        name="msht_small",
        size=128,
        parameters=2_453_502,
        gmacs=0.11,
        source="this project",
        layer="norm",
        smallest=64,
    ),
)
"""The networks of this project, in the same form."""

COUNTERPARTS: tuple[Counterpart, ...] = (
    Counterpart(
        label="ResNet50",
        name="resnet50",
        size=224,
        parameters=23_512_130,
        gmacs=4.087,
        source="He 2016, arXiv 1512.03385",
        layer="layer4",
        smallest=32,
        in_paper=True,
    ),
    Counterpart(
        label="VGG16",
        name="vgg16",
        size=224,
        parameters=134_268_738,
        gmacs=15.466,
        source="Simonyan 2015, arXiv 1409.1556",
        layer="features.29",
        smallest=32,
        in_paper=True,
    ),
    Counterpart(
        label="VGG19",
        name="vgg19",
        size=224,
        parameters=139_578_434,
        gmacs=19.628,
        source="Simonyan 2015, arXiv 1409.1556",
        layer="features.35",
        smallest=32,
        in_paper=True,
    ),
    Counterpart(
        label="EfficientNet-b3",
        name="efficientnet_b3",
        size=288,
        parameters=10_699_306,
        gmacs=1.588,
        source="Tan 2019, arXiv 1905.11946",
        layer="bn2",
        smallest=32,
        in_paper=True,
    ),
    Counterpart(
        label="EfficientNet-b4",
        name="efficientnet_b4",
        size=320,
        parameters=17_552_202,
        gmacs=3.062,
        source="Tan 2019, arXiv 1905.11946",
        layer="bn2",
        smallest=32,
        in_paper=True,
    ),
    Counterpart(
        label="Inception V3",
        name="inception_v3",
        size=299,
        parameters=21_789_666,
        gmacs=5.711,
        source="Szegedy 2016, arXiv 1512.00567",
        layer="Mixed_7c",
        smallest=75,
        in_paper=True,
    ),
    Counterpart(
        label="Xception",
        name="legacy_xception",
        size=299,
        parameters=20_811_050,
        gmacs=8.355,
        source="Chollet 2017, arXiv 1610.02357",
        layer="act4",
        smallest=64,
        in_paper=True,
    ),
    Counterpart(
        label="MobileNet V3",
        name="mobilenetv3_large_100",
        size=224,
        parameters=4_204_594,
        gmacs=0.215,
        source="Howard 2019, arXiv 1905.02244",
        layer="blocks.6",
        smallest=64,
        in_paper=True,
    ),
    Counterpart(
        label="ViT-B",
        name="vit_base_patch16_384",
        size=384,
        parameters=86_092_034,
        gmacs=55.484,
        source="Dosovitskiy 2021, arXiv 2010.11929",
        layer="blocks.11.norm1",
        smallest=32,
        in_paper=True,
    ),
    Counterpart(
        label="DeiT-B",
        name="deit_base_patch16_384",
        size=384,
        parameters=86_092_034,
        gmacs=55.484,
        source="Touvron 2021, arXiv 2012.12877",
        layer="blocks.11.norm1",
        smallest=32,
        in_paper=True,
    ),
    Counterpart(
        label="Swin-B",
        name="swin_base_patch4_window12_384",
        size=384,
        parameters=86_880_634,
        gmacs=47.082,
        source="Liu 2021, arXiv 2103.14030",
        layer="norm",
        smallest=64,
        in_paper=True,
    ),
    Counterpart(
        label="TNT-S",
        name="tnt_s_patch16_224",
        size=224,
        parameters=23_384_354,
        gmacs=5.216,
        source="Han 2021, arXiv 2103.00112",
        layer="blocks.11.norm_out",
        smallest=32,
    ),
    Counterpart(
        label="ConViT-S",
        name="convit_small",
        size=224,
        parameters=27_345_188,
        gmacs=5.746,
        source="d'Ascoli 2021, arXiv 2103.10697",
        layer="blocks.11.norm1",
        smallest=32,
    ),
    Counterpart(
        label="PVT v2-b2",
        name="pvt_v2_b2",
        size=224,
        parameters=24_850_882,
        gmacs=4.026,
        source="Wang 2022, arXiv 2106.13797",
        layer="stages.3",
        smallest=64,
    ),
    Counterpart(
        label="PoolFormer-S24",
        name="poolformer_s24",
        size=224,
        parameters=20_876_994,
        gmacs=3.392,
        source="Yu 2022, arXiv 2111.11418",
        layer="stages.3",
        smallest=64,
    ),
    Counterpart(
        label="ConvMixer-768/32",
        name="convmixer_768_32",
        size=224,
        parameters=20_342_786,
        gmacs=20.676,
        source="Trockman 2022, arXiv 2201.09792",
        layer="blocks.31",
        smallest=28,
    ),
    Counterpart(
        label="MLP-Mixer-B/16",
        name="mixer_b16_224",
        size=224,
        parameters=59_113_010,
        gmacs=12.601,
        source="Tolstikhin 2021, arXiv 2105.01601",
        layer="norm",
        smallest=32,
    ),
    Counterpart(
        label="ResNet50 + ViT-B",
        name="vit_base_r50_s16_384",
        size=384,
        parameters=98_183_490,
        gmacs=67.155,
        source="Dosovitskiy 2021, arXiv 2010.11929",
        layer="blocks.11.norm1",
        smallest=32,
    ),
    Counterpart(
        label="CoAtNet-0",
        name="coatnet_0_rw_224",
        size=224,
        parameters=26_668_100,
        gmacs=4.406,
        source="Dai 2021, arXiv 2106.04803",
        layer="stages.3",
        smallest=64,
    ),
    Counterpart(
        label="MaxViT-T",
        name="maxvit_tiny_tf_384",
        size=384,
        parameters=30_465_034,
        gmacs=17.392,
        source="Tu 2022, arXiv 2204.01697",
        layer="stages.3",
        smallest=64,
    ),
    Counterpart(
        label="ConvNeXt-T",
        name="convnext_tiny",
        size=224,
        parameters=27_821_666,
        gmacs=4.455,
        source="Liu 2022, arXiv 2201.03545",
        layer="stages.3",
        smallest=64,
    ),
)
"""The table, the paper's eleven first."""


def counterpart(name: str) -> Counterpart | None:
    """The row of a network, by its timm name with or without a pretrained tag; None where there is none."""
    bare = name.split(".", 1)[0]
    return next((row for row in COUNTERPARTS if row.name == bare), None)
