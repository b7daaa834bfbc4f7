# %% [markdown]
# # Forecast a data frame on an instance that is gone afterwards
#
# Cells begin with `# %%`: VS Code, PyCharm and Jupyter with jupytext open this file as a notebook, and
# `python examples/forecast_a_frame.py` runs it. It needs a deployed stack; `ENVIRONMENT=local` is the embedded AWS of
# `chronos-ec2 local up`, which has no GPU.

# %%
import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from chronos_ec2 import Client

environment = os.environ.get("ENVIRONMENT", "dev")
model = os.environ.get("MODEL", "amazon/chronos-2")
client = Client(environment)

# %% [markdown]
# A long frame: a row for each series and time. Yours may come from anywhere, also from polars or DuckDB.

# %%
days = pd.date_range("2025-01-01", periods=280)
sales = pd.concat(
    pd.DataFrame({"item_id": store, "timestamp": days, "target": level + 12 * np.sin(2 * np.pi * np.arange(280) / 7)})
    for store, level in {"north": 80.0, "south": 120.0}.items()
)
sales.tail(3)

# %% [markdown]
# The frame is checked here, uploaded, and forecast on a new instance. At most a dollar is spent, whatever happens.

# %%
ahead = client.forecast(
    sales, horizon=28, model=model, lane="notebook", max_cost=1, allow_cpu=environment == "local", interval=5
)
ahead.head(3)

# %%
figure, axes = plt.subplots(figsize=(9, 4))
for store, past in sales.groupby("item_id"):
    axes.plot(past.timestamp[-84:], past.target[-84:], color="0.4")
    future = ahead[ahead.item_id == store]
    (line,) = axes.plot(future.timestamp, future.predictions, label=store)
    axes.fill_between(future.timestamp, future["0.1"], future["0.9"], color=line.get_color(), alpha=0.2, linewidth=0)
axes.legend(frameon=False)
figure.savefig(Path("forecast.png"))

# %% [markdown]
# Nothing is left that costs money.

# %%
client.verify()
