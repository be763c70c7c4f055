"""Constructor arguments of official networks, converted to keys of a model configuration and back."""
