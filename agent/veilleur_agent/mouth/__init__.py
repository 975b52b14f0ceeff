"""The mouth: closed messages in, MQTT out; it cannot open an image."""
