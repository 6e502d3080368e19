"""The Recipes tab as one component: its value is what `tabs.recipes` shows; everything a person asks is one event."""

from blockmerge.ui.parts import SHARED, OwnComponent


class Recipes(OwnComponent):
    """Fires `ask` with {"do": what, "id": recipe, "other": the one compared, …}."""

    FRAME = '<div class="recipes"></div>'
    SCRIPTS = STYLES = (SHARED, "recipes")
    TEXTS = ("recipes",)
