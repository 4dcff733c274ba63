"""The tabs of the app's page that do more than a view's: the others are drawn by `view`."""

from latentflow.app.panels import atlas, channels, compare, concept, flow, prompts, walk

_OWN = (flow, walk, channels, atlas, compare, concept, prompts)
PANELS = {each.__name__.rpartition(".")[2]: each.show for each in _OWN}
