"""The traffic path: it takes requests, decides on them, passes them on and writes down what it saw.

No database: Records go to a disk spool, Actions come from a snapshot file and a push socket.
"""
