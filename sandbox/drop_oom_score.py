"""Run by the engine's runtime wrapper before runc: drops a negative oomScoreAdj from the bundle's config.json."""

import json
import os
import sys


def bundle(arguments):
    for place, word in enumerate(arguments[:-1]):
        if word in ("--bundle", "-b"):
            return arguments[place + 1]
    return next((word.partition("=")[2] for word in arguments if word.startswith("--bundle=")), ".")


def drop(config):
    """Whether there was one to drop."""
    process = config.get("process") or {}
    if (process.get("oomScoreAdj") or 0) >= 0:
        return False
    del process["oomScoreAdj"]
    return True


if __name__ == "__main__":
    file = os.path.join(bundle(sys.argv[1:]), "config.json")
    with open(file) as stream:
        found = json.load(stream)
    if drop(found):
        with open(file, "w") as stream:
            json.dump(found, stream)
