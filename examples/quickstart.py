"""Teacher, plain SNN and CKD SNN on event recordings of handwritten digits, in minutes on two CPU cores.

    python examples/quickstart.py

An event camera is simulated over the 1797 digits that scikit-learn carries (no download). An ANN learns the mean
frames; then two spiking networks of the same shape, with the same first weights and the same order of batches, learn
the event frames: one from the labels alone, one from the teacher too (CKDSNN, AAAI 2026). The script prints a table,
and writes ``quickstart.png`` (events, and where the networks look) and ``quickstart.json`` (the record of the run).

The task was made for this script and says nothing about other data. Its difficulty was chosen on the validation part so
that plain training leaves room; the weights are the paper's (beta = gamma = 1). Three seeds: docs/results.md.

The gain belongs to this short schedule, in which the plain network is far from done; with more updates CKD fell below
it (docs/results.md).
"""

import argparse
import hashlib
import json
import platform
import sys
import time
from functools import partial
from importlib.metadata import version
from pathlib import Path

import torch
from spikingjelly.activation_based import functional, neuron
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from spikingjelly_ckd import CKDDistiller, __version__, preflight, record, use_fast_neurons
from spikingjelly_ckd.recipes.command_line import brief_errors
from spikingjelly_ckd.recipes.data.digits import EventCamera, digit_events
from spikingjelly_ckd.recipes.models import ResNet, SpikingResNet
from spikingjelly_ckd.recipes.options import output_folder
from spikingjelly_ckd.recipes.parser import Parser, read_count, read_number, read_whole
from spikingjelly_ckd.recipes.progress import Pace, say_busy
from spikingjelly_ckd.recipes.report.plots.looking import see_maps
from spikingjelly_ckd.recipes.report.plots.maps import map_agreement, plot_distiller_maps
from spikingjelly_ckd.recipes.report.plots.style import save_figure

CAMERA = EventCamera(size=24, threshold=0.25, mismatch=0.03, noise=0.1)
MOTION = {"reach": 2.0, "turns": 0.5}
SHIFT = 2  # pixels by which a training batch is moved at most, for all three networks
RATE = "spikes per neuron and time step, mean over all neurons of the network and the measured recordings"


def shifted(frames, generator):
    """The batch moved by a random number of whole pixels."""
    moves = torch.randint(-SHIFT, SHIFT + 1, (2,), generator=generator).tolist()
    return frames.roll(moves, dims=(-2, -1))


def predict(student, frames):
    """Mean logits over time, as in any SpikingJelly script."""
    functional.reset_net(student)
    return student(frames).mean(0)


def accuracy(classify, part, args):
    """Percent of a part that is classified right."""
    frames, labels = part
    with torch.no_grad():
        right = [
            classify(x.to(args.device)).argmax(1).cpu() == y
            for x, y in zip(frames.split(256, dim=1), labels.split(256), strict=True)
        ]
    return 100 * torch.cat(right).float().mean().item()


THEN = {"teacher": ", then plain and ckd", "plain": ", then ckd", "ckd": ""}
"""What follows a network, in the lines that say how long it will take."""


def fit(name, module, classify, loss, train, measured, args):
    """The loop that all three networks share: SGD with momentum and a cosine schedule, as CKDSNN's.

    ``loss`` returns what is trained on and, to compare the networks, its cross-entropy; None trains on that alone.
    """
    frames, labels = train
    loss = loss or (lambda x, y: (cross_entropy(classify(x), y),) * 2)
    optimizer = torch.optim.SGD(module.parameters(), args.lr, momentum=0.9, weight_decay=args.wd)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, args.epochs)
    order = torch.Generator().manual_seed(args.seed)
    curve, start, pace = [], time.perf_counter(), Pace()
    bar = tqdm(range(1, args.epochs + 1), desc=f"{name:7}", disable=None)
    for epoch in bar:
        module.train()
        batches = torch.randperm(len(labels), generator=order).split(args.b)
        for rows in batches[: 2 if args.smoke else None]:
            optimizer.zero_grad()
            value, task = loss(shifted(frames[:, rows], order).to(args.device), labels[rows].to(args.device))
            value.backward()
            optimizer.step()
        schedule.step()
        module.eval()
        curve.append(accuracy(classify, measured, args))
        line = f"cross-entropy {task.item():.3f}, {args.measure_on} accuracy {curve[-1]:.1f} %"
        line += " (smoke run, which says nothing)" if args.smoke else ""
        bar.set_postfix_str(line)
        if bar.disable and (epoch in (1, args.epochs) or pace.is_due()):
            left = f"; {pace.left(epoch / args.epochs)}{THEN[name]}" if epoch < args.epochs else ""
            print(f"{name:7} epoch {epoch:3}/{args.epochs}: {line}{left}", flush=True)
    last5 = curve[-5:]
    return {
        "accuracy": {"last": curve[-1], "best": max(curve), "mean_last5": sum(last5) / len(last5)},
        "seconds": round(time.perf_counter() - start, 3),
    }


