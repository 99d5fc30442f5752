"""Look inside a network: what its first filters are, what each layer makes of an image, what its answer hangs on.

first_filters, feature_maps   the weights that see pixels, and the maps that they make
gradient, gradient_times_input, integrated_gradients, smooth_grad, deep_lift, guided_backpropagation, deconvnet
                              what each value of an input has to do with an output, by what flows back
occlusion                     the output with a part of the input covered, place by place
many_scales                   a classifier of crops on a whole image: what is where, and how large
mutagenesis, variants         the output after changes of a sequence, letter by letter or as given
filter_motifs, match_motifs   what the filters of a sequence network look for, and which known motifs are like it
"""

from striate.interpret.attribution.gradients import (
    deconvnet,
    deep_lift,
    gradient,
    gradient_times_input,
    guided_backpropagation,
    integrated_gradients,
    smooth_grad,
    strongest,
)
from striate.interpret.attribution.run import Attribution
from striate.interpret.features.filters import feature_maps, first_filters
from striate.interpret.map import Changes, Map
from striate.interpret.matching import Match, Matches, match_motifs
from striate.interpret.motifs import Motif, filter_motifs, read_motifs, write_motifs
from striate.interpret.mutagenesis import MutationMap, VariantMap, mutagenesis, variants
from striate.interpret.occlusion import OcclusionMap, occlusion
from striate.interpret.scales import ScaleMap, Sighting, many_scales

__all__ = [
    "Attribution",
    "Changes",
    "Map",
    "Match",
    "Matches",
    "Motif",
    "MutationMap",
    "OcclusionMap",
    "ScaleMap",
    "Sighting",
    "VariantMap",
    "deconvnet",
    "deep_lift",
    "feature_maps",
    "filter_motifs",
    "first_filters",
    "gradient",
    "gradient_times_input",
    "guided_backpropagation",
    "integrated_gradients",
    "many_scales",
    "match_motifs",
    "mutagenesis",
    "occlusion",
    "read_motifs",
    "smooth_grad",
    "strongest",
    "variants",
    "write_motifs",
]
