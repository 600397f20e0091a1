"""What should happen, and when: due, plan, approve, release, dispatch, sweep, close, seal."""
