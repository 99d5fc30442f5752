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
cam, grad_cam, grad_cam_pp, layer_cam, score_cam
                              a layer's maps weighed for a class, laid where its units look
occlusion                     the output with a part of the input covered, place by place
many_scales                   a classifier of crops on a whole image: what is where, and how large
mutagenesis, variants         the output after changes of a sequence, letter by letter or as given
motif_spacing                 the output by the distance of two motifs that are put into sequences
filter_motifs, match_motifs   what the filters of a sequence network look for, and which known motifs are like it
model_randomization, label_randomization
                              whether a method's maps change when what the network has learned does
deletion, insertion           whether the network needs what a map points at
pointing_game, energy_inside  whether a map lies where the object is
compare_methods               all of these for several methods, beside maps that know no network
explain                       any of METHODS by its name, with its options: explain(model, x, "occlusion:patch=8")
"""

from striate.interpret.attribution.cam import CamMap, grad_cam, grad_cam_pp, layer_cam, score_cam
from striate.interpret.attribution.dense import cam
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
from striate.interpret.attribution.placement import Placement
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
from striate.interpret.methods import METHODS, explain
from striate.interpret.motifs import Motif, filter_motifs, read_motifs, write_motifs
from striate.interpret.mutagenesis import MutationMap, VariantMap, mutagenesis, variants
from striate.interpret.occlusion import OcclusionMap, occlusion
from striate.interpret.scales import ScaleMap, Sighting, many_scales
from striate.interpret.spacing import SpacingMap, motif_spacing
from striate.interpret.trust.comparison import Comparison, compare_methods
from striate.interpret.trust.curves import Curves, deletion, insertion
from striate.interpret.trust.maps import center_prior, input_edges
from striate.interpret.trust.pointing import box_regions, energy_inside, pointing_game
from striate.interpret.trust.randomization import Randomization, label_randomization, model_randomization

__all__ = [
    "METHODS",
    "Ablation",
    "Adversarial",
    "Attribution",
    "CamMap",
    "Changes",
    "Comparison",
    "Consistency",
    "Curves",
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
    "Placement",
    "Probe",
    "Probes",
    "Randomization",
    "ScaleMap",
    "Separation",
    "Separations",
    "Sighting",
    "SpacingMap",
    "TopPatches",
    "VariantMap",
    "ablate",
    "adversarial",
    "box_regions",
    "cam",
    "center_prior",
    "color_of",
    "compare_methods",
    "consistency",
    "deconvnet",
    "deep_lift",
    "deletion",
    "embed",
    "energy_inside",
    "equivariance",
    "explain",
    "feature_maps",
    "filter_motifs",
    "filters",
    "fit_gabors",
    "gabor",
    "grad_cam",
    "grad_cam_pp",
    "gradient",
    "gradient_times_input",
    "guided_backpropagation",
    "input_edges",
    "insertion",
    "integrated_gradients",
    "invert",
    "label_randomization",
    "layer_cam",
    "many_scales",
    "match_motifs",
    "maximize",
    "model_randomization",
    "motif_spacing",
    "mutagenesis",
    "occlusion",
    "pointing_game",
    "probes",
    "read_motifs",
    "score_cam",
    "separation",
    "smooth_grad",
    "strongest",
    "top_patches",
    "variants",
    "write_motifs",
]