def ckd_loss(distiller, frames, labels):
    """What CKD trains on, and the student's cross-entropy, which is a part of it."""
    out = distiller(frames, labels)
    return out.loss, out.terms["task"]


def remarks(report, args):
    """What the preflight would have changed. The weights are the paper's, so their share is said and not warned of."""
    weights = {"samd": args.beta, "nld": args.gamma}
    for check in report.checks:
        is_share = check.name == "gradient share" and check.status == "warn"
        if is_share and weights[check.message.partition(":")[0]] == 1:
            yield f"Weights as in the paper (--beta 1 --gamma 1): {check.message.partition(',')[0]}"
        elif check.status == "fail" or (check.status == "warn" and not args.smoke):
            yield check


def firing_rate(student, frames):
    """See RATE."""
    neurons = [name for name, module in student.named_modules() if isinstance(module, neuron.BaseNode)]
    spikes = chances = 0
    for batch in frames.split(256, dim=1):
        with torch.no_grad(), record(student, neurons) as seen:
            predict(student, batch)
        spikes += sum(seen[name].sum().item() for name in neurons)
        chances += sum(seen[name].numel() for name in neurons)
    return spikes / chances


def table(results):
    """What was measured, one line a network."""
    lines = [
        "network   accuracy %: last   best  mean of last 5   firing rate   SAMD   seconds",
        "-" * 79,
    ]
    for name, result in results.items():
        found, rate, samd = result["accuracy"], result.get("firing_rate"), result.get("samd")
        lines.append(
            f"{name:7} {found['last']:17.1f} {found['best']:6.1f} {found['mean_last5']:15.1f} "
            f"{'-' if rate is None else f'{rate:.3f}':>13} {'-' if samd is None else f'{samd:.3f}':>6} "
            f"{result['seconds']:9.1f}"
        )
    return "\n".join(lines)


def read_weight(text):
    return text if text in ("auto", "hold") else read_number(text)


def read_device(text):
    """A device that a tensor can be put on; what torch says of another, which differs, is left to argparse."""
    try:
        torch.empty(0, device=text)
    except (AssertionError, NotImplementedError, RuntimeError) as error:
        why = str(error).splitlines()[0]
        raise argparse.ArgumentTypeError(f"'{text}' is no device that torch can use here ({why})") from error
    return text


def main():
    formatter = argparse.ArgumentDefaultsHelpFormatter
    parser = Parser(description=__doc__.split("\n", 1)[0], formatter_class=formatter)
    parser.add_argument(
        "--seed", type=read_whole, default=0, help="of weights, batches and noise; the recordings are fixed"
    )
    parser.add_argument("--epochs", type=read_count, default=30, help="of each of the three networks")
    parser.add_argument("-T", type=read_count, default=4, help="event frames per recording")
    parser.add_argument("-b", type=read_count, default=32, help="batch size")
    parser.add_argument("--lr", type=read_number, default=0.1, help="first learning rate, which falls to 0 as a cosine")
    parser.add_argument("--wd", type=read_number, default=1e-4, help="weight decay")
    parser.add_argument("--beta", type=read_weight, default=1.0, help="weight of SAMD, or auto or hold")
    parser.add_argument("--gamma", type=read_weight, default=1.0, help="weight of NLD, or auto or hold")
    parser.add_argument("--measure-on", choices=["test", "val"], default="test", help="val is for tuning")
    cuda = torch.cuda.is_available()
    parser.add_argument("--device", type=read_device, default="cuda" if cuda else "cpu", help="to train on")
    parser.add_argument("--output-dir", type=Path, default=Path("output/quickstart"), help="of figure and record")
    parser.add_argument("--cupy", action="store_true", help="CuPy neurons on SpikingJelly 0.0.0.0.14; 2.x needs none")
    parser.add_argument("--smoke", action="store_true", help="two steps of each stage, to see that it runs")
    args = parser.parse_args()
    if args.smoke:
        args.epochs = 1
    with output_folder(args.output_dir):
        run(args)


