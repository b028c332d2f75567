"""Runs a command on a terminal of its own: terminal.py COMMAND...

When the command says "ready" somebody presses Ctrl-C; when it says "caught" the process itself gets SIGUSR2. Exits with the
command's code and shows what it wrote.
"""
import os
import pty
import signal
import sys

pid, terminal = pty.fork()
if pid == 0:
    os.execvp(sys.argv[1], sys.argv[1:])
output = b""
steps = [(b"ready", lambda: os.write(terminal, b"\x03")), (b"caught", lambda: os.kill(pid, signal.SIGUSR2))]
while True:
    try:
        part = os.read(terminal, 4096)
    except OSError:  # The last user of the terminal has closed it.
        break
    if not part:
        break
    output += part
    while steps and steps[0][0] in output:
        steps.pop(0)[1]()
_, status = os.waitpid(pid, 0)
sys.stdout.buffer.write(output)
sys.stdout.flush()
sys.exit(os.waitstatus_to_exitcode(status))
