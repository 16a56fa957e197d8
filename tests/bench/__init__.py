"""What `make bench` measures, on the sandbox: ratios within one run, for times differ from machine to machine."""