def run(args):
    """From the recordings to the figure and the record."""
    start = time.perf_counter()
    say_busy(args.device)
    print("An event camera is simulated over 1797 handwritten digits", flush=True)
    data = digit_events(args.T, camera=CAMERA, **MOTION)
    train, measured = data.part("train"), data.part(args.measure_on)
    if args.smoke:
        measured = (measured[0][:, :32], measured[1][:32])
    seconds_data = round(time.perf_counter() - start, 1)
    print(f"{len(data.labels)} recordings of {args.T} frames in {seconds_data} s", flush=True)

    def network(kind, widths):
        torch.manual_seed(args.seed)
        return kind(widths, (1, 1, 1), num_classes=10, in_channels=2).to(args.device)

    results = {}
    teacher = network(ResNet, (16, 32, 64))
    results["teacher"] = fit("teacher", teacher, lambda x: teacher(x.mean(0)), None, train, measured, args)
    plain, student = network(SpikingResNet, (8, 16, 32)), network(SpikingResNet, (8, 16, 32))
    if args.cupy:
        print(use_fast_neurons(plain), use_fast_neurons(student), sep="\n")
    results["plain"] = fit("plain", plain, lambda x: predict(plain, x), None, train, measured, args)
    distiller = CKDDistiller(teacher, student, beta=args.beta, gamma=args.gamma)
    first = [part[..., : args.b] if part.ndim == 1 else part[:, : args.b] for part in train]
    report = preflight(distiller, tuple(part.to(args.device) for part in first))
    print(*remarks(report, args), sep="\n", flush=True)
    results["ckd"] = fit("ckd", distiller, distiller.predict, partial(ckd_loss, distiller), train, measured, args)
    print("Firing rates, maps and the figure are made", flush=True)

    frames, labels = (part.to(args.device) for part in measured)
    shown = torch.stack([(measured[1] == digit).nonzero()[0, 0] for digit in (2, 3, 5, 7, 8)])
    lookers = {}
    for name, net in (("plain", plain), ("CKD", student)):
        looker = lookers[name] = CKDDistiller(teacher, net, check=False).eval()  # an untrained net may be silent
        with torch.no_grad():
            samd = looker(frames, labels).terms["samd"].item()
        seen = see_maps(looker, frames, labels)
        alike = {key: value.nanmean().item() for key, value in vars(map_agreement(seen.student, seen.teacher)).items()}
        results[name.lower()] |= {"firing_rate": firing_rate(net, frames), "samd": samd, "map_agreement": alike}

    smoked = "Smoke run: no figure says anything. " if args.smoke else ""
    print(f"\n{smoked}On the {args.measure_on} part, {len(labels)} recordings; best is picked on it, as papers do.")
    print(table(results))
    print(f"Firing rate: {RATE}.\nSAMD: distance between the student's map and the teacher's, lower is closer.")
    figure = plot_distiller_maps(lookers, frames[:, shown], labels[shown])
    save_figure(figure, args.output_dir / "quickstart.png")
    weights = b"".join(tensor.cpu().numpy().tobytes() for tensor in teacher.state_dict().values())
    found = {
        "command": "python examples/quickstart.py",
        "args": {name: value for name, value in vars(args).items() if name != "output_dir"},
        "versions": {
            "spikingjelly_ckd": __version__,
            **{name: version(name) for name in ("spikingjelly", "torch", "scikit-learn")},
            "python": platform.python_version(),
        },
        "threads": torch.get_num_threads(),
        "split": {"name": data.split_name, "sha256": data.split_hash},
        "teacher_sha256": hashlib.sha256(weights).hexdigest(),
        "firing_rate_is": RATE,
        "preflight": {check.name: check.status for check in report.checks},
        "results": results,
        "seconds": {"data": seconds_data, "total": round(time.perf_counter() - start, 1)},
    }
    (args.output_dir / "quickstart.json").write_text(json.dumps(found, indent=1) + "\n")
    print(f"{args.output_dir / 'quickstart.png'} and quickstart.json written after {found['seconds']['total']:.0f} s")


if __name__ == "__main__":
    with brief_errors("quickstart.py", "the same command, which begins anew"):
        try:
            main()
        except KeyboardInterrupt:
            sys.exit("Stopped. Nothing was kept: begin anew")
