"""Run by the engine's runtime wrapper before runc: mends what a bundle's config.json asks for."""

import json
import os
import sys

# A pod that asks for little CPU gets as little as 2 of 1024 shares, and starves as soon as the machine is busy.
LEAST_SHARES = 256


def bundle(arguments):
    for place, word in enumerate(arguments[:-1]):
        if word in ("--bundle", "-b"):
            return arguments[place + 1]
    return next((word.partition("=")[2] for word in arguments if word.startswith("--bundle=")), ".")


def mend(config):
    """Drops a negative oomScoreAdj, raises very small CPU shares; whether there was something to mend."""
    mended = False
    process = config.get("process") or {}
    if (process.get("oomScoreAdj") or 0) < 0:
        del process["oomScoreAdj"]
        mended = True
    cpu = ((config.get("linux") or {}).get("resources") or {}).get("cpu") or {}
    if 0 < (cpu.get("shares") or 0) < LEAST_SHARES:
        cpu["shares"] = LEAST_SHARES
        mended = True
    return mended


if __name__ == "__main__":
    file = os.path.join(bundle(sys.argv[1:]), "config.json")
    with open(file) as stream:
        found = json.load(stream)
    if mend(found):
        with open(file, "w") as stream:
            json.dump(found, stream)
