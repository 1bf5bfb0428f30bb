"""`python -m llmjoules`."""

from llmjoules.cli import main

raise SystemExit(main())
