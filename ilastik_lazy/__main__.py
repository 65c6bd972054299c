"""``python -m ilastik_lazy``: the command line, where its own name is not on the PATH."""

from ilastik_lazy.cli import main

main()
