"""Offload: when it is chosen, that it changes no bit, and that all parts come back to rest.

No accelerator is needed: the CPU is the device and the resting place at once, and what lies "on the
device" is known by its address.
"""

import threading
import weakref
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from original_gligen import full_size
from segment_anything.build_sam import _build_sam
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from xsyn_core import memory, weights
from xsyn_core.attention import AttentionMaps
from xsyn_core.diffusion import Condition
from xsyn_core.errors import XsynError
from xsyn_core.inpainting import denoise
from xsyn_core.memory import MARGIN, Need, Residence
from xsyn_core.sam_decoder import Decoder
from xsyn_core.segmentation import prompts_at_once
from xsyn_core.training.architectures import LATENT_CHANNELS
from xsyn_core.weights import load_models, load_segmenter

CPU = torch.device("cpu")
GB = 10**9


class Alive(TorchDispatchMode):
    """Sums up the bytes of all storages that are alive, but for those of some modules."""

    def __init__(self, *modules):
        super().__init__()
        tensors = [t for m in modules for t in [*m.parameters(), *m.buffers()]]
        self.known = {t.untyped_storage()._cdata: 0 for t in tensors}
        self.now = self.peak = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                if storage._cdata not in self.known:
                    self.known[storage._cdata] = storage.nbytes()
                    self.now += storage.nbytes()
                    self.peak = max(self.peak, self.now)
                    weakref.finalize(storage, self.gone, storage._cdata)
        return result

    def gone(self, address):
        self.now -= self.known.pop(address, 0)


@torch.no_grad()
def peak(call, *modules):
    alive = Alive(*modules)
    with alive:
        call()
    return alive.peak


def test_working_sets_are_those_of_full_size_networks(monkeypatch):
    # Fused attention makes no matrix of scores.
    monkeypatch.setattr(
        torch.nn.functional, "scaled_dot_product_attention", lambda q, *_, **__: torch.empty_like(q)
    )
    with torch.device("meta"):
        unet, vae, text = full_size()
        sam = _build_sam(1280, 32, 16, (7, 15, 23, 31))
        for part in (unet, vae, text, sam):
            part.eval().requires_grad_(False)
        boxes, embeddings = torch.empty(2, 30, 4), torch.empty(2, 30, 768)
        told = {"boxes": boxes, "positive_embeddings": embeddings, "masks": torch.empty(2, 30)}

        def step():
            unet(
                torch.empty(2, 9, 64, 64),
                torch.empty((), dtype=torch.long),
                encoder_hidden_states=torch.empty(2, 77, 768),
                cross_attention_kwargs={"gligen": told},
            )

        def masks():
            decoder = Decoder(sam)
            features = torch.empty(1, 256, 64, 64)
            image, tokens, _ = decoder.attend(features, torch.empty(64, 2, 256))
            decoder.masks(features, image, tokens, range(1, 4))

        step_peak = peak(step, unet)
        encode = peak(lambda: vae.encode(torch.empty(1, 3, 512, 512)), vae)
        decode = peak(lambda: vae.decode(torch.empty(1, 4, 64, 64)), vae)
        look = peak(lambda: sam.image_encoder(torch.empty(1, 3, 1024, 1024)), sam)
        prompts = peak(masks, sam)
    needs = memory.diffusion_needs(unet, vae, text)
    large = memory.segmenter_need(sam, prompts_at_once(torch.device("cuda")))
    sam.image_encoder.blocks = torch.nn.ModuleList()
    small = memory.segmenter_need(sam, 64)
    found = [needs[0].working, needs[1].working, large.working, small.working]
    assert found == pytest.approx([step_peak, max(encode, decode), look, prompts], rel=0.06)
    # The weights in the types they have on a GPU: half precision but for autoencoder and SAM.
    half = [Need(n.name, n.weights // (1 + (n.name != "autoencoder")), n.working) for n in needs]
    assert memory.needed_together(half) < 6 * GB
    assert memory.needed_together([*half, large]) < 10 * GB


def test_what_parts_need():
    needs = [Need("a", 10, 5), Need("b", 3, 8), Need("c", 1)]
    assert memory.needed_together(needs) == 10 + 3 + 1 + 8 + MARGIN
    assert memory.needed_alone(needs) == (15 + MARGIN, needs[0])
    assert memory.room(needs) == 8 + MARGIN
    layer = torch.nn.BatchNorm1d(3)
    assert memory.size(layer) == 4 * 3 * 4 + 8


def test_free_memory_is_measured(monkeypatch):
    assert memory.free_memory(CPU) is None
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (700, 1000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 90)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 40)
    assert memory.free_memory(torch.device("cuda", 1)) == 750
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: 900)
    monkeypatch.setattr(torch.mps, "driver_allocated_memory", lambda: 200)
    assert memory.free_memory(torch.device("mps")) == 700


