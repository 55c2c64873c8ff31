"""Telling a broker of the plant what the appliance sees and says. Off unless [mqtt] is configured.

    messages   a row, an event, a section of the status -> JSON; what is owed to the broker    pure
    backlog    what is not at the broker yet: cursors on the rings and on the event log
    broker     one connection; the only file that knows paho; it publishes and cannot subscribe
    outlet     the task: connect, say so, hand over what is owed, try again

Nothing is stored twice: rows wait in their ring, events in the history. What is kept here is how
far the broker has come.
"""
