"""The REST API (and later the pages): looks at the store, sends commands to the controller, decides nothing."""
