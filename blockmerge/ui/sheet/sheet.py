"""The Settings tab as one component: facts in groups, the colours of the page, and what can be deleted."""

from blockmerge.ui.parts import SHARED, OwnComponent


class Sheet(OwnComponent):
    """Fires `ask` with {"do": "delete", "name": folder}, or {"do": "delete_cached", "name": model}."""

    FRAME = '<div class="sheet"></div>'
    SCRIPTS = STYLES = (SHARED, "sheet")
    TEXTS = ("settings",)
