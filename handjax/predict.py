"""python -m handjax.predict: joints in your own images, by a trained run."""

from handjax.engine import cli
from handjax.prediction.images import main

if __name__ == "__main__":
    cli.run(main)
