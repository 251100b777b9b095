"""What a training runs on: devices, precisions, several processes through accelerate's launcher."""

import os
import socket
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")
pytest.importorskip("peft")

from edge_ad.errors import EdgeAdError, OptionError  # noqa: E402
from edge_ad.training.fit import Loop, fit  # noqa: E402
from edge_ad.training.machine import check_split, find_device, find_precision, make_accelerator  # noqa: E402

LOOP = Loop(steps=6, average=0.9, clip=1.0, save_every=2)


def quiet(count=1, note=""):
    pass


def network():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))


def batch(step):
    generator = torch.Generator().manual_seed(step)
    x = torch.randn(8, 3, generator=generator)
    return x, x.sum(1, keepdim=True)


def loss(network, x, y):
    return ((network(x).float() - y) ** 2).mean()


def run(path, loop=LOOP, accumulate=1, precision="no", tick=quiet, wrong=loss, **more):
    module = network()
    last = fit(
        make_accelerator("cpu", precision, accumulate), module, batch, wrong, loop, lambda step: 0.01 / (step + 1),
        path, tick=tick, **more,
    )  # fmt: skip
    return module, last


def same(first, second, **tolerance):
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        torch.testing.assert_close(a, b, **tolerance)


def slow(loop):
    """Adam (Kingma and Ba, algorithm 1) with a clipped gradient and averaged weights, a number at a time."""
    module = network()
    values = list(module.parameters())
    first, second = ([torch.zeros_like(value) for value in values] for _ in range(2))
    average = [value.detach().clone() for value in values]
    for step in range(loop.steps):
        module.zero_grad()
        loss(module, *batch(step)).backward()
        norm = sum(float((value.grad**2).sum()) for value in values) ** 0.5
        factor = min(1.0, loop.clip / norm) if loop.clip else 1.0
        for i, value in enumerate(values):
            g = value.grad * factor
            first[i] = 0.9 * first[i] + 0.1 * g
            second[i] = 0.999 * second[i] + 0.001 * g**2
            m, v = first[i] / (1 - 0.9 ** (step + 1)), second[i] / (1 - 0.999 ** (step + 1))
            value.data -= 0.01 / (step + 1) * m / (v.sqrt() + 1e-8)
            decay = min(loop.average, (1 + step) / (10 + step))
            average[i] = decay * average[i] + (1 - decay) * value.data
    return average


@pytest.mark.parametrize("clip", [0.0, 0.05])
def test_the_loop_is_adam_with_clipping_and_an_average(clip, tmp_path):
    loop = Loop(6, 0.9, clip, 2)
    module, last = run(tmp_path / "c", loop)
    for value, expected in zip(module.parameters(), slow(loop), strict=True):
        torch.testing.assert_close(value, expected, atol=1e-5, rtol=1e-4)
    assert last > 0


@pytest.mark.parametrize("accumulate", [2, 8])
def test_accumulated_parts_make_the_step_of_the_whole_batch(accumulate, tmp_path):
    whole, parts = run(tmp_path / "a"), run(tmp_path / "b", accumulate=accumulate)
    same(whole[0], parts[0], atol=1e-5, rtol=1e-4)
    assert parts[1] == pytest.approx(whole[1], rel=1e-4)


def test_bf16_is_near_float32_and_leaves_a_plain_network(tmp_path):
    plain, half = run(tmp_path / "a"), run(tmp_path / "b", precision="bf16")
    same(plain[0], half[0], atol=0.01, rtol=0.05)
    with torch.no_grad():
        x = torch.randn(4, 3)
        assert half[0](x).dtype == torch.float32
        assert torch.equal(half[0](x), half[0][2](torch.tanh(half[0][0](x))))  # computes in float32 again
    assert all(value.dtype == torch.float32 for value in half[0].parameters())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA card")
@pytest.mark.parametrize("precision", ["fp16", "auto"])
def test_half_precision_on_a_card_is_near_float32(precision, tmp_path):
    plain, module = run(tmp_path / "a"), network().cuda()
    last = fit(
        make_accelerator("cuda", precision), module, batch, loss, LOOP, lambda step: 0.01 / (step + 1), tmp_path / "b",
        tick=quiet,
    )  # fmt: skip
    assert last == pytest.approx(plain[1], rel=0.05)
    same(plain[0], module.cpu(), atol=0.01, rtol=0.05)


def test_counts_and_the_mean_loss_outlive_an_interruption(tmp_path):
    def stop_at(number):
        calls = []

        def tick(count=1, note=""):
            calls.append(count)
            if len(calls) == number:
                raise KeyboardInterrupt

        return tick

    def counting(counts):
        def counted(step):
            counts["drawn"] += 1
            return batch(step)

        return counted

    def go(path, counts, tick):
        module = network()
        return module, fit(
            make_accelerator("cpu", "no"), module, counting(counts), loss, LOOP, lambda step: 0.01, path, tick=tick,
            counts=counts,
        )  # fmt: skip

    counts = {"drawn": 0}
    whole = go(tmp_path / "a", {"drawn": 0}, quiet)
    with pytest.raises(KeyboardInterrupt):
        go(tmp_path / "b", {"drawn": 0}, stop_at(5))
    again = go(tmp_path / "b", counts, quiet)
    assert counts == {"drawn": 6}
    assert again[1] == whole[1]
    same(whole[0], again[0], atol=0, rtol=0)
    # finished already: nothing is done, and what is known of it is still known
    assert go(tmp_path / "b", counts, quiet)[1] == whole[1]
    assert counts == {"drawn": 6}


