"""Which backend a request goes to, which of them are well, and who waits for a place at one."""
