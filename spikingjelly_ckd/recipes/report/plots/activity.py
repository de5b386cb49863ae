"""What the neurons of a student do: spikes over time, and firing rates by layer and by time step.

A firing rate is the share of values that are not zero among the outputs of a layer's neurons, as the energy report
counts it.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ....distiller import Distiller
from ....errors.arguments import ArgumentValueError
from ....errors.checks import check_count
from ....errors.installed import needs_packages
from ....errors.shapes import check_shapes
from ....networks import compat
from ....networks.guards import preserve_state
from ....networks.recording import record, watch
from ...untrusted import shown_text
from .names import distinct_names, wrapped
from .style import EVIDENCE, SIGNED, WIDTHS, add_scale, new_figure, series_style, styled, whole_numbers

with needs_packages("spikingjelly_ckd.recipes.report.plots"):
    from matplotlib.figure import Figure

__all__ = ["firing_rates", "plot_distiller_rates", "plot_distiller_spikes", "plot_firing_rates", "plot_spikes"]

_LONGEST = 40
_WIDE = 16
"""Characters of a name in one line above a field of the firing rates."""
_MORE = 1.3
"""Inches for each network beyond the third."""


@styled
def plot_spikes(spikes: Tensor, *, image: int = 0, most: int = 64, title: str = "") -> Figure:
    """The spikes of one layer for one image over time, and below them the share of its neurons that fire.

    Args:
        spikes: ``[T, N, ...]``: spikes, spike counts, or ternary spikes.
        image: which of the ``N``.
        most: neurons to show; of more, so many are taken at even distances, and the axis says so.
        title: such as the layer's name.

    Returns:
        The figure, as wide as a column. Below, the line is this image and the band the images' mean and standard
        deviation.

    Raises:
        TypeError: no tensor, or a number that is no integer.
        ValueError: no neurons, no such image, or values that are not finite.

    Example:
        >>> figure = plot_spikes(torch.randint(0, 2, (8, 2, 100)).float(), most=50)
        >>> figure.axes[0].get_ylabel(), figure.axes[1].get_xlabel()
        ('neuron (50 of 100)', 'time step')
    """
    check_shapes(spikes=(spikes, "T>=1 N>=1 ..."))
    check_count("most", most)
    values = spikes.detach().float().cpu()
    if values.ndim < 3 or not values.numel():
        raise ArgumentValueError("spikes", f"must be [T, N, ...] with neurons, got {tuple(spikes.shape)}")
    if not values.isfinite().all():
        raise ArgumentValueError("spikes", "hold NaN or inf, which is no spike")
    steps, count = values.shape[:2]
    if not 0 <= image < count:
        raise ArgumentValueError("image", f"must lie in 0..{count - 1}, got {image}")
    values = values.flatten(2)
    neurons = values.shape[2]
    chosen = torch.linspace(0, neurons - 1, min(most, neurons)).round().long()
    shown = values[:, image, chosen].T
    figure = new_figure(WIDTHS["column"], 3.2)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    signed = bool((values < 0).any())
    high = max(1.0, values.abs().max().item())
    low = -high if signed else 0.0
    colours = SIGNED if signed else EVIDENCE
    extent = (0.5, steps + 0.5, len(chosen) - 0.5, -0.5)
    above.imshow(
        shown.numpy(), cmap=colours, vmin=low, vmax=high, aspect="auto", interpolation="nearest", extent=extent
    )
    above.set(
        title=shown_text(title, _LONGEST),
        ylabel="neuron" if neurons <= most else f"neuron ({len(chosen)} of {neurons})",
    )
    bar = add_scale(figure, above, colours, low, high, "spikes a step")
    if high <= 4 and (values == values.round()).all():
        bar.set_ticks([*range(int(low), int(high) + 1)])
    active = 100 * (values != 0).float().mean(2)
    at = torch.arange(1, steps + 1).numpy()
    mean, spread = active.mean(1), active.std(1, correction=0)
    below.fill_between(at, (mean - spread).numpy(), (mean + spread).numpy(), color="0.8", linewidth=0)
    below.plot(at, mean.numpy(), color="0.4", linestyle="--", label=f"mean ± s.d. of {count} images")
    below.plot(at, active[:, image].numpy(), **series_style(0), label="this image")
    below.set(xlabel="time step", ylabel="neurons\nthat fire (%)", ylim=(0, None if active.any() else 1))
    whole_numbers(below.xaxis)
    below.legend(loc="upper center", bbox_to_anchor=(0.5, -0.55), ncols=2)
    return figure


@styled
def plot_firing_rates(rates: Mapping[str, Mapping[str, Tensor]]) -> Figure:
    """Firing rate of every layer, and of every layer at every time step, of one network or of several.

    Args:
        rates: name of a network -> layer -> rates ``[T, N]`` in [0, 1], as :func:`firing_rates` returns them. All
            networks have the same layers.

    Returns:
        The figure, as wide as a page, or wider with more than three networks. Marks are means over steps and images,
        whiskers the standard deviation over the images.

    Raises:
        TypeError: a rate is no tensor.
        ValueError: no network or layer, other layers or steps than the first network's, or rates out of range.

    Example:
        >>> figure = plot_firing_rates({"student": {"lif1": torch.rand(4, 8), "lif2": torch.rand(4, 8)}})
        >>> figure.axes[0].get_xlabel().splitlines()
        ['firing rate (% of neurons and steps)', 'mean ± s.d. of the images']
    """
    if not rates or not all(rates.values()):
        raise ArgumentValueError("rates", "must hold network -> layer -> [T, N], and no network without layers")
    layers = list(next(iter(rates.values())))
    name, of_network = next(iter(rates.items()))
    check_shapes(**{f"rates[{name!r}][{layers[0]!r}]": (of_network[layers[0]], "T>=1 N>=1")})
    steps = len(of_network[layers[0]])
    for name, of_network in rates.items():
        if list(of_network) != layers:
            raise ArgumentValueError("rates", f"of {name!r} are of layers {list(of_network)}, of the first {layers}")
        for layer, values in of_network.items():
            check_shapes(**{f"rates[{name!r}][{layer!r}]": (values, "T N>=1")})
            if len(values) != steps or not ((values >= 0) & (values <= 1)).all():
                text = f"of {name!r}, {layer!r}, must be {steps} steps of shares in [0, 1], got {tuple(values.shape)}"
                raise ArgumentValueError("rates", text)
    names = [wrapped(name, _WIDE, 2) for name in distinct_names(rates, 2 * _WIDE)]
    height = max(2.0, 0.9 + 0.16 * len(layers) * (1 if len(rates) == 1 else 1.3))
    figure = new_figure(WIDTHS["page"] + _MORE * max(0, len(rates) - 3), height + (0.3 if len(rates) > 1 else 0.0))
    first, *others = figure.subplots(1, 1 + len(rates), sharey=True, width_ratios=[2.2, *[1.0] * len(rates)])
    places = torch.arange(len(layers)).float()
    highest = 0.0
    for k, (name, of_network) in enumerate(zip(names, rates.values(), strict=True)):
        percent = [100 * of_network[layer].detach().float().cpu() for layer in layers]
        mean = torch.stack([value.mean() for value in percent])
        spread = torch.stack([value.mean(0).std(correction=0) for value in percent])
        look = series_style(k) | {"linestyle": "none"}
        at = places + 0.3 * (k - (len(rates) - 1) / 2)
        first.errorbar(
            mean.numpy(),
            at.numpy(),
            xerr=spread.numpy(),
            elinewidth=0.8,
            capsize=1.5,
            label=f" {name}" if name.startswith("_") else name,
            **look,
        )
        highest = max(highest, *(value.mean(1).max().item() for value in percent))
    about = "firing rate (% of neurons and steps)\nmean ± s.d. of the images"
    first.set(xlabel=about, ylabel="layer", xlim=(0, None if highest else 1))
    first.set_yticks(
        places.tolist(), [shown_text(layer, _LONGEST) for layer in layers], fontsize=6 if len(layers) > 12 else 7
    )
    first.invert_yaxis()
    first.grid(axis="x", linewidth=0.3)
    if len(rates) > 1:
        figure.legend(*first.get_legend_handles_labels(), loc="outside upper left", ncols=min(len(rates), 5))
    high = highest or 1.0
    for axes, name, of_layers in zip(others, names, rates.values(), strict=True):
        cells = torch.stack([100 * of_layers[layer].detach().float().cpu().mean(1) for layer in layers])
        axes.pcolormesh(
            torch.arange(steps + 1).add(0.5).numpy(),
            torch.arange(len(layers) + 1).sub(0.5).numpy(),
            cells.numpy(),
            cmap=EVIDENCE,
            vmin=0,
            vmax=high,
        )
        axes.set(title=name if len(rates) > 1 else "", xlabel="time step")
        whole_numbers(axes.xaxis, 6)
        axes.tick_params(axis="y", length=0)
    add_scale(figure, others[-1], EVIDENCE, 0.0, high, "firing rate (%)")
    return figure


def firing_rates(distiller: Distiller, images: Tensor) -> dict[str, Tensor]:
    """The firing rate of every layer of neurons of a student, for each time step and image.

    Args:
        distiller: whose student runs once, in eval mode; it is left as it was.
        images: as for :meth:`~spikingjelly_ckd.Distiller.predict`.

    Returns:
        Path of each layer that ran -> ``[T, N]``, in [0, 1], on the CPU.

    Raises:
        ValueError: the student has no neurons, or some ran more often than others, so that their steps are unknown.

    Example:
        >>> from torch import nn
        >>> from spikingjelly.activation_based import neuron
        >>> student = nn.Sequential(neuron.IFNode(v_threshold=0.5, step_mode="m"), nn.Flatten(2))
        >>> distiller = Distiller(None, student, {}, time_steps=2)
        >>> firing_rates(distiller, torch.tensor([0.0, 0.3]).view(1, 2, 1, 1))["0"].flatten().tolist()
        [0.0, 0.5]
    """
    modes = compat.neuron_step_modes(distiller.student)
    if not modes:
        raise ArgumentValueError("distiller", "has a student without spiking neurons")
    calls: dict[str, list[Tensor]] = {}

    def note(path: str, output: Tensor) -> None:
        if path in modes:
            multi = modes[path] == "m"
            active = (output.detach() != 0).float().flatten(2 if multi else 1)
            calls.setdefault(path, []).append(active.mean(-1) if multi else active.mean(-1).unsqueeze(0))

    with preserve_state(distiller.student), torch.no_grad(), watch(distiller.student, note):
        distiller.student.eval()
        distiller.predict(images)
    found = {path: torch.cat(of_layer).cpu() for path, of_layer in calls.items()}
    steps = {len(values) for values in found.values()}
    if len(steps) != 1:
        text = f"has a student whose neurons ran {sorted(steps)} steps: some are shared between places of the network"
        raise ArgumentValueError("distiller", text)
    return found


def plot_distiller_rates(distillers: Distiller | Mapping[str, Distiller], images: Tensor) -> Figure:
    """Run students on a batch and draw their firing rates as :func:`plot_firing_rates` does.

    Args:
        distillers: one, or name -> distiller.
        images: as for :meth:`~spikingjelly_ckd.Distiller.predict`.

    Returns:
        The figure. The students are left as they were.

    Raises:
        ValueError: as for :func:`firing_rates` and :func:`plot_firing_rates`.

    Example:
        >>> from spikingjelly_ckd.recipes.models import spiking_resnet8
        >>> distiller = Distiller(None, spiking_resnet8(10), {}, time_steps=2)
        >>> figure = plot_distiller_rates({"plain": distiller}, torch.rand(3, 3, 16, 16))
        >>> [label.get_text() for label in figure.axes[0].get_yticklabels()][:2]
        ['act1', 'layer1.0.act1']
    """
    several = distillers if isinstance(distillers, Mapping) else {"student": distillers}
    return plot_firing_rates({name: firing_rates(distiller, images) for name, distiller in several.items()})


def plot_distiller_spikes(
    distiller: Distiller, images: Tensor, *, layer: str | None = None, image: int = 0, most: int = 64
) -> Figure:
    """Run a student on a batch and draw the spikes of one layer as :func:`plot_spikes` does.

    Args:
        distiller: whose student runs once, in eval mode; it is left as it was.
        images: as for :meth:`~spikingjelly_ckd.Distiller.predict`.
        layer: path of the neurons; None is the last ones that ran.
        image: as for :func:`plot_spikes`.
        most: as for :func:`plot_spikes`.

    Returns:
        The figure.

    Raises:
        ValueError: the student has no neurons, or no such layer.

    Example:
        >>> from spikingjelly_ckd.recipes.models import spiking_resnet8
        >>> distiller = Distiller(None, spiking_resnet8(10), {}, time_steps=2)
        >>> plot_distiller_spikes(distiller, torch.rand(3, 3, 16, 16), layer="act1").axes[0].get_title()
        'act1'
    """
    path = list(firing_rates(distiller, images))[-1] if layer is None else layer
    with preserve_state(distiller.student), torch.no_grad(), record(distiller.student, [path]) as seen:
        distiller.student.eval()
        distiller.predict(images)
    return plot_spikes(seen[path], image=image, most=most, title=path)
