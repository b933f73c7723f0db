"""What every endpoint uses: dependencies, problems, paging, idempotency, streams."""
