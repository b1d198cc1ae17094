"""The catalog: name -> what builds it, what it takes, what it serves, where it comes from. A literal dict.

``training`` gives the settings that ``fit`` starts from; the user's own replace them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, cast

from torch import nn

from chainrule.models.alexnet import AlexNet, AlexNetConfig
from chainrule.models.autoencoder import Autoencoder, AutoencoderConfig
from chainrule.models.bag_of_embeddings import BagOfEmbeddings, BagOfEmbeddingsConfig
from chainrule.models.cnn_lstm import CNNLSTM, CNNLSTMConfig
from chainrule.models.denoising import Denoising, DenoisingConfig
from chainrule.models.dlinear import DLinear, DLinearConfig
from chainrule.models.lstm_autoencoder import LSTMAutoencoder, LSTMAutoencoderConfig
from chainrule.models.mlp import MLP, MLPConfig
from chainrule.models.mobilenet_v1 import MobileNetV1, MobileNetV1Config
from chainrule.models.mobilenet_v2 import MobileNetV2, MobileNetV2Config
from chainrule.models.mobilenet_v3 import MobileNetV3, MobileNetV3Config
from chainrule.models.perceptron import Perceptron, PerceptronConfig
from chainrule.models.recurrent import RecurrentClassifier, RecurrentConfig
from chainrule.models.recurrent import reference_name as recurrent_name
from chainrule.models.recurrent_ctc import RecurrentCTC, RecurrentCTCConfig, speech_training
from chainrule.models.recurrent_ctc import reference_name as recurrent_ctc_name
from chainrule.models.recurrent_forecast import RecurrentForecast, RecurrentForecastConfig
from chainrule.models.recurrent_lm import RecurrentLM, RecurrentLMConfig
from chainrule.models.recurrent_lm import reference_name as recurrent_lm_name
from chainrule.models.resnet import ResNet, ResNetConfig, r3d_name
from chainrule.models.resnet9 import ResNet9, ResNet9Config
from chainrule.models.resnet_cifar import ResNetCifar, ResNetCifarConfig
from chainrule.models.seq2seq import Seq2Seq, Seq2SeqConfig, translation_training
from chainrule.models.sparse import Sparse, SparseConfig
from chainrule.models.tabm import TabM, TabMConfig, training_settings
from chainrule.models.tcn import TCN, TCNConfig
from chainrule.models.training import (
    autoencoder_training,
    bag_training,
    image_training,
    language_training,
    linear_forecast_training,
    plain_training,
    recurrent_training,
    segmentation_training,
    sequence_autoencoder_training,
    sequence_forecast_training,
    short_training,
    small_image_training,
)
from chainrule.models.unet import UNet, UNetConfig
from chainrule.models.unet import reference_name as unet_name
from chainrule.models.unetpp import UNetPlusPlus, UNetPlusPlusConfig
from chainrule.models.unetpp import reference_name as unetpp_name
from chainrule.models.vae import VAE, VAEConfig
from chainrule.models.vgg import VGG, VGGConfig
from chainrule.models.vq_vae import VQVAE, VQVAEConfig
from chainrule.nn.pixelwise import Encoder

Settings = Mapping[str, Any]  # by dotted names


@dataclass(frozen=True, kw_only=True)
class Pixels:
    """How the reference's published weights want a picture: (x - mean) / std per channel, x from 0 to 1."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One architecture (or one size of it)."""

    config: type  # a frozen dataclass; data-dependent sizes are its only required fields
    build: Callable[[Any], nn.Module]
    takes: tuple[str, ...]  # forms of input it can be built for: vector, columns, image, tokens, ... (data/kind.py)
    kinds: tuple[str, ...]  # data kinds it serves
    tasks: tuple[str, ...]
    paper: str
    reference: str  # the independent implementation it equals, and the test that says so
    training: Callable[[int, int], Mapping[str, Any]]  # settings to start from, by train rows and table columns
    published: Mapping[str, Any]  # the sizes that the paper (or the textbook) speaks of; its parameters are counted so
    settings: Mapping[str, Any] = field(default_factory=dict)  # config fields that make this size
    rename: Callable[[str], str] | None = None  # the reference's names of tensors -> ours; None: they are the same
    expects: Mapping[str, Pixels] = field(default_factory=dict)  # what published weights want, by form of input
    scales: tuple[Settings, ...] = ()  # settings of rising size among which machine and time decide
    family: str = ""  # the name under which a person means this network where that name's own does not serve the data
    binary_logits: int = 2  # outputs for two classes: 1 (sigmoid, as in the textbook) or 2 (softmax)


