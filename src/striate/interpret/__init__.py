"""Look inside a network: what its first filters are, what each layer makes of an image, what its answer hangs on.

filters, fit_gabors           the kernels of a layer, and the Gabor functions that they are like: orientation, frequency
feature_maps                  what each layer makes of an input, and what of it each unit sees
ablate                        what the score loses without each channel of a layer
top_patches                   the places of a data set that excite each unit most, and what of them does (DeConvNet)
gradient, gradient_times_input, integrated_gradients, smooth_grad, deep_lift, guided_backpropagation, deconvnet
                              what each value of an input has to do with an output, by what flows back
occlusion                     the output with a part of the input covered, place by place
many_scales                   a classifier of crops on a whole image: what is where, and how large
mutagenesis, variants         the output after changes of a sequence, letter by letter or as given
motif_spacing                 the output by the distance of two motifs that are put into sequences
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
from striate.interpret.features.ablation import Ablation, ablate
from striate.interpret.features.filters import Filters, filters
from striate.interpret.features.gabor import Gabor, Gabors, fit_gabors, gabor
from striate.interpret.features.maps import FeatureMaps, feature_maps
from striate.interpret.features.patches import TopPatches, top_patches
from striate.interpret.map import Changes, Map
from striate.interpret.matching import Match, Matches, match_motifs
from striate.interpret.motifs import Motif, filter_motifs, read_motifs, write_motifs
from striate.interpret.mutagenesis import MutationMap, VariantMap, mutagenesis, variants
from striate.interpret.occlusion import OcclusionMap, occlusion
from striate.interpret.scales import ScaleMap, Sighting, many_scales
from striate.interpret.spacing import SpacingMap, motif_spacing

__all__ = [
    "Ablation",
    "Attribution",
    "Changes",
    "FeatureMaps",
    "Filters",
    "Gabor",
    "Gabors",
    "Map",
    "Match",
    "Matches",
    "Motif",
    "MutationMap",
    "OcclusionMap",
    "ScaleMap",
    "Sighting",
    "SpacingMap",
    "TopPatches",
    "VariantMap",
    "ablate",
    "deconvnet",
    "deep_lift",
    "feature_maps",
    "filter_motifs",
    "filters",
    "fit_gabors",
    "gabor",
    "gradient",
    "gradient_times_input",
    "guided_backpropagation",
    "integrated_gradients",
    "many_scales",
    "match_motifs",
    "motif_spacing",
    "mutagenesis",
    "occlusion",
    "read_motifs",
    "smooth_grad",
    "strongest",
    "top_patches",
    "variants",
    "write_motifs",
]
