"""What many organisations on one installation need."""