def build_encoder(config: Any) -> Encoder:
    """The encoder that a network for pixels names: a classifier of the catalog without its head."""
    entry = CATALOG[config.encoder]
    sizes = {
        **entry.settings, "in_channels": config.in_channels, "num_classes": 1, "dims": config.dims,
        "image_size": USUAL_SIZE.get(config.dims, (224, 224)),
        **({"width": config.encoder_width} if config.encoder_width else {}),
    }  # fmt: skip
    network = entry.build(entry.config(**sizes))
    *_, (head, _) = network.named_children()
    setattr(network, head, nn.Identity())
    return cast(Encoder, network)


def with_encoders(rename: Callable[[str], str]) -> Callable[[str], str]:
    """The same map, that also knows the names of a reference's encoder."""
    return lambda name: r3d_name(rename(name))


def build_unet(config: UNetConfig) -> UNet:
    """A U-Net with the paper's encoder or one of the catalog."""
    return UNet(config, None if config.encoder == "plain" else build_encoder(config))


def build_unetpp(config: UNetPlusPlusConfig) -> UNetPlusPlus:
    """A U-Net++ with the paper's encoder or one of the catalog."""
    return UNetPlusPlus(config, None if config.encoder == "plain" else build_encoder(config))


ALL_KINDS = ("gates", "table", "image")
MEDIA = ("image", "audio", "video", "faces")
MAPS = ("image", "signal", "clip")  # networks of windows, built over one, two or three axes by model.dims
BOTH = ("classify", "regress")
CODED = ("image", "vector", "sequence")  # forms of input that autoencoders build again
CODED_KINDS = ("table", "image", "audio", "series")
ROWS = (*BOTH, "multilabel", "embed")  # one answer or several for a row, or a place
PLACED = (*BOTH, "embed", "verify")
IMAGENET = Pixels(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))  # torchvision's classifiers
KINETICS = Pixels(mean=(0.43216, 0.394666, 0.37645), std=(0.22803, 0.22145, 0.216989))  # its r3d_18
HALVES = Pixels(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))  # timm's mobilenetv1_100 and mobilenetv1_125
PHOTOS = {"in_channels": 3, "num_classes": 1000}  # ImageNet
CIFAR = {"in_channels": 3, "num_classes": 10, "image_size": (32, 32)}
HE = "He, Zhang, Ren, Sun 2015, arXiv:1512.03385"


def plain_sizes(*finest: int) -> tuple[Settings, ...]:
    """Sizes of networks of the papers' encoder: these channels at the finest of five levels, doubled at each other."""
    return tuple(
        {"model.encoder": "plain", "model.widths": tuple(width << level for level in range(5))} for width in finest
    )


