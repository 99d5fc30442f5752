"""Look inside a network: what its first filters are and what each layer makes of an image."""

from striate.interpret.filters import feature_maps, first_filters

__all__ = ["feature_maps", "first_filters"]
