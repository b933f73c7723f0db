"""What organisations, their agents, keys and runs may use, and how nobody uses more (S207-S209).

Every limit has a meter in the database: what is used in the present period, and
what is held by calls that are under way. `Ledger` takes what a call may use at
most from all meters that apply to it, in one statement and before the call is
made; afterwards it gives back what was not used. A process that dies leaves its
reservations to the others, who settle them by what the run's journal has
recorded, else as if all of it had been used.

    spender = Spender(organization_id, run_id=run_id, agents=("support",), key_id=key_id)
    held = await ledger.reserve(spender, {Metric.TOKENS: 9000, Metric.USD: Decimal("0.02")}, path="model/0")
    await ledger.settle(held, {Metric.TOKENS: 512, Metric.USD: Decimal("0.0011")})
"""
