"""What is true: tables, rules, states, messages, events, money, time and storage. Imports nothing above it."""
