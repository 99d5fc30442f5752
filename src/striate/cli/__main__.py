"""python -m striate.cli"""

from striate.cli import main

if __name__ == "__main__":
    main()
