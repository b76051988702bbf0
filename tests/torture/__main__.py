"""Faults of process and disk, made to happen: the program is killed, signalled, starved of disk and its files damaged.

- `points`: every durable operation of a process passes a numbered point, at which something can be made to happen.
- `zygote`: starts the real command line in fresh processes, quickly: one process imports it all, and forks.
- `receiver`: the endpoint in another process than the one that dies; keeps every call's bytes.
- `cases`: the jobs; `trial`: one run through some faults, and the judgement of what arrived and what the ledger says.
- `ways`, `later_runs`: other ways through the program than to run and to run again; `scenarios`: all there are.
- `together`: processes that deliver one run at once; `python -m tests.torture.together` by itself.
- `sweep`: the long form, `make torture`: `python -m tests.torture`; `full_sweep`: each failpoint of each scenario once,
  `make torture ALL=1`. The short forms are tests/test_faults_*.py.

The command line is driven from outside: nothing here depends on how the program is made.
"""

import sys

from tests.torture.sweep import main

if __name__ == "__main__":
    sys.exit(main())
