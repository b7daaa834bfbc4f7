"""From Parquet files in any order to sorted series on disk, in one pass and bounded memory."""
