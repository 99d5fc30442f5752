"""Look inside a network: what its first filters are, what each layer makes of an image, what its answer hangs on.

first_filters, feature_maps   the weights that see pixels, and the maps that they make
maximize                      the input for which a unit, a channel, a class or a layer is most active
invert                        what a layer still knows of an input
adversarial                   the smallest change along the gradient's sign that changes the answer
embed                         a set as points where a layer puts them: PCA, t-SNE, thumbnails on a grid, neighbors
separation, probes            how well each layer tells the classes apart, and how well a linear reader can
equivariance, consistency     what becomes of layers and answers when the input is shifted, turned, scaled
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
from striate.interpret.features.adversarial import Adversarial, adversarial
from striate.interpret.features.canvas import color_of
from striate.interpret.features.embedding import Embedding, embed
from striate.interpret.features.equivariance import Consistency, Equivariance, consistency, equivariance
from striate.interpret.features.filters import feature_maps, first_filters
from striate.interpret.features.invert import Inverted, invert
from striate.interpret.features.maximize import Maximized, maximize
from striate.interpret.features.separation import Probe, Probes, Separation, Separations, probes, separation
from striate.interpret.map import Changes, Map
from striate.interpret.matching import Match, Matches, match_motifs
from striate.interpret.motifs import Motif, filter_motifs, read_motifs, write_motifs
from striate.interpret.mutagenesis import MutationMap, VariantMap, mutagenesis, variants
from striate.interpret.occlusion import OcclusionMap, occlusion
from striate.interpret.scales import ScaleMap, Sighting, many_scales

__all__ = [
    "Adversarial",
    "Attribution",
    "Changes",
    "Consistency",
    "Embedding",
    "Equivariance",
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
    "VariantMap",
    "adversarial",
    "color_of",
    "consistency",
    "deconvnet",
    "deep_lift",
    "embed",
    "equivariance",
    "feature_maps",
    "filter_motifs",
    "first_filters",
    "gradient",
    "gradient_times_input",
    "guided_backpropagation",
    "integrated_gradients",
    "invert",
    "many_scales",
    "match_motifs",
    "maximize",
    "mutagenesis",
    "occlusion",
    "probes",
    "read_motifs",
    "separation",
    "smooth_grad",
    "strongest",
    "variants",
    "write_motifs",
]
