"""`python -m optloom` is the command `optloom`."""

from optloom.codegen.cli import main

if __name__ == "__main__":
    main()
