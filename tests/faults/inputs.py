"""Images that are taken away or changed under a run."""

import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from tests.faults.process import Process, run
from tests.faults.runs import Subject, logged
from tests.faults.table import FAILED, REFUSED, Trial, judged


@dataclass(frozen=True)
class OnImages(Subject):
    """A tiny pruning run on a folder of images of its own."""

    @property
    def images(self) -> Path:
        """The folder of images."""
        return self.home / "images"

    def command(self, folder: Path) -> list[str]:
        """Returns the arguments of ``moprune`` that run it in a folder."""
        return ["run", str(self.home / "mine.yaml"), "--out", str(folder)]

    def prepare(self) -> "OnImages":
        """Makes images and experiment, the caches, and the folder of the run that nothing befell."""
        rng = np.random.default_rng(0)
        for label in ("cat", "dog"):
            (self.images / label).mkdir(parents=True)
            for i in range(16):
                pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(self.images / label / f"{i}.png")
        content = {
            "data": {
                "source": "folder",
                "path": str(self.images),
                "ood": {"search": ["noise"], "test": ["photographs"]},
            },
            "network": {"arch": "cifar_resnet20", "weights": "random", "preprocess": {"resize": 8}},
            "pruning": {"hidden": [4], "training": {"epochs": 2}},
            "search": {"n_eval": 80, "pop_size": 8},
        }
        (self.home / "mine.yaml").write_text(yaml.safe_dump(content))
        super().prepare()
        return self


def robbed(home: Path, chance: random.Random) -> Iterator[Trial]:
    """Takes the images away, or changes one, in mid-run and after the end; then brings them back."""
    subject = OnImages("pruning", home).prepare()
    for what in ("all images gone", "an image gone", "an image changed", "an image cut short"):
        for when in ("killed run", "finished run"):
            yield _robbed(subject, what, when, chance)
    yield _robbed_at_work(subject)


def _robbed(subject: OnImages, what: str, when: str, chance: random.Random) -> Trial:
    fault = f"{what}, {when}"
    with subject.scratch() as folder:
        if when == "killed run":
            subject.half_done(folder, chance)
        else:
            assert not subject.finishes_alike(folder)
        kept = subject.home / "kept"
        shutil.copytree(subject.images, kept)
        _spoil(subject.images, what, chance)
        needs_them = subject.command(folder) if when == "killed run" else ["verify", str(folder)]
        ended = run(needs_them)
        shown = run(["show", str(folder)])
        shutil.rmtree(subject.images, ignore_errors=True)
        kept.rename(subject.images)
        if not ended.refuses(str(subject.images), "differs in: problem.task", "data: not what the run"):
            return Trial(subject.task, fault, FAILED, ended.last)
        if when == "finished run" and shown.status != 0:
            return Trial(subject.task, fault, FAILED, shown.last)
        wrong = subject.finishes_alike(folder)
        return Trial(subject.task, fault, FAILED if wrong else REFUSED, wrong or ended.last)


def _robbed_at_work(subject: OnImages) -> Trial:
    """Takes the images away while the run works: it has what it needs, or says what it misses."""
    with subject.scratch() as folder:
        process = Process(subject.command(folder))
        process.wait(logged(folder))
        hidden = subject.home / "hidden"
        subject.images.rename(hidden)
        ended = process.ended()
        hidden.rename(subject.images)
        fault = "all images gone, working run"
        if ended.status != 0 and not ended.refuses(str(subject.images)):
            return Trial(subject.task, fault, FAILED, ended.last)
        return judged(subject.task, fault, subject.finishes_alike(folder))


def _spoil(images: Path, what: str, chance: random.Random) -> None:
    path = images / "cat" / f"{chance.randrange(16)}.png"
    if what == "all images gone":
        shutil.rmtree(images)
        return
    if what == "an image gone":
        path.unlink()
    elif what == "an image changed":
        Image.fromarray(np.zeros((8, 8, 3), dtype=np.uint8)).save(path)
    else:
        path.write_bytes(path.read_bytes()[:40])
