"""When schedules fire: cron expressions in timezones, and the loop that fires each tick once (S72)."""
