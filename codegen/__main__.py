"""`python -m optloom.codegen` is the command `optloom`."""

from .cli import main

if __name__ == "__main__":
    main()
