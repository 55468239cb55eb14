"""In the forked child, between the fork and the program.

The order of calls, and what would be lost in another one. `-` where a level leaves a step out.

    step               | sandbox      | guard        | landlock | must come
    -------------------+--------------+--------------+----------+-------------------------------------------
    unshare            | user, mount, | user, mount, | -        | while dumpable: else /proc/self is root's
                       | pid, ipc,    | pid, ipc     |          | and the user cannot be mapped
                       | network      |              |          |
    map the user       | itself       | itself       | -        | before the mounts, which need it
    become_first       | fork         | fork         | -        | before /proc is mounted: it shows the
                       |              |              |          | namespace of who mounts it
    open_network       | loopback,    | -            | -        | while there are capabilities
                       | listeners    |              |          |
    carry_out (mounts) | hide, mask,  | hide, mask,  | -        | after become_first, before capabilities
                       | overlay, all | freeze       |          | are given up
                       | read-only    |              |          |
    enter the folder   | yes          | yes          | -        | after the mounts: the old one leads below
    become_program     | fork         | fork         | -        | last of the namespaces: its parent stays
                       |              |              |          | to reap and to end with it
    close folders      | yes          | yes          | yes      | after the mounts: `..` of an open one leads
                       |              |              |          | round them
    core limit,        | yes          | yes          | yes      | before Landlock and the filter, which an
    capabilities,      |              |              |          | unprivileged process may set only with
    no_new_privs       |              |              |          | no_new_privs
    Landlock           | scope        | scope        | files    | before the filter, which would refuse it
    seccomp            | yes          | yes          | yes      | last: it refuses what the others need
    report             | yes          | yes          | yes      | only now may the launcher read a secret

A step that fails is reported by its name, and the process ends: no program runs half isolated.
"""
