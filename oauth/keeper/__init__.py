"""Hands out a fresh credential, refreshing it when due, once for all processes.

The life of a connection's generation, one of its tokens, in one process. `-` is no change.

    state        | fresh() gives       | time passes         | a 401 to it             | the provider takes it
    -------------+---------------------+---------------------+-------------------------+----------------------
    living       | it                  | due ahead of its    | doubted: one recovery   | -
                 |                     | end                 |                         |
    due          | it while it lives;  | expired             | as living               | -
                 | a refresh begins    |                     |                         |
    expired      | waits for a refresh | -                   | -                       | -
    doubted      | waits for the       | -                   | joins the recovery      | -
                 | recovery            |                     |                         |
    vouched for  | it                  | after the pause as  | said lately: no strike  | living
                 |                     | living              |                         |
    struck       | it                  | -                   | one strike more; at     | living
                 |                     |                     | STRIKES the circuit     |
                 |                     |                     | opens                   |
    circuit open | a local 401         | one probe a pause,  | the pause is doubled    | living
                 |                     | PROBE_PAUSE first   |                         |
    refused      | a local 401, until another login or process stores another generation

A recovery asks the provider's check first, where there is one (`vouched for`), and refreshes only where that
does not help: the next generation begins as living, or the refusal is proven (`refused`), or nothing is
known and it is a strike. One recovery a generation and pause: FIRST_PAUSE, doubled up to RECOVERY_PAUSE.
"""