@pytest.fixture
def told(caplog):
    weights._remark.cache_clear()
    yield lambda: [record.getMessage() for record in caplog.records]
    weights._remark.cache_clear()


def free(monkeypatch, *answers):
    """Let the measurements of free memory give these, the last one again and again."""
    left = list(answers)
    monkeypatch.setattr(
        memory, "free_memory", lambda device: left.pop(0) if len(left) > 1 else left[0]
    )


NEEDS = [Need("UNet", 2 * GB, GB // 2), Need("SAM", GB, 2 * GB)]  # 5.5 together, 3.5 alone


@pytest.mark.parametrize("asked", ["auto", "cuda"])
def test_the_choice(monkeypatch, told, asked):
    device = torch.device("cuda")
    for enough in (None, 55 * GB // 10):
        free(monkeypatch, enough)
        assert weights._residence(NEEDS, device, asked).device is None
    assert told() == []
    for short in (55 * GB // 10 - 1, 35 * GB // 10):
        free(monkeypatch, short)
        residence = weights._residence(NEEDS, device, asked)
        assert residence.device == device and residence.room == 25 * GB // 10
    assert "has 3.5 GB of free memory" in told()[1] and "need 5.5 GB at once" in told()[1]
    assert "only while it works" in told()[1] and "Close what else" in told()[1]


def test_too_little_for_any_part(monkeypatch, told, tiny_files):
    free(monkeypatch, 3 * GB)
    with pytest.raises(XsynError, match=r"3\.0 GB of free.*SAM alone needs 3\.5 GB.*such as cpu"):
        weights._residence(NEEDS, torch.device("cuda"), "cuda")
    assert weights._residence(NEEDS, torch.device("cuda"), "auto") is None
    (message,) = told()
    assert "run on the CPU" in message and "SAM alone needs 3.5 GB" in message
    for load in (lambda: load_models(*tiny_files), lambda: load_segmenter(tiny_files[1])):
        free(monkeypatch, 1, None)
        found = load()
        segmenter = getattr(found, "segmenter", found)
        assert segmenter.device == CPU and segmenter.residence.device is None
    free(monkeypatch, 1)
    assert load_models(*tiny_files, "cpu", staying=True).diffusion.residence.device is None
    assert load_segmenter(tiny_files[1], "cpu", staying=True).residence.device is None


@pytest.fixture
def offloaded(monkeypatch, tiny_files, told):
    # Enough for any part, too little for all.
    free(monkeypatch, GB)
    monkeypatch.setattr(memory, "needed_together", lambda needs: 2 * GB)
    models = load_models(*tiny_files, "cpu")
    assert models.diffusion.residence.device == CPU
    assert models.diffusion.residence is models.segmenter.residence
    return models


def parts(models):
    model = models.diffusion
    return {
        "unet": model.unet,
        "vae": model.vae,
        "text": model.text_encoder,
        "sam": models.segmenter.sam.image_encoder,
    }


def addresses(part):
    return [t.data_ptr() for t in [*part.parameters(), *part.buffers()]]


@contextmanager
def at_rest_after(models):
    before = {name: addresses(part) for name, part in parts(models).items()}
    yield before
    assert {name: addresses(part) for name, part in parts(models).items()} == before
    assert not models.diffusion.residence._users and not models.diffusion.residence._resting


IMAGE = torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(1)) * 2 - 1
PIXELS = np.random.default_rng(0).integers(0, 255, (90, 120, 3), np.uint8)


def start(model, steps=3, maps=None):
    mask = torch.ones(1, 1, 16, 16)
    mask[..., 4:9, 5:12] = 0
    condition = Condition("knife", ("knife",), ((0.3, 0.2, 0.7, 0.5),))
    return denoise(
        model,
        IMAGE,
        mask,
        [condition],
        steps=steps,
        guidance=7.5,
        sampler="ddim",
        generator=torch.Generator().manual_seed(0),
        maps=maps,
    )


def everything_of(models):
    """What all parts give, as tensors."""
    maps = AttentionMaps([[[1]]], (16, 16))
    previews = []
    for step in start(models.diffusion, maps=maps):
        previews += [step.latents, models.diffusion.decode(step.latents)]
    embedding = models.segmenter.embed(PIXELS)
    mask = models.segmenter.segment(embedding, box=(10, 10, 70, 60)).mask
    found = models.segmenter.everything(PIXELS, 2, 0.0, 0.0)
    masks = [torch.from_numpy(s.mask) for s in found]
    map_ = torch.from_numpy(maps.maps(0, (16, 16))[0])
    return [*previews, map_, embedding.features, torch.from_numpy(mask), *masks]


def test_offload_changes_no_bit(tiny_models, offloaded):
    with at_rest_after(offloaded):
        found = everything_of(offloaded)
    expected = everything_of(tiny_models)
    assert len(found) == len(expected) > 8
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def seen_at_work(models):
    """Where each part's tensors lie, call by call."""
    seen = {name: [] for name in parts(models)}
    vae = models.diffusion.vae
    for name, part in parts(models).items():
        for module in (vae.encoder, vae.decoder) if name == "vae" else (part,):
            module.register_forward_pre_hook(
                lambda *_, name=name, part=part: seen[name].append(addresses(part))
            )
    return seen


def test_every_part_moves_and_the_unet_stays_for_a_run(offloaded):
    seen, model = seen_at_work(offloaded), offloaded.diffusion
    with at_rest_after(offloaded) as rest:
        for step in start(model):
            model.decode(step.latents)
            assert addresses(model.unet) == seen["unet"][0]
            assert addresses(model.vae) == rest["vae"]
        offloaded.segmenter.embed(PIXELS)
        for name, calls in seen.items():
            assert calls and all(not set(call) & set(rest[name]) for call in calls)
        assert len(seen["unet"]) == 3 and seen["unet"][0] == seen["unet"][1] == seen["unet"][2]


def test_a_held_part_makes_room(offloaded, monkeypatch):
    model, during = offloaded.diffusion, []
    with at_rest_after(offloaded) as rest:
        steps = start(model)
        next(steps)
        hook = model.vae.decoder.register_forward_pre_hook(
            lambda *_: during.append(addresses(model.unet))
        )
        for enough in (True, False):
            needed = memory.size(model.vae) + model.residence.room
            free(monkeypatch, needed if enough else needed - 1)
            model.decode(torch.zeros(1, LATENT_CHANNELS, 4, 4))
        hook.remove()
        assert during[0] != rest["unet"] and during[1] == rest["unet"]
        first = [step.latents for step in steps]
    again = [step.latents for step in start(model)][1:]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def broken(*_):
    raise RuntimeError("out of memory")


def test_parts_are_at_rest_after_errors(offloaded, monkeypatch):
    model = offloaded.diffusion
    calls = {
        "unet": lambda: list(start(model)),
        "vae": lambda: model.decode(torch.zeros(1, LATENT_CHANNELS, 4, 4)),
        "text": lambda: model.text_states(["gun"]),
        "sam": lambda: offloaded.segmenter.embed(PIXELS),
    }
    for name, part in parts(offloaded).items():
        module = part.decoder if name == "vae" else part
        hook = module.register_forward_pre_hook(broken)
        with at_rest_after(offloaded), pytest.raises(RuntimeError, match="out of memory"):
            calls[name]()
        hook.remove()
    with at_rest_after(offloaded):
        stopped = start(model)
        next(stopped)
        stopped.close()
    # Half of a part has been copied when the memory ends; a run that holds it goes on later.
    copy, left = torch.Tensor.to, [20]

    def limited(tensor, *arguments, **options):
        if options.get("copy"):
            left[0] -= 1
            if left[0] < 0:
                raise RuntimeError("out of memory")
        return copy(tensor, *arguments, **options)

    unet = model.unet
    with at_rest_after(offloaded) as rest, model.residence.held(unet):
        with monkeypatch.context() as patched:
            patched.setattr(torch.Tensor, "to", limited)
            with (
                pytest.raises(RuntimeError, match="out of memory"),
                model.residence.at_work(unet),
            ):
                pass
        assert addresses(unet) == rest["unet"]
        with model.residence.at_work(unet):
            assert addresses(unet) != rest["unet"]


def test_threads_take_turns():
    residence = Residence(CPU)
    layers = [torch.nn.Linear(4, 4).requires_grad_(False) for _ in range(3)]
    homes = [addresses(layer) for layer in layers]
    inside, wrong = [], []

    def work(number):
        for turn in range(200):
            k = (number + turn) % 3
            with residence.held(layers[k]), residence.at_work(layers[k]):
                inside.append(number)
                if len(inside) != 1 or addresses(layers[k]) == homes[k]:
                    wrong.append((number, turn))
                inside.pop()

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong and [addresses(layer) for layer in layers] == homes


def test_without_a_device_nothing_moves():
    residence, layer = Residence(), torch.nn.Linear(2, 2)
    home = addresses(layer)
    with residence.held(layer), residence.at_work(layer):
        assert addresses(layer) == home
