"""Drives one connection of a child through TLS and HTTP, and calls the addon.

Where a connection is, by the hook that was called last, and which bytes are counted there. More than the
limit ends the connection. While any hook runs nothing is read from either side.

    last hook       | from the child                    | from the upstream             | goes on with
    ----------------+-----------------------------------+-------------------------------+--------------------
    (none)          | the next head: MAX_UNDECIDED      | -                             | requestheaders
    requestheaders  | the body: no limit, it streams    | the head: MAX_UNDECIDED       | responseheaders
      .. refused    | the body: MAX_REFUSED_BODY,       | -                             | response
                    | or none of it after `Expect`      |                               |
    responseheaders | the rest of the body: no limit    | the body: no limit            | response
    response        | as (none); after `Expect` refused | -                             | (none), or the end
                    | or a 101 nothing is counted       |                               |
    error           | as response                       | -                             | the end

A hook that raises refuses the request where there is one to refuse, ends the flow where it has begun, and
ends the connection otherwise: nothing is forwarded on an exception.
"""
