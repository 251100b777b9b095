"""Where decisions go: MQTT, a webhook, a CSV file."""
