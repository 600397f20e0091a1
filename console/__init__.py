"""What operators see: the `despensa` command. The one package that knows both the scheduler and the workers."""
