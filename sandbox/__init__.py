"""The real parts on one machine that `make demo` and the tests run on. `python -m sandbox up` starts them."""
