"""Tuning against a training loop in plain torch: its optimisers, its schedules, its gradients, one network a job."""

import copy
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call
from torch.nn import functional

from moprune.errors import UsageError
from moprune.networks.low_rank import factor_shapes
from moprune.networks.selection import state_of
from moprune.population.tuning import Job, Labelled, Tuner, TuningRecipe
from moprune.seeding import torch_generator

RECIPE = TuningRecipe(learning_rate=0.01, epochs=2, batch_size=8, statistics="frozen")
# Adam makes steps of gradients that are zero but for rounding, as behind the statistics of a batch; this one does not.
SGD = replace(RECIPE, optimiser="sgd")
TOLERANCE = {"atol": 2e-5, "rtol": 1e-4}


class Residual(nn.Module):
    """Convolutions with normalisations, a shortcut, dropout, and a part that is never run."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(2, 4, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(4)
        self.conv2 = nn.Conv2d(4, 4, 3, padding=1, groups=2, bias=False)
        self.bn2 = nn.BatchNorm2d(4)
        self.short = nn.Conv2d(4, 4, 1)
        self.conv3 = nn.Conv2d(4, 6, 3, stride=2, bias=False)
        self.bn3 = nn.BatchNorm2d(6, affine=False)
        self.dropout = nn.Dropout(0.5)
        self.unused = nn.Linear(3, 3)
        self.hidden = nn.Linear(24, 10)
        self.linear = nn.Linear(10, 3)

    def forward(self, x):
        x = functional.relu(self.bn1(self.conv1(x)))
        x = functional.relu(self.bn2(self.conv2(x)) + self.short(x))
        x = functional.relu(self.bn3(self.conv3(x)))
        return self.linear(self.dropout(functional.relu(self.hidden(x.flatten(1)))))


def network(seed=0):
    made, generator = Residual(), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in (*made.parameters(), *made.buffers()):
            if tensor.is_floating_point():
                tensor.copy_(0.4 * torch.randn(tensor.shape, generator=generator))
        for module in made.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_var.abs_().add_(0.5)
    return made.eval()


def images(count=30, seed=1):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    inputs = torch.randn(count, 2, 6, 6, generator=generator)
    inputs[:, 0] += labels[:, None, None] - 1.0
    return Labelled(inputs, labels)


NETWORK, IMAGES = network(), images()
NAMES = [name for name, _ in NETWORK.named_parameters()]
ALL = dict.fromkeys(NAMES, 1.0)


def plain(recipe, job, start=NETWORK, data=IMAGES):
    """Returns the state after training, the epochs and the best one, by torch alone."""
    tuned = copy.deepcopy(start).eval().requires_grad_(False)
    tuned.load_state_dict(job.start, strict=False)
    rows = torch.arange(len(data.labels)) if job.rows is None else job.rows
    base, leaves = {name: p.detach().clone() for name, p in tuned.named_parameters()}, {}
    for name in job.rates:
        shapes = factor_shapes(base[name].shape, job.ranks[name]) if name in job.ranks else None
        if shapes is None:
            leaves[name] = [tuned.get_parameter(name).requires_grad_()]
        else:
            down = torch.empty(shapes[1])
            nn.init.kaiming_uniform_(down, math.sqrt(5), generator=torch_generator(job.seed, "factors", name))
            leaves[name] = [torch.zeros(shapes[0], requires_grad=True), down.requires_grad_()]

    def values():
        return {n: base[n] + (ab[0] @ ab[1]).view_as(base[n]) for n, ab in leaves.items() if len(ab) == 2}

    own = {name.rpartition(".")[0] for name in job.rates}
    moving = [
        module for name, module in tuned.named_modules() if isinstance(module, nn.BatchNorm2d)
        and (recipe.statistics == "all" or (recipe.statistics == "tuned" and name in own))
    ]  # fmt: skip
    groups = [{"params": leaves[name], "lr": recipe.learning_rate * rate} for name, rate in job.rates.items()]
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}[recipe.optimiser]
    options = {"momentum": recipe.momentum} if recipe.optimiser == "sgd" else {}
    optimiser = kind(groups, weight_decay=recipe.weight_decay, **options)
    epochs, steps = job.epochs or recipe.epochs, math.ceil(len(rows) / recipe.batch_size)
    horizon = epochs * steps if recipe.horizon is None else recipe.horizon
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, horizon)
    best, least, waited, epoch = None, math.inf, 0, 0
    for epoch in range(1, epochs + 1):
        for module in moving:
            module.train()
        order = rows[torch.randperm(len(rows), generator=torch_generator(job.seed, "batch order", epoch - 1))]
        for batch in order.tensor_split(steps):
            optimiser.zero_grad()
            logits = functional_call(tuned, values(), (data.inputs[batch],))
            loss = functional.cross_entropy(logits, data.labels[batch])
            if loss.requires_grad:  # else what is trained is never run
                loss.backward()
            optimiser.step()
            if recipe.horizon is None:
                schedule.step()
        if recipe.horizon is not None:
            schedule.step()
        tuned.eval()
        state = {**state_of(tuned), **{name: value.detach() for name, value in values().items()}}
        if recipe.patience is None:
            best = state
            continue
        with torch.no_grad():
            said = functional_call(tuned, values(), (job.validation.inputs,)).argmax(1)
        truth = job.validation.labels
        error = sum(float((said[truth == c] != c).float().mean()) for c in truth.unique()) / len(truth.unique())
        waited += 1
        if error < least - 1e-9:
            best, least, waited = state, error, 0
        if waited == recipe.patience:
            break
    return best, epoch


def check(recipe, job, share=True, start=NETWORK, data=IMAGES):
    (tuned,) = Tuner(start, *data, recipe, share=share).tune([job])
    expected, epochs = plain(recipe, job, start, data)
    before = state_of(start)
    assert tuned.finite
    assert tuned.epochs == epochs
    for name, value in expected.items():
        torch.testing.assert_close(tuned.state.get(name, before[name]), value, **TOLERANCE)
    return tuned


def same(first, second):
    assert first.state.keys() == second.state.keys()
    assert all(torch.equal(first.state[name], second.state[name]) for name in first.state)


@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("statistics", ["frozen", "tuned", "all"])
@pytest.mark.parametrize(
    "names", [NAMES, ["linear.bias"], ["bn1.weight", "bn2.bias", "linear.weight"], ["conv2.weight", "short.bias"]]
)
def test_training_is_that_of_plain_torch(names, statistics, share):
    rates = {name: 0.5 + 0.1 * index for index, name in enumerate(names)}
    tuned = check(replace(SGD, statistics=statistics), Job(rates, seed=3), share)
    layers = {"frozen": [], "all": ["bn1", "bn2", "bn3"]}.get(
        statistics, [name for name in ("bn1", "bn2") if any(each.startswith(name) for each in names)]
    )
    assert tuned.state.keys() == {*names, *(f"{layer}.running_{end}" for layer in layers for end in ("mean", "var"))}
    assert tuned.images == 3 * 30 * 2


def test_lower_precision_is_that_of_autocast_on_weights_in_full_precision():
    job = Job(dict.fromkeys(NAMES, 1.0), seed=3)
    recipe = replace(SGD, statistics="tuned", precision="bfloat16")
    (tuned,) = Tuner(NETWORK, *IMAGES, recipe).tune([job])
    (exact,) = Tuner(NETWORK, *IMAGES, replace(recipe, precision="float32")).tune([job])

    class Lowered(Residual):
        def forward(self, x):
            with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
                return super().forward(x).float()

    start = Lowered().eval()
    start.load_state_dict(NETWORK.state_dict())
    expected, _ = plain(recipe, job, start, IMAGES)
    for name, value in tuned.state.items():
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, expected[name], **TOLERANCE)
        torch.testing.assert_close(value, exact.state[name], atol=0.05, rtol=0.05)
    assert not all(torch.equal(value, exact.state[name]) for name, value in tuned.state.items())
    with pytest.raises(UsageError, match="precision"):
        TuningRecipe(precision="int8")


@pytest.mark.parametrize("optimiser", ["adam", "adamw", "sgd"])
@pytest.mark.parametrize("horizon", [None, 1, 7])
def test_optimisers_and_schedules_are_torchs(optimiser, horizon):
    rates = {name: 10.0 ** (index / 10 - 1) for index, name in enumerate(NAMES)}
    ranks = {"conv3.weight": 2, "hidden.weight": 3}
    recipe = replace(RECIPE, optimiser=optimiser, horizon=horizon, weight_decay=0.1, epochs=3)
    check(recipe, Job(rates, ranks, seed=1))


def test_low_rank_stays_low_and_a_rank_too_great_is_whole():
    ranks = {"conv3.weight": 2, "hidden.weight": 100, "bn1.weight": 1, "conv2.weight": 1}
    tuned = check(RECIPE, Job(ALL, ranks, seed=5))
    assert tuned.factors.keys() == {"conv3.weight", "conv2.weight"}
    for name, (up, down) in tuned.factors.items():
        change = (tuned.state[name] - NETWORK.get_parameter(name)).flatten(1)
        torch.testing.assert_close(change, up @ down, atol=1e-6, rtol=1e-5)
        assert torch.linalg.matrix_rank(change, atol=1e-5) <= ranks[name]
        assert float(up.abs().max()) > 0


def test_start_rows_and_epochs_are_the_jobs_own():
    start = {"linear.weight": torch.linspace(-1, 1, 30).reshape(3, 10), "bn1.running_mean": torch.ones(4)}
    job = Job({"linear.bias": 1.0, "linear.weight": 2.0}, start=start, rows=torch.tensor([3, 1, 4, 15, 9]), epochs=4)
    for statistics in ("frozen", "all"):
        tuned = check(replace(SGD, statistics=statistics, batch_size=3), job)
        assert tuned.images == 3 * 5 * 4
    (frozen,) = Tuner(NETWORK, *IMAGES, RECIPE).tune([job])
    assert torch.equal(frozen.state["bn1.running_mean"], torch.ones(4))


@pytest.mark.parametrize("patience", [1, 3])
@pytest.mark.parametrize("statistics", ["frozen", "tuned"])
def test_patience_keeps_the_best_epoch(patience, statistics):
    recipe = replace(RECIPE, patience=patience, epochs=12, learning_rate=0.1, optimiser="sgd", statistics=statistics)
    validation = images(23, seed=2)
    tuned = check(recipe, Job(ALL, seed=2, validation=validation))
    assert tuned.epochs < 12
    assert tuned.images == (3 * 30 + 23) * tuned.epochs
    unwatched = check(replace(recipe, patience=None, horizon=12, epochs=tuned.epochs), Job(ALL, seed=2))
    assert not torch.allclose(unwatched.state["linear.weight"], tuned.state["linear.weight"])


@settings(max_examples=10)
@given(mask=st.lists(st.booleans(), min_size=len(NAMES), max_size=len(NAMES)).filter(any), seed=st.integers(0, 9))
def test_any_mask(mask, seed):
    rates = {name: 1.0 for name, on in zip(NAMES, mask, strict=True) if on}
    check(replace(SGD, statistics=("frozen", "tuned", "all")[seed % 3], epochs=1), Job(rates, seed=seed))


def test_results_depend_on_the_job_alone():
    """Bit for bit: not on other jobs, their order, the threads, or what was kept from earlier calls."""
    jobs = [
        Job(dict.fromkeys(NAMES[first::step], 1.0), seed=seed, rows=torch.arange(rows))
        for seed, (first, step, rows) in enumerate([(0, 1, 30), (7, 1, 30), (9, 2, 20), (11, 1, 20), (11, 1, 20)])
    ]
    jobs += [Job({"linear.weight": rate, "linear.bias": 1.0}, seed=7, rows=torch.arange(20)) for rate in (1.0, 3.0)]
    alone = [Tuner(NETWORK, *IMAGES, RECIPE).tune([job])[0] for job in jobs]
    threads = torch.get_num_threads()
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            tuner = Tuner(NETWORK, *IMAGES, RECIPE)
            for found, expected in zip(tuner.tune(jobs), alone, strict=True):
                same(found, expected)
            for found, expected in zip(tuner.tune(jobs[::-1]), alone[::-1], strict=True):
                same(found, expected)
    finally:
        torch.set_num_threads(threads)


def test_what_does_not_fit_into_the_memory_runs_whole():
    jobs = [Job(dict.fromkeys(NAMES[k:], 1.0)) for k in (0, 8, 12)]
    expected = Tuner(NETWORK, *IMAGES, RECIPE, share=False).tune(jobs)
    for memory in (0, 30 * 10 * 4, 1 << 20):
        for found, whole in zip(Tuner(NETWORK, *IMAGES, RECIPE, memory=memory).tune(jobs), expected, strict=True):
            for name, value in whole.state.items():
                torch.testing.assert_close(found.state[name], value, **TOLERANCE)


def test_shared_activations_are_computed_once():
    runs = []

    class Counting(nn.Identity):
        def forward(self, x):
            runs.append(len(x))
            return x

    # A leaf to the tracer: what is in torch.nn is never opened.
    Counting.__module__ = "torch.nn.modules.linear"
    counted = nn.Sequential(nn.Conv2d(2, 3, 3), Counting(), nn.Flatten(), nn.Linear(48, 4), nn.Linear(4, 3))
    tuner = Tuner(counted, *IMAGES, replace(RECIPE, epochs=3))
    head = Job({"4.weight": 1.0})
    tuner.tune([head, Job({"4.weight": 1.0, "4.bias": 0.3}, seed=1)])
    prepared = len(runs)
    tuner.tune([Job({"4.weight": 1.0}, seed=2)] * 5)
    assert len(runs) == prepared  # nothing before the head has run again
    tuner.tune([Job({"0.weight": 1.0})])
    assert sum(runs[prepared:]) >= 3 * 30


def test_divergence_ends_a_job_and_leaves_its_start():
    start = {"linear.bias": torch.zeros(3)}
    jobs = [Job({"linear.weight": rate, "conv1.weight": rate}, start=start) for rate in (1e30, 1.0)]
    diverged, fine = Tuner(NETWORK, *IMAGES, replace(RECIPE, optimiser="sgd", epochs=9)).tune(jobs)
    assert not diverged.finite
    assert diverged.state.keys() == {"linear.bias"}
    assert torch.equal(diverged.state["linear.bias"], torch.zeros(3))
    assert diverged.images == 3 * 30 * diverged.epochs < 3 * 30 * 9
    assert fine.finite


def test_neither_the_network_nor_the_global_generator_is_touched():
    before, made = state_of(NETWORK), network().train()
    random_state = torch.get_rng_state()
    heard = []
    Tuner(made, *IMAGES, replace(RECIPE, statistics="all")).tune(
        [Job(ALL, {"hidden.weight": 1}), Job({"linear.bias": 1.0})], lambda done, of: heard.append((done, of))
    )
    assert heard == [(1, 2), (2, 2)]
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(torch.equal(value, before[name]) for name, value in state_of(made).items())
    assert all(module.training for module in made.modules())
    assert all(parameter.requires_grad for parameter in made.parameters())
    assert Tuner(made, *IMAGES, RECIPE).tune([]) == []


def test_inference_mode_of_the_caller_does_not_matter():
    with torch.inference_mode():
        (found,) = Tuner(NETWORK, *IMAGES, RECIPE).tune([Job(ALL)])
        (inputs_too,) = Tuner(NETWORK, IMAGES.inputs + 0, IMAGES.labels + 0, RECIPE).tune([Job(ALL)])
    (expected,) = Tuner(NETWORK, *IMAGES, RECIPE).tune([Job(ALL)])
    same(found, expected)
    same(inputs_too, expected)


def test_a_network_that_cannot_be_traced_and_one_of_tokens():
    class Words(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(5, 4)
            self.lstm = nn.LSTM(4, 4, num_layers=2, dropout=0.5, batch_first=True)
            self.linear = nn.Linear(4, 3)

        def forward(self, x):
            if int(x.max()) > 9:  # a decision on values: no graph
                return self.linear(torch.zeros(len(x), 4))
            return self.linear(self.lstm(self.embedding(x))[1][0][-1])

    words = Words()
    generator = torch.Generator().manual_seed(0)
    for parameter in words.parameters():
        nn.init.normal_(parameter, std=0.5, generator=generator)
    tokens = torch.randint(5, (20, 6), generator=generator)
    data = Labelled(tokens, tokens[:, -1] % 3)
    for names in (["linear.weight"], ["lstm.weight_hh_l1", "lstm.bias_ih_l0"], ["embedding.weight"]):
        check(RECIPE, Job(dict.fromkeys(names, 1.0)), start=words, data=data)


def test_a_torchvision_network_with_branches():
    from torchvision.models.resnet import BasicBlock, ResNet

    torch_net = ResNet(BasicBlock, [1, 1, 1, 1], num_classes=3)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in torch_net.parameters():
            if parameter.ndim > 1:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) / math.sqrt(parameter[0].numel()))
    inputs = torch.randn(6, 3, 16, 16, generator=generator)
    data = Labelled(inputs, torch.arange(6) % 3)
    recipe = replace(RECIPE, batch_size=3, epochs=1, optimiser="sgd")
    for names in (["layer4.0.downsample.0.weight", "layer4.0.bn1.bias"], ["layer3.0.conv2.weight", "fc.bias"]):
        check(recipe, Job(dict.fromkeys(names, 1.0)), start=torch_net, data=data)


@pytest.mark.parametrize(
    ("job", "message"),
    [
        (Job({}), "trains nothing"),
        (Job({"conv9.weight": 1.0}), "no parameter 'conv9.weight'"),
        (Job({"bn1.running_mean": 1.0}), "no parameter 'bn1.running_mean'"),
        (Job({"conv1.weight": 0.0}), "factor above 0"),
        (Job({"conv1.weight": math.nan}), "factor above 0"),
        (Job({"conv1.weight": 1.0}, {"conv2.weight": 1}), "a rank but no rate"),
        (Job({"conv1.weight": 1.0}, {"conv1.weight": 0}), "rank"),
        (Job({"conv1.weight": 1.0}, start={"linear.bias": torch.zeros(4)}), "no tensor 'linear.bias' \\(4,\\)"),
        (Job({"conv1.weight": 1.0}, rows=torch.tensor([1])), "two or more"),
        (Job({"conv1.weight": 1.0}, rows=torch.tensor([1, 30])), "2 of 30 images"),
        (Job({"conv1.weight": 1.0}, epochs=0), "0 epochs"),
    ],
)
def test_bad_jobs_are_refused(job, message):
    with pytest.raises(UsageError, match=message):
        Tuner(NETWORK, *IMAGES, RECIPE).tune([job])


def test_bad_data_is_refused():
    with pytest.raises(UsageError, match="30 inputs with 29 labels"):
        Tuner(NETWORK, IMAGES.inputs, IMAGES.labels[:29], RECIPE)
    with pytest.raises(UsageError, match="no validation images"):
        Tuner(NETWORK, *IMAGES, replace(RECIPE, patience=1)).tune([Job(ALL)])
