"""Small linen modules on `ops`: equalised dense and convolution layers, the mapping network, noise."""
