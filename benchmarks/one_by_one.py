"""The server with a transaction for each request, to show what the Writer brings: `python -m benchmarks.one_by_one`."""

from kosminar import cli
from kosminar.engine import writer

if __name__ == "__main__":
    # The one thing that differs: nothing is gathered. As many lanes as clients are the operator's setting.
    writer.BATCH_SIZE_MAX = 1  # type: ignore[misc]
    cli.main()
