"""The history of the appliance: rows, verdicts and events of every line, in one SQLite file.

minute.py    rows <-> one compressed blob a minute, without any loss
schema.py    tables; open, check, set aside
records.py   what is written, as values
writer.py    records -> tables, in one transaction; retention
store.py     the queue, the one worker thread and what becomes of a disk that refuses
recorder.py  one line's rows, verdicts and changes -> records
reader.py    read-only: batches, rows, verdicts, events
"""
