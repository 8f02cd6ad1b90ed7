"""What every process needs: locks, logs, tasks that are owned, backing off, stopping, saying things once."""
