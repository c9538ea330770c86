"""``python -m tpccma`` is the command `tpccma`."""

from tpccma.cli import main

if __name__ == "__main__":
    main()
