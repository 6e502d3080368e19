"""The page's look as far as Gradio's theme variables can say it; page.css says the rest, tokens.css our own colours."""

from collections.abc import Mapping

from gradio.themes import Base, LocalFont

_SANS = (LocalFont("IBM Plex Sans", weights=(400, 700)), "ui-sans-serif", "system-ui", "sans-serif")
_MONO = (LocalFont("IBM Plex Mono", weights=(400, 700)), "ui-monospace", "Consolas", "monospace")

# In light mode, in dark mode.
_INK = ("#17171a", "#ededf0")
_SECOND = ("#55555f", "#a5a5b0")
_CARD = ("#ffffff", "#151518")
_QUIET = ("#f0f0f2", "#1f1f24")
_FIELD_BORDER = ("#8e8e98", "#6c6c78")
_PROBLEM = ("#b3173f", "#ff8fa3")
_CHECKED = ("#17171a", "#6c6c78")  # Gradio's tick is white in both
_NONE = ("transparent", "transparent")

_BY_MODE: Mapping[str, tuple[str, str]] = {
    "background_fill_primary": _CARD,
    "background_fill_secondary": _QUIET,
    "block_background_fill": _NONE,
    "block_border_width": ("0px", "0px"),
    "block_info_text_color": _SECOND,
    "block_title_text_color": _SECOND,
    "body_background_fill": ("#f6f6f7", "#0d0d0f"),
    "body_text_color": _INK,
    "body_text_color_subdued": _SECOND,
    "border_color_accent": _INK,
    "border_color_primary": ("#e2e2e6", "#2a2a30"),
    "button_primary_background_fill": _INK,
    "button_primary_background_fill_hover": ("#33333a", "#ffffff"),
    "button_primary_border_color": _INK,
    "button_primary_text_color": ("#ffffff", "#111113"),
    "button_secondary_background_fill": ("#ffffff", "#1c1c20"),
    "button_secondary_background_fill_hover": ("#f0f0f2", "#26262b"),
    "button_secondary_border_color": ("#cfcfd5", "#3a3a42"),
    "button_secondary_text_color": _INK,
    "checkbox_background_color_selected": _CHECKED,
    "checkbox_border_color": _FIELD_BORDER,
    "checkbox_border_color_selected": _CHECKED,
    "checkbox_label_background_fill": _NONE,
    "checkbox_label_background_fill_hover": _NONE,
    "checkbox_label_background_fill_selected": _NONE,
    "checkbox_label_text_color_selected": _INK,
    "error_background_fill": ("#fdf1f4", "#2a151b"),
    "error_border_color": _PROBLEM,
    "error_text_color": _PROBLEM,
    "input_background_fill": _CARD,
    "input_border_color": _FIELD_BORDER,
    "input_border_color_focus": _INK,
    "input_placeholder_color": _SECOND,
    "loader_color": _INK,
    "slider_color": _INK,
}

_IN_BOTH: Mapping[str, str] = {
    "block_label_text_size": "12px",
    "block_padding": "0px",
    "block_radius": "0px",
    "block_shadow": "none",
    "block_title_text_size": "12px",
    "block_title_text_weight": "400",
    "button_border_width": "1px",
    "button_primary_shadow": "none",
    "button_secondary_shadow": "none",
    "button_transition": "background-color .12s",
    "checkbox_border_radius": "4px",
    "checkbox_label_border_width": "0px",
    "checkbox_label_padding": "0px",
    "checkbox_label_text_size": "13px",
    "checkbox_shadow": "none",
    "form_gap_width": "12px",
    "input_border_width": "1px",
    "input_padding": "5px 10px",
    "input_radius": "6px",
    "input_shadow": "none",
    "input_shadow_focus": "none",
    "input_text_size": "13px",
    "layout_gap": "12px",
    **{
        f"button_{size}_{name}": value
        for size in ("small", "medium", "large")
        for name, value in (("padding", "5px 12px"), ("radius", "6px"), ("text_size", "13px"), ("text_weight", "400"))
    },
}


def page_theme() -> Base:
    light = {name: value for name, (value, _) in _BY_MODE.items()}
    dark = {f"{name}_dark": value for name, (_, value) in _BY_MODE.items()}
    base = Base(primary_hue="zinc", secondary_hue="zinc", neutral_hue="zinc", font=_SANS, font_mono=_MONO)
    return base.set(**light, **dark, **_IN_BOTH)
