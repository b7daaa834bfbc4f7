"""The forecast job beside chronos-forecasting's `predict_df`: time and memory from Parquet to written forecasts."""
