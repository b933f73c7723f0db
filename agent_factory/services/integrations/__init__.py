"""Tools, and the systems behind them."""
