"""``python -m diffused_heads.diffused_heads_core`` is the command ``diffused-heads`` without the trainer."""

from .cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
