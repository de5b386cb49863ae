"""The two SpikingJelly generations behind one set of questions.

Generation 0.0.0.0.14 gives every neuron a ``backend`` and speeds multi-step neurons up through CuPy; generation 2
has no ``backend`` and chooses native CUDA, Triton or torch by the device. The rule of this folder: nothing else in the
package asks which one is installed, and what is here asks what it can do, never for its version. SpikingJelly itself is
imported in ``installed.py`` alone.
"""

from .fast_neurons import NeuronPath, neuron_path, use_fast_neurons
from .installed import spikingjelly_version
from .modes import inside_containers, is_in_single_step_mode, neuron_step_modes, obeys_step_mode, step_modes
from .neurons import has_neurons, is_neuron
from .states import invalidate_reset_cache, keeps_state, reset, untraced

__all__ = [
    "NeuronPath",
    "has_neurons",
    "inside_containers",
    "invalidate_reset_cache",
    "is_in_single_step_mode",
    "is_neuron",
    "keeps_state",
    "neuron_path",
    "neuron_step_modes",
    "obeys_step_mode",
    "reset",
    "spikingjelly_version",
    "step_modes",
    "untraced",
    "use_fast_neurons",
]