CATALOG: dict[str, Entry] = {
    "perceptron": Entry(
        config=PerceptronConfig, build=Perceptron, takes=("vector",), kinds=ALL_KINDS, tasks=BOTH, binary_logits=1,
        training=short_training, published={"in_features": 2, "num_classes": 1},
        paper="Rosenblatt 1958, doi:10.1037/h0042519",
        reference="torch.nn.Linear; tests/parity/test_mlp.py",
    ),
    "mlp": Entry(
        config=MLPConfig, build=MLP, takes=("vector",), kinds=ALL_KINDS, tasks=BOTH, binary_logits=1,
        training=short_training, published={"in_features": 784, "num_classes": 10},
        paper="Rumelhart, Hinton, Williams 1986, doi:10.1038/323533a0",
        reference="torch.nn.Sequential; tests/parity/test_mlp.py",
    ),
    "tabm": Entry(
        config=TabMConfig, build=TabM, takes=("columns",), kinds=("table",), tasks=BOTH,
        training=training_settings,
        published={"num_numbers": 8, "num_bins": 48, "cardinalities": (), "num_classes": 1},  # California housing
        paper="Gorishniy, Kotelnikov, Babenko 2024, arXiv:2410.24210",
        reference="tabm 0.0.3; tests/parity/test_tabm.py",
    ),
    "resnet9": Entry(
        config=ResNet9Config, build=ResNet9, takes=("image",), kinds=MEDIA, tasks=PLACED, training=small_image_training,
        published=CIFAR, paper="Page 2018, github.com/davidcpage/cifar10-fast",
        reference="dawn.py written plainly; tests/parity/test_resnet.py",
    ),
    **{
        name: Entry(
            config=ResNetCifarConfig, build=ResNetCifar, takes=("image",), kinds=MEDIA, tasks=PLACED,
            training=small_image_training, published=CIFAR, settings={"depth": depth}, paper=HE,
            reference="section 4.2 of the paper written plainly; tests/parity/test_resnet.py",
        )
        for name, depth in (("resnet20", 3), ("resnet32", 5), ("resnet44", 7), ("resnet56", 9), ("resnet110", 18))
    },
    **{
        name: Entry(
            config=ResNetConfig, build=ResNet, takes=MAPS, kinds=MEDIA, tasks=PLACED, training=image_training,
            published=PHOTOS, settings={"blocks": blocks, "bottleneck": bottleneck}, paper=HE, rename=r3d_name,
            expects={"image": IMAGENET, "clip": KINETICS},
            reference=f"torchvision.models.{name}; tests/parity/test_resnet.py",
        )
        for name, blocks, bottleneck in (
            ("resnet18", (2, 2, 2, 2), False), ("resnet34", (3, 4, 6, 3), False), ("resnet50", (3, 4, 6, 3), True),
            ("resnet101", (3, 4, 23, 3), True), ("resnet152", (3, 8, 36, 3), True),
        )
    },
    "alexnet": Entry(
        config=AlexNetConfig, build=AlexNet, takes=MAPS, kinds=MEDIA, tasks=PLACED, training=plain_training,
        published=PHOTOS, expects={"image": IMAGENET},
        paper="Krizhevsky 2014, arXiv:1404.5997", reference="torchvision.models.alexnet; tests/parity/test_alexnet.py",
    ),
    **{
        f"{name}{suffix}": Entry(
            config=VGGConfig, build=VGG, takes=MAPS, kinds=MEDIA, tasks=PLACED,
            training=image_training if suffix else plain_training,
            published=PHOTOS, settings={"blocks": blocks, "batch_norm": suffix == "_bn"}, expects={"image": IMAGENET},
            paper="Simonyan, Zisserman 2014, arXiv:1409.1556",
            reference=f"torchvision.models.{name}{suffix}; tests/parity/test_vgg.py",
        )
        for name, blocks in (
            ("vgg11", (1, 1, 2, 2, 2)), ("vgg13", (2, 2, 2, 2, 2)),
            ("vgg16", (2, 2, 3, 3, 3)), ("vgg19", (2, 2, 4, 4, 4)),
        )
        for suffix in ("", "_bn")
    },
    "mobilenet_v1": Entry(
        config=MobileNetV1Config, build=MobileNetV1, takes=MAPS, kinds=MEDIA, tasks=PLACED, training=image_training,
        published=PHOTOS, expects={"image": HALVES},
        paper="Howard et al. 2017, arXiv:1704.04861", reference="timm mobilenetv1_100; tests/parity/test_mobilenet.py",
    ),
    "mobilenet_v2": Entry(
        config=MobileNetV2Config, build=MobileNetV2, takes=MAPS, kinds=MEDIA, tasks=PLACED, training=image_training,
        published=PHOTOS, expects={"image": IMAGENET},
        paper="Sandler et al. 2018, arXiv:1801.04381",
        reference="torchvision.models.mobilenet_v2; tests/parity/test_mobilenet.py",
    ),
    **{
        f"mobilenet_v3_{size}": Entry(
            config=MobileNetV3Config, build=MobileNetV3, takes=MAPS, kinds=MEDIA, tasks=PLACED,
            training=image_training, published=PHOTOS, settings={"size": size}, expects={"image": IMAGENET},
            paper="Howard et al. 2019, arXiv:1905.02244",
            reference=f"torchvision.models.mobilenet_v3_{size}; tests/parity/test_mobilenet.py",
        )
        for size in ("small", "large")
    },
    "autoencoder": Entry(
        config=AutoencoderConfig, build=Autoencoder, takes=CODED, kinds=CODED_KINDS, tasks=("reconstruct",),
        training=autoencoder_training, published={"shape": (784,), "code": 30, "widths": (1000, 500, 250)},  # MNIST
        paper="Hinton, Salakhutdinov 2006, doi:10.1126/science.1127647",
        reference="torch.nn layers in a row; tests/parity/test_autoencoder.py",
    ),
    "denoising": Entry(
        config=DenoisingConfig, build=Denoising, takes=CODED, kinds=CODED_KINDS, tasks=("reconstruct",),
        training=autoencoder_training, published={"shape": (784,), "code": 2000, "widths": (2000, 2000)},  # MNIST
        paper="Vincent et al. 2010, Stacked denoising autoencoders, JMLR 11:3371",
        reference="torch.nn layers behind the same noise; tests/parity/test_autoencoder.py",
    ),
    "sparse": Entry(
        config=SparseConfig, build=Sparse, takes=CODED, kinds=CODED_KINDS, tasks=("reconstruct",),
        training=autoencoder_training, published={"shape": (784,), "code": 196, "widths": (512, 256)},  # MNIST
        paper="Goodfellow, Bengio, Courville 2016, Deep Learning, section 14.2.1",
        reference="torch.nn layers in a row; tests/parity/test_autoencoder.py",
    ),
    "vae": Entry(
        config=VAEConfig, build=VAE, takes=CODED, kinds=CODED_KINDS, tasks=("reconstruct",),
        training=autoencoder_training, published={"shape": (784,), "code": 20, "widths": (500,)},  # MNIST
        paper="Kingma, Welling 2013, arXiv:1312.6114",
        reference="torch.distributions.kl_divergence, torch.nn layers; tests/parity/test_autoencoder.py",
    ),
    "vq_vae": Entry(
        config=VQVAEConfig, build=VQVAE, takes=CODED, kinds=CODED_KINDS, tasks=("reconstruct",),
        training=autoencoder_training,
        published={"shape": (3, 128, 128), "widths": (256, 256), "codes": 512, "code_dim": 64},  # small ImageNet
        paper="van den Oord, Vinyals, Kavukcuoglu 2017, arXiv:1711.00937",
        reference="torch.nn layers, a search through all entries; tests/parity/test_autoencoder.py",
    ),
    "lstm_autoencoder": Entry(
        config=LSTMAutoencoderConfig, build=LSTMAutoencoder, takes=("sequence", "tokens"), kinds=("series", "text"),
        tasks=("reconstruct",), training=sequence_autoencoder_training,
        published={"shape": (10, 4096), "code": 2048, "hidden": 2048},  # ten frames of moving MNIST
        paper="Srivastava, Mansimov, Salakhutdinov 2015, arXiv:1502.04681",
        reference="torch.nn.Embedding, LSTM, Linear on reversed rows; tests/parity/test_lstm_autoencoder.py",
    ),
    "dlinear": Entry(
        config=DLinearConfig, build=DLinear, takes=("window",), kinds=("series",), tasks=("forecast",),
        training=linear_forecast_training,
        published={"window": 336, "horizon": 96, "columns": 7, "known_features": 0, "num_classes": 1},  # ETTh1
        paper="Zeng, Chen, Zhang, Xu 2022, arXiv:2205.13504",
        reference="cure-lab/LTSF-Linear written plainly; tests/parity/test_forecast_models.py",
    ),
    "tcn": Entry(
        config=TCNConfig, build=TCN, takes=("window",), kinds=("series",), tasks=("forecast",),
        training=sequence_forecast_training,
        published={"window": 600, "horizon": 1, "in_features": 2, "known_features": 0, "num_classes": 1, "hidden": 30,
                   "kernel": 6, "levels": 7},  # the adding problem of 600 steps
        paper="Bai, Kolter, Koltun 2018, arXiv:1803.01271",
        reference="locuslab/TCN written plainly; tests/parity/test_forecast_models.py",
    ),
    **{
        f"{cell}_forecast": Entry(
            config=RecurrentForecastConfig, build=RecurrentForecast, takes=("window",), kinds=("series",),
            tasks=("forecast",), training=sequence_forecast_training, settings={"cell": cell},
            family=cell,
            published={"window": 96, "horizon": 96, "in_features": 1, "known_features": 0, "num_classes": 1},
            paper=paper, reference="torch.nn recurrent layers, Linear; tests/parity/test_forecast_models.py",
        )
        for cell, paper in (
            ("rnn", "Elman 1990, doi:10.1207/s15516709cog1402_1"),
            ("gru", "Cho et al. 2014, arXiv:1406.1078"),
            ("lstm", "Hochreiter, Schmidhuber 1997, doi:10.1162/neco.1997.9.8.1735"),
        )
    },
    **{
        f"{cell}_lm": Entry(
            config=RecurrentLMConfig, build=RecurrentLM, takes=("stream",), kinds=("corpus",), tasks=("language",),
            training=language_training, settings={"cell": cell}, family=cell, rename=recurrent_lm_name,
            published={"vocab_size": 10_000, "hidden": hidden, "layers": layers},  # words of the Penn Treebank
            paper=paper, reference="torch.nn.Embedding, recurrent layers, Linear; tests/parity/test_recurrent_lm.py",
        )
        for cell, hidden, layers, paper in (
            ("rnn", 200, 1, "Mikolov et al. 2010, Recurrent neural network based language model, Interspeech"),
            ("gru", 650, 2, "Cho et al. 2014, arXiv:1406.1078"),
            ("lstm", 650, 2, "Zaremba, Sutskever, Vinyals 2014, arXiv:1409.2329"),
        )
    },
    **{
        f"{cell}_ctc": Entry(
            config=RecurrentCTCConfig, build=RecurrentCTC, takes=("frames",), kinds=("audio",), tasks=("transcribe",),
            training=speech_training, settings={"cell": cell}, family=cell, rename=recurrent_ctc_name,
            published={"in_features": 123, "num_classes": 62, "hidden": 250, "layers": 3, "steps": 100},  # TIMIT
            paper="Graves, Mohamed, Hinton 2013, arXiv:1303.5778",
            reference="torch.nn.Conv1d, recurrent layers, Linear; tests/parity/test_recurrent_ctc.py",
        )
        for cell in ("rnn", "gru", "lstm")
    },
    **{
        f"{cell}_attention": Entry(
            config=Seq2SeqConfig, build=Seq2Seq, takes=("pair",), kinds=("parallel",), tasks=("translate",),
            training=translation_training, settings={"cell": cell}, family=cell,
            published={"source_vocab_size": 8000, "vocab_size": 8000, "steps": 15},  # Multi30k
            paper=paper, reference=f"torch.nn.{name} in loops; tests/parity/test_seq2seq.py",
        )
        for cell, name, paper in (
            ("lstm", "LSTMCell", "Luong, Pham, Manning 2015, arXiv:1508.04025"),
            ("gru", "GRUCell", "Bahdanau, Cho, Bengio 2014, arXiv:1409.0473"),
            ("rnn", "RNNCell", "Luong, Pham, Manning 2015, arXiv:1508.04025"),
        )
    },
    "unet": Entry(
        config=UNetConfig, build=build_unet, takes=("image", "clip"), kinds=("mask",), tasks=("segment",),
        training=segmentation_training, scales=plain_sizes(16, 24, 32, 48, 64), rename=with_encoders(unet_name),
        published={  # the tiles of figure 1
            "in_channels": 1, "num_classes": 2, "batch_norm": False, "padding": "valid", "image_size": (572, 572),
        },
        paper="Ronneberger, Fischer, Brox 2015, arXiv:1505.04597",
        reference="mateuszbuda/brain-segmentation-pytorch written plainly, segmentation_models_pytorch.Unet; "
        "tests/parity/test_unet.py",
    ),
    "unetpp": Entry(
        config=UNetPlusPlusConfig, build=build_unetpp, takes=("image", "clip"), kinds=("mask",), tasks=("segment",),
        training=segmentation_training, scales=plain_sizes(8, 16, 24, 32), rename=with_encoders(unetpp_name),
        published={"in_channels": 3, "num_classes": 1, "batch_norm": False, "image_size": (96, 96)},  # cell nuclei
        paper="Zhou, Siddiquee, Tajbakhsh, Liang 2018, arXiv:1807.10165",
        reference="figure 1 of the paper written plainly, segmentation_models_pytorch.UnetPlusPlus; "
        "tests/parity/test_unetpp.py",
    ),
    **{
        name: Entry(
            config=RecurrentConfig, build=RecurrentClassifier, takes=("tokens", "frames"), kinds=("text", "audio"),
            tasks=ROWS, training=recurrent_training, settings={"cell": name}, rename=recurrent_name, paper=paper,
            published={"vocab_size": 10_000, "num_classes": 2, "steps": 50},
            reference=f"torch.nn.{name.upper()}; tests/parity/test_recurrent_classifier.py",
        )
        for name, paper in (
            ("rnn", "Elman 1990, doi:10.1207/s15516709cog1402_1"),
            ("gru", "Cho et al. 2014, arXiv:1406.1078"),
            ("lstm", "Hochreiter, Schmidhuber 1997, doi:10.1162/neco.1997.9.8.1735"),
        )
    },
    "bag_of_embeddings": Entry(
        config=BagOfEmbeddingsConfig, build=BagOfEmbeddings, takes=("tokens",), kinds=("text",), tasks=ROWS,
        training=bag_training, published={"vocab_size": 10_000, "num_classes": 2, "steps": 50},
        paper="Joulin, Grave, Bojanowski, Mikolov 2016, arXiv:1607.01759",
        reference="torch.nn.EmbeddingBag; tests/parity/test_recurrent_classifier.py",
    ),
    "cnn_lstm": Entry(
        config=CNNLSTMConfig, build=CNNLSTM, takes=("frames", "clip"), kinds=("audio", "video"), tasks=PLACED,
        training=recurrent_training, published={"in_features": 40, "num_classes": 10, "steps": 100},
        paper="Sainath et al. 2015, doi:10.1109/ICASSP.2015.7178838; Donahue et al. 2015, arXiv:1411.4389",
        reference="torch.nn.Conv2d, LSTM in a row; tests/parity/test_recurrent_classifier.py",
    ),
}  # fmt: skip


