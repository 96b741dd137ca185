"""The look: one Gradio theme on system fonts (nothing is fetched), and the style sheet beside it."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

CSS_FILE = Path(__file__).with_name("style.css")


def theme() -> gr.themes.Base:
    blue = gr.themes.Color(
        c50="#eef5fa", c100="#d8e8f3", c200="#b3d1e7", c300="#83b4d6", c400="#4b92c2", c500="#0072b2",
        c600="#00629a", c700="#004f7c", c800="#003d60", c900="#002c46", c950="#001d2f",
    )  # fmt: skip
    return gr.themes.Base(
        primary_hue=blue,
        neutral_hue="slate",
        radius_size="sm",
        font=["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"],
        font_mono=["ui-monospace", "Menlo", "Consolas", "monospace"],
    ).set(
        body_background_fill="#f6f7f8",
        body_background_fill_dark="#14181d",
        background_fill_primary_dark="#1c2128",
        background_fill_secondary_dark="#14181d",
        block_background_fill_dark="#1c2128",
        border_color_primary_dark="#39424d",
        block_border_width="1px",
        block_label_background_fill="*background_fill_primary",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_dark="*primary_500",
        button_primary_background_fill_hover_dark="*primary_600",
        button_primary_text_color="white",
        body_text_color_subdued="#4b5563",
        body_text_color_subdued_dark="#a9b4c0",
        block_info_text_color="#4b5563",
        block_info_text_color_dark="#a9b4c0",
    )
