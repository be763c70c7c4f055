"""Constructor arguments of official networks, as keys of a model configuration and back."""
