"""Look inside a network: what its first filters are, what each layer makes of an image, what its answer hangs on.

maximize                      the input for which a unit, a channel, a class or a layer is most active
invert                        what a layer still knows of an input
adversarial                   the smallest change along the gradient's sign that changes the answer
embed                         a set as points where a layer puts them: PCA, t-SNE, thumbnails on a grid, neighbors
separation, probes            how well each layer tells the classes apart, and how well a linear reader can
equivariance, consistency     what becomes of layers and answers when the input is shifted, turned, scaled
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
from striate.interpret.features.adversarial import Adversarial, adversarial
from striate.interpret.features.canvas import color_of
from striate.interpret.features.embedding import Embedding, embed
from striate.interpret.features.equivariance import Consistency, Equivariance, consistency, equivariance
from striate.interpret.features.filters import Filters, filters
from striate.interpret.features.gabor import Gabor, Gabors, fit_gabors, gabor
from striate.interpret.features.invert import Inverted, invert
from striate.interpret.features.maps import FeatureMaps, feature_maps
from striate.interpret.features.maximize import Maximized, maximize
from striate.interpret.features.patches import TopPatches, top_patches
from striate.interpret.features.separation import Probe, Probes, Separation, Separations, probes, separation
from striate.interpret.map import Changes, Map
from striate.interpret.matching import Match, Matches, match_motifs
from striate.interpret.motifs import Motif, filter_motifs, read_motifs, write_motifs
from striate.interpret.mutagenesis import MutationMap, VariantMap, mutagenesis, variants
from striate.interpret.occlusion import OcclusionMap, occlusion
from striate.interpret.scales import ScaleMap, Sighting, many_scales
from striate.interpret.spacing import SpacingMap, motif_spacing

__all__ = [
    "Ablation",
    "Adversarial",
    "Attribution",
    "Changes",
    "Consistency",
    "Embedding",
    "Equivariance",
    "FeatureMaps",
    "Filters",
    "Gabor",
    "Gabors",
    "Inverted",
    "Map",
    "Match",
    "Matches",
    "Maximized",
    "Motif",
    "MutationMap",
    "OcclusionMap",
    "Probe",
    "Probes",
    "ScaleMap",
    "Separation",
    "Separations",
    "Sighting",
    "SpacingMap",
    "TopPatches",
    "VariantMap",
    "ablate",
    "adversarial",
    "color_of",
    "consistency",
    "deconvnet",
    "deep_lift",
    "embed",
    "equivariance",
    "feature_maps",
    "filter_motifs",
    "filters",
    "fit_gabors",
    "gabor",
    "gradient",
    "gradient_times_input",
    "guided_backpropagation",
    "integrated_gradients",
    "invert",
    "many_scales",
    "match_motifs",
    "maximize",
    "motif_spacing",
    "mutagenesis",
    "occlusion",
    "probes",
    "read_motifs",
    "separation",
    "smooth_grad",
    "strongest",
    "top_patches",
    "variants",
    "write_motifs",
]
