"""The models: families, loading, initialization."""
