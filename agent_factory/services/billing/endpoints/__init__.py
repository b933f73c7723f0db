"""HTTP for quotas, budgets and usage."""
