"""Runs a command of despensa, and ends with 0 where what is left is a person's to do: `settled.py run start`.

For what knows no success but 0: a Job of Kubernetes, which would be called failed. 3 (finished with cases), 14 (waits
for approval) and 15 (paused or cancelled) alert through metrics and the log. Every other code is the command's own.

In this process, and no child: a signal to the pod is a signal to the command.
"""

from console.main import main

#: Of deploy/COMMANDS.md. A test keeps them together.
SETTLED = (3, 14, 15)

if __name__ == "__main__":
    try:
        main()
    except SystemExit as ended:
        if ended.code not in SETTLED:
            raise
