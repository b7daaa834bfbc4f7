"""The models: the three families, loading, random initialisation, precision, block attention."""
