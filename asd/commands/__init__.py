"""The longer commands of the command line, one module each; ``asd.cli`` gathers them.

May import ``data``, ``demo``, ``models``, ``notebook``, ``training``, ``evaluation``, ``detection``, ``tracking``,
``plots``, ``challenge`` and ``report``, but only when a command runs: ``asd --help`` does not wait for torch.
"""