def variant(name: str, kind: str, task: str) -> str:
    """The entry of this name, or the one of this family that serves the data: "lstm" of a corpus is "lstm_lm"."""

    fitting = serving(kind, task)
    return name if name in fitting else next((one for one in fitting if CATALOG[one].family == name), name)


def serving(kind: str, task: str) -> list[str]:
    """The entries that serve a task on a kind of data."""
    return [name for name, entry in CATALOG.items() if kind in entry.kinds and task in entry.tasks]


USUAL_SIZE = {1: (50_176,), 3: (16, 112, 112)}  # a signal with the samples of 224 x 224 pixels; R3D's clips


def published_sizes(entry: Entry, dims: int = 2, encoder: str = "plain") -> dict[str, Any]:
    """The config fields of the published network, or of its variant over one axis or three, or with an ``encoder``."""
    known = {field.name for field in fields(entry.config)}
    sizes = {**entry.settings, **{name: size for name, size in entry.published.items() if name in known}}
    if dims != 2 or encoder != "plain":
        sizes.pop("padding", None)  # of a mask that is smaller than its image, only the two-dimensional paper speaks
    if dims != 2:
        sizes |= {"dims": dims, "image_size": USUAL_SIZE[dims]} if "image_size" in known else {"dims": dims}
    return sizes
