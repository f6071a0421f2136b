"""Who may do what: users, API keys, sign-in links, sessions, roles."""
