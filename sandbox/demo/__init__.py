"""The demo: its workload, the proxy that makes one write fail, the baseline, and the run that checks the promises."""
