"""Every formula of the package as a pure function: tensors in, tensors out, no network and no state.

- ``maps``: maps of where a network looked. Spike maps (:func:`spike_activation_map`), class maps (:func:`grad_cam` and
  its relatives, :func:`class_activation_map`), their sizes and normalisation, a layer over time (:func:`time_mean`).
- ``divergences``: how far softened logits (:func:`soft_kl`), probabilities or maps are apart.
- ``logits``: functions of logits ``[N, K]`` (:func:`decoupled_kl`, :func:`gaussian_like`, :func:`correlation`).
- ``weighted``: divergences that are weighted by the teacher (:func:`refined_kl`, :func:`adaptive_kl`).
- ``time``: functions of the logits of every time step, ``[T, N, K]`` (:func:`step_kl`, :func:`correct_steps`).
- ``features``: errors of recorded layers (:func:`attention_distance`, :func:`feature_error`).
- ``relations``: relations between the images of a batch (:func:`similarity_error`, :func:`linear_cka`).
- ``projected``: errors of the student's layers behind a projector (:func:`enhanced_target_error`).
- ``bounds``: what keeps values and gradients finite where an input is silent, constant or huge.

All of them check the axes of their arguments by :func:`check_shapes`.

In every function the student comes before the teacher; the teacher is not detached in them, so pass it detached.
The losses of :mod:`spikingjelly_ckd.methods` are thin modules around these functions.
"""

from ..errors.shapes import (
    check_shapes,
)
from .divergences import (
    cosine_map_distance,
    log_kl,
    map_divergence,
    probability_kl,
    soft_kl,
)
from .features import (
    attention_distance,
    blur,
    class_map_error,
    feature_error,
    hierarchical_context_error,
    regions,
)
from .logits import (
    class_indices,
    correlation,
    decoupled_kl,
    gaussian_like,
    mix_noise,
    split_class,
    standardize_logits,
    weighted_soft_label_error,
)
from .maps import (
    at_least_float32,
    class_activation_map,
    fold_time,
    grad_cam,
    grad_cam_plus_plus,
    hires_cam,
    is_constant,
    match_maps,
    normalize_map,
    spike_activation_map,
    time_mean,
)
from .projected import (
    attended_error,
    channel_statistics_error,
    enhanced_target_error,
    normalized_feature_error,
)
from .relations import (
    angle_error,
    distance_error,
    linear_cka,
    similarity_error,
)
from .time import (
    check_steps,
    correct_steps,
    mean_of_other_steps,
    most_and_least_confident,
    prefix_means,
    replace_errors,
    right_heads_kl,
    step_cross_entropy,
    step_entropy,
    step_kl,
    sum_correct_steps,
)
from .weighted import (
    adaptive_kl,
    disagreement_weights,
    hard_label_error,
    normalized_error,
    refined_kl,
    transformed_teacher_kl,
)

__all__ = [
    "adaptive_kl",
    "angle_error",
    "at_least_float32",
    "attended_error",
    "attention_distance",
    "blur",
    "channel_statistics_error",
    "check_shapes",
    "check_steps",
    "class_activation_map",
    "class_indices",
    "class_map_error",
    "correct_steps",
    "correlation",
    "cosine_map_distance",
    "decoupled_kl",
    "disagreement_weights",
    "distance_error",
    "enhanced_target_error",
    "feature_error",
    "fold_time",
    "gaussian_like",
    "grad_cam",
    "grad_cam_plus_plus",
    "hard_label_error",
    "hierarchical_context_error",
    "hires_cam",
    "is_constant",
    "linear_cka",
    "log_kl",
    "map_divergence",
    "match_maps",
    "mean_of_other_steps",
    "mix_noise",
    "most_and_least_confident",
    "normalize_map",
    "normalized_error",
    "normalized_feature_error",
    "prefix_means",
    "probability_kl",
    "refined_kl",
    "regions",
    "replace_errors",
    "right_heads_kl",
    "similarity_error",
    "soft_kl",
    "spike_activation_map",
    "split_class",
    "standardize_logits",
    "step_cross_entropy",
    "step_entropy",
    "step_kl",
    "sum_correct_steps",
    "time_mean",
    "transformed_teacher_kl",
    "weighted_soft_label_error",
]
