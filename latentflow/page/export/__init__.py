"""An autoencoder as ONNX graphs: decoder, encoder, and the gradient of the losses through the decoder."""
