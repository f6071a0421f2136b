"""Who may pass: actions in force and rates, looked up in constant time."""
