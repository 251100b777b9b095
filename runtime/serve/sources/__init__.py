"""Where images come from without HTTP: a folder, a camera, a trigger by MQTT."""
