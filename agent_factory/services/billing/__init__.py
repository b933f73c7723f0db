"""What organisations may use and have used: quotas, budgets, usage."""
