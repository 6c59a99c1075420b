"""What an experiment file may say of its data and its network."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from experiments.config.base import Count, Section, Share

Mode = Literal["RGB", "L"]


class SplitConfig(Section):
    """Where one split's images come from."""

    subset: str = Field(description="subset of the data: all, train, test or val")
    share: Share = Field(1.0, description="share of the subset, drawn class by class")
    limit: Count | None = Field(None, description="at most so many images")


class SplitsConfig(Section):
    """The four splits; parts taken from the same subset never overlap."""

    train: SplitConfig
    search: SplitConfig
    select: SplitConfig
    test: SplitConfig


class OodConfig(Section):
    """Out-of-distribution pools: built-in names, class names to hold out, or paths of folders and tars."""

    search: tuple[str, ...] = Field((), description="pools of the search; its other half serves selection")
    test: tuple[str, ...] = Field((), description="pools reported on, other than those of the search")


class CorruptionsConfig(Section):
    """Corruptions of the images, such as gaussian_noise@3 (type and severity 1 to 5)."""

    search: tuple[str, ...] = Field((), description="corruptions the search and select see")
    test: tuple[str, ...] = Field((), description="corruptions reported on, of other types")


class AttackConfig(Section):
    """How images are attacked, for adversarial_error; see moprune.networks.attacks.Attack."""

    method: Literal["fgsm", "pgd"] = Field("pgd", description="one step, or several")
    epsilon: Annotated[float, Field(gt=0, le=1, description="largest change of a pixel value in 0..1")] = 8 / 255
    steps: Count = Field(10, description="of pgd")


class DataConfig(Section):
    """The images."""

    source: Literal["digits", "docstrings", "features", "folder", "tar", "torchvision", "text"] = Field(
        description="digits and docstrings are embedded"
    )
    path: str | None = Field(None, description="of a folder, a tar, the tables of text, or features")
    name: str | None = Field(None, description="of a torchvision data set, e.g. CIFAR10")
    root: str | None = Field(None, description="where torchvision keeps it")
    download: bool = Field(False, description="whether torchvision may fetch it")
    mode: Mode | None = Field(None, description="convert images to RGB or grey")
    exclude: tuple[str, ...] = Field((), description="classes left out altogether")
    splits: SplitsConfig | None = Field(None, description="by default shares of what the source has")
    corrupted: str | None = Field(
        None, description="what befell all images, such as gaussian_blur@3: a shift from what the network learnt"
    )
    split_seed: int = Field(0, description="decides which images go where")
    ood: OodConfig = OodConfig()
    corruptions: CorruptionsConfig = CorruptionsConfig()

    @property
    def called(self) -> str:
        """What a person calls the data: a data set's name, the last part of a path, or else the source."""
        return self.name or Path(self.path or "").name or self.source

    @field_validator("mode", "corrupted", "corruptions")
    @classmethod
    def _of_images(cls, value: object, info: ValidationInfo) -> object:
        """Refuses what is done to images where there are none."""
        if info.data.get("source") == "features" and value not in (None, CorruptionsConfig()):
            raise ValueError("given features are no images; remove this key")
        return value


class PreprocessConfig(Section):
    """How an image becomes the network's input; see moprune.networks.Preprocess."""

    resize: Count | None = Field(None, description="pixels of the shorter side")
    crop: Count | None = Field(None, description="pixels of the square cut from the centre")
    mean: tuple[float, ...] = Field((), description="subtracted from each channel of values in 0..1")
    std: tuple[float, ...] = Field((), description="each channel is divided by it")
    mode: Mode = Field("RGB", description="colour or grey")
    interpolation: Literal["bilinear", "bicubic", "nearest", "nearest-exact"] = Field(
        "bilinear", description="of resizing"
    )


class NetworkConfig(Section):
    """The pre-trained network."""

    arch: str = Field(
        description="digits (knows 0 to 4), digits10 (all), lstm (learns the texts of train), features (of "
        "data.source features: none), cifar_resnet20, any torchvision classifier, or package.module:factory"
    )
    weights: str | None = Field(None, description="torchvision weights (DEFAULT), a file, or random")
    features: str | None = Field(None, description="module whose output is taken; default: classifier's input")
    preprocess: PreprocessConfig | None = Field(None, description="by default that of the weights")
