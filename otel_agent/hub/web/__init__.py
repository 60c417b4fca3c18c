"""The hub's HTTP interface on loopback. Runs in the hub's event loop; loaded after the workers are listened to."""
