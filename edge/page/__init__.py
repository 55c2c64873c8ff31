"""The operator page: a process of its own that reads what the daemon leaves, and changes nothing.

    daemon --> status.json, words.json --> feed --> view --> browsers      (once a second)
           --> history.sqlite --> reader process --> batch, rows, envelope (when somebody looks)

The server process holds no numpy and no configuration: both live in the reader process, which is
started when it is needed, ends when nobody asks, and may be killed at any time.
"""
