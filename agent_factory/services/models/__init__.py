"""Models and the vendors behind them."""
