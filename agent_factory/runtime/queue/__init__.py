"""Durable workflow runs, queued in PostgreSQL: start and steer them by `Queue`, work on them by `Worker`.

`Queue` is what rooms use, in any process (`platform.queue`):

    started = await queue.start(StartRun(organization_id=…, flow=flow_of(definition), input={…}))
    run = await queue.settled(organization_id, started.id, seconds=30)   # ended, waits for a person, or time is up
    async for at, event in await queue.watch(organization_id, started.id, after): …   # to its end
    await queue.cancel(organization_id, run_id)
    await queue.decide(organization_id, run_id, path, Decision(approved=True, by="usr_…"))
    await queue.tell(organization_id, "order.paid", {…}, key)   # an event, once for each key
    queue.subscribers.append(hear)                              # hears of every event

`rerun` lets runs that ended go on, or runs them again in another way:

    await resume(queue, organization_id, run_id)      # failed: from the task that failed; cancelled: from where it was
    started = await fork(queue, Fork(organization_id=…, run_id=…, task="classify", input=…, flow=…))
    replay = await replayed(queue, organization_id, run_id)   # from its journal alone: nothing is called

`Worker` claims runs and interprets them; `run_forever` has to run beside it.
Every process that has one takes part: nothing else has to be told.
"""
