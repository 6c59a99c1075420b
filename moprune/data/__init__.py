"""Data: a task with its four splits, where its images come from, and images from outside it.

- :class:`Task` is what a search works on: ``train``, ``search``, ``select`` and ``test`` (each a
  :class:`Split` of :class:`Inputs` with labels) and OOD pools. ``Task.from_folder``,
  ``Task.from_tensors`` and ``Task.from_source`` make one.
- :class:`Source` is a data set as found: :func:`open_folder`, :func:`open_tar`, :func:`open_torchvision`,
  :func:`open_digits`, of texts :func:`open_text` and :func:`open_docstrings`, and :func:`open_features` of features
  that somebody has extracted. :meth:`Source.without` holds classes out; :func:`divide` draws the splits by a
  :class:`SplitPlan` each (:func:`default_plan` if none is given).
- :class:`Inputs` are read one raw item at a time: :class:`ImageFiles`, :class:`TarImages`,
  :class:`TensorInputs`, :class:`DatasetInputs`, :class:`GeneratedInputs`, :class:`JoinedInputs`; feature vectors
  (:class:`FeatureInputs`) stay in their file (:class:`StoredFeatures`); a text
  (:class:`TextInputs`, :func:`texts_of`) is a sequence of numbers of words, those of its :class:`Vocabulary`.
- Corruptions: :data:`CORRUPTIONS` lists the types, :func:`corrupted` makes a split's images anew under one.
- OOD pools: :data:`POOLS` lists them, :func:`pool` makes one in the form of a task's images, and
  :func:`photographs`, :func:`noise`, :func:`jigsaw` and :func:`digits_pool` make one each.
- :func:`stratified` and :func:`limit` draw parts with equal class shares; :func:`duplicates_across` finds
  images of the test among the others.

Everything is immutable, can be pickled, and is decided by the seeds given. Images are decoded when read.
"""

from moprune.data.corruption_types import CORRUPTIONS
from moprune.data.corruptions import corrupted
from moprune.data.docstrings import open_docstrings
from moprune.data.duplicates import duplicates_across, repetition
from moprune.data.features import FeatureInputs, open_features
from moprune.data.inputs import (
    DatasetInputs,
    GeneratedInputs,
    ImageFiles,
    Inputs,
    Item,
    JoinedInputs,
    Mode,
    TarImages,
    TensorInputs,
)
from moprune.data.ood import POOLS, digits_pool, jigsaw, noise, photographs, pool
from moprune.data.rows import StoredFeatures
from moprune.data.sources import (
    SPLITS,
    Source,
    SplitPlan,
    default_plan,
    divide,
    open_digits,
    open_folder,
    open_images,
    open_tar,
)
from moprune.data.splits import Split, limit, stratified
from moprune.data.task import Task
from moprune.data.text import TextInputs, open_text, texts_of
from moprune.data.vision import TORCHVISION, open_torchvision
from moprune.data.vocabulary import Vocabulary

__all__ = [
    "CORRUPTIONS",
    "POOLS",
    "SPLITS",
    "TORCHVISION",
    "DatasetInputs",
    "FeatureInputs",
    "GeneratedInputs",
    "ImageFiles",
    "Inputs",
    "Item",
    "JoinedInputs",
    "Mode",
    "Source",
    "Split",
    "SplitPlan",
    "StoredFeatures",
    "TarImages",
    "Task",
    "TensorInputs",
    "TextInputs",
    "Vocabulary",
    "corrupted",
    "default_plan",
    "digits_pool",
    "divide",
    "duplicates_across",
    "jigsaw",
    "limit",
    "noise",
    "open_digits",
    "open_docstrings",
    "open_features",
    "open_folder",
    "open_images",
    "open_tar",
    "open_text",
    "open_torchvision",
    "photographs",
    "pool",
    "repetition",
    "stratified",
    "texts_of",
]
