# ---
# jupyter:
#   jupytext:
#     formats: py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Rate and distortion
#
# The rate is $R = 8 n / (H W)$ for a file of $n$ bytes.

# %% tags=["parameters"]
profile = "smoke"
seed = 0

# %%
import io

import ipywidgets as widgets
from PIL import Image

from sparsecomp.data import bundled

picture = Image.fromarray(bundled()["astronaut"]).crop((150, 0, 350, 200))


def jpeg(quality):
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return file.getvalue()


def png(data):
    file = io.BytesIO()
    Image.open(io.BytesIO(data)).save(file, "PNG")
    return file.getvalue()


# %%
qualities = [5, 10, 20, 50, 90]
stack = widgets.Stack([widgets.Image(value=png(jpeg(q)), format="png") for q in qualities], selected_index=2)
slider = widgets.SelectionSlider(options=[str(q) for q in qualities], index=2, description="quality")
widgets.jslink((slider, "index"), (stack, "selected_index"))
widgets.VBox([slider, stack])
