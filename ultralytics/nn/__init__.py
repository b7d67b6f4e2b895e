"""Networks: modules, add-on modules, and how a model YAML becomes one. Knows nothing of datasets or loops."""