def test_what_is_no_number_stops_the_training_and_the_checkpoint_from_before_stays(tmp_path):
    def broken_loss(network, x, y):
        return loss(network, x, y) * (float("nan") if x[0, 0] == batch(4)[0][0, 0] else 1)

    def broken_gradient(network, x, y):  # the loss is finite, its gradient is 0 times infinity
        good = float(x[0, 0] != batch(3)[0][0, 0])
        return loss(network, x, y) + (good + 0 * network(x).sum()).sqrt() - good

    whole = run(tmp_path / "whole")
    for name, broken, says in (
        ("loss", broken_loss, "step 5 of 6: the loss is nan"),
        ("gradient", broken_gradient, "step 4 of 6: a weight is infinite or no number"),
    ):
        with pytest.raises(EdgeAdError, match=f"^{says}.*lower the learning rate"):
            run(tmp_path / name, wrong=broken)
        again = run(tmp_path / name)
        same(whole[0], again[0], atol=0, rtol=0)


def test_the_scale_of_fp16_outlives_an_interruption(tmp_path):
    """A scaler on the processor, which the precision fp16 would make on a card, doubles every second step."""

    def go(name, stop=7):
        accelerator, module, calls = make_accelerator("cpu", "no"), network(), []
        accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=2.0, growth_interval=2)

        def tick(count=1, note=""):
            calls.append(note)
            if len(calls) == stop:
                raise KeyboardInterrupt

        loop = replace(LOOP, save_every=3)
        fit(accelerator, module, batch, loss, loop, lambda step: 0.01, tmp_path / name, tick=tick)
        return module, accelerator.scaler.state_dict()

    whole = go("whole")
    assert whole[1]["scale"] == 16
    with pytest.raises(KeyboardInterrupt):
        go("part", stop=5)
    again = go("part")
    assert again[1] == whole[1]
    same(whole[0], again[0], atol=0, rtol=0)


def test_precisions_and_devices(monkeypatch):
    cpu = torch.device("cpu")
    for check in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"):
        monkeypatch.setattr(torch.cpu, check, lambda: False, raising=False)
    assert find_precision("auto", cpu) == "no"
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True, raising=False)
    assert find_precision("auto", cpu) == "bf16"
    assert find_precision("bf16", cpu) == "bf16"
    with pytest.raises(OptionError, match="fp16 needs a CUDA card"):
        find_precision("fp16", cpu)
    with pytest.raises(OptionError, match="fp8 is not known"):
        find_precision("fp8", cpu)
    assert find_device("cpu") == cpu
    if not torch.cuda.is_available():
        assert find_device("auto") == cpu
        with pytest.raises(OptionError, match="no CUDA card"):
            find_device("cuda")


def test_a_batch_that_cannot_be_split_is_refused():
    check_split(16, 4, "--batch")
    with pytest.raises(OptionError, match=r"--batch 16 cannot be split into 3"):
        check_split(16, 3, "--batch")


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def test_two_processes_train_what_one_trains(base_folder, tmp_path):
    """`accelerate launch` with two processes over gloo: one run, written once, with the losses of a single process."""
    from safetensors.torch import load_file

    from edge_ad.training.decoder import DecoderTuning
    from edge_ad.training.finetune import DenoiserTuning
    from edge_ad.training.pretrain.draw.demo import write_demo_set
    from edge_ad.training.run import load_run
    from edge_ad.training.train import TrainSettings, train

    write_demo_set(tmp_path / "data", shots=2, good=1, bad=1, size=64, categories=("filter_cloth",))
    words = ["train", tmp_path / "data", "--out", tmp_path / "two", "--base", base_folder, "--steps", 3, "--rank", 2,
             "--batch", 4, "--decoder-steps", 2, "--decoder-batch", 2, "--shots", 2, "--views", 4, "--device", "cpu",
             "--mixed-precision", "no"]  # fmt: skip
    launcher = ["accelerate.commands.launch", "--multi_gpu", "--num_machines", 1, "--num_processes", 2,
                "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", free_port()]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", *map(str, launcher), "-m", "edge_ad", *map(str, words)],
        cwd="/", env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("run: ") == 1
    assert done.stderr.count("fine-tuning the denoiser: 3/3") == 1  # the main process alone shows progress
    two = load_run(tmp_path / "two")
    assert two.settings["processes"] == 2
    assert not (tmp_path / "two" / "work").exists()

    settings = TrainSettings(
        base=str(base_folder), shots=2, views=4, device="cpu", mixed_precision="no",
        denoiser=DenoiserTuning(steps=3, batch=4, rank=2), decoder=DecoderTuning(steps=2, batch=2),
    )  # fmt: skip
    one = load_run(train(tmp_path / "data", tmp_path / "one", settings, log=lambda line: None))
    for name in ("denoiser", "decoder"):
        assert two.losses[name] == pytest.approx(one.losses[name], rel=1e-3)
    assert (two.losses["masks_drawn"], two.losses["mask_fallbacks"]) == (
        one.losses["masks_drawn"], one.losses["mask_fallbacks"],
    )  # fmt: skip
    first, second = (load_file(found.decoder) for found in (one, two))
    moved = np.concatenate([(first[name] - second[name]).numpy().ravel() for name in first])
    assert np.abs(moved).max() < 5e-4  # two steps of at most 3e-4 each, in the same direction
