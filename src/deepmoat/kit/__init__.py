"""What every package needs: errors, settings, component families, counters, segments, tasks."""
